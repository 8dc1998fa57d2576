"""One submission of a sweep, and the lanes that run its trials."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from automl_images.errors import UserError


@dataclass(frozen=True)
class Submission:
    """What ``plan`` wrote for its lanes.

    Attributes:
        run: its name.
        iterations: trials 0 to ``iterations`` - 1 are its.
        deadline: when its time is over, in seconds since 1970.
        training, validation: addresses of the records (JSONL).
        weights: what trials start from: ``source`` (an address or None), and ``pretrained``: true, false or None
            (published weights where the model has some).
        lanes: how many.
        claims: whether lanes take trials one by one; else lane i has every trial whose index is i modulo ``lanes``.
        started: when it was planned, in seconds since 1970; 0: an older version has not said.
    """

    run: str
    iterations: int
    deadline: float
    training: str = ""
    validation: str = ""
    weights: Mapping[str, Any] = field(default_factory=dict)
    lanes: int = 1
    claims: bool = False
    started: float = 0.0

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Submission:
        """Return the submission that JSON holds; unknown keys are passed over, missing ones have their defaults."""
        known = {f.name for f in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in content.items() if name in known})

    def to_json(self) -> dict[str, Any]:
        """Return the submission as JSON has it."""
        order = ("run", "training", "validation", "weights", "iterations", "lanes", "started", "deadline", "claims")
        return {name: getattr(self, name) for name in order}


@dataclass(frozen=True)
class Lane:
    """One branch of the loop over ``train``: the ledger's address, the submission, which lane of how many."""

    ledger: str
    run: str
    index: int
    count: int

    @classmethod
    def of_json(cls, text: str) -> Lane:
        """Return the lane that a line of ``plan`` is.

        Raises:
            UserError: it is none.
        """
        try:
            content = json.loads(text)
            return cls(content["ledger"], str(content["run"]), int(content["lane"]), int(content["lanes"]))
        except (ValueError, TypeError, KeyError):
            raise UserError(f"--lane {text}: is not a lane; quote one of the lines that plan prints") from None

    def to_json(self) -> str:
        """Return the lane as a line of JSON."""
        return json.dumps({"ledger": self.ledger, "run": self.run, "lane": self.index, "lanes": self.count})
