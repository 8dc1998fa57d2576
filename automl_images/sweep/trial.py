"""A trial as the ledger has it, and which of several is the best."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from automl_images.hyperparameters.catalogue import canonical_name

MOST = 1000  # trials of a sweep; from here on indexes are of trials that train one of those again


class State(StrEnum):
    """What has become of a trial: terminated by a rule, skipped because the time was over."""

    RUNNING = "running"
    COMPLETED = "completed"
    TERMINATED = "terminated"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Trial:
    """What a trial wrote, and what is known of its evaluations."""

    index: int  # which trial, from 0; of one that trains trial 7 again 1007 with the first seed, 2007 with the second
    state: State
    attempt: int = 0  # the attempt that counts, from 1; 0: it could not begin
    settings: Mapping[str, Any] = field(default_factory=dict)  # complete hyperparameters, by name
    sampled: tuple[str, ...] = ()  # the names of those that the sweep sampled
    # `value` and `epoch` of the best evaluation; of a trial that has ended `metric` and `metrics` too
    best: Mapping[str, Any] | None = None
    error: str | None = None  # why it failed
    resumes: bool = False  # a further submission resumes it although it failed
    reason: str | None = None  # why it ended before its last epoch
    model: str | None = None  # the address of its model folder
    epochs: int = 0  # how many it is to train
    started: float | None = None  # in seconds since 1970
    ended: float | None = None
    resumed: int | None = None  # the epoch of the checkpoint that this attempt went on from
    run: str | None = None  # the submission that trains it
    process: str | None = None  # which process does; see liveness
    evaluations: tuple[tuple[int, float], ...] | None = None  # (epoch, value) by rising epoch; None: not read

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Trial:
        """Return the trial that JSON holds; unknown keys are passed over, missing ones have their defaults.

        Settings that an older version wrote under an alias have their own names.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        given = {name: value for name, value in content.items() if name in known}
        given["index"], given["state"] = int(content["trial"]), State(content["state"])
        given["settings"] = {canonical_name(n): v for n, v in (content.get("settings") or {}).items()}
        given["sampled"] = tuple(map(canonical_name, content.get("sampled") or ()))
        if content.get("evaluations") is not None:
            given["evaluations"] = tuple((e["epoch"], e["value"]) for e in content["evaluations"])
        return cls(**given)

    def to_json(self) -> dict[str, Any]:
        """Return the trial as JSON has it: ``evaluations`` and the last ``epoch`` only if they were read."""
        content = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        content = {"trial": content.pop("index"), **content, "state": self.state.value, "sampled": list(self.sampled)}
        if self.confirms is not None:
            content["confirms"] = self.confirms
        for name in ("resumed", "run", "process"):
            if content[name] is None:
                del content[name]
        if content.pop("evaluations") is not None:
            content["evaluations"] = [{"epoch": e, "value": v} for e, v in self.evaluations or ()]
            content["epoch"] = self.epoch
        return content

    def with_curve(self, curve: Mapping[int, float]) -> Trial:
        """Return the trial with its evaluations, values by rising epoch; its best is theirs while it has none."""
        best = self.best
        if best is None and curve:
            epoch = max(curve, key=lambda e: (curve[e], -e))
            best = {"value": curve[epoch], "epoch": epoch}
        return dataclasses.replace(self, best=best, evaluations=tuple(curve.items()))

    @property
    def confirms(self) -> int | None:
        """Which trial it trains again, with another seed; None: it is one of the sweep's own."""
        return self.index % MOST if self.index >= MOST else None

    @property
    def seed(self) -> int:
        """Its seed among the sweep's: its index; trials that train others again share 1000, 2000 and so on."""
        return self.index if self.confirms is None else self.index - self.confirms

    @property
    def epoch(self) -> int:
        """The last epoch that was evaluated; 0: none was."""
        return max((epoch for epoch, _ in self.evaluations or ()), default=0)

    @property
    def value(self) -> float | None:
        """The best value of the metric so far; None before the first, or if it is no number."""
        value = (self.best or {}).get("value")
        return value if value is not None and math.isfinite(value) else None

    @property
    def succeeded(self) -> bool:
        """Whether it ended with all that it was to bring: completed, or terminated by a rule."""
        return self.state in (State.COMPLETED, State.TERMINATED)

    @property
    def finished(self) -> bool:
        """Whether a further submission keeps it as it is.

        One that was killed from outside, or found the disk full, is not: the cause is the machine, so it resumes.
        """
        return self.succeeded or (self.state is State.FAILED and not self.resumes)


def ranked(trials: Iterable[Trial]) -> list[Trial]:
    """Return the trials by falling value; those without one follow by state, and equal ones by index."""
    states = list(State)
    return sorted(trials, key=lambda t: (t.value is None, -(t.value or 0), states.index(t.state), t.index))


def best_trial(trials: Iterable[Trial]) -> Trial | None:
    """Return the trial with the highest value, the first of equal ones; None if none has a value."""
    return next((t for t in ranked(trials) if t.value is not None), None)
