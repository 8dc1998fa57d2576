"""Training a segmentation network: our loop against that of torchvision's reference, on the same model, data and batch.

    python -m benchmarks.segmentation_training [--quick]

Images per second of all of ``fit()``, decoding included, over the reference's (``vs_reference``; ``vs_reference_low``
and ``vs_reference_high``: what the median lies between, 95 %): FCN on a dilated ResNet-50 with its auxiliary head, from
fresh weights every time, in turns. On a CPU two crops of 96 pixels a batch, of images scaled to 192 times 0.5 to 2; on
a GPU 16 of 480 and 520. The JPEGs are of 640 x 480, the masks PNGs of 21 classes. Both evaluate two images at the end,
and write the network down. The reference decodes in as many processes as we compute in threads.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from automl_images.annotations import Record
from automl_images.annotations.labels import Mask
from automl_images.hyperparameters import resolve
from automl_images.training.fit import fit
from automl_images.training.job import Job
from benchmarks.classification.images import pictures
from benchmarks.classification.stopwatch import ON_GPU
from benchmarks.classification_training import Journal, interval, quotients, spread
from benchmarks.report import report
from benchmarks.segmentation import reference as peer

TASK, CLASSES, EPOCHS = "image-semantic-segmentation", 21, 2
BATCH, CROP, BASE = (16, 480, 520) if ON_GPU else (2, 96, 192)


def masked(folder: Path, count: int) -> list[Record]:
    """Write images and masks of some rectangles, and return their records."""
    rng, records = np.random.default_rng(1), []
    classes = tuple((str(i), i) for i in range(CLASSES))
    for record in pictures(folder, count):
        mask = np.zeros((480, 640), np.uint8)
        for value in rng.integers(1, CLASSES, 12):
            y, x = rng.integers(0, 400, 2)
            mask[y : y + 90, x : x + 140] = value
        path = Path(record.image_url).with_suffix(".png")
        Image.fromarray(mask).save(path)
        records.append(dataclasses.replace(record, label=Mask(str(path), classes), width=640, height=480))
    return records


def ours(records: list[Record], folder: Path, settings: dict[str, Any]) -> float:
    """Run fit() and return its seconds."""
    begun = time.perf_counter()
    fit(Job(TASK, settings, records, records[:2], {}, seed=1), Journal(folder))
    return time.perf_counter() - begun


def theirs(records: list[Record], workers: int) -> float:
    """Train as torchvision's recipe does and return its seconds."""
    return peer.train(records, records[:2], CLASSES, "fcn_resnet50", EPOCHS, BATCH, workers, BASE, CROP)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer images and rounds")
    options = parser.parse_args()
    rounds, count = (2, 8) if options.quick else (7, 256 if ON_GPU else 24)
    settings = resolve(
        TASK,
        {
            "model_name": "fcn_resnet50",
            "base_size": BASE,
            "crop_size": CROP,
            "training_batch_size": BATCH,
            "number_of_epochs": EPOCHS,
            "evaluation_frequency": EPOCHS,
            "early_stopping": 0,
            "learning_rate": 0.02,
        },
    )
    seconds: tuple[list[float], list[float]] = ([], [])
    with tempfile.TemporaryDirectory() as scratch:
        records, workers = masked(Path(scratch, "images"), count), torch.get_num_threads()
        for i in range(rounds):
            seconds[0].append(ours(records, Path(scratch, str(i)), settings))
            seconds[1].append(theirs(records, workers))
    ratios = quotients(seconds[1], seconds[0])
    low, high = interval(ratios)
    rows = [
        (f"fcn_resnet50: {name}, images/s", *spread([EPOCHS * count / s for s in times]))
        for name, times in zip(("fit()", "torchvision's recipe"), seconds, strict=True)
    ]
    rows.append(("fit() / torchvision's recipe", *spread(ratios)))
    figures = {"vs_reference": statistics.median(ratios), "vs_reference_low": low, "vs_reference_high": high}
    report("segmentation_training", ("", "median", "least", "most"), rows, figures)


if __name__ == "__main__":
    main()
