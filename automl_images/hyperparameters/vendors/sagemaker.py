"""SageMaker's image classification and semantic segmentation: hyperparameters, training and tuning requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from automl_images.errors import UserError, nearest
from automl_images.hyperparameters.catalogue import CATALOGUE, canonical_name
from automl_images.hyperparameters.resolve import default_model, resolve
from automl_images.hyperparameters.vendors import sagemaker_request as request
from automl_images.hyperparameters.vendors.draft import Document, Draft, Maps, Named, mapping
from automl_images.tasks import get_task

TITLE = "SageMaker"
PIXELS, ONE, SEVERAL = "image-semantic-segmentation", "image-classification", "image-classification-multilabel"
_CLASSIFIES: tuple[str, ...] = (
    *("num_classes", "num_training_samples", "augmentation_type", "beta_1", "beta_2", "checkpoint_frequency"),
    *("early_stopping", "early_stopping_min_epochs", "early_stopping_patience", "early_stopping_tolerance"),
    *("epochs", "eps", "gamma", "image_shape", "kv_store", "learning_rate", "lr_scheduler_factor"),
    *("lr_scheduler_step", "mini_batch_size", "momentum", "multi_label", "num_layers", "optimizer"),
    *("precision_dtype", "resize", "top_k", "use_pretrained_model", "use_weighted_loss", "weight_decay"),
)
_SEGMENTS: tuple[str, ...] = (
    *("backbone", "use_pretrained_model", "algorithm", "num_classes", "num_training_samples", "base_size"),
    *("crop_size", "early_stopping", "early_stopping_min_epochs", "early_stopping_patience"),
    *("early_stopping_tolerance", "epochs", "gamma1", "gamma2", "learning_rate", "lr_scheduler"),
    *("lr_scheduler_factor", "lr_scheduler_step", "mini_batch_size", "momentum", "optimizer", "syncbn"),
    *("validation_mini_batch_size", "weight_decay"),
)
_RANGES: dict[str, dict[str, dict[str, Any]]] = {  # where our row takes more than SageMaker's
    "classification": {"optimizer": {"choices": ("sgd", "adam", "rmsprop", "nag")}},
    "segmentation": {
        "optimizer": {"choices": ("adam", "adagrad", "nag", "rmsprop", "sgd")},
        "lr_scheduler": {"choices": ("step", "poly", "cosine")},
        "learning_rate": {"open_low": True},
        "momentum": {"open_low": True},
        "weight_decay": {"open_low": True, "open_high": True},
    },
}
_TELLING = {"num_classes", "num_training_samples", "mini_batch_size", "epochs", "num_layers", "backbone"}
_NO_SETTINGS = {"num_layers", "algorithm", "backbone", "multi_label", "use_weighted_loss"}  # made into another one


def recognises(document: Document) -> bool:
    """Return whether a file is a request to SageMaker, or hyperparameters of one of its two algorithms."""
    content = document.content
    if not isinstance(content, Mapping) or not content:
        return False
    if {"AlgorithmSpecification", "HyperParameters", "HyperParameterTuningJobConfig"} & set(content):
        return True
    values = all(isinstance(v, str | int | float) for v in content.values())
    return values and not _TELLING.isdisjoint(content) and set(content) <= {*_CLASSIFIES, *_SEGMENTS}


def table(task: str, model: str | None = None) -> dict[str, Named]:
    """Return the hyperparameters of SageMaker's algorithm for a task by its names; of no other task it has any."""
    family = get_task(task).family
    names = _CLASSIFIES if family == "classification" else _SEGMENTS if family == "segmentation" else ()
    found = {}
    for name in names:
        row = CATALOGUE[canonical_name(name)].variant(family)
        default = row.default_for(task, model or default_model(task, "sagemaker"), "sagemaker")
        ours = row.place or f"settings.{row.name}"
        ours = f"settings.{ours}" if ours in ("model_name", "weighted_loss") else ours
        found[name] = Named(replace(row, **_RANGES[family].get(name, {})), ours, default)
    return found


