"""Images, samples, their order and their augmentation."""

import numpy as np
import pytest
import torch
from PIL import Image

from automl_images.annotations import Box, Boxes, OneClass, Record
from automl_images.data.augment import rcnn_augmentation
from automl_images.data.augment_yolo import yolo_augmentation
from automl_images.data.detection import EvaluationSet, Samples, TrainingSet, classes_of, to_tensors
from automl_images.data.images import load_image
from automl_images.data.sampler import EpochSampler
from automl_images.errors import UserError
from tests.helpers.detectors import settings_of

RED = (230, 20, 10)


def rcnn(samples, count):
    return rcnn_augmentation(samples)


def alone(samples, count):
    return yolo_augmentation(samples, count, 64, settings_of("yolov5", mosaic=0))


def mosaic(samples, count):
    return yolo_augmentation(samples, count, 64, settings_of("yolov5"))


AUGMENTATIONS = pytest.mark.parametrize("make", [rcnn, alone, mosaic], ids=["rcnn", "yolo alone", "yolo mosaic"])


@pytest.fixture
def samples(squares):
    return Samples(squares[0], ["blue", "red"])


def painted(mode, colour):
    return Image.new(mode, (5, 3), colour)


@pytest.mark.parametrize(
    ("image", "name", "expected"),
    [
        (painted("RGB", RED), "a.png", RED),
        (painted("L", 77), "a.png", (77, 77, 77)),
        (painted("1", 1), "a.png", (255, 255, 255)),
        (painted("RGBA", (*RED, 255)), "a.png", RED),
        (painted("RGBA", (*RED, 0)), "a.png", (255, 255, 255)),
        (painted("LA", (100, 0)), "a.png", (255, 255, 255)),
        (painted("RGB", RED).quantize(4), "a.png", RED),
        (Image.fromarray(np.full((3, 5), 128 * 257, np.uint16)), "a.png", (128, 128, 128)),
        (Image.fromarray(np.full((3, 5), 65535, np.uint16)), "a.tiff", (255, 255, 255)),
        (painted("CMYK", (0, 255, 255, 0)), "a.tiff", (255, 0, 0)),
        (painted("CMYK", (255, 0, 0, 0)), "a.jpg", (0, 255, 255)),
    ],
    ids=lambda value: getattr(value, "mode", None),
)
def test_any_file_becomes_rgb_bytes(tmp_path, image, name, expected):
    image.save(tmp_path / name)
    array = load_image(str(tmp_path / name))
    assert (array.dtype, array.shape) == (np.uint8, (3, 5, 3))
    assert np.abs(array.astype(int) - expected).max() <= 2


def test_exif_orientation_turns_the_image(tmp_path):
    image = Image.new("RGB", (40, 24), "white")
    image.paste(RED, (0, 0, 8, 8))  # at the top left of the file, at the top right once turned
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    array = load_image(str(tmp_path / "a.jpg"))
    assert array.shape == (40, 24, 3)
    assert array[3, -4, 1] < 60
    assert array[3, 3, 1] > 200


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tiff", "a.gif", "a.webp"])
@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.98])
def test_a_truncated_image_is_named_with_its_record(tmp_path, name, share):
    path = tmp_path / name
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match=name) as caught:
        load_image(str(path), "train.jsonl line 7")
    assert str(caught.value).startswith("train.jsonl line 7: ")
    assert "\n" not in str(caught.value)


def test_a_missing_a_wrong_and_an_enormous_file_are_named(tmp_path, monkeypatch):
    (tmp_path / "notes.jpg").write_text("not an image")
    painted("RGB", RED).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    for name in ("gone.png", "notes.jpg", "huge.png"):
        with pytest.raises(UserError, match=name):
            load_image(str(tmp_path / name))


def test_the_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch):
        sampler = EpochSampler(10, seed)
        sampler.set_epoch(epoch)
        torch.manual_seed(int(torch.randint(1000, ())))  # whatever else was drawn
        return list(sampler)

    assert order(3, 1) == order(3, 1)
    assert [e for e, _ in order(3, 1)] == [1] * 10
    assert sorted(i for _, i in order(3, 1)) == list(range(10))
    orders = {tuple(i for _, i in order(seed, epoch)) for seed in (3, 4) for epoch in (0, 1)}
    assert len(orders) >= 3  # seed 3 epoch 1 and seed 4 epoch 0 may be the same shuffle


def test_batches_are_of_like_shapes_and_every_image_comes_once():
    aspects = [0.5, 2.0] * 101 + [1.0]
    sampler = EpochSampler(203, 3, aspects=aspects, batch=4)
    orders = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        orders.append([i for _, i in sampler])
    assert orders[0] == orders[2] != orders[1]
    assert all(sorted(order) == list(range(203)) for order in orders)
    batches = [[aspects[i] for i in orders[0][k : k + 4]] for k in range(0, 203, 4)]
    assert [len(batch) for batch in batches] == [4] * 50 + [3]
    assert sum(len(set(batch)) == 1 for batch in batches) >= 40, "mixed are those between two shapes of a chunk"
    shapes = [batch[0] for batch in batches if len(set(batch)) == 1]
    assert shapes != sorted(shapes)
    parts = [list(EpochSampler(203, 3, 2, rank, aspects, 4)) for rank in (0, 1)]
    assert {i for part in parts for _, i in part} == set(range(203)) and len(parts[0]) == len(parts[1])


