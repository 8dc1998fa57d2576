"""What components are given, as the steps' functions take it: experiments, artifacts and single values beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from automl_images import storage
from automl_images.errors import UserError
from automl_images.experiment import Experiment
from automl_images.steps.repeat import address
from automl_images.sweep.submission import Lane


def parsed(name: str, text: str) -> dict[str, Any]:
    """Return the object that an input's JSON is.

    Raises:
        UserError: it is none; the line begins with ``name``.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UserError(f"{name}: {text[:80]!r} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise UserError(f"{name}: {text[:80]!r} is no JSON object, such as {{}}")
    return found


def checked_data(data: str) -> dict[str, Any]:
    """Return an experiment's ``data`` (JSON, or empty), which need not name its training.

    Raises:
        UserError: it is no JSON object, a key is unknown or a value wrong.
    """
    block = parsed("data", data) if data else {}
    training = block.get("training") or {}
    whole = {"source": "", **training} if isinstance(training, dict) else training
    Experiment.read({"task": "", "data": {**block, "training": whole}})
    return block


def first_lane(lanes: Sequence[str]) -> Lane:
    """Return the first of the lanes that plan returned; raises UserError if it is none, or there is none."""
    if not lanes:
        raise UserError("lanes: there is none; give what plan returned")
    return Lane.of_json(lanes[0])


def least_value(minimum: str) -> float | None:
    """Return the number that a text is, None if it is empty or null; raises UserError if it is neither."""
    try:
        found = json.loads(minimum or "null")
    except ValueError:
        found = minimum
    if found is not None and (isinstance(found, bool) or not isinstance(found, int | float)):
        raise UserError(f"minimum: {minimum!r} is no number")
    return found


def version_address(version: str) -> str:
    """Return where the model of a version lies, what register returned (JSON); raises UserError if it does not say."""
    uri = parsed("version", version).get("uri")
    if not isinstance(uri, str):
        raise UserError("version: has no uri; give what register returned")
    return uri


def data_block(
    data: str, source: str, folder: str | None, format: str = "", images: str = "", on_error: str = ""
) -> dict[str, Any]:
    """Return an experiment's ``data`` (JSON, or empty), its training replaced by what is given beside it.

    Raises:
        UserError: there is no source, there are two, or ``data`` is none.
    """
    block = checked_data(data)
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
        UserError: the experiment is no JSON object, or the task is not known.
    """
    content = parsed("experiment", experiment)
    if not content.get("task"):
        if not task:
            raise UserError("task: neither the experiment nor the records say it")
        content["task"] = task
    settings = {"model_name": model_name, "number_of_epochs": int(epochs)}
    for name, given in (("settings", settings), ("sweep", {"iterations": int(iterations)})):
        block = content.get(name) or {}
        if not isinstance(block, dict):
            raise UserError(f"{name}: {block!r} is no object, such as {{}}")
        if given := {key: value for key, value in given.items() if value}:
            content[name] = {**block, **given}
    return content


def figures_of(evaluation: str, model: str) -> Any:
    """Return what evaluate returned (JSON), or where that is empty a model folder's own figures.

    Raises:
        UserError: the folder has none, or what it has, or is given, is no JSON object.
    """
    try:
        text = evaluation or storage.read_text(storage.join(model, "metrics.json"))
        return parsed("evaluation" if evaluation else f"{storage.redact(model)}: metrics.json", text)
    except FileNotFoundError:
        raise UserError(f"{storage.redact(model)}: has no metrics.json; give evaluation") from None
