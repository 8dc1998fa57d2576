"""What a request to SageMaker says beside hyperparameters: channels, budgets, and of tuning ranges and strategy."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from automl_images.errors import UserError, nearest
from automl_images.hyperparameters.catalogue import canonical_name
from automl_images.hyperparameters.number import number
from automl_images.hyperparameters.vendors.draft import Draft, Maps, Named, mapping, name_of

PIXELS, SEVERAL = "image-semantic-segmentation", "image-classification-multilabel"
LEFT_OUT = {
    "RoleArn": "AWS's; stores take credentials from the environment",
    "Tags": "AWS's",
    "VpcConfig": "AWS's network",
    "EnableNetworkIsolation": "AWS's network",
    "EnableInterContainerTrafficEncryption": "AWS's network",
    "EnableManagedSpotTraining": "a lane that is ended resumes wherever it runs",
    "CheckpointConfig": "each trial keeps where it is below storage",
    "Environment": "set it where the experiment runs",
    "RetryStrategy": "a lane that is ended resumes",
    "DebugHookConfig": "has no counterpart",
    "ProfilerConfig": "has no counterpart",
    "ExperimentConfig": "name is the experiment's",
    "WarmStartConfig": "earlier tuning jobs cannot be read; the sweep starts afresh",
    "Autotune": "ranges are those of the file",
}
_METRICS = {"validation:accuracy": "classification", "validation:mIOU": "segmentation"}
_MOST_SECONDS = 1440 * 3600
_RATIO = 100 * (1 - 1e-9)  # from which on an automatic scale is logarithmic
_HALF = 0.4999  # a whole number's share of the line, on both sides of it


class Range(NamedTuple):
    """One searched hyperparameter: its kind (Integer, Continuous or Categorical), and its request's entry."""

    name: str
    kind: str
    entry: Mapping[str, Any]
    key: str


def put_name(draft: Draft, content: Mapping[str, Any], file: str) -> None:
    """Put the experiment's name."""
    for name in ("HyperParameterTuningJobName", "TrainingJobName"):
        if content.get(name):
            return draft.put("name", name_of(content[name]), f"{file}: {name}")


def put_data(draft: Draft, job: Mapping[str, Any], where: str, task: str, maps: Maps) -> str:
    """Put the sources of the channels; return the content types of images, in one text."""
    key = f"{where}InputDataConfig"
    channels = job.get("InputDataConfig") or []
    named: dict[str, Mapping[str, Any]] = {}
    for i, channel in enumerate(channels):
        name = str(mapping(channel, f"{key}[{i}]").get("ChannelName"))
        if name in named:
            raise UserError(f"{key}[{i}].ChannelName: {name} is there twice")
        named[name] = channel
    lists = (
        ("train_annotation", "validation_annotation", "label_map")
        if task == PIXELS
        else (
            "train_lst",
            "validation_lst",
        )
    )
    for name in named:
        if name not in ("train", "validation", "model", *lists):
            raise UserError(f"{key}: no channel of this algorithm is called '{name}'; {nearest(name, lists)}")
    for name, part in (("train", "training"), ("validation", "validation")):
        if name in named:
            _set(draft, named, name, f"data.{part}", key, task, maps)
    if "train" not in named:
        draft.needed["data.training.source"] = f"{key}: names no channel train; give --set data.training.source=..."
    elif "validation" not in named:
        raise UserError(f"{key}: there is no channel validation, which the algorithm needs beside train")
    if "model" in named:
        draft.needed["weights.source"] = (
            f"{key}: the channel model holds an MXNet model, which is not read; "
            "give --set weights.source=MODEL, a model folder or state_dict, or =null"
        )
    return " ".join(str(c.get("ContentType", "")) for name, c in named.items() if name in ("train", "validation"))


