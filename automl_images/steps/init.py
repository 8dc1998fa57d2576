"""init: an experiment for a source of labelled images and for this machine, written with what was found."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from automl_images import memory, storage
from automl_images.annotations import sets
from automl_images.annotations.labels import kind_of
from automl_images.architectures import has_published
from automl_images.errors import UserError, say
from automl_images.experiment import Experiment
from automl_images.hyperparameters import resolve
from automl_images.steps.inspect import inspect_source
from automl_images.steps.plan import check_experiment
from automl_images.steps.repeat import limit_threads
from automl_images.steps.train import gpus
from automl_images.tasks import get_task

TRIALS = 10  # at most; a longer search is asked for by sweep.iterations
TESTED = 200  # images from which on a test set is split off
SPLIT, TEST = 0.2, 0.1
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
        times["load"] = max(busy, _load() - _cores())  # afterwards the measurement's own threads are in it
    budget = planned(task, settings, parts, times, hours)
    text, lines = _written(Path(output), found, data, settings, times, budget, on_gpu, hours)
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


def _ratios(parts: Mapping[str, Any]) -> tuple[float, float]:
    """Return which shares of training validate, and are the test set."""
    images = (parts.get("training") or parts["data"])["images"]
    return 0 if "validation" in parts else SPLIT, 0 if "test" in parts or images < TESTED else TEST


def _trained_on(parts: Mapping[str, Any]) -> int:
    images = (parts.get("training") or parts["data"])["images"]
    return max(1, round(images * (1 - sum(_ratios(parts)))))


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
        say(f"init: not measured: a few steps took more than {PATIENCE} s{_beside(_load() - _cores())}")
        return None
    if ended.returncode == 0:
        return json.loads((folder / "measured.json").read_text())
    why = (ended.stderr.strip().splitlines() or ["it was ended"])[-1].removeprefix("error: ")
    say(f"init: not measured: {why}")
    return None


def _written(
    output: Path,
    found: Mapping[str, Any],
    data: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Any],
    times: Mapping[str, Any] | None,
    budget: Mapping[str, Any],
    on_gpu: bool,
    hours: float,
) -> tuple[str, list[str]]:
    """Return the experiment's text, and what is told of it."""
    task, parts = found["task"], found["sets"]
    train = parts.get("training") or parts["data"]
    split, test = _ratios(parts)
    findings = [finding for part in parts.values() for finding in part["findings"].values()]
    flaws = sum(finding["count"] for finding in findings if finding["severity"] == "error")
    counted = "" if train["counted"] == "images" else f", {train['objects']} {train['counted']}"
    names = list(train["classes"])
    classes = f"{len(names)} class{'es' * (len(names) != 1)}: {', '.join(names[:8])}{', ...' * (len(names) > 8)}"
    medians = [train["sizes"][side]["median"] for side in ("width", "height")]
    sizes = " x ".join("?" if median is None else f"{median:g}" for median in medians)
    looked = f"{found['source']}: {train['format']}, {train['images']} images for training{counted}, {classes}"
    looked = str(UserError(looked))  # a line end in a name would end the comment; an error's text is escaped too
    machine = "a GPU" if on_gpu else f"{_cores()} processor cores, no GPU"
    limit = memory.container()
    machine += f", {limit.limit / 2**30:.0f} GiB of memory" if limit else ""
    beside = _beside(times["load"]) if times else ""
    if times:
        how = (
            f"a trial takes about {_duration(budget['trial'])} here: {budget['epochs']} epochs of "
            f"{_duration(budget['epoch'])} (a batch of {settings['training_batch_size']} took {times['step']:.2g} s)"
        )
    else:
        how = "how long a trial takes was not measured"
    published = has_published(settings["model_name"])
    if times and times["pretrained"]:
        pretrained = f"{settings['model_name']}'s published weights can be had here"
    elif not published:
        pretrained = f"{settings['model_name']} has no published weights here; weights.source takes a file of your own"
    elif times:
        pretrained = str(UserError(f"none: {times['reason']}"))
    else:
        pretrained = "published weights were not looked for; true takes them, where they can be had"
    rows = [
        f"# {looked}",
        f"# Images are {sizes} pixels (medians). Written on a machine with {machine}.",
    ]
    rows += [
        f"# Next: automl-images run {shlex.quote(str(output))}",
        f"name: {_name(found['source'])}",
        f"task: {task}",
        "data:",
    ]
    for name, part in data.items():
        about = parts.get(name, train)["images"]
        values = ", ".join(f"{key}: {json.dumps(value)}" for key, value in part.items() if value)
        rows.append(f"  {name}: {{{values}}}  # {about} images")
    if split:
        rows.append(f"  split_ratio: {split}  # no validation set was found: this share of training validates")
        if get_task(task).family == "classification":
            rows.append("  split: {by: stratified}  # each class in the same ratio")
    if test:
        rows.append(f"  test_ratio: {test}  # no test set was found: this share is kept for it")
    elif "test" not in parts:
        rows.append("  # no test set was found, and the images are few: the best model is evaluated on validation")
    if flaws:
        rows.append(
            f"  on_error: skip  # {flaws} flaws were found, which `automl-images inspect` lists; fail refuses them"
        )
    rows.append("settings:")
    rows += [f"  {name}: {json.dumps(value)}" for name, value in settings.items()]
    rows += [f"  number_of_epochs: {budget['epochs']}  # {how}{beside}"]
    if budget["every"] > 1:
        rows.append(
            f"  evaluation_frequency: {budget['every']}  # an evaluation takes as long as that many epochs' training"
        )
    have = bool(times and times["pretrained"])
    rows.append(f"weights: {{pretrained: {json.dumps(have)}}}  # {pretrained}")
    iterations = budget["iterations"]
    what = f"as many trials as {hours:g} h bear, {TRIALS} at most" if times else "raise it for a search"
    rows += ["sweep:", f"  iterations: {iterations}  # {what}", "  max_concurrent_iterations: 1  # trials at once"]
    if iterations > 1:
        rate = resolve(task, settings)["learning_rate"]
        low, high = (round(math.log(rate * factor), 2) for factor in (0.2, 5))
        bounds = f"{rate / 5:.2g} to {rate * 5:.2g}: natural logarithms"
        rows.append(f"  space:\n    learning_rate: {{loguniform: [{low}, {high}]}}  # {bounds}")
    if not on_gpu:
        rows.append("resources: {count: 0}  # no GPU was found; on a cluster with some, 1 asks for one a lane")
    trials = f"{iterations} trial{'s' * (iterations != 1)}"
    total = f", about {_duration(iterations * budget['trial'])} for {trials}" if times else ""
    lines = [
        looked,
        f"{settings['model_name']} on {machine}: {how}{total}{beside}",
        f"pretrained weights: {pretrained}",
    ]
    return "\n".join(rows) + "\n", [*lines, f"wrote {output}: {task}, {trials}"]


def _cores() -> int:
    """Return how many cores this process may use; macOS cannot say, and has its processors counted."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _beside(load: float) -> str:
    """Return in words that a machine was timed while other work had more than half of its processors, or nothing."""
    cores = os.cpu_count() or 1  # of the machine, as the load is
    return f"; timed beside other work, a load of {load:.1f} on {cores} cores: alone it is faster" * (load > cores / 2)


def _load() -> float:
    """Return how many processes wanted a processor in the last minute; 0 where the system does not say."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return 0.0


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _name(source: str) -> str:
    """Return a source's name as one of an experiment."""
    last = storage.redact(source).rstrip("/").rpartition("/")[2]
    stem = re.sub(r"\.(csv|jsonl?|ya?ml|zip|xml|lst|rec)$", "", last, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:63] or "experiment"
