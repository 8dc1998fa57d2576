"""One evaluation of a trial, and the object name that holds its numbers."""

from __future__ import annotations

from typing import NamedTuple


class Evaluation(NamedTuple):  # a tuple, for a trial parses those of all others at each evaluation
    """What a trial knew at one of its evaluations.

    Attributes:
        trial, attempt: whose it is.
        number: the how manyth evaluation of the trial, from 1; what stopping rules count.
        epoch: the epochs trained by then.
        value: the primary metric; higher is better.
        best, mean: the highest value and the mean of the values so far.
    """

    trial: int
    attempt: int
    number: int
    epoch: int
    value: float
    best: float
    mean: float

    def name(self) -> str:
        """Return the object's name: ``0007.2~5~10~0.61~0.64~0.52`` for trial 7's second attempt."""
        numbers = "~".join(f"{v:.9g}" for v in (self.value, self.best, self.mean))
        return f"{self.trial:04d}.{self.attempt}~{self.number}~{self.epoch}~{numbers}"

    @classmethod
    def parse(cls, name: str) -> Evaluation | None:
        """Return the evaluation that a name holds, or None if it is another object's."""
        try:
            who, number, epoch, value, best, mean = name.split("~")
            trial, attempt = who.split(".")
            return cls(int(trial), int(attempt), int(number), int(epoch), float(value), float(best), float(mean))
        except ValueError:
            return None


def latest(evaluations: list[Evaluation]) -> dict[int, Evaluation]:
    """Return by trial the evaluation of its highest attempt, and of that attempt the highest number."""
    found: dict[int, Evaluation] = {}
    for e in sorted(evaluations, key=lambda e: (e.attempt, e.number)):
        found[e.trial] = e
    return found
