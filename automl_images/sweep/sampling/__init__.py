"""The samplers: which settings a trial has. One is added to the one table below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, TypeAdapter

from automl_images.sweep.sampling.bayesian import Bayesian
from automl_images.sweep.sampling.evolve import Evolve
from automl_images.sweep.sampling.independent import Grid, Random, Sobol
from automl_images.sweep.sampling.sampler import Sampler
from automl_images.sweep.schema import given

__all__ = ["NAMES", "SAMPLING", "Sampler", "Sampling", "as_written", "evolving"]

_Described = Annotated[Random | Grid | Sobol | Bayesian | Evolve, Field(discriminator="by")]
NAMES: tuple[str, ...] = tuple(s.model_fields["by"].default for s in get_args(get_args(_Described)[0]))


def _described(value: Any) -> Any:
    return {"by": value} if isinstance(value, str) else value


# A sampler, by its name alone or with its settings.
Sampling = Annotated[_Described, BeforeValidator(_described, json_schema_input_type=Literal[NAMES] | _Described)]
SAMPLING: TypeAdapter[Sampler] = TypeAdapter(Sampling)


def as_written(sampler: Sampler) -> str | dict[str, Any]:
    """Return a sampler as an experiment names it: its name, or a mapping if it has settings of its own."""
    written = given(sampler, "by")
    return written if len(written) > 1 else written["by"]


def evolving(experiment: Mapping[str, Any]) -> Evolve | None:
    """Return the sampler of a ledger's experiment if it evolves, else None."""
    sampler = SAMPLING.validate_python(experiment.get("sampling", "random"))
    return sampler if isinstance(sampler, Evolve) else None
