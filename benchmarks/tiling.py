"""Tiles: how many small objects they bring back, and how many are then found twice.

    python benchmarks/tiling.py [--images 20] [--train 0]

Images of 1024 x 1024 pixels have 60 objects of 6 to 12 pixels of two classes, some a pixel apart, many on seams. What
is found without tiles and with ``tile_grid_size`` (3, 2) is measured at an overlap (IoU) of 0.5:

oracle: a detector that reads its input, resized as R-CNNs' is, where an object is found by chance, half of those of 8
pixels, hardly any of 4, and placed with an error of half a pixel. It knows where objects are, so that the figures are
of the tiles and of how their detections are put together, and of nothing else.
trained: with ``--train``, epochs, the smallest YOLOv5 at 640 pixels, from random weights, on 24 images and their tiles;
without tiles it sees images as often, all in all. In a few epochs on a CPU it finds nothing yet: for a GPU.

``recall_without``, ``recall_with``; ``recovered``: the share of what is missing without tiles that is found with them;
``duplicates``: the share of detections that are of an object that a better one has found.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
import numpy as np
import torch
from PIL import Image, ImageDraw
from torchvision.ops import box_iou

from automl_images.annotations import Box, Boxes, Record
from automl_images.data.detection import image_tensor
from automl_images.data.tiles import Tiling
from automl_images.hyperparameters import resolve
from automl_images.metrics.arrays import Sample
from automl_images.prediction import load_model
from automl_images.prediction.detection import detect
from automl_images.training.fit import fit
from automl_images.training.job import Job
from benchmarks.report import report

TASK, CLASSES = "image-object-detection", ["blue", "red"]
COLOURS = [(40, 70, 220), (220, 60, 40)]
SIDE, OBJECTS, GRID = 1024, 60, "3,2"
Found = Mapping[str, Any]


class Oracle:
    """A detector that reads objects off :func:`painted` images, resized as R-CNNs' are, if they are large enough.

    Args:
        least: root of the area, in resized pixels, from which an object is found; with ``soft`` half of those are.
        min_size, max_size: as the hyperparameters.
        masks: whether it gives them.
        soft, error: how far the size that it takes lies about ``least``, and its boxes about the objects, in resized
            pixels (standard deviations).

    ``seen`` are the shapes of the images that it was given, a list a batch. Its scores grow with what it sees.
    """

    def __init__(
        self,
        least: float,
        min_size: int = 600,
        max_size: int = 1333,
        masks: bool = False,
        soft: float = 0,
        error: float = 0,
    ):
        self.least, self.sizes, self.masks, self.soft, self.error = least, (min_size, max_size), masks, soft, error
        self.seen: list[list[tuple[int, ...]]] = []
        self.rng = np.random.default_rng(0)

    def predict(self, images: Sequence[torch.Tensor]) -> list[dict[str, Any]]:
        """Return what is found, as a detector does."""
        self.seen.append([tuple(image.shape[1:]) for image in images])
        return [self._one(image.cpu().numpy().astype(int)) for image in images]

    def _one(self, image: np.ndarray) -> dict[str, Any]:
        from faster_coco_eval import mask as coco

        label, number, more = image
        ids = np.where(number > 0, number + 255 * more, 0)
        scale = min(self.sizes[0] / min(ids.shape), self.sizes[1] / max(ids.shape))
        found = []
        for one in np.unique(ids[ids > 0]):
            inside = ids == one
            rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
            size = scale * np.sqrt(np.count_nonzero(inside))
            if size < self.least + self.rng.normal(0, self.soft):
                continue
            box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            placed = (box + self.rng.normal(0, self.error / scale, 4)).clip(0, [*ids.shape[::-1]] * 2)
            rle = coco.encode(np.asfortranarray(inside.astype(np.uint8))) if self.masks else None
            found.append((size / (size + self.least), placed.tolist(), int(label[inside][0]), rle))
        found.sort(key=lambda f: -f[0])
        output: dict[str, Any] = {
            "boxes": torch.tensor([f[1] for f in found], dtype=torch.float32).reshape(-1, 4),
            "scores": torch.tensor([f[0] for f in found]),
            "labels": torch.tensor([f[2] for f in found], dtype=torch.int64),
        }
        return output | ({"masks": [f[3] for f in found]} if self.masks else {})


def painted(width: int, height: int, objects: Sequence[tuple[int, ...]]) -> Sample:
    """Return a black sample of objects (left, top, right, bottom, label): green is its number, red its label."""
    image = np.zeros((height, width, 3), np.uint8)
    masks = np.zeros((len(objects), height, width), np.uint8)
    for n, (left, top, right, bottom, label) in enumerate(objects):
        image[top:bottom, left:right] = label, n % 255 + 1, n // 255
        masks[n, top:bottom, left:right] = 1
    boxes = np.array([o[:4] for o in objects], np.float32).reshape(-1, 4)
    return Sample(image, boxes, np.array([o[4] for o in objects], np.int64), masks)


def scene(rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Return objects of 6 to 12 pixels that do not touch; a third lie a pixel beside another."""
    taken, objects = np.zeros((SIDE, SIDE), bool), []
    while len(objects) < OBJECTS:
        wide, high = map(int, rng.integers(6, 13, 2))
        left, top = map(int, rng.integers(0, (SIDE - wide, SIDE - high)))
        if objects and rng.random() < 1 / 3:
            left, top = objects[-1][2] + 1, objects[-1][1]
        around = slice(max(0, top - 1), top + high + 1), slice(max(0, left - 1), left + wide + 1)
        if left + wide <= SIDE and top + high <= SIDE and not taken[around].any():
            taken[top : top + high, left : left + wide] = True
            objects.append((left, top, left + wide, top + high, int(rng.integers(2))))
    return objects


