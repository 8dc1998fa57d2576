"""What a trial knew at one of its evaluations, and the object name that holds it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

_SUPERSEDED = re.compile(r"(\d+)\.(\d+)~superseded~(\d+)")


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


def superseded(trial: int, attempt: int, resumed: int | None) -> str:
    """Return the object name that says that a later attempt has begun, after which epoch of the earlier one."""
    return f"{trial:04d}.{attempt}~superseded~{resumed or 0}"


def counted(evaluations: Iterable[Evaluation], ended: Iterable[str]) -> list[Evaluation]:
    """Return the evaluations that count, by the names in the ledger's folder of what has ended.

    Of an attempt that was superseded they are those up to the epoch that the next one went on from: it may have written
    more before it saw that it was.
    """
    last: dict[tuple[int, int], int] = {}
    for name in ended:
        if found := _SUPERSEDED.fullmatch(name):  # an older version did not say the epoch
            last[int(found[1]), int(found[2])] = int(found[3])
    most = dict(sorted(last))  # by trial its last superseded attempt

    def counts(e: Evaluation) -> bool:
        later = range(e.attempt, most.get(e.trial, 0) + 1)
        return all(e.score.epoch <= last.get((e.trial, attempt), e.score.epoch) for attempt in later)

    return [e for e in evaluations if counts(e)]


def latest(evaluations: Iterable[Evaluation]) -> dict[int, Score]:
    """Return by trial the score of its highest attempt, and of that attempt the highest number."""
    ordered = sorted(evaluations, key=lambda e: (e.attempt, e.score.number))
    return {e.trial: e.score for e in ordered}