def _set(
    draft: Draft, named: Mapping[str, Mapping[str, Any]], name: str, path: str, key: str, task: str, maps: Maps
) -> None:
    """Put one set of images: a RecordIO file, a manifest, a list and its images, or images and their masks."""
    channel = named[name]
    kind = str(channel.get("ContentType", "")).lower()
    stored = _stored(channel, f"{key}.{name}")
    place = _place(draft, stored, f"{key}.{name}", path, maps)
    second = f"{name}_annotation" if task == PIXELS else f"{name}_lst"
    if place is None:
        return
    if stored.get("S3DataType") == "AugmentedManifestFile":
        draft.put(f"{path}.source", place, f"{key}.{name}")
        draft.put(f"{path}.format", "manifest", f"{key}.{name}: AugmentedManifestFile")
        if "label-format=" in kind and task == SEVERAL:
            draft.note(f"{key}.{name}: {kind}", "the lists' form is found from the whole file, and said")
        return
    if second not in named:
        if task == PIXELS or "x-image" in kind:
            raise UserError(f"{key}: there is no channel {second}, which {name} needs beside it")
        draft.put(f"{path}.source", place, f"{key}.{name}")
        if "recordio" in kind:
            draft.put(f"{path}.format", "recordio", f"{key}.{name}: {kind}")
        return
    other = _place(draft, _stored(named[second], f"{key}.{second}"), f"{key}.{second}", path, maps)
    if other is None:
        return
    if task != PIXELS:
        draft.put(f"{path}.source", other, f"{key}.{second}")
        draft.put(f"{path}.format", "lst", f"{key}.{second}")
        draft.put(f"{path}.images", place, f"{key}.{name}")
        return
    images, masks = place.rstrip("/"), other.rstrip("/")
    labels = named.get("label_map")
    if masks == f"{images}_annotation":
        draft.put(f"{path}.source", images, f"{key}.{name}, with {second} beside it")
        beside = posixpath.dirname(images)
    else:
        draft.put(f"{path}.source", masks, f"{key}.{second}")
        draft.put(f"{path}.images", images, f"{key}.{name}")
        beside = masks
    draft.put(f"{path}.format", "masks", f"{key}.{second}")
    if labels is not None:
        at = _place(draft, _stored(labels, f"{key}.label_map"), f"{key}.label_map", path, maps)
        if at is not None and at.rstrip("/") not in (posixpath.join(beside, "label_map"), beside, images, masks):
            raise UserError(f"{key}.label_map: {at}: is not looked for there; copy its files to {beside}")


