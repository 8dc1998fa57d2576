"""What components are given, as the steps' functions take it: experiments, artifacts and single values beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from automl_images import storage
from automl_images.errors import UserError
from automl_images.steps.repeat import address


def data_block(
    data: str, source: str, folder: str | None, format: str = "", images: str = "", on_error: str = ""
) -> dict[str, Any]:
    """Return an experiment's ``data`` (JSON, or empty), its training replaced by what is given beside it.

    Raises:
        UserError: there is no source, or there are two.
    """
    block = json.loads(data) if data else {}
    if source and folder:
        raise UserError("convert: source and folder both name the images; give one of the two")
    given = {"source": source or folder, "format": format, "images": images}
    block["training"] = {**(block.get("training") or {}), **{key: value for key, value in given.items() if value}}
    if not block["training"].get("source"):
        raise UserError("convert: name the labelled images: source, folder or data")
    return {**block, **({"on_error": on_error} if on_error else {})}


def training_inputs(
    lane: str,
    training: Any,
    validation: Any,
    task: str,
    settings: Mapping[str, Any],
    start: Any = None,
    pretrained: bool | None = None,
    seed: int = 0,
) -> tuple[dict[str, Any], list[str]]:
    """Return what the component's inputs are: options of ``train_once``, and words of the command.

    Args:
        lane: if there is one, nothing else may be given.
        training, validation, start: KFP artifacts, or None; the records' say their ``task`` in their metadata.
        task, settings, pretrained, seed: as the component has them.

    Raises:
        UserError: records are missing, their task is not known, or a lane stands beside what only a training takes.
    """
    if lane:
        named = {"training": training, "validation": validation, "task": task, "settings": settings, "start": start}
        if beside := [name for name, value in named.items() if value]:
            raise UserError(f"train: a lane has its own {beside[0]}; give one of the two")
        return {}, []
    if not (training and validation):
        raise UserError("train: give training and validation, or a lane")
    task = task or training.metadata.get("task", "")
    if not task:
        raise UserError("train: the records do not say which task they are for; give task")
    weights = {"pretrained": pretrained, "source": start.path if start else None}
    words = ["--task", task, "--seed", str(int(seed))]
    words += [w for name, value in settings.items() for w in ("--set", f"{name}={json.dumps(value)}")]
    words += [] if pretrained is None else ["--pretrained" if pretrained else "--no-pretrained"]
    words += ["--weights", address(start)] if start else []
    return {"task": task, "settings": dict(settings), "weights": weights, "seed": int(seed)}, words


def experiment_of(
    experiment: str, task: str, iterations: int = 0, model_name: str = "", epochs: int = 0
) -> dict[str, Any]:
    """Return an experiment (JSON) with what is given in place of its own; 0 and empty are not given.

    Args:
        experiment: a JSON object.
        task: its task, where it names none; empty: not known.
        iterations: in place of ``sweep.iterations``.
        model_name, epochs: in place of the settings ``model_name`` and ``number_of_epochs``.

    Raises:
        UserError: the task is not known.
    """
    content = json.loads(experiment)
    if not content.get("task"):
        if not task:
            raise UserError("task: neither the experiment nor the records say it")
        content["task"] = task
    settings = {"model_name": model_name, "number_of_epochs": int(epochs)}
    if given := {key: value for key, value in settings.items() if value}:
        content["settings"] = {**(content.get("settings") or {}), **given}
    if iterations:
        content["sweep"] = {**(content.get("sweep") or {}), "iterations": int(iterations)}
    return content


def figures_of(evaluation: str, model: str) -> Any:
    """Return what evaluate returned (JSON), or where that is empty a model folder's own figures.

    Raises:
        UserError: the folder has none.
    """
    try:
        return json.loads(evaluation or storage.read_text(storage.join(model, "metrics.json")))
    except FileNotFoundError:
        raise UserError(f"{storage.redact(model)}: has no metrics.json; give evaluation") from None
