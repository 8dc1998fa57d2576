"""One submission of a sweep, and the lanes that run its trials."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from automl_images.errors import UserError
from automl_images.sweep.trial import MOST


@dataclass(frozen=True)
class Submission:
    """What ``plan`` wrote for its lanes."""

    run: str  # its name
    iterations: int  # trials 0 to iterations - 1 are its
    deadline: float  # when its time is over, in seconds since 1970
    training: str = ""  # addresses of the records (JSONL)
    validation: str = ""
    # what trials start from: `source` (an address or None), and `pretrained`: true, false or None (published weights
    # where the model has some)
    weights: Mapping[str, Any] = field(default_factory=dict)
    lanes: int = 1  # how many
    claims: bool = False  # lanes take trials one by one; else lane i has every trial whose index is i modulo `lanes`
    started: float = 0.0  # when it was planned, in seconds since 1970; 0: an older version has not said
    confirm: int = 0  # so many of the best trials are trained again once all have ended, and the starting point
    confirm_seeds: int = 0  # each of them so often
    confirming: Sequence[int] | None = None  # the trials that do so; None: it is not decided yet

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Submission:
        """Return the submission that JSON holds; unknown keys are passed over, missing ones have their defaults."""
        return cls(**{f.name: content[f.name] for f in dataclasses.fields(cls) if f.name in content})

    def to_json(self) -> dict[str, Any]:
        """Return the submission as JSON has it."""
        return dataclasses.asdict(self)

    @property
    def total(self) -> int:
        """How many trials it has; at the most, as long as it is not decided which are trained again."""
        again = len(again_with_seeds(range(self.confirm + 1), self.confirm_seeds)) if self.confirm else 0
        return self.iterations + (again if self.confirming is None else len(self.confirming))

    def counts(self, index: int) -> bool:
        """Return whether a trial of the ledger is of this submission, or of an earlier one and counts in this too."""
        seed, index = divmod(index, MOST)
        return index < self.iterations and seed <= (self.confirm_seeds if self.confirm else 0)

    def done(self, ended: Collection[int]) -> bool:
        """Return whether nothing is left to run, by the indexes of the trials that have ended."""
        if self.confirm and self.confirming is None:
            return False
        return set(ended).issuperset([*range(self.iterations), *(self.confirming or ())])


def again_with_seeds(trials: Collection[int], seeds: int) -> list[int]:
    """Return the indexes of the trials that train others again, each with so many seeds; all with one seed first."""
    return [seed * MOST + trial for seed in range(1, seeds + 1) for trial in trials]


@dataclass(frozen=True)
class Lane:
    """One branch of the loop over ``train``: the ledger's address, the submission, which lane of how many."""

    ledger: str
    run: str
    index: int
    count: int

    @classmethod
    def of_json(cls, text: str) -> Lane:
        """Return the lane that a line of ``plan`` is; raises UserError if it is none."""
        try:
            content = json.loads(text)
            return cls(content["ledger"], str(content["run"]), int(content["lane"]), int(content["lanes"]))
        except (ValueError, TypeError, KeyError):
            raise UserError(f"--lane {text}: is not a lane; quote one of the lines that plan prints") from None

    def to_json(self) -> str:
        """Return the lane as a line of JSON."""
        return json.dumps({"ledger": self.ledger, "run": self.run, "lane": self.index, "lanes": self.count})