def _stored(channel: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    source = mapping(channel.get("DataSource"), f"{key}.DataSource")
    stored = mapping(source.get("S3DataSource"), f"{key}.DataSource.S3DataSource")
    if not stored:
        raise UserError(f"{key}.DataSource: has no S3DataSource, which alone is read")
    if stored.get("S3DataType") == "ManifestFile":
        raise UserError(f"{key}: S3DataType ManifestFile lists objects; name their folder, or an augmented manifest")
    if channel.get("CompressionType") not in (None, "None"):
        raise UserError(f"{key}.CompressionType: {channel['CompressionType']} is not read; unpack the files")
    return stored


def _place(draft: Draft, stored: Mapping[str, Any], key: str, path: str, maps: Maps) -> str | None:
    uri = stored.get("S3Uri")
    if not isinstance(uri, str) or not uri:
        raise UserError(f"{key}.DataSource.S3DataSource.S3Uri: is needed and missing")
    if (place := maps.place(uri)) is not None:
        return place
    if "://" in uri and not any(mark in uri for mark in "{}<>$"):
        return uri
    draft.needed[f"{path}.source"] = f"{key}: {uri} is no address; give --map {uri}=FOLDER"
    return None


def put_rest(draft: Draft, job: Mapping[str, Any], where: str, maps: Maps) -> None:
    """Put the rest of a training job: output, budget; and name what has no counterpart."""
    done = {"AlgorithmSpecification", "HyperParameters", "StaticHyperParameters", "InputDataConfig", "TrainingJobName"}
    for name, value in job.items():
        key = f"{where}{name}"
        if name in done or (name in ("HyperParameterRanges", "TuningObjective") and value is None):
            continue
        if name == "OutputDataConfig":
            uri = mapping(value, key).get("S3OutputPath")
            if uri:
                draft.put("storage", maps.place(str(uri)) or uri, f"{key}.S3OutputPath")
        elif name == "StoppingCondition":
            seconds = mapping(value, key).get("MaxRuntimeInSeconds")
            if seconds and "HyperParameters" in job:
                hours = whole(seconds, f"{key}.MaxRuntimeInSeconds", _MOST_SECONDS) / 3600
                draft.put("sweep.timeout_hours", hours, f"{key}.MaxRuntimeInSeconds")
            elif seconds:
                draft.note(f"{key}.MaxRuntimeInSeconds", "a trial has no limit of its own")
        elif name == "ResourceConfig":
            count = mapping(value, key).get("InstanceCount", 1)
            more = "; a trial runs on one machine" if str(count) != "1" else ""
            draft.note(key, f"AWS's machines; resources says what is asked of ours{more}")
        elif name in LEFT_OUT:
            draft.note(key, LEFT_OUT[name])
        elif value is not None:
            raise UserError(f"{key}: no field of a training job that is known; {nearest(name, {*done, *LEFT_OUT})}")
    algorithm = mapping(job.get("AlgorithmSpecification"), f"{where}AlgorithmSpecification")
    if algorithm.get("TrainingInputMode"):
        draft.note(f"{where}AlgorithmSpecification.TrainingInputMode", "images are read as they are needed, and kept")


def ranges_of(tuning: Mapping[str, Any], key: str) -> list[Range]:
    """Return the ranges of a tuning job; raises UserError if a name is there twice."""
    given = mapping(tuning.get("ParameterRanges"), key)
    for name in given:
        if name not in ("IntegerParameterRanges", "ContinuousParameterRanges", "CategoricalParameterRanges"):
            raise UserError(f"{key}.{name}: ranges are Integer, Continuous or Categorical ones")
    found: list[Range] = []
    for kind in ("Integer", "Continuous", "Categorical"):
        for i, entry in enumerate(given.get(f"{kind}ParameterRanges") or []):
            where = f"{key}.{kind}ParameterRanges[{i}]"
            name = str(mapping(entry, where).get("Name"))
            if any(one.name == name for one in found):
                raise UserError(f"{where}: {name} has two ranges")
            found.append(Range(name, kind, entry, f"{where}: {name}"))
    return found


def put_tuning(
    draft: Draft, tuning: Mapping[str, Any], ranges: Sequence[Range], known: Mapping[str, Named], key: str, task: str
) -> None:
    """Put the search of a tuning job."""
    strategy = tuning.get("Strategy", "Bayesian")
    if strategy == "Hyperband":
        draft.needed["sweep.sampling"] = (
            f"{key}.Strategy: Hyperband has no counterpart; nearest is --set sweep.sampling=random "
            "--set 'sweep.early_termination={policy: asha}'"
        )
    elif strategy in ("Random", "Grid", "Bayesian"):
        draft.put("sweep.sampling", strategy.lower(), f"{key}.Strategy")
    else:
        raise UserError(f"{key}.Strategy: '{strategy}' is none; use Random, Grid or Bayesian")
    stopping = tuning.get("TrainingJobEarlyStoppingType", "Off")
    if stopping not in ("Off", "Auto"):
        raise UserError(f"{key}.TrainingJobEarlyStoppingType: '{stopping}' is none; use Off or Auto")
    if stopping == "Auto":
        origin = f"{key}.TrainingJobEarlyStoppingType: Auto"
        draft.put("sweep.early_termination", {"policy": "median_stopping"}, origin)
    _objective(draft, tuning, key, task)
    limits = mapping(tuning.get("ResourceLimits"), f"{key}.ResourceLimits")
    for name, ours, most in (
        ("MaxNumberOfTrainingJobs", "iterations", 1000),
        ("MaxParallelTrainingJobs", "max_concurrent_iterations", 100),
        ("MaxRuntimeInSeconds", "timeout_hours", _MOST_SECONDS),
    ):
        if limits.get(name) is not None:
            found = whole(limits[name], f"{key}.ResourceLimits.{name}", most)
            draft.put(
                f"sweep.{ours}", found / 3600 if ours == "timeout_hours" else found, f"{key}.ResourceLimits.{name}"
            )
    if strategy != "Grid" and "MaxNumberOfTrainingJobs" not in limits:
        draft.needed["sweep.iterations"] = f"{key}.ResourceLimits.MaxNumberOfTrainingJobs: is needed and missing"
    if tuning.get("RandomSeed") is not None:
        draft.put("sweep.seed", whole(tuning["RandomSeed"], f"{key}.RandomSeed", 2**32), f"{key}.RandomSeed")
    for name in ("StrategyConfig", "TuningJobCompletionCriteria"):
        if tuning.get(name):
            draft.note(
                f"{key}.{name}", "has no counterpart; iterations, timeout_hours and early_termination end a sweep"
            )
    space, points = dict[str, Any](), 1
    for one in ranges:
        expression = _expression(one, known)
        space[canonical_name(one.name)] = expression
        draft.origins[f"sweep.space.{canonical_name(one.name)}"] = one.key
        points *= len(expression.get("choice", [0]))
    if not space:
        raise UserError(f"{key}.ParameterRanges: has no ranges")
    draft.put("sweep.space", space, f"{key}.ParameterRanges")
    if strategy == "Grid" and "MaxNumberOfTrainingJobs" not in limits:
        draft.put("sweep.iterations", points, f"{key}.Strategy: Grid has so many points")


def _objective(draft: Draft, tuning: Mapping[str, Any], key: str, task: str) -> None:
    objective = mapping(tuning.get("HyperParameterTuningJobObjective"), f"{key}.HyperParameterTuningJobObjective")
    if not objective:
        return
    name, kind = objective.get("MetricName"), objective.get("Type")
    where = f"{key}.HyperParameterTuningJobObjective"
    family = "segmentation" if task == PIXELS else "classification"
    if _METRICS.get(str(name)) != family or kind not in (None, "Maximize"):
        wanted = next(metric for metric, of in _METRICS.items() if of == family)
        raise UserError(f"{where}: {kind} {name}: does not rank trials of {task}; use Maximize {wanted}")
    if task == SEVERAL:
        draft.note(f"{where}.MetricName", "several classes an image are ranked by iou, not by their mean accuracy")


def _expression(one: Range, known: Mapping[str, Named]) -> dict[str, Any]:
    """Return the expression of a range, its scale that of its ScalingType."""
    named = known.get(one.name)
    if named is None:
        raise UserError(f"{one.key}: SageMaker's algorithm has no such hyperparameter; {nearest(one.name, known)}")
    if not named.ours.startswith("settings.") or named.row.place or not named.row.sweepable:
        raise UserError(f"{one.key}: cannot be searched; give one value among StaticHyperParameters")
    if one.kind == "Categorical":
        values = one.entry.get("Values")
        if not isinstance(values, list) or not values:
            raise UserError(f"{one.key}: Values is needed, a list")
        return {"choice": [named.check(value, one.key) for value in values]}
    try:
        low, high = number(one.entry.get("MinValue")), number(one.entry.get("MaxValue"))
    except ValueError as error:
        raise UserError(f"{one.key}: MinValue and MaxValue: {error}") from None
    if low > high:
        raise UserError(f"{one.key}: MinValue {low:g} is above MaxValue {high:g}")
    whole_ = one.kind == "Integer"
    if whole_ != (named.row.type == "int"):
        raise UserError(f"{one.key}: takes {named.row.range_text()}, in {'fractions' if whole_ else 'whole numbers'}")
    for end in (low, high):
        named.check(end, one.key)
    scale = one.entry.get("ScalingType") or "Auto"
    scale = _automatic(low, high, whole_) if scale == "Auto" else scale
    if scale == "Logarithmic":
        if low <= 0:
            raise UserError(f"{one.key}: Logarithmic needs a MinValue above 0")
        if whole_:
            return {"qloguniform": [math.log(low - _HALF), math.log(high + _HALF), 1]}
        return {"loguniform": [math.log(low), math.log(high)]}
    if scale == "ReverseLogarithmic":
        if whole_ or low < 0 or high >= 1:
            raise UserError(f"{one.key}: ReverseLogarithmic needs a Continuous range from 0 on to below 1")
        return {"reverseloguniform": [-math.log1p(-low), -math.log1p(-high)]}
    if scale != "Linear":
        raise UserError(
            f"{one.key}: ScalingType '{scale}' is none; use Auto, Linear, Logarithmic or ReverseLogarithmic"
        )
    return {"quniform": [low - _HALF, high + _HALF, 1]} if whole_ else {"uniform": [low, high]}


def _automatic(low: float, high: float, whole_: bool) -> str:
    """Return the scale of ``Auto``: SageMaker chooses it unseen; ours is logarithmic from two powers of ten on."""
    if low > 0 and high / low >= _RATIO:
        return "Logarithmic"
    if not whole_ and low >= 0 and high < 1 and (1 - low) / (1 - high) >= _RATIO:
        return "ReverseLogarithmic"
    return "Linear"


def whole(value: Any, key: str, most: int) -> int:
    """Return a whole number from 1 (a seed: 0) up to ``most``; raises UserError for anything else."""
    least = 0 if key.endswith("Seed") else 1
    try:
        found = number(value)
        if not found.is_integer() or not least <= found <= most:
            raise ValueError
        return int(found)
    except ValueError:
        raise UserError(f"{key}: {value!r} is out of range; allowed: {least} to {most}") from None
