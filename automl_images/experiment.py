"""The experiment: what to train on what, and where. Its defaults are written here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer, field_validator, model_validator

from automl_images.annotations import formats
from automl_images.deploy.block import Serve, Toleration
from automl_images.errors import UserError, nearest
from automl_images.plain import check_plain
from automl_images.sweep.canonical import canonical_settings, canonical_space
from automl_images.sweep.curated import AUTO
from automl_images.sweep.hyp import with_hyp
from automl_images.sweep.sampling import Sampling, as_written
from automl_images.sweep.sampling.evolve import Evolve
from automl_images.sweep.sampling.independent import Random
from automl_images.sweep.schema import Block, Real, Whole, given
from automl_images.sweep.space import parse_space
from automl_images.sweep.termination import Rule, Unstopped
from automl_images.sweep.trial import MOST

MOST_LANES = 100
GENERATIONS = 300
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class Source(Block):
    """One set of labelled images."""

    source: str = Field(description="A folder, file or .zip, local or any fsspec URL.")
    format: Literal["auto", *formats.NAMES] = Field(  # type: ignore[valid-type]
        "auto", description=f"What the source is: {formats.description()}."
    )
    images: str | None = Field(
        None,
        description="The images' root, or PREFIX=URL; for RecordIO where to write them; null: the source's folder.",
    )
    ignore: list[int | str] | None = Field(
        None, description="Pixel values of masks that are passed over, beside those that a label map says; null: 255."
    )


class Split(Block):
    """How validation, and a test set, are split off training."""

    by: Literal["random", "stratified", "group", "list"] = Field(
        "random",
        description="stratified: each class in the same ratio; group: a group's images together; list: as lists say.",
    )
    seed: Whole = 0
    pattern: str | None = Field(
        None,
        description="By group: a regular expression that matches, as its first group, the group in an image's name.",
    )
    metadata: str | None = Field(
        None, description="By group, in place of a pattern: the name in the records' metadata that tells the group."
    )
    near_duplicates: bool = Field(False, description="Keep images that look alike together too; each is opened.")
    validation_list: str | None = Field(None, description="By list: a file of the names of images that validate.")
    test_list: str | None = Field(None, description="By list: a file of the names of images to test on.")

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        groups = (self.pattern, self.metadata)
        if (self.by == "group") != (groups != (None, None)) or None not in groups:
            raise ValueError("by: group needs a pattern or metadata, one of them, and they are for by: group alone")
        if (self.by == "list") != bool(self.validation_list or self.test_list):
            raise ValueError("by: list needs a list, and validation_list and test_list are for by: list alone")
        return self


class Data(Block):
    """The labelled images."""

    training: Source
    validation: Source | None = Field(
        None, description="null: that of training's folder, if it holds several sets; else split off training."
    )
    test: Source | None = Field(None, description="The best model is evaluated here; null: on validation.")
    split_ratio: Real = Field(0.2, gt=0, lt=1, description="The share of training that validates.")
    test_ratio: Real = Field(0, ge=0, lt=1, description="The share of training that is the test set.")
    split: Split = Split()
    on_error: Literal["fail", "skip", "fix"] = Field("fail", description="What happens to a flawed record.")
    check: Literal["full", "headers"] = Field(
        "full", description="headers: of each image its size alone; truncated and equal images are not found."
    )

    @model_validator(mode="after")
    def _splits_what_is_not_given(self) -> Self:
        if self.split_ratio + self.test_ratio >= 1:
            raise ValueError("split_ratio and test_ratio leave no share that trains")
        if self.test and (self.test_ratio or self.split.test_list):
            raise ValueError("test is given, and test_ratio or split.test_list gives another; give one of the two")
        if self.validation and self.split.validation_list:
            raise ValueError("validation is given, and split.validation_list gives another; give one of the two")
        return self


class Weights(Block):
    """What a model starts from."""

    pretrained: bool | None = Field(
        None,
        description="The library's published weights; null: where the model has some (profile sagemaker: none for "
        "classification, as is its default), else fresh ones.",
    )
    source: str | None = Field(None, description="A state_dict or model folder to start from instead: path or URL.")


class Sweep(Block):
    """The search over hyperparameters; one iteration without a space is a single training."""

    sampling: Sampling = Random()
    iterations: Whole = Field(1, ge=1, le=MOST, description=f"Trials; evolve has {GENERATIONS} if none are given.")
    max_concurrent_iterations: Whole | None = Field(None, ge=1, le=100, description="null: all at once, 100 at most.")
    lanes: Literal["concurrent", "per_trial"] = Field(
        "concurrent", description="concurrent: a pod for each that runs at once; per_trial: a pod for each trial."
    )
    timeout_hours: Real = Field(168, gt=0, le=1440, description="Counted from each submission.")
    seed: Whole = Field(0, ge=0)
    early_termination: Rule = Unstopped()
    space: Literal["auto"] | dict[str, Any] | list[dict[str, Any]] = Field(
        default_factory=dict, description="name: an expression; auto, or none with several iterations: a curated one."
    )

    @field_validator("space", mode="before")
    @classmethod
    def _canonical(cls, space: Any) -> Any:
        space = canonical_space({} if space is None else space)
        if space != AUTO:
            parse_space(space)
        return space

    @model_validator(mode="after")
    def _generations(self) -> Self:
        if isinstance(self.sampling, Evolve) and "iterations" not in self.model_fields_set:
            self.iterations = GENERATIONS
        return self

    @field_serializer("sampling")
    def _sampling(self, sampling: Any) -> Any:
        return as_written(sampling)

    @field_serializer("early_termination")
    def _early_termination(self, rule: Any) -> dict[str, Any]:
        return given(rule, "policy")


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
    count: Whole = Field(1, ge=0, description="Accelerators a lane, which train each trial together; 0: none.")
    cpu: Cpu | None = "8"
    memory: Bytes | None = Field("32Gi", description="Bytes, such as 32Gi.")
    shared_memory: Bytes | None = Field("8Gi", description="For /dev/shm, which the processes that load images need.")
    light: LightResources = Field(LightResources(), description="Limits of the other steps' pods.")
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: list[Toleration] = Field(default_factory=list)


class Register(Block):
    """Where the model is registered."""

    name: str | None = Field(None, pattern=NAME, max_length=128, description="null: the experiment's name.")
    registry: str | None = Field(None, description="null: under storage.")
    minimum: Real | None = Field(
        None, description="A model whose primary metric is below this on the evaluation is refused; null: none is."
    )
    promote: Literal["if_better", "always", "never"] = Field(
        "if_better", description="When it becomes champion; if_better: than the champion, on the same test set."
    )


class Experiment(Block):
    """What to train on what, and where. Names and values of settings are canonical: one for each way to write them."""

    name: str = Field("experiment", pattern=NAME, max_length=63)
    task: str
    data: Data | None = Field(None, description="null: the records are given by other means.")
    primary_metric: str | None = None
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="Hyperparameters fixed for every trial; hyp: a file of them as YOLOv5 has it, or its address.",
    )
    profile: Literal["azure", "sagemaker"] = Field("azure", description="Whose defaults hold for what is not set.")
    weights: Weights = Weights()
    sweep: Sweep = Sweep()
    resources: Resources = Resources()
    storage: str | None = Field(
        None, description="The root of ledgers, copied data, models; null: ./runs here, on a cluster Kubeflow's bucket."
    )
    cluster: Any = Field(None, description="What the pipelines alone read: where they are submitted.")
    register_: Register | None = Field(Register(), alias="register", description="null: not at all.")
    serve: Serve | None = Field(Serve(), description="null: not at all.")

    @field_validator("settings", mode="after")
    @classmethod
    def _canonical(cls, settings: dict[str, Any]) -> dict[str, Any]:
        return canonical_settings(with_hyp(settings))

    @classmethod
    def read(cls, content: Mapping[str, Any] | Experiment) -> Self:
        """Return the experiment that plain values are.

        Raises:
            UserError: a key is unknown, needed and missing, or given twice, a value wrong; the line begins with its
                path.
        """
        if not isinstance(content, Experiment):
            check_plain(content)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise UserError(_first(error, cls)) from None

    def lanes(self) -> int:
        """Return how many trials run at once: the ParallelFor's parallelism."""
        return min(self.sweep.iterations, self.sweep.max_concurrent_iterations or MOST_LANES)

    def trained(self) -> dict[str, Any]:
        """Return what the plan step reads, as plain values."""
        keep = {"name", "task", "primary_metric", "settings", "profile", "weights", "sweep"}
        return self.model_dump(include=keep)


