"""What a check has found: how often each flaw, how grave it is, what came of it, and the first ten places."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from automl_images.errors import UserError

SEVERITIES = ("error", "warning", "note")
_FIRST, _LONGEST, _NOTES = 10, 300, ("kept", "said")


@dataclass
class Finding:
    """One flaw.

    Attributes:
        severity: ``error`` where it is refused unless it is skipped or mended, ``warning`` where the data is changed
            under any policy, ``note`` where it is only said.
        outcome: what came of it under the policy: ``image left out``, ``clipped``, ``kept``, ...
        count: how often it was met.
        first: the first ten, each with its place: ``x.jsonl, line 3: box 1 (cat) ...``.
    """

    severity: str
    outcome: str
    count: int = 0
    first: list[str] = field(default_factory=list)


class Findings:
    """The flaws that a check has met, by their names in the table of flaws.

    Args:
        table: what comes of each flaw: {name: (under the policy that refuses, under the policy at hand)}.
    """

    def __init__(self, table: Mapping[str, tuple[str, str]]):
        self._table = table
        self._met: dict[str, Finding] = {}

    def add(self, flaw: str, place: str, count: int = 1) -> None:
        """Count a flaw of the table, and keep its place if it is among the first."""
        if count <= 0:
            return
        if flaw not in self._met:
            strict, outcome = self._table[flaw]
            severity = "error" if strict == "refused" else "note" if strict in _NOTES else "warning"
            self._met[flaw] = Finding(severity, outcome)
        finding = self._met[flaw]
        finding.count += count
        if len(finding.first) < _FIRST:
            place = str(UserError(place))  # what would end the line is escaped
            finding.first.append(place if len(place) <= _LONGEST else place[: _LONGEST - 3] + "...")

    def __getitem__(self, flaw: str) -> int:
        """Return how often a flaw was met."""
        return self._met[flaw].count if flaw in self._met else 0

    def is_note(self, flaw: str) -> bool:
        """Return whether a flaw of the table is only said, under any policy."""
        return self._table[flaw][0] in _NOTES

    def worst(self) -> list[tuple[str, Finding]]:
        """Return the flaws with their names, errors first, then warnings, of each the most frequent first."""
        return sorted(self._met.items(), key=lambda item: (SEVERITIES.index(item[1].severity), -item[1].count))

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Return {flaw: {"count", "severity", "outcome", "first"}}, the worst first."""
        return {name: dict(sorted(vars(finding).items())) for name, finding in self.worst()}


def lines(found: Mapping[str, Mapping[str, Any]], severities: Iterable[str] = SEVERITIES) -> list[str]:
    """Return what :meth:`Findings.to_json` returned as lines for people: each flaw, and below it its places."""
    told = []
    for name, finding in found.items():
        if finding["severity"] in severities:
            told += [_headline(name, finding), *(f"  {place}" for place in finding["first"])]
            if (more := finding["count"] - len(finding["first"])) > 0:
                told.append(f"  and {more} more")
    return told


def briefly(found: Mapping[str, Mapping[str, Any]], without: Collection[str] = ()) -> list[str]:
    """Return a line for each flaw that is not refused, with its first place."""
    kept = {name: one for name, one in found.items() if one["severity"] != "error" and name not in without}
    return [f"{_headline(name, one)}; first {one['first'][0]}" for name, one in kept.items()]


def _headline(name: str, finding: Mapping[str, Any]) -> str:
    return f"{finding['severity']}: {finding['count']} x {name} ({finding['outcome']})"
