"""The experiment: one YAML file, checked before anything runs."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from automl_images.annotations import formats
from automl_images.errors import UserError, nearest
from automl_images.steps.plan import MOST_LANES, check_experiment
from components import images


class Block(BaseModel):
    """A block of the file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", validate_default=True)


class Source(Block):
    """One set of labelled images."""

    source: str = Field(description="A folder or file, local or any fsspec URL.")
    format: Literal["auto", *formats.NAMES] = Field(  # type: ignore[valid-type]
        "auto", description=f"What the source is: {formats.description()}."
    )
    images: str | None = Field(None, description="The images' root, or PREFIX=URL; null: the source's folder.")


class Split(Block):
    """How validation is split off training."""

    by: Literal["random"] = "random"
    seed: int = 0


class Data(Block):
    """The labelled images."""

    training: Source
    validation: Source | None = Field(None, description="null: split off training.")
    test: Source | None = Field(None, description="The best model is evaluated here; null: on validation.")
    split_ratio: float = Field(0.2, gt=0, lt=1, description="The share of training that validates.")
    split: Split = Split()
    on_error: Literal["fail", "skip", "fix"] = Field("fail", description="What happens to a flawed record.")


class Weights(Block):
    """What a model starts from."""

    pretrained: bool = Field(True, description="The library's published weights.")
    source: str | None = Field(None, description="A state_dict or model folder to start from instead: path or URL.")


class Sweep(Block):
    """The search over hyperparameters; one iteration without a space is a single training."""

    sampling: Literal["random", "grid", "sobol", "bayesian"] = "random"
    iterations: int = Field(1, ge=1, le=1000)
    max_concurrent_iterations: int | None = Field(None, ge=1, le=100, description="null: all at once, 100 at most.")
    lanes: Literal["concurrent", "per_trial"] = Field(
        "concurrent", description="concurrent: a pod for each that runs at once; per_trial: a pod for each trial."
    )
    timeout_hours: float = Field(168, gt=0, le=1440, description="Counted from each submission.")
    seed: int = Field(0, ge=0)
    early_termination: dict[str, Any] | None = Field(
        None, description="policy: bandit, median_stopping, truncation_selection, asha or none, and its keys."
    )
    space: Literal["auto"] | dict[str, Any] | list[dict[str, Any]] = Field(
        default_factory=dict, description="name: an expression; auto, or none with several iterations: a curated one."
    )


class Toleration(Block):
    """A Kubernetes toleration."""

    key: str | None = None
    operator: Literal["Equal", "Exists"] | None = None
    value: str | None = None
    effect: Literal["NoExecute", "NoSchedule", "PreferNoSchedule"] | None = None
    toleration_seconds: int | None = None


Cpu = Annotated[str, Field(pattern=r"^(\d+(\.\d+)?|\d+m)$", description="Cores, such as 8, or 500m for half of one.")]
Bytes = Annotated[str, Field(pattern=r"^\d+(\.\d+)?([EPTGMK]i?)?$")]  # what both kfp and Kubernetes take


class LightResources(Block):
    """What a pod of a step that computes little may use; it asks for less."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    cpu: Cpu = "2"
    memory: Bytes = Field("4Gi", description="convert holds a whole COCO file: about ten times the file's size.")


class Resources(Block):
    """What train and evaluate ask of the cluster; a Docker container is limited to as much."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    accelerator: str = "nvidia.com/gpu"
    count: int = Field(1, ge=0, description="Accelerators a lane, which train each trial together; 0: none.")
    cpu: Cpu | None = "8"
    memory: Bytes | None = Field("32Gi", description="Bytes, such as 32Gi.")
    shared_memory: Bytes | None = Field("8Gi", description="For /dev/shm, which the processes that load images need.")
    light: LightResources = Field(LightResources(), description="Limits of the other steps' pods.")
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: list[Toleration] = Field(default_factory=list)


class Images(Block):
    """The container images."""

    light: str = Field(images.LIGHT, min_length=1)
    gpu: str = Field(images.GPU, min_length=1)
    serve: str = Field(images.SERVE, min_length=1)


class Cluster(Block):
    """Where the pipeline is submitted, and what its pods are given."""

    namespace: str = "kubeflow"
    endpoint: str | None = Field(None, description="The address of the Kubeflow Pipelines API; null: found by kfp.")
    service_account: str | None = None
    images: Images = Images()
    secret: str | None = Field(
        "mlpipeline-minio-artifact", description="A secret with accesskey and secretkey of the object store."
    )
    object_store: str | None = Field(None, description="The object store's S3 address for pods; null: Kubeflow's own.")
    cache_volume: str | None = Field(None, description="A volume claim that keeps downloaded weights.")


class Register(Block):
    """Where the model is registered."""

    name: str | None = Field(None, description="null: the experiment's name.")
    registry: str | None = Field(None, description="null: under storage.")