_EXAMPLES = {"cpu": "8 or 500m", "memory": "32Gi or 500Mi", "shared_memory": "8Gi or 500Mi"}


def _first(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first error as a line, and how many more there are."""
    problems = error.errors(include_url=False)
    problem = problems[0]
    place, blocks = _place(problem["loc"], model)
    message = problem["msg"].removeprefix("Value error, ")
    line = f"{place}: {message[:1].lower()}{message[1:]}"
    last = str(problem["loc"][-1]) if problem["loc"] else ""
    if problem["type"] == "extra_forbidden":
        line = f"{place}: unknown key; {nearest(last, (n for b in blocks for n in _fields(b)))}"
    elif problem["type"] == "missing":
        line = f"{place}: is needed and missing"
    elif problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
        kind = problem["ctx"]["discriminator"].strip("'")
        names = [_fields(b)[kind].default for b in blocks]
        name = problem["ctx"].get("tag", "")
        line = f"{place}: nothing is called '{name}'; {nearest(name, names)}"
        if not name:
            line = f"{place}: {kind} is missing; use one of {', '.join(names)}"
    elif problem["type"] == "string_pattern_mismatch" and last in _EXAMPLES:
        line = f"{place}: {problem['input']!r} is no quantity; write it as {_EXAMPLES[last]}"
    elif problem["type"] != "value_error" and not isinstance(problem["input"], dict):
        line += f", not {problem['input']!r}"
    return line + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")


def _place(loc: tuple[int | str, ...], model: type[BaseModel]) -> tuple[str, list[type[BaseModel]]]:
    """Return an error's path as in the file, and the blocks that the last key's block may be."""
    place, parents, blocks = "", [model], [model]
    for part in loc:
        field = next((_fields(b)[str(part)] for b in blocks if part in _fields(b)), None)
        chosen = [b for b in blocks if any(f.default == part for f in _fields(b).values())]
        if isinstance(part, int):
            place += f"[{part}]"
        elif field is None and len(blocks) > 1 and chosen:  # the kind of a block, which is no key of the file
            blocks = chosen
        else:
            place += f".{part}" if place else str(part)
            parents, blocks = blocks, _blocks(field.annotation) if field else []
    return place, blocks or parents


def _fields(block: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field for name, field in block.model_fields.items()}


def _blocks(annotation: Any) -> list[type[BaseModel]]:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if isinstance(annotation, type) and not get_args(annotation):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [b for a in get_args(annotation) for b in _blocks(a)]
