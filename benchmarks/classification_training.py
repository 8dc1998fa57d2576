"""Training a classifier: our loop against a bare one, torchvision's reference recipe, and the plain compute.

    python benchmarks/classification_training.py [--quick] [--parts ceiling reference layouts]

ceiling: of a step of ``fit()`` after the first epoch, the share spent in the network's forward and backward passes and
the optimiser (``of_ceiling``), timed inside the loop; between its epochs a bare loop trains a copy of the network on
tensors that are there already (``of_bare_loop``). ResNet-18 at 224; on a GPU ResNet-50, where the passes run behind the
loop's back and ``of_ceiling`` is the bare loop's time over ours.
reference: images per second of all of ``fit()``, decoding included, over those of torchvision's classification recipe
(``vs_reference``): MobileNetV2, batches of 64 from JPEGs of 640 x 480, two epochs each, fresh every time. It decodes in
as many processes as we do in threads. The loaders alone are ``loader_vs_reference``.
layouts: the layout and precision that are chosen for each model against plain float32 NCHW, in turns; the least lower
bound of the median ratios (95 %) is ``worst_vs_plain``; where the plain one is chosen, 1. Left out: vitl16r224, which
is for GPUs.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import math
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
import torch
from lightning.pytorch import Callback

from automl_images.annotations import Record
from automl_images.architectures import ARCHITECTURES, models_of
from automl_images.data.augment_batch import augment_batch
from automl_images.hyperparameters import resolve
from automl_images.models import compute
from automl_images.models.classifier import Classifier
from automl_images.training.classification import prepare
from automl_images.training.fit import fit
from automl_images.training.job import Compute, Job
from automl_images.training.machine import Machine
from benchmarks.classification import reference as peer
from benchmarks.classification.images import CLASSES, pictures
from benchmarks.classification.stopwatch import DEVICE, ON_GPU, Stopwatch
from benchmarks.report import report

TASK = "image-classification"
MODELS = models_of("classification")
DEEP = ("resnet101", "resnet152", "resnet200", "resnest101")
PAIRS, WIDE, SECONDS = 9, 1.2, 12.0  # where the interval is wider, more pairs are measured for so long
PLAIN = {"channels_last": False, "dtype": "float32", "note": ""}
Part = tuple[list[tuple], dict[str, float]]


class Journal:
    """Keeps models as a trial's ledger does, and nothing else."""

    def __init__(self, folder: Path):
        self.folder = folder

    def evaluated(self, *_: Any) -> None:
        """Go on."""

    def progressed(self, pace: Any) -> None:
        """Pass it over."""

    def save_model(self, folder: Path) -> None:
        """Copy it."""
        shutil.copytree(folder, self.folder / "model", dirs_exist_ok=True)

    def save_epoch(self, folder: Path, epoch: int) -> None:
        """Copy it."""
        shutil.copytree(folder, self.folder / str(epoch))

    def save_checkpoint(self, folder: Path, _: int) -> None:
        """Copy it."""
        shutil.copytree(folder, self.folder / "checkpoint", dirs_exist_ok=True)


def settings_of(**given: Any) -> dict[str, Any]:
    """Return complete settings."""
    return resolve(TASK, {"early_stopping": 0, "evaluation_frequency": 1000, **given})


def job_of(records: list[Record], settings: dict[str, Any]) -> Job:
    """Return the training of records from fresh weights."""
    return Job(TASK, settings, records, records[:4], {"pretrained": False}, seed=1)


def train(records: list[Record], folder: Path, settings: dict[str, Any], watch: Callback | None = None) -> float:
    """Run fit() on records and return its seconds."""
    begun = time.perf_counter()
    fit(job_of(records, settings), Journal(folder), [watch] if watch else [])
    return time.perf_counter() - begun


def ceiling(records: list[Record], folder: Path, quick: bool) -> Part:
    """Measure what our loop adds to the network's passes."""
    name, size = ("resnet50", 128) if ON_GPU else ("resnet18", 32)
    records = records * 16 if ON_GPU else records[: 64 if quick else 128]
    watch, epochs = Stopwatch(), 3 if quick else 7
    settings = settings_of(model_name=name, training_batch_size=size, number_of_epochs=epochs)
    train(records, folder / "ceiling", settings, watch)
    ratios = [bare / ours for ours, bare in zip(watch.ours[1:], watch.bare[1:], strict=True)]
    speeds = [[len(records) / seconds for seconds in times[1:]] for times in (watch.ours, watch.bare)]
    rows = [
        (f"{name} {watch.chosen}: share of passes", *spread(watch.shares[1:])),
        (f"{name}: fit(), images/s", *spread(speeds[0])),
        (f"{name}: bare loop, images/s", *spread(speeds[1])),
        (f"{name}: fit() / bare loop", *spread(ratios)),
    ]
    share, bare = statistics.median(watch.shares[1:]), statistics.median(ratios)
    return rows, {"of_ceiling": bare if ON_GPU else share, "of_bare_loop": bare}