class Serve(Block):
    """How the model is served."""

    to: Literal["manifest"] = "manifest"
    name: str | None = Field(None, description="null: the experiment's name.")
    resources: dict[Literal["requests", "limits"], dict[str, str]] | None = Field(
        None, description="Kubernetes' requests and limits of the server, such as limits: {cpu: '2'}."
    )


class Experiment(Block):
    """What to train on what, and where."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=63)
    task: str
    data: Data
    primary_metric: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict, description="Hyperparameters fixed for every trial.")
    profile: Literal["azure", "sagemaker"] = Field("azure", description="Whose defaults hold for what is not set.")
    weights: Weights = Weights()
    sweep: Sweep = Sweep()
    resources: Resources = Resources()
    storage: str | None = Field(
        None,
        description="The root of ledgers, copied data, models; null: ./runs here, on a cluster Kubeflow's bucket.",
    )
    cluster: Cluster = Cluster()
    register_: Register | None = Field(Register(), alias="register", description="null: not at all.")
    serve: Serve | None = Field(Serve(), description="null: not at all.")

    def lanes(self) -> int:
        """Return how many trials run at once: the ParallelFor's parallelism."""
        return min(self.sweep.iterations, self.sweep.max_concurrent_iterations or MOST_LANES)

    def trained(self) -> dict[str, Any]:
        """Return what the plan step reads."""
        keep = {"name", "task", "primary_metric", "settings", "profile", "weights", "sweep"}
        return self.model_dump(include=keep)


def load(path: str | Path, overrides: list[str] | None = None) -> Experiment:
    """Return the experiment in a YAML file.

    Args:
        path: the file.
        overrides: ``PATH=VALUE`` with dots in the path, such as ``data.training.source=s3://bucket/bccd``; the value is
            YAML.

    Raises:
        UserError: the file is missing or no YAML; a key is unknown, a value wrong; the line names its path in the file.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{path}: no such experiment") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: is not an experiment: its top level is no mapping")
    for override in overrides or []:
        _override(content, override)
    try:
        experiment = Experiment.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {_first(error)}") from None
    try:
        check_experiment(experiment.trained())
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return experiment


def draw_sample(experiment: Experiment) -> None:
    """Draw the synthetic images that the examples name, in the folder ``sample``, if they are wanted and not there."""
    data, sample = experiment.data, Path("sample")
    named = [Path(part.source) for part in (data.training, data.validation, data.test) if part]
    if sample.exists() or not any(path.parts[:1] == sample.parts for path in named):
        return
    from automl_images.sample_data import make_sample

    print("there is no folder sample here: drawing one, as automl-images sample-data does", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=".", prefix=".sample-") as folder:
        make_sample(Path(folder, "sample"))
        Path(folder, "sample").rename(sample)


def _override(content: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    *parents, last = name.strip().split(".")
    if not equals or not last:
        raise UserError(f"--set {override}: write PATH=VALUE, such as sweep.iterations=4")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"--set {override}: the value is not YAML; quote it") from None
    at = content
    for key in parents:
        if not isinstance(at.get(key), dict):
            at[key] = {}
        at = at[key]
    at[last] = value


_EXAMPLES = {"cpu": "8 or 500m", "memory": "32Gi or 500Mi", "shared_memory": "8Gi or 500Mi"}


def _first(error: ValidationError) -> str:
    """Return the first error as a line, and how many more there are."""
    problems = error.errors(include_url=False, include_context=False)
    problem = problems[0]
    place = [str(p) for p in problem["loc"]]
    said = f"{'.'.join(place)}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"
    if problem["type"] == "extra_forbidden":
        said = f"{'.'.join(place)}: unknown key; {nearest(place[-1], _keys(place[:-1]))}"
    elif problem["type"] == "missing":
        said = f"{'.'.join(place)}: is needed and missing"
    elif problem["type"] == "string_pattern_mismatch" and place[-1] in _EXAMPLES:
        said = f"{'.'.join(place)}: {problem['input']!r} is no quantity; write it as {_EXAMPLES[place[-1]]}"
    elif not isinstance(problem["input"], dict):
        said += f", not {problem['input']!r}"
    return said + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")


def _keys(place: list[str]) -> list[str]:
    """Return the keys that the block at a place may have."""
    block: type[BaseModel] = Experiment
    for part in place:
        names = {f.alias or n: f for n, f in block.model_fields.items()}
        if part in names:
            kinds = [k for k in _kinds(names[part].annotation) if issubclass(k, BaseModel)]
            block = kinds[0] if kinds else block
    return [f.alias or n for n, f in block.model_fields.items()]


def _kinds(annotation: Any) -> list[type]:
    from typing import get_args

    if isinstance(annotation, type) and not get_args(annotation):
        return [annotation]
    return [k for a in get_args(annotation) for k in _kinds(a)]