def drawn(objects: Sequence[tuple[int, ...]], rng: np.random.Generator) -> Image.Image:
    """Return a picture of objects, red ellipses and blue rectangles, on a ground of blotches."""
    ground = Image.fromarray(rng.integers(60, 190, (SIDE // 16, SIDE // 16, 3), dtype=np.uint8))
    grain = rng.integers(-12, 13, (SIDE, SIDE, 3))
    pixels = np.asarray(ground.resize((SIDE, SIDE), Image.Resampling.BILINEAR)).astype(int) + grain
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for left, top, right, bottom, label in objects:
        shape = draw.ellipse if label else draw.rectangle
        shape([left, top, right - 1, bottom - 1], fill=COLOURS[label])
    return image


def counted(found: Sequence[Found], truth: Sequence[Sample]) -> tuple[float, float]:
    """Return the share of objects that are found, and that of detections that are an object's second, or later.

    A detection, best first, finds the object of its class that it overlaps most, by at least 0.5, of those that none
    has found. One that finds none is a duplicate if a tenth of it lies in an object of its class that is found.
    """
    hits = duplicates = 0
    for one, sample in zip(found, truth, strict=True):
        boxes, objects = torch.from_numpy(one["boxes"]), torch.from_numpy(sample.boxes).double()
        same = torch.from_numpy(one["labels"])[:, None] == torch.from_numpy(sample.labels)
        iou = torch.where(same, box_iou(boxes, objects), 0)
        free, lost = torch.ones(len(objects), dtype=torch.bool), []
        for n in range(len(boxes)):
            best = torch.where(free, iou[n], -1).argmax() if len(objects) else 0
            if len(objects) and free[best] and iou[n, best] >= 0.5:
                free[best] = False
            else:
                lost.append(n)
        low, high = torch.max(boxes[:, None, :2], objects[:, :2]), torch.min(boxes[:, None, 2:], objects[:, 2:])
        held = (high - low).clamp(min=0).prod(2) / (boxes[:, 2:] - boxes[:, :2]).prod(1, keepdim=True)
        duplicates += int((same & ~free & (held >= 0.1))[lost].any(1).sum())
        hits += int((~free).sum())
    every = sum(len(f["scores"]) for f in found)
    return hits / sum(len(s.boxes) for s in truth), duplicates / max(1, every)


def figures(
    name: str, without: tuple[float, float], beside: tuple[float, float]
) -> tuple[list[object], dict[str, Any]]:
    """Return a row of the table, and the figures by their names."""
    recovered = (beside[0] - without[0]) / max(1e-9, 1 - without[0])
    values = {
        "recall_without": without[0],
        "recall_with": beside[0],
        "recovered": recovered,
        "duplicates": beside[1],
    }
    return [name, *values.values()], {k if name == "oracle" else f"{name}_{k}": v for k, v in values.items()}


def oracle(images: int) -> tuple[list[object], dict[str, Any]]:
    """Measure the oracle."""
    rng = np.random.default_rng(1)
    truth = [painted(SIDE, SIDE, scene(rng)) for _ in range(images)]
    tiling = Tiling.of(resolve(TASK, {"model_name": "fasterrcnn_resnet18_fpn", "tile_grid_size": GRID}))

    def found(tiled: Tiling | None) -> list[Found]:
        model = Oracle(8, soft=2, error=0.5)
        return [detect(model, [image_tensor(s.image)], torch.device("cpu"), tiled)[0] for s in truth]

    return figures("oracle", *(counted(found(t), truth) for t in (None, tiling)))


class Journal:
    """Keeps the best model and nothing else."""

    def __init__(self, folder: Path):
        self.folder = folder

    def evaluated(self, score: Any) -> str | None:
        """Take an evaluation."""
        print(f"epoch {score.epoch}: {score.value:.4f}", file=sys.stderr)
        return None

    def progressed(self, pace: Any) -> None:
        """Pass it over."""

    def save_model(self, folder: Path) -> None:
        """Keep the model folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(folder, self.folder)

    def save_epoch(self, folder: Path, epoch: int) -> None:
        """Keep nothing."""

    def save_checkpoint(self, folder: Path, epoch: int) -> None:
        """Keep nothing."""


def trained(epochs: int, images: int, folder: Path) -> tuple[list[object], dict[str, Any]]:
    """Train with tiles and without, and measure both on images of their own."""
    rng, records, truth = np.random.default_rng(2), [], []
    for n in range(32 + images):
        objects = scene(rng)
        drawn(objects, rng).save(folder / f"{n}.png")
        boxes = tuple(Box(CLASSES[o[4]], *(v / SIDE for v in o[:4])) for o in objects)
        records.append(Record(str(folder / f"{n}.png"), Boxes(boxes), SIDE, SIDE))
        truth.append(painted(SIDE, SIDE, objects))

    def measured(times: int, **tiles: Any) -> tuple[float, float]:
        given = {"model_name": "yolov5", "img_size": 640, "optimizer": "adamw", "learning_rate": 0.002, **tiles}
        given |= {"number_of_epochs": times, "early_stopping": 0, "evaluation_frequency": max(1, times // 4)}
        settings = {**resolve(TASK, given), "model_size": "nano"}
        journal = Journal(folder / json.dumps(tiles))
        fit(Job(TASK, settings, records[:24], records[24:32], {}, seed=1), journal)
        predictor = load_model(journal.folder)
        least = predictor.settings["box_score_thresh"]
        outputs = predictor.outputs([np.array(Image.open(r.image_url))] for r in records[32:])
        return counted([_above(one, least) for one in outputs], truth[32:])

    return figures("trained", measured(epochs * 7), measured(epochs, tile_grid_size=GRID))


def _above(found: Found, least: float) -> Found:
    keep = found["scores"] > least
    return {name: found[name][keep] for name in ("boxes", "scores", "labels")}


def main() -> None:
    """Run the parts and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--train", type=int, default=0, metavar="EPOCHS")
    arguments = parser.parse_args()
    parts: list[Callable[[], tuple[list[object], dict[str, Any]]]] = [lambda: oracle(arguments.images)]
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.train:
            parts.append(lambda: trained(arguments.train, arguments.images, Path(scratch)))
        done = [part() for part in parts]
    header = ["detector", "recall without", "recall with", "recovered", "duplicates"]
    report("tiling", header, [row for row, _ in done], {k: v for _, own in done for k, v in own.items()})


if __name__ == "__main__":
    main()