def reference(records: list[Record], folder: Path, quick: bool) -> Part:
    """Measure us and torchvision's recipe in turns, with the network and without."""
    rounds, epochs, size, workers = (2 if quick else 5), 2, 64, torch.get_num_threads()
    records = records[:64] if quick else records
    images = epochs * len(records)
    settings = settings_of(model_name="mobilenetv2", training_batch_size=size, number_of_epochs=epochs)
    seconds: list[list[float]] = [[], [], [], []]
    for i in range(rounds):
        seconds[0].append(train(records, folder / f"reference-{i}", settings))
        seconds[1].append(peer.train(records, epochs, size, workers))
        seconds[2].append(our_loader(records, settings, folder / f"loader-{i}"))
        begun = time.perf_counter()
        for _ in range(epochs):
            for _ in peer.batches(records, size, workers):
                pass
        seconds[3].append(time.perf_counter() - begun)
    ours, theirs, ours_loading, theirs_loading = seconds
    trained, loaded = quotients(theirs, ours), quotients(theirs_loading, ours_loading)
    names = ("fit()", "torchvision's recipe", "our loader", "torchvision's loader")
    rows = [
        (f"mobilenetv2: {name}, images/s", *spread([images / s for s in times]))
        for name, times in zip(names, seconds, strict=True)
    ]
    rows += [("fit() / torchvision's recipe", *spread(trained)), ("our loader / torchvision's", *spread(loaded))]
    return rows, {"vs_reference": statistics.median(trained), "loader_vs_reference": statistics.median(loaded)}


def our_loader(records: list[Record], settings: dict[str, Any], scratch: Path) -> float:
    """Return the seconds of decoding, cropping, colouring and normalising, for all epochs."""
    scratch.mkdir()
    begun = time.perf_counter()
    prepared = prepare(job_of(records, settings), Compute("float32"), Machine.here(), scratch)
    mean, std = prepared.module.model.mean, prepared.module.model.std
    for epoch in range(settings["number_of_epochs"]):
        prepared.training.sampler.set_epoch(epoch)
        for images, _ in prepared.training:
            (augment_batch(images.to(DEVICE), None) - 255 * mean.to(DEVICE)).div_(255 * std.to(DEVICE))
    return time.perf_counter() - begun


def layouts(_: list[Record], __: Path, quick: bool) -> Part:
    """Measure the chosen layout and precision of each model against the plain one, in turns."""
    rows, bounds = [], {}
    for name in ("resnet20", "mobilenetv2", "vits16r224") if quick else MODELS:
        if name == "vitl16r224":
            continue
        small = ARCHITECTURES[name].library == "cifar"
        side, size = (32, 32) if small else (96 if name in DEEP else 128, 4)
        sizes = {"train_crop_size": side, "valid_crop_size": side, "valid_resize_size": side}
        model = Classifier(CLASSES, settings_of(model_name=name, **sizes)).to(DEVICE)
        batch = torch.randint(0, 256, (size, 3, side, side), dtype=torch.uint8, device=DEVICE)
        begun = time.perf_counter()
        chosen = compute.fastest(model, batch, DEVICE, steps=10_000)
        probed, label = time.perf_counter() - begun, f"{name} {size} x {side}: {compute.describe(chosen)}"
        if not chosen["channels_last"] and chosen["dtype"] == PLAIN["dtype"]:
            rows.append((f"{label}, {probed:.1f} s", 1.0, 1.0, 1.0))  # the very same
            continue
        modes = [(compute.apply(copy.deepcopy(model), c).train(), c) for c in (PLAIN, chosen)]
        ratios: list[float] = []
        begun = time.perf_counter()
        for turn in itertools.count():
            order = modes if turn % 2 else modes[::-1]
            seconds = {c["note"]: compute._pass(m, batch, DEVICE, c) for m, c in order}
            if turn:  # the first takes memory
                ratios.append(seconds[""] / seconds[chosen["note"]])
            low, high = interval(ratios)
            if len(ratios) >= PAIRS and (high < WIDE * low or time.perf_counter() - begun > SECONDS):
                break
        bounds[name] = low
        rows.append((f"{label}, {probed:.1f} s", statistics.median(ratios), low, high))
    return rows, {
        "worst_vs_plain": min([1.0, *bounds.values()]),
        "median_vs_plain": statistics.median(r[1] for r in rows),
    }


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median, the least and the most."""
    return statistics.median(values), min(values), max(values)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return what the median lies between with at least 95 % confidence, by the binomial; of few values, all."""
    ordered, tail, k = sorted(values), 0.0, 0
    while ordered and (tail := tail + math.comb(len(ordered), k) / 2 ** len(ordered)) <= 0.025:
        k += 1
    return (ordered[max(0, k - 1)], ordered[-max(1, k)]) if ordered else (0.0, math.inf)


def quotients(a: list[float], b: list[float]) -> list[float]:
    """Return what each of ``a`` is of its partner in ``b``."""
    return [x / y for x, y in zip(a, b, strict=True)]


PARTS: dict[str, Callable[[list[Record], Path, bool], Part]] = {
    "ceiling": ceiling,
    "reference": reference,
    "layouts": layouts,
}


def main() -> None:
    """Measure the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer images, rounds and models")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    rows, figures = [], {}
    with tempfile.TemporaryDirectory() as scratch:
        records = pictures(Path(scratch, "images"), 128)
        for name in options.parts:
            more, found = PARTS[name](records, Path(scratch), options.quick)
            rows += more
            figures |= found
    report("classification_training", ("", "median", "least", "most"), rows, figures)


if __name__ == "__main__":
    main()
