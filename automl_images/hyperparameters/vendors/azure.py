"""Azure's AutoML for images: the CLI v2 job (``type: automl``), and the argument list of v1."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from automl_images import storage
from automl_images.errors import UserError, nearest
from automl_images.hyperparameters.number import number
from automl_images.hyperparameters.resolve import default_model
from automl_images.hyperparameters.vendors.azure_names import (
    TASKS_THERE,
    TITLE,
    checked_model,
    has,
    named_of,
    setting,
    snake,
    table,
    word,
)
from automl_images.hyperparameters.vendors.azure_space import Branch, branches_of, put_space
from automl_images.hyperparameters.vendors.draft import Document, Draft, Maps, local, mapping, name_of
from automl_images.plain import read_yaml

__all__ = ["TITLE", "read", "recognises", "table"]

_LEFT_OUT = {  # keys of a job that say nothing of what is trained
    "name": "the job's name; ours is that of experiment_name",
    "display_name": "shown in Azure's studio alone",
    "description": "shown in Azure's studio alone",
    "tags": "shown in Azure's studio alone",
    "properties": "Azure's own; several machines a trial have no counterpart",
    "compute": "an Azure cluster; resources says what is asked of ours",
    "resources": "Azure's machines; resources says what is asked of ours",
    "queue_settings": "Azure's queue",
    "identity": "Azure's; stores take credentials from the environment",
    "environment_variables": "set them where the experiment runs",
    "log_verbosity": "logs have one verbosity here",
    "outputs": "storage says where models are written",
    "services": "Azure's",
}
_EXTRA = {  # settings of the SDK's classes that no page of hyperparameters lists
    "number_of_workers": "as many processes load images as there are cores",
    "distributed": "all GPUs of a lane train each trial together; resources.count says how many",
    "enable_onnx_normalization": "automl-images export --to onnx says how images are normalised",
    "log_training_metrics": "training losses are always recorded",
    "log_validation_loss": "the validation loss is recorded where it is computed",
    "advanced_settings": "its switches of augmentation and streaming have no counterpart as text",
    "augmentations": "has no counterpart as text",
}


def recognises(document: Document) -> bool:
    """Return whether a file is Azure's: a job of image AutoML, or a list of ``--name value``."""
    content = document.content
    if isinstance(content, Mapping):
        return content.get("type") == "automl" or "training_data" in content
    words = _words(document)
    return bool(words) and re.match("--[a-z]", words[0]) is not None


def read(documents: Sequence[Document], maps: Maps, given: Mapping[str, Any]) -> Draft:
    """Return the experiment of a job, or of an argument list (whose task and data are ``given`` otherwise)."""
    if len(documents) > 1:
        raise UserError(f"{documents[1].file}: {TITLE}'s job is one file; import one at a time")
    document, draft = documents[0], Draft("azure")
    if isinstance(document.content, Mapping):
        _job(draft, document, maps, given)
    else:
        _arguments(draft, document, given)
    return draft


def _arguments(draft: Draft, document: Document, given: Mapping[str, Any]) -> None:
    words, values = _words(document), dict[str, Any]()
    for i in range(0, len(words), 2):
        name = words[i].removeprefix("--")
        if name == words[i] or i + 1 == len(words) or name in values:
            raise UserError(f"{document.file}: {words[i]!r}: an argument list has --name value, each name once")
        values[name] = words[i + 1]
    for path, what in (("task", "image-object-detection"), ("data.training.source", "images")):
        draft.needed[path] = f"{document.file}: an argument list does not say {path}; give --set {path}={what}"
    task = str(given.get("task") or "image-object-detection").replace("_", "-")
    _settings(draft, document, values, task, "--", given)


def _words(document: Document) -> list[str]:
    if isinstance(document.content, list):
        return [str(word) for word in document.content]
    try:
        return shlex.split(document.text, comments=True)
    except ValueError:
        return []


