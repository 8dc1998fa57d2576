"""init: an experiment for a source of labelled images and for this machine, written with what was found."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from automl_images.annotations import sets
from automl_images.annotations.labels import kind_of
from automl_images.errors import say
from automl_images.experiment import Experiment
from automl_images.hyperparameters import resolve
from automl_images.steps.init_text import SPLIT, TRIALS, beside, cores, ratios, written
from automl_images.steps.inspect import inspect_source
from automl_images.steps.plan import check_experiment
from automl_images.steps.repeat import limit_threads
from automl_images.steps.train import gpus
from automl_images.tasks import get_task

PATIENCE = 600  # seconds that a few steps may take


def init_experiment(
    source: str,
    output: str | Path,
    task: str | None = None,
    *,
    format: str = "auto",
    images: str | None = None,
    hours: float = 1.0,
    measured: bool = True,
) -> dict[str, Any]:
    """Look at a source, choose what fits it and this machine, and write an experiment that says why.

    Args:
        source, task, format, images: as for :func:`automl_images.steps.inspect.inspect_source`.
        output: the YAML file to write.
        hours: what the trials may take together.
        measured: whether a few steps are trained, in a process of their own, to tell how long a trial takes; published
            weights are looked for there. Without, a single trial is written, from fresh weights.

    Returns:
        ``task``, ``settings``, ``sets`` (images of each), ``measured`` (None: not; else what
        :func:`automl_images.steps.measure.measure` returns, and the ``load`` of other work, in processes), ``lines``
        for people and ``next``, the command to go on with.

    Raises:
        UserError: as ``inspect_source``, of which SeveralTasksError where the annotations fit several tasks.
    """
    busy = _load()  # before this process adds to it
    with tempfile.TemporaryDirectory(prefix="automl-images-") as scratch:
        found, _ = inspect_source(source, task, format=format, images=images, keep=scratch)
        task, parts = found["task"], found["sets"]
        train = parts.get("training") or parts["data"]
        data = _data(source, task, images, parts)
        on_gpu = bool(gpus())
        settings = chosen(task, train["sizes"], on_gpu, _trained_on(parts))
        if "data" in parts:
            Path(scratch, "data.jsonl").rename(Path(scratch, "training.jsonl"))
        times = _measured(task, settings, Path(scratch)) if measured else None
    if times:
        times["load"] = max(busy, _load() - cores())  # afterwards the measurement's own threads are in it
    budget = planned(task, settings, parts, times, hours)
    text, lines = written(Path(output), found, data, settings, times, budget, on_gpu, hours)
    import yaml

    check_experiment(Experiment.read(yaml.safe_load(text)))  # before it is called an experiment
    Path(output).write_text(text, encoding="utf-8")
    return {
        "experiment": str(output),
        "task": task,
        "settings": {**settings, "number_of_epochs": budget["epochs"], "evaluation_frequency": budget["every"]},
        "sets": {name: part["images"] for name, part in parts.items()},
        "measured": times,
        "lines": lines,
        "next": shlex.join(["automl-images", "run", str(output)]),
    }


def chosen(task: str, sizes: Mapping[str, Any], on_gpu: bool, images: int) -> dict[str, Any]:
    """Return the settings of a model that fits the images' median size (pixels) and the machine.

    Args:
        sizes: ``width`` and ``height``, each with a ``median``, as an overview has them.
        images: how many train.
    """
    short, long = sorted((sizes["width"]["median"] or 224, sizes["height"]["median"] or 224))
    family = get_task(task).family
    settings: dict[str, Any]
    if family == "classification":
        if on_gpu:
            settings = {"model_name": "resnet50"}  # which learns from fresh weights too, where none can be had
        else:
            crop = _between(short, 64, 224, 32)
            resized = math.ceil(crop * 8 / 7)
            settings = {"model_name": "resnet18", "train_crop_size": crop}
            settings |= {"valid_crop_size": crop, "valid_resize_size": resized, "training_batch_size": 16}
    elif family == "detection":
        side = _between(long, 128, 640 if on_gpu else 320, 32)
        settings = {"model_name": "yolov5", "model_size": "medium" if on_gpu else "small", "img_size": side}
        settings |= {"training_batch_size": 16 if on_gpu else 8}
        if importlib.util.find_spec("ultralytics") is None:  # an extra, which the default head needs
            settings["head"] = "anchor"
    elif family == "instances":
        least = _between(short, 128, 800 if on_gpu else 256, 32)
        settings = {"model_name": f"maskrcnn_resnet{50 if on_gpu else 18}_fpn", "min_size": least}
        settings |= {"max_size": max(least, math.ceil(least * long / short)), "training_batch_size": 2}
    else:
        base = _between(long, 64, 520 if on_gpu else 256, 8)
        settings = {"model_name": "fcn_resnet50", "base_size": base, "crop_size": min(base, 240 if on_gpu else 128)}
        settings |= {"training_batch_size": 16 if on_gpu else 4}
    batch = settings.get("training_batch_size", resolve(task, settings)["training_batch_size"])
    return settings | {"training_batch_size": max(1, min(batch, images))}


def planned(
    task: str, settings: Mapping[str, Any], parts: Mapping[str, Any], times: Mapping[str, Any] | None, hours: float
) -> dict[str, Any]:
    """Return ``epochs``, ``iterations``, and in seconds ``epoch`` and ``trial``, None where nothing was measured.

    ``every``: epochs between two evaluations, more than 1 where one takes at least twice an epoch's training.
    """
    epochs = resolve(task, settings)["number_of_epochs"]
    if not times:
        return {"epochs": epochs, "iterations": 1, "epoch": None, "trial": None, "every": 1}
    training = math.ceil(_trained_on(parts) / settings["training_batch_size"]) * times["step"]
    evaluation = _validated_on(parts) * times["image"]
    every = max(1, min(epochs, int(evaluation / training)))
    epoch = training + evaluation / every
    left = hours * 3600
    epochs = max(1, min(epochs, int((left - times["start"]) / epoch)))
    every = min(every, epochs)
    trial = times["start"] + epochs * training + math.ceil(epochs / every) * evaluation
    iterations = max(1, min(TRIALS, int(left / trial)))
    return {"epochs": epochs, "iterations": iterations, "epoch": epoch, "trial": trial, "every": every}


def _between(side: float, least: int, most: int, multiple: int) -> int:
    """Return a side in pixels as a multiple that is not below it, within bounds that are multiples too."""
    return max(least, min(most, math.ceil(side / multiple) * multiple))


def _data(source: str, task: str, images: str | None, parts: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the experiment's sets, each with its source, format and images' root."""
    given = {"training": {"source": source, "images": images}}
    filled = given if "data" in parts else sets.filled(given, kind_of(get_task(task).label))
    names = {"training": "data"} if "data" in parts else {name: name for name in filled}
    return {
        name: {
            "source": filled[name]["source"],
            "format": parts[names[name]]["format"],
            "images": filled[name]["images"],
        }
        for name in ("training", "validation", "test")
        if name in filled
    }


