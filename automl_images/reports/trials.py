"""What every view of a sweep needs of its trials: columns, the text of a value."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from automl_images.sweep.pace import Pace
from automl_images.sweep.trial import State, Trial


def varying(trials: Iterable[Trial]) -> list[str]:
    """Return the names of the settings that the sweep samples, in order of first appearance."""
    return list(dict.fromkeys(name for t in trials for name in t.sampled))


def name(trial: Trial) -> str:
    """Return a trial's name: ``trial 7``, or ``trial 2007 (7 again)`` if it trains that one again."""
    return f"trial {trial.index}" + ("" if trial.confirms is None else f" ({trial.confirms} again)")


def evaluations(trial: Trial) -> list[tuple[int, float]]:
    """Return a trial's (epoch, value) by epoch, without values that are no numbers."""
    return sorted((e, v) for e, v in trial.evaluations or () if v is not None and math.isfinite(v))


def seconds(trial: Trial) -> float | None:
    """Return how long a trial took, or has been running; None if it did not start, or its end is not known."""
    if trial.started is None or (trial.ended is None and trial.state is not State.RUNNING):
        return None
    return max(0.0, (time.time() if trial.ended is None else trial.ended) - trial.started)


def why(trial: Trial) -> str:
    """Return why a trial ended early: its error, else the rule that stopped it; empty if neither."""
    return str(trial.error or trial.reason or "").strip()


def tally(trials: Iterable[Trial]) -> str:
    """Return how many trials are in each state: ``2 running, 5 completed``."""
    counts = Counter(t.state for t in trials)
    return ", ".join(f"{counts[s]} {s}" for s in State if counts[s]) or "no trials"


def baseline(trials: Iterable[Trial]) -> float | None:
    """Return the primary metric of a model that looks at no image, as a trial that has ended says; None: none does."""
    for best in (t.best for t in trials if t.best and "metric" in t.best):
        value = ((best.get("metrics") or {}).get("baseline") or {}).get(best["metric"])
        if value is not None:
            return float(value)
    return None


def time_left(
    trials: Sequence[Trial], paces: Mapping[int, Pace], total: int | None, lanes: int = 1, deadline: float = math.inf
) -> float | None:
    """Return the seconds that a sweep still takes, by what its trials took so far; None: that is not known yet.

    A trial that has not begun takes as long as those of this sweep do on average, the stopped ones among them.

    Args:
        trials: those that have begun or ended.
        paces: of running ones how their last epochs went.
        total: how many trials the sweep has; None: those that there are.
        lanes: how many run at a time.
        deadline: when the sweep's time is over, in seconds since 1970.
    """
    running = [t for t in trials if t.state is State.RUNNING]
    lefts = {t.index: paces[t.index].left for t in running if t.index in paces}
    lengths = [s for t in trials if t.succeeded and (s := seconds(t)) is not None]
    lengths += [(seconds(t) or 0.0) + lefts[t.index] for t in running if t.index in lefts]
    to_come = max(0, (total or 0) - len(trials))
    if not running and not to_come:
        return 0.0
    if not lengths:
        return None
    mean = sum(lengths) / len(lengths)
    known = [lefts.get(t.index, max(0.0, mean - (seconds(t) or 0.0))) for t in running]
    longest = max(known, default=0.0)
    whole = max((sum(known) + to_come * mean) / max(1, min(lanes, len(running) + to_come)), longest)
    return max(0.0, min(whole, deadline - time.time()))


def figure(value: float | None) -> str:
    """Return a metric with four decimals; a dash where it is undefined."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.4f}"


def setting(value: Any) -> str:
    """Return a setting as a person writes it: ``0.00125`` for 0.0012500000000000002."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(setting(v) for v in value) + "]"
    return "-" if value is None else str(value)


def duration(length: float | None) -> str:
    """Return a time in seconds as ``45s``, ``3m 20s`` or ``2h 05m``."""
    if length is None:
        return "-"
    whole = round(length)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