def _job(draft: Draft, document: Document, maps: Maps, given: Mapping[str, Any]) -> None:
    file, content = document.file, document.content
    known = {"$schema", "type", "experiment_name", "task", "primary_metric", "target_column_name", "training_data"}
    known |= {"validation_data", "validation_data_size", "test_data", "limits", "training_parameters", "search_space"}
    for key in content:
        if key not in {*known, "sweep", *_LEFT_OUT}:
            raise UserError(f"{file}: {key}: no key of a job is called that; {nearest(str(key), known | {'sweep'})}")
        if key in _LEFT_OUT:
            draft.note(f"{file}: {key}", _LEFT_OUT[key])
    task = str(content.get("task", "")).replace("_", "-")
    if task not in TASKS_THERE:
        raise UserError(f"{file}: task: '{content.get('task')}' is not of images; {nearest(task, TASKS_THERE)}")
    if "experiment_name" in content:
        draft.put("name", name_of(content["experiment_name"]), f"{file}: experiment_name")
    draft.put("task", task, f"{file}: task")
    if content.get("primary_metric") is not None:
        draft.put("primary_metric", snake(content["primary_metric"]), f"{file}: primary_metric")
    if content.get("target_column_name") not in (None, "label"):
        raise UserError(f"{file}: target_column_name: the label is read from 'label'; rename it in the records")
    for key, part in (("training_data", "training"), ("validation_data", "validation"), ("test_data", "test")):
        if content.get(key) is not None:
            _data(draft, document, key, content[key], f"data.{part}", maps)
    draft.needed.setdefault("data.training.source", f"{file}: training_data: is needed and missing")
    size = content.get("validation_data_size")
    if size is not None and content.get("validation_data") is not None:
        draft.note(f"{file}: validation_data_size", "validation_data is given, so that nothing is split off")
    elif size is not None:
        draft.put(
            "data.split_ratio", _real(size, f"{file}: validation_data_size", 0, 1), f"{file}: validation_data_size"
        )
    fixed = mapping(content.get("training_parameters"), f"{file}: training_parameters")
    branches = branches_of(file, task, content.get("search_space"), fixed)
    _settings(draft, document, fixed, task, "training_parameters.", given, branches)
    _sweep(draft, document, task, branches)


def _data(draft: Draft, document: Document, key: str, value: Any, path: str, maps: Maps) -> None:
    """Put where a set of images is: a path beside the job, an MLTable's file of records, a mapped reference."""
    origin = f"{document.file}: {key}"
    reference = mapping(value, origin).get("path") if not isinstance(value, str) else value
    if not isinstance(reference, str) or not reference:
        raise UserError(f"{origin}.path: is needed and missing")
    origin += "" if isinstance(value, str) else ".path"
    for name in mapping({} if isinstance(value, str) else value, origin):
        if name not in ("path", "type", "mode"):
            raise UserError(f"{document.file}: {key}.{name}: no key of a data input is called that; use path and type")
    there = maps.place(reference)
    if there is None and re.match(r"(azureml|AmlDatastore)(:|$)", reference):
        draft.needed[f"{path}.source"] = (
            f"{origin}: {reference} is Azure's; say where it is with --map {reference}=FOLDER, or "
            f"--set {path}.source=FOLDER"
        )
        return
    place = there or local(document, reference)
    draft.put(f"{path}.source", _records_of(place, origin), origin)
    images = {start: to for start, to in maps.pairs.items() if "://" in start and start != reference}
    if len(images) == 1:
        ((start, to),) = images.items()
        maps.used.add(start)
        draft.put(f"{path}.images", f"{start}={to}", f"--map {start}")


def _records_of(place: str, origin: str) -> str:
    """Return the file of records that an MLTable names, beside it; a place without an MLTable as it is."""
    file = storage.join(place, "MLTable")
    if not storage.is_dir(place) or not storage.exists(file):
        return place
    table = mapping(read_yaml(storage.read_text(file), file), file)
    paths = [next(iter(p.values())) for p in table.get("paths") or [] if isinstance(p, Mapping) and len(p) == 1]
    if len(paths) != 1 or not isinstance(paths[0], str):
        raise UserError(f"{origin}: {file}: names {len(paths)} paths; one file of records is read")
    return paths[0] if "://" in paths[0] else storage.join(place, posixpath.normpath(paths[0]))


def _settings(
    draft: Draft,
    document: Document,
    values: Mapping[str, Any],
    task: str,
    where: str,
    given: Mapping[str, Any],
    branches: Sequence[Branch] = (),
) -> None:
    """Put the fixed hyperparameters; one that some models of a space lack goes into the branches of the others."""
    file = document.file
    key = f"{file}: {where}model_name"
    model = word(values.get("model_name") or given.get("settings.model_name") or default_model(task))
    model = checked_model(task, model, key)
    models = sorted({m for branch in branches for m in branch.models}) or [model]
    if values.get("model_name"):
        draft.put("settings.model_name", model, key)
    for name, value in values.items():
        key = f"{file}: {where}{name}"
        if name == "model_name" or value is None:
            continue
        if name in _EXTRA:
            draft.note(key, _EXTRA[name])
            continue
        if name == "random_seed":
            draft.put("sweep.seed", value, key)
            continue
        having = [m for m in models if has(task, m, name)] or models
        for each in having:
            found = setting(named_of(task, each, name, key), value, key)
        if having == models:
            draft.put(named_of(task, having[0], name, key).ours, found, key)
        for branch in branches if having != models else ():
            lacking = sorted(set(branch.models) - set(having))
            if not lacking:
                branch.fixed[name] = (found, key)
            elif len(lacking) < len(branch.models):
                raise UserError(f"{key}: is not for {lacking[0]}; give it in a branch of search_space without that")