@AUGMENTATIONS
def test_a_sample_is_a_function_of_seed_epoch_and_index(samples, make):
    def sample(seed, epoch, i):
        return TrainingSet(samples, make(samples.training, len(samples)), seed)[epoch, i]

    state = torch.get_rng_state()
    first = sample(1, 0, 0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    np.random.seed(99)
    again = sample(1, 0, 0)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1]["boxes"], again[1]["boxes"])
    others = [sample(1, e, 0)[0] for e in (1, 2, 3)] + [sample(s, 0, 0)[0] for s in (2, 3, 4)]
    assert sum(o.shape != first[0].shape or not torch.equal(o, first[0]) for o in others) >= 5


@AUGMENTATIONS
def test_augmented_boxes_stay_on_their_objects(samples, make):
    augment = make(samples.training, len(samples))
    checked, mirrored, sizes, counts = 0, set(), set(), set()
    for seed in range(60):
        i = seed % len(samples)
        image, boxes, labels, _ = augment(i, seed)
        assert (image.dtype, boxes.dtype, labels.dtype) == (np.uint8, np.float32, np.int64)
        height, width = image.shape[:2]
        assert (boxes >= -1e-4).all()
        assert (boxes <= np.array([width, height, width, height]) + 1e-4).all()
        sizes.add(image.shape[:2])
        counts.add(len(boxes))
        for (x1, y1, x2, y2), label in zip(boxes, labels, strict=True):
            inner = image[int(y1) + 1 : int(np.ceil(y2)) - 1, int(x1) + 1 : int(np.ceil(x2)) - 1].reshape(-1, 3)
            if len(inner) < 9:
                continue
            checked += 1
            difference = inner[:, 0].astype(int) - inner[:, 2].astype(int)  # red above blue in red squares
            assert ((difference > 25) if label == 1 else (difference < -25)).mean() > 0.9
        if len(boxes) == 1:
            mirrored.add(bool(boxes[0][0] + boxes[0][2] > width))  # an only square is drawn on the left
    assert checked > 50
    assert mirrored == {True, False}
    assert (max(counts) > 2) is (make.__name__ == "mosaic")
    assert (len(sizes) > 1) is (make.__name__ == "rcnn")


@AUGMENTATIONS
def test_an_image_without_boxes_is_a_sample(squares, make):
    records = [Record(squares[0][0].image_url, Boxes(()), 64, 64)]
    samples = Samples(records, ["blue"])
    image, target = to_tensors(make(samples.training, 1)(0, 5))
    assert image.dtype == torch.uint8
    assert target["boxes"].shape == (0, 4)
    assert target["labels"].shape == (0,)


def test_crowds_are_not_trained_on_but_scored(squares):
    crowd = Box("red", 0, 0, 0.5, 1, isCrowd=True), Box("blue", 0.5, 0.25, 1, 0.75)
    samples = Samples([Record(squares[0][0].image_url, Boxes(crowd), 64, 64)], ["blue", "red"])
    _, boxes, labels, _ = samples.training(0)
    assert (boxes.tolist(), labels.tolist()) == ([[32, 16, 64, 48]], [0])
    truth = samples.truth(0, (64, 64))
    assert (truth["crowd"].tolist(), truth["labels"].tolist()) == ([True, False], [1, 0])
    assert truth["size"] == (64, 64)


@pytest.mark.parametrize("kept", [True, False])
def test_images_are_kept_in_memory_within_the_budget(tmp_path, kept):
    painted("RGB", RED).save(tmp_path / "a.png")
    samples = Samples([Record(str(tmp_path / "a.png"), Boxes(()))], ["x"], budget=1000 if kept else 10)
    before = EvaluationSet(samples)[0]
    painted("RGB", (0, 0, 0)).save(tmp_path / "a.png")
    assert torch.equal(before[0], EvaluationSet(samples)[0][0]) is kept


def test_labels_must_be_known(squares):
    with pytest.raises(UserError, match="no image has an object"):
        classes_of([Record("a.png", Boxes(()))])
    assert classes_of(squares[0]) == ["blue", "red"]
    with pytest.raises(UserError, match=r"a\.png: the class 'bleu' is not in the training data.*blue"):
        Samples([Record("a.png", Boxes((Box("bleu", 0, 0, 1, 1),)))], ["blue", "red"])
    with pytest.raises(UserError, match=r"a\.png: its label is not a list of boxes"):
        Samples([Record("a.png", OneClass("blue"))], ["blue", "red"])
