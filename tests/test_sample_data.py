"""The synthetic sample: one folder that every task can take, whose labels agree with one another."""

import numpy as np
import pytest
from PIL import Image

from automl_images.annotations import read_records
from automl_images.sample_data import CLASSES, make_sample
from automl_images.steps.convert import convert


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample") / "sample"
    return folder, make_sample(folder, images=12, size=96)


def records(sample, tmp_path, task, source=""):
    out = str(tmp_path / f"{task}.jsonl")
    summary = convert(str(sample / source), out, task)
    return summary, list(read_records(out))


def test_boxes_and_masks_are_of_the_same_objects(sample, tmp_path):
    folder, made = sample
    boxes, of_boxes = records(folder, tmp_path, "image-object-detection")
    instances, _ = records(folder, tmp_path, "image-instance-segmentation")
    assert boxes["classes"] == instances["classes"] == made["classes"] and set(made["classes"]) == set(CLASSES)
    assert boxes["boxes"] == instances["instances"] == made["boxes"]
    for record in of_boxes:
        name = record.image_url.rpartition("/")[2].replace("jpg", "png")
        objects = np.array(Image.open(folder / "SegmentationObject" / name))
        classes = np.array(Image.open(folder / "SegmentationClass" / name))
        for number, box in enumerate(record.label.boxes, 1):
            rows, columns = np.nonzero(objects == number)
            edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert edges == tuple(round(96 * v) for v in (box.topX, box.topY, box.bottomX, box.bottomY))
            assert set(classes[objects == number]) == {1 + CLASSES.index(box.label)}
        assert ((classes == 0) == (objects == 0)).all()


def test_it_serves_the_other_tasks_too(sample, tmp_path):
    folder, _ = sample
    masks, _ = records(folder, tmp_path, "image-semantic-segmentation")
    assert list(masks["classes"]) == ["background", *CLASSES] and masks["classes"]["background"] == 12
    labels, _ = records(folder, tmp_path, "image-classification-multilabel", "labels.csv")
    assert set(labels["classes"]) == set(CLASSES) and labels["images"] == 12