def _sweep(draft: Draft, document: Document, task: str, branches: Sequence[Branch]) -> None:
    file, content = document.file, document.content
    sweep = mapping(content.get("sweep"), f"{file}: sweep")
    limits = {f"limits.{k}": v for k, v in mapping(content.get("limits"), f"{file}: limits").items()}
    limits |= {f"sweep.limits.{k}": v for k, v in mapping(sweep.get("limits"), f"{file}: sweep.limits").items()}
    put: dict[str, Any] = {}
    for key, value in limits.items():
        name, origin = key.rpartition(".")[2], f"{file}: {key}"
        if name in ("max_trials", "max_concurrent_trials"):
            ours = {"max_trials": "iterations"}.get(name, "max_concurrent_iterations")
            put[ours] = _real(value, origin, 1, 1000 if name == "max_trials" else 100, whole=True)
            draft.put(f"sweep.{ours}", put[ours], origin)
        elif name == "timeout_minutes":
            draft.put("sweep.timeout_hours", _real(value, origin, 0, 86400) / 60, origin)
        elif name in ("trial_timeout_minutes", "max_nodes", "timeout", "trial_timeout"):
            draft.note(origin, "a trial has no limit of its own; early_termination and timeout_hours end trials")
        else:
            raise UserError(f"{origin}: no limit is called that; {nearest(name, ('max_trials', 'timeout_minutes'))}")
    if put.get("iterations", 1) > 1 and "max_concurrent_iterations" not in put:
        draft.put("sweep.max_concurrent_iterations", 1, f"{file}: limits.max_concurrent_trials, whose default is 1")
    for key in sweep:
        if key not in ("limits", "sampling_algorithm", "early_termination"):
            raise UserError(f"{file}: sweep.{key}: no key of a sweep is called that")
    sampling = sweep.get("sampling_algorithm")
    sampling = sampling.get("type") if isinstance(sampling, Mapping) else sampling
    if sampling is not None:
        name, samplers = snake(sampling), ("random", "grid", "bayesian")
        if name not in samplers:
            raise UserError(f"{file}: sweep.sampling_algorithm: '{sampling}' is none; {nearest(name, samplers)}")
        draft.put("sweep.sampling", name, f"{file}: sweep.sampling_algorithm")
    _termination(draft, file, sweep.get("early_termination"))
    if branches:
        put_space(draft, file, task, branches)
    elif sampling is not None:
        raise UserError(f"{file}: search_space: is needed with sweep.sampling_algorithm, and missing")


def _termination(draft: Draft, file: str, rule: Any) -> None:
    origin = f"{file}: sweep.early_termination"
    rule = dict(mapping(rule, origin))
    if not rule:
        return
    policy = snake(rule.pop("type", None) or "")
    if policy not in ("bandit", "median_stopping", "truncation_selection"):
        raise UserError(f"{origin}.type: '{policy}' is none; use bandit, median_stopping or truncation_selection")
    if rule.pop("exclude_finished_jobs", False):
        draft.note(f"{origin}.exclude_finished_jobs", "trials are compared at the same evaluation, finished or not")
    if policy == "bandit" and rule.get("slack_factor") and not rule.get("slack_amount"):
        rule.pop("slack_amount", None)  # Azure's classes write 0 for the one that is not given
    elif policy == "bandit" and rule.get("slack_amount") and not rule.get("slack_factor"):
        rule.pop("slack_factor", None)
    draft.put("sweep.early_termination", {"policy": policy, **rule}, origin)


def _real(value: Any, key: str, low: float, high: float, *, whole: bool = False) -> float:
    try:
        found = number(value)
        if not (low <= found <= high) or (whole and not found.is_integer()):
            raise ValueError
        return int(found) if whole else found
    except ValueError:
        raise UserError(f"{key}: {value!r} is out of range; allowed: {low:g} to {high:g}") from None
