"""The text of the experiment that init writes: each choice beside the reason for it."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from automl_images import memory, storage
from automl_images.architectures import has_published
from automl_images.errors import UserError, number
from automl_images.hyperparameters import resolve
from automl_images.tasks import get_task

TRIALS = 10  # at most; a longer search is asked for by sweep.iterations
TESTED = 200  # images from which on a test set is split off
SPLIT, TEST = 0.2, 0.1
_VALUES = "the masks' values are taken for classes; one that is none, such as void, is named in each set: ignore: [11]"


def written(
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
    split, test = ratios(parts)
    findings = [finding for part in parts.values() for finding in part["findings"].values()]
    flaws = sum(finding["count"] for finding in findings if finding["severity"] == "error")
    counted = "" if train["counted"] == "images" else f", {train['objects']} {train['counted']}"
    names = list(train["classes"])
    classes = f"{len(names)} class{'es' * (len(names) != 1)}: {', '.join(names[:8])}{', ...' * (len(names) > 8)}"
    medians = [train["sizes"][side]["median"] for side in ("width", "height")]
    sizes = " x ".join("?" if median is None else f"{median:g}" for median in medians)
    looked = f"{found['source']}: {train['format']}, {train['images']} images for training{counted}, {classes}"
    looked = str(UserError(looked))  # a line end in a name would end the comment; an error's text is escaped too
    machine = "a GPU" if on_gpu else f"{cores()} processor cores, no GPU"
    limit = memory.container()
    machine += f", {limit.limit / 2**30:.0f} GiB of memory" if limit else ""
    busy = beside(times["load"]) if times else ""
    if times:
        how = (
            f"a trial takes about {_duration(budget['trial'])} here: {number(budget['epochs'], 'epoch')} of "
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
        given = ", ".join(f"{key}: {json.dumps(value)}" for key, value in part.items() if value)
        rows.append(f"  {name}: {{{given}}}  # {about} images")
    values = task == "image-semantic-segmentation" and all(name.isdecimal() for name in names)
    if values:
        rows.append(f"  # {_VALUES}")
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
    rows += [f"  number_of_epochs: {budget['epochs']}  # {how}{busy}"]
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
    trials = number(iterations, "trial")
    total = f", about {_duration(iterations * budget['trial'])} for {trials}" if times else ""
    lines = [
        looked,
        f"{settings['model_name']} on {machine}: {how}{total}{busy}",
        f"pretrained weights: {pretrained}",
        *([_VALUES] if values else []),
    ]
    return "\n".join(rows) + "\n", [*lines, f"wrote {output}: {task}, {trials}"]


def ratios(parts: Mapping[str, Any]) -> tuple[float, float]:
    """Return which shares of training validate, and are the test set."""
    images = (parts.get("training") or parts["data"])["images"]
    return 0 if "validation" in parts else SPLIT, 0 if "test" in parts or images < TESTED else TEST


def beside(load: float) -> str:
    """Return in words that a machine was timed while other work had more than half of its processors, or nothing."""
    whole = os.cpu_count() or 1  # of the machine, as the load is
    return f"; timed beside other work, a load of {load:.1f} on {whole} cores: alone it is faster" * (load > whole / 2)


def cores() -> int:
    """Return how many cores this process may use; macOS cannot say, and has its processors counted."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _name(source: str) -> str:
    """Return a source's name as one of an experiment."""
    last = storage.redact(source).rstrip("/").rpartition("/")[2]
    stem = re.sub(r"\.(csv|jsonl?|ya?ml|zip|xml|lst|rec)$", "", last, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:63] or "experiment"
