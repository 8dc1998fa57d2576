"""What a trial knew at one of its evaluations, and the object name that holds it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Score(NamedTuple):  # a tuple, for a trial parses those of all others at each evaluation
    """The numbers of one evaluation."""

    number: int  # the how manyth evaluation of the trial, from 1; what stopping rules count
    epoch: int  # the epochs trained by then
    value: float  # the primary metric; higher is better
    best: float  # the highest value so far
    mean: float  # the mean of the values so far


class Evaluation(NamedTuple):
    """A score and whose it is: the trial's index and the attempt, from 1."""

    trial: int
    attempt: int
    score: Score

    def name(self) -> str:
        """Return the object's name: ``0007.2~5~10~0.61~0.64~0.52`` for trial 7's second attempt.

        Numbers are written by ``repr``: rounded, a trial would not equal a peer that has the same value.
        """
        return "~".join([f"{self.trial:04d}.{self.attempt}", *map(repr, self.score)])

    @classmethod
    def parse(cls, name: str) -> Evaluation | None:
        """Return the evaluation that a name holds, or None if it is another object's."""
        try:
            who, number, epoch, value, best, mean = name.split("~")
            trial, attempt = who.split(".")
            score = Score(int(number), int(epoch), float(value), float(best), float(mean))
            return cls(int(trial), int(attempt), score)
        except ValueError:
            return None


def latest(evaluations: Iterable[Evaluation]) -> dict[int, Score]:
    """Return by trial the score of its highest attempt, and of that attempt the highest number."""
    ordered = sorted(evaluations, key=lambda e: (e.attempt, e.score.number))
    return {e.trial: e.score for e in ordered}
