"""What the models of an experiment's blocks share: unknown keys are refused, numbers are read by one rule."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from automl_images.hyperparameters.number import number


def _number(value: Any) -> Any:
    try:
        found = number(value)
        return int(found) if found.is_integer() else found  # for the text of an error
    except ValueError:
        return str(value) if isinstance(value, bool) else value  # pydantic would take true for 1


Whole = Annotated[int, BeforeValidator(_number)]
Real = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]


class Block(BaseModel):
    """A block of an experiment; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", validate_default=True)


def given(block: Block, kind: str) -> dict[str, Any]:
    """Return what was set of a block, without defaults; ``kind``, the key that tells which block it is, in any case."""
    return {kind: getattr(block, kind), **block.model_dump(exclude_unset=True)}
