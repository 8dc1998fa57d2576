"""What every view of a sweep needs: order, columns, the text of a value. Reads the ledger's trials as plain dicts."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

Trial = dict[str, Any]

STATES = ("running", "completed", "terminated", "failed", "skipped")


def best_value(trial: Trial) -> float | None:
    """Return the best value of the metric that a trial reached; None before the first, or if it is no number."""
    value = (trial.get("best") or {}).get("value")
    return value if value is not None and math.isfinite(value) else None


def best_trial(trials: Iterable[Trial]) -> int | None:
    """Return the number of the trial with the highest value, the first of equal ones; None if none has one."""
    valued = [(value, -t["trial"]) for t in trials if (value := best_value(t)) is not None]
    return -max(valued)[1] if valued else None


def ranked(trials: Iterable[Trial]) -> list[Trial]:
    """Return the trials by falling value; those without one follow by state, and equal ones by number."""

    def key(trial: Trial) -> tuple[Any, ...]:
        value = best_value(trial)
        return value is None, -(value or 0), STATES.index(trial["state"]), trial["trial"]

    return sorted(trials, key=key)


def varying(trials: Iterable[Trial]) -> list[str]:
    """Return the names of the settings that the sweep samples, in order of first appearance."""
    return list(dict.fromkeys(name for t in trials for name in t.get("sampled") or ()))


def evaluations(trial: Trial) -> list[tuple[int, float]]:
    """Return a trial's (epoch, value) by epoch, without values that are no numbers."""
    found = ((e["epoch"], e["value"]) for e in trial.get("evaluations") or ())
    return sorted((e, v) for e, v in found if v is not None and math.isfinite(v))


def seconds(trial: Trial) -> float | None:
    """Return how long a trial took, or has been running; None if it did not start, or its end is not known."""
    start, end = trial.get("started"), trial.get("ended")
    if start is None or (end is None and trial["state"] != "running"):
        return None
    return max(0.0, (time.time() if end is None else end) - start)


def why(trial: Trial) -> str:
    """Return why a trial ended early: its error, else the rule that stopped it; empty if neither."""
    return str(trial.get("error") or trial.get("reason") or "").strip()


def tally(trials: Iterable[Trial]) -> str:
    """Return how many trials are in each state: ``2 running, 5 completed``."""
    counts = Counter(t["state"] for t in trials)
    return ", ".join(f"{counts[s]} {s}" for s in STATES if counts[s]) or "no trials"


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
