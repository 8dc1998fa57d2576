"""Records with outlines as torch data sets for instance segmentation: detection's, with a mask an object."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from automl_images.annotations import Record
from automl_images.annotations.labels.polygons import Instance, Polygons, Rle
from automl_images.annotations.shapes import decoded
from automl_images.data.detection import Samples, check_classes, classes_of
from automl_images.errors import UserError
from automl_images.metrics.arrays import Sample, instance_arrays

__all__ = ["InstanceSamples", "checked_instances", "classes_of"]


def checked_instances(record: Record, classes: Collection[str]) -> list[Instance]:
    """Return a record's objects.

    Raises:
        UserError: it has another kind of label, or a class that is not among ``classes``; the line says which.
    """
    if not isinstance(record.label, Polygons):
        where = record.where or record.image_url
        raise UserError(f"{where}: its label is not a list of polygons, which instance segmentation needs")
    check_classes(record, classes)
    return list(record.label.instances)


class InstanceSamples(Samples):
    """Images with boxes, labels and masks by index; see :class:`automl_images.data.detection.Samples`.

    Raises:
        UserError: as :func:`checked_instances`.
    """

    checked = staticmethod(checked_instances)
    arrays = staticmethod(instance_arrays)

    def training(self, i: int) -> Sample:
        """Return image ``i`` with its objects, without crowds and without masks of no pixel; boxes are the masks'."""
        from faster_coco_eval import mask as coco

        image = self.store.image(i)
        truth = self.truth(i, (image.shape[1], image.shape[0]))
        area = np.array([coco.area(mask) for mask in truth["masks"]], dtype=np.float64)
        kept = np.flatnonzero(~truth["crowd"] & (area > 0))
        masks = np.zeros((len(kept), *image.shape[:2]), np.uint8)
        boxes = np.zeros((len(kept), 4), np.float32)
        for place, n in enumerate(kept):
            left, top, wide, high = map(int, coco.toBbox(truth["masks"][n]))
            boxes[place] = left, top, left + wide, top + high
            # beyond its box nothing has to be decoded, which takes most of the time
            run_lengths = Rle(image.shape[0], image.shape[1], truth["masks"][n]["counts"].decode())
            masks[place, :, left : left + wide] = decoded(run_lengths, left, left + wide)
        return Sample(image, boxes, truth["labels"][kept], masks)
