"""How fast a trial trains: what it writes with its beats, so that anyone who can read the ledger sees it."""

from __future__ import annotations

import json
from typing import NamedTuple


class Pace(NamedTuple):
    """What a running trial's last epoch came to."""

    epoch: int  # the last that it has trained, from 1
    loss: float  # the sum of the epoch's losses
    rate: float  # images a second of training, without evaluation
    left: float  # seconds that the trial's epochs still take, evaluations included

    def to_json(self, count: int) -> str:
        """Return the text of a beat, the ``count``-th."""
        return json.dumps({"beat": count, **self._asdict()})

    @classmethod
    def parse(cls, beat: bytes | str | None) -> Pace | None:
        """Return what a beat's text says; None: nothing, as before the first epoch has ended or of an older version."""
        try:
            content = json.loads(beat or "0")
            return cls(int(content["epoch"]), *(float(content[name]) for name in ("loss", "rate", "left")))
        except (ValueError, TypeError, KeyError):
            return None
