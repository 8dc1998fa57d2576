"""An oracle detector: it reads objects off the pixels of painted images, if they are large enough to be seen."""

import numpy as np
import torch
from faster_coco_eval import mask as coco

from automl_images.metrics.arrays import Sample


def painted(width, height, shapes):
    """Return a black sample of objects (left, top, right, bottom, label): green is its number, red its label."""
    image = np.zeros((height, width, 3), np.uint8)
    masks = np.zeros((len(shapes), height, width), np.uint8)
    for n, (left, top, right, bottom, label) in enumerate(shapes):
        image[top:bottom, left:right] = label, n % 255 + 1, n // 255
        masks[n, top:bottom, left:right] = 1
    boxes = np.array([s[:4] for s in shapes], np.float32).reshape(-1, 4)
    return Sample(image, boxes, np.array([s[4] for s in shapes], np.int64), masks)


class Oracle:
    """A detector that resizes as R-CNNs do and sees what is then at least ``least`` pixels (root of the area).

    Its scores grow with what it sees of an object. ``seen`` are the shapes of the images that it was given, a list a
    batch.
    """

    def __init__(self, least, min_size=600, max_size=1333, masks=False):
        self.least, self.sizes, self.masks, self.seen = least, (min_size, max_size), masks, []

    def predict(self, images):
        self.seen.append([tuple(image.shape[1:]) for image in images])
        return [self._one(image.cpu().numpy()) for image in images]

    def _one(self, image):
        label, number, more = image.astype(int)
        ids = np.where(number > 0, number + 255 * more, 0)
        scale = min(self.sizes[0] / min(ids.shape), self.sizes[1] / max(ids.shape))
        found = []
        for one in np.unique(ids[ids > 0]):
            inside = ids == one
            size = scale * np.sqrt(np.count_nonzero(inside))
            if size >= self.least:
                rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
                box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
                rle = coco.encode(np.asfortranarray(inside.astype(np.uint8)))
                found.append((1 - self.least / (self.least + size), box, int(label[inside][0]), rle))
        found.sort(key=lambda f: -f[0])
        output = {
            "boxes": torch.tensor([f[1] for f in found], dtype=torch.float32).reshape(-1, 4),
            "scores": torch.tensor([f[0] for f in found]),
            "labels": torch.tensor([f[2] for f in found], dtype=torch.int64),
        }
        return output | ({"masks": [f[3] for f in found]} if self.masks else {})
