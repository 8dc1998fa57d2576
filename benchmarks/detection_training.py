"""Training a detector: our loop against that of torchvision's detection reference, on the same model, data and batch.

    python benchmarks/detection_training.py [--quick] [--rounds N] [--images N]

Images per second of all of ``fit()``, decoding included, over the reference's (``vs_reference``; ``vs_reference_low``
and ``vs_reference_high``: what the median lies between, 95 %): Faster R-CNN from the same weights, norms frozen, both
fresh every time, in turns. On a CPU with ResNet-18, two images a batch and images scaled to 256 to 448 pixels; on a GPU
with ResNet-50, eight images and 800 to 1333. The JPEGs are of 640 x 480 and 480 x 640. Neither evaluates. Ours mirrors,
crops and expands, the reference mirrors; it decodes in as many processes as we do in threads.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
import numpy as np
import torch
import torchvision
from PIL import Image

from automl_images.annotations import Box, Boxes, Record
from automl_images.hyperparameters import resolve
from automl_images.training.fit import fit
from automl_images.training.job import Job
from benchmarks.classification.images import pictures
from benchmarks.classification.stopwatch import ON_GPU
from benchmarks.classification_training import Journal, interval, quotients, spread
from benchmarks.detection import reference as peer
from benchmarks.report import report

TASK, CLASSES, EPOCHS = "image-object-detection", ["cat", "dog"], 2
NETWORK, BATCH, SIZES = ("resnet50", 8, (800, 1333)) if ON_GPU else ("resnet18", 2, (256, 448))


def boxed(folder: Path, count: int) -> list[Record]:
    """Write images, every other one upright, and return them with some boxes each."""
    rng, records = np.random.default_rng(1), []
    for i, record in enumerate(pictures(folder, count)):
        path = Path(record.image_url)
        if i % 2:
            with Image.open(path) as image:
                image.transpose(Image.Transpose.ROTATE_90).save(path, quality=90)
        lefts, tops = rng.uniform(0, 0.7, (2, 1 + i % 8))
        boxes = [
            Box(CLASSES[n % 2], x, y, x + 0.25, y + 0.25) for n, (x, y) in enumerate(zip(lefts, tops, strict=True))
        ]
        size = (480, 640) if i % 2 else (640, 480)
        records.append(dataclasses.replace(record, label=Boxes(tuple(boxes)), width=size[0], height=size[1]))
    return records


def weights(path: Path) -> dict[str, torch.Tensor]:
    """Write and return a backbone's weights, whose norms have seen images."""
    torch.manual_seed(0)
    network = getattr(torchvision.models, NETWORK)()
    for _ in range(20):
        network(torch.randn(4, 3, 96, 96))
    state = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save({f"backbone.body.{name}": tensor for name, tensor in state.items()}, path)
    return state


def ours(records: list[Record], folder: Path, settings: dict[str, Any], source: Path) -> float:
    """Run fit() and return its seconds."""
    begun = time.perf_counter()
    fit(Job(TASK, settings, records, records[:2], {"source": str(source)}, seed=1), Journal(folder))
    return time.perf_counter() - begun


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer images and rounds")
    parser.add_argument("--rounds", type=int, help="turns of both")
    parser.add_argument("--images", type=int, help="how many each learns from")
    options = parser.parse_args()
    rounds, count = (2, 12) if options.quick else (7, 512) if ON_GPU else (5, 12)
    rounds, count = options.rounds or rounds, options.images or count
    settings = resolve(
        TASK,
        {
            "model_name": f"fasterrcnn_{NETWORK}_fpn",
            "min_size": SIZES[0],
            "max_size": SIZES[1],
            "training_batch_size": BATCH,
            "number_of_epochs": EPOCHS,
            "validation_metric_type": "none",
            "learning_rate": 0.0025,
        },
    )
    seconds: tuple[list[float], list[float]] = ([], [])
    with tempfile.TemporaryDirectory() as scratch:
        records, source = boxed(Path(scratch, "images"), count), Path(scratch, "weights.pt")
        state = weights(source)
        workers = torch.get_num_threads()
        for i in range(rounds):
            seconds[0].append(ours(records, Path(scratch, str(i)), settings, source))
            seconds[1].append(peer.train(records, CLASSES, state, EPOCHS, BATCH, workers, NETWORK, SIZES))
    ratios = quotients(seconds[1], seconds[0])
    low, high = interval(ratios)
    rows = [
        (f"{NETWORK}: {name}, images/s", *spread([EPOCHS * count / s for s in times]))
        for name, times in zip(("fit()", "torchvision's recipe"), seconds, strict=True)
    ]
    rows.append(("fit() / torchvision's recipe", *spread(ratios)))
    figures = {"vs_reference": statistics.median(ratios), "vs_reference_low": low, "vs_reference_high": high}
    report("detection_training", ("", "median", "least", "most"), rows, figures)


if __name__ == "__main__":
    main()