def _trained_on(parts: Mapping[str, Any]) -> int:
    images = (parts.get("training") or parts["data"])["images"]
    return max(1, round(images * (1 - sum(ratios(parts)))))


def _validated_on(parts: Mapping[str, Any]) -> int:
    if "validation" in parts:
        return parts["validation"]["images"]
    return max(1, round((parts.get("training") or parts["data"])["images"] * SPLIT))


def _measured(task: str, settings: Mapping[str, Any], folder: Path) -> dict[str, Any] | None:
    """Return what a few steps of the training took; None, and a line that says why, if they do not run."""
    (folder / "measure.json").write_text(json.dumps({"task": task, "settings": settings}))
    say(f"init: timing a few steps of {settings['model_name']}; --no-measure leaves it out")
    command = [sys.executable, "-m", "automl_images.steps.measure", str(folder)]
    try:
        ended = subprocess.run(
            command, env=limit_threads(dict(os.environ)), capture_output=True, text=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        say(f"init: not measured: a few steps took more than {PATIENCE} s{beside(_load() - cores())}")
        return None
    if ended.returncode == 0:
        return json.loads((folder / "measured.json").read_text())
    why = (ended.stderr.strip().splitlines() or ["it was ended"])[-1].removeprefix("error: ")
    say(f"init: not measured: {why}")
    return None


def _load() -> float:
    """Return how many processes wanted a processor in the last minute; 0 where the system does not say."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return 0.0