def read(documents: Sequence[Document], maps: Maps, given: Mapping[str, Any]) -> Draft:
    """Return the experiment of a request, or of hyperparameters whose data are ``given`` otherwise."""
    if len(documents) > 1:
        raise UserError(f"{documents[1].file}: {TITLE}'s request is one file; import one at a time")
    document, draft = documents[0], Draft("sagemaker")
    file, content = document.file, document.content
    draft.put("profile", "sagemaker", f"{file}: its names have {TITLE}'s own defaults")
    tuning = mapping(content.get("HyperParameterTuningJobConfig"), f"{file}: HyperParameterTuningJobConfig")
    job, where = content, f"{file}: "
    if tuning:
        if content.get("TrainingJobDefinitions"):
            raise UserError(f"{file}: TrainingJobDefinitions: several algorithms are several experiments; import each")
        where = f"{file}: TrainingJobDefinition."
        job = mapping(content.get("TrainingJobDefinition"), where.rstrip("."))
    elif not {"AlgorithmSpecification", "HyperParameters"} & set(content):
        job = {"HyperParameters": content}
    key = "StaticHyperParameters" if tuning else "HyperParameters"
    values = mapping(job.get(key), f"{where}{key}")
    at = where if job.get("HyperParameters") is content else f"{where}{key}."
    ranges = request.ranges_of(tuning, f"{file}: HyperParameterTuningJobConfig.ParameterRanges")
    task = _task(file, job, {*values, *(r.name for r in ranges)}, given)
    task = SEVERAL if task == ONE and str(values.get("multi_label", 0)).lower() in ("1", "true") else task
    multi = f"{at}multi_label" if "multi_label" in values else f"{where.rstrip('. :')}: the algorithm"
    draft.put("task", task, multi)
    _settings(draft, values, task, at, {r.name for r in ranges})
    if "HyperParameterTuningJobName" in content or "TrainingJobName" in content:
        request.put_name(draft, content, file)
    content_types = request.put_data(draft, job, where, task, maps)
    if task != PIXELS and "x-image" in content_types and "resize" not in values:
        raise UserError(f"{at}resize: is needed with images (application/x-image), and missing; RecordIO needs none")
    request.put_rest(draft, job, where, maps)
    if tuning:
        request.put_tuning(draft, tuning, ranges, table(task), f"{file}: HyperParameterTuningJobConfig", task)
        for name in set(content) - {"HyperParameterTuningJobConfig", "TrainingJobDefinition"}:
            if name != "HyperParameterTuningJobName":
                draft.note(f"{file}: {name}", request.LEFT_OUT.get(name, "has no counterpart"))
    return draft


def _task(file: str, job: Mapping[str, Any], names: set[str], given: Mapping[str, Any]) -> str:
    """Return the task of a request's algorithm, or that which alone has the names."""
    algorithm = mapping(job.get("AlgorithmSpecification"), f"{file}: AlgorithmSpecification")
    image = str(algorithm.get("TrainingImage") or algorithm.get("AlgorithmName") or "")
    if image:
        for name, task in (("image-classification", ONE), ("semantic-segmentation", PIXELS)):
            if name in image:
                return task
        raise UserError(
            f"{file}: AlgorithmSpecification.TrainingImage: {image}: is neither image-classification nor "
            "semantic-segmentation, whose hyperparameters are known"
        )
    fitting = [t for t, own in ((ONE, _CLASSIFIES), (PIXELS, _SEGMENTS)) if names <= set(own)]
    wanted = str(given.get("task") or "").replace("_", "-")
    if wanted:
        fitting = [t for t in fitting if get_task(t).family == get_task(wanted).family]
    if len(fitting) == 1:
        return wanted or fitting[0]
    if fitting:
        raise UserError(
            f"{file}: the names fit image classification and semantic segmentation; give --set task={ONE} or {PIXELS}"
        )
    unknown = sorted(names - set(_CLASSIFIES) - set(_SEGMENTS))
    name = unknown[0] if unknown else sorted(names)[0]
    why = nearest(name, {*_CLASSIFIES, *_SEGMENTS}) if unknown else "the names are of two algorithms"
    raise UserError(f"{file}: {name}: no algorithm of {TITLE}'s has all these hyperparameters; {why}")


def _settings(draft: Draft, values: Mapping[str, Any], task: str, at: str, searched: set[str]) -> None:
    """Put the fixed hyperparameters, all of which may be text."""
    known, checked = table(task), dict[str, Any]()
    for name, value in values.items():
        if name not in known:
            raise UserError(f"{at}{name}: {TITLE}'s algorithm has no such hyperparameter; {nearest(name, known)}")
        if name in searched:
            raise UserError(f"{at}{name}: is among the ranges too; give it in one of the two")
        checked[name] = known[name].check(value, f"{at}{name}")
    for name, value in checked.items():
        if name not in _NO_SETTINGS:
            ours = bool(value) if name == "use_pretrained_model" else value
            draft.put(known[name].ours, ours, f"{at}{name}")
    if "num_layers" in checked:
        draft.put("settings.model_name", f"resnet{checked['num_layers']}", f"{at}num_layers")
    if {"algorithm", "backbone"} & set(checked):
        algorithm, backbone = (checked.get(n, known[n].default) for n in ("algorithm", "backbone"))
        named = " and ".join(f"{at}{n}" for n in ("algorithm", "backbone") if n in checked)
        draft.put("settings.model_name", f"{algorithm}_{backbone.replace('-', '')}", named)
    if "use_weighted_loss" in checked:
        if checked["use_weighted_loss"] and task != SEVERAL:
            raise UserError(f"{at}use_weighted_loss: 1 needs multi_label: 1")
        draft.put("settings.weighted_loss", 2 * checked["use_weighted_loss"], f"{at}use_weighted_loss")
    epochs = checked.get("epochs", None if "epochs" in searched else known["epochs"].default)
    if epochs and checked.get("checkpoint_frequency", 0) > epochs:
        frequency = checked["checkpoint_frequency"]
        raise UserError(f"{at}checkpoint_frequency: {frequency} is out of range; allowed: 1 to epochs, {epochs}")
    settings = {n: v for n, v in draft.content.get("settings", {}).items() if v is not None}
    if not {known[name].ours for name in searched if name in known} & {"settings.optimizer", "settings.lr_scheduler"}:
        try:
            resolve(task, settings, "sagemaker")
        except UserError as error:
            name, _, why = str(error).partition(": ")
            theirs = next((n for n, one in known.items() if one.ours == f"settings.{name}"), name)
            raise UserError(f"{at}{theirs}: {why}") from None
