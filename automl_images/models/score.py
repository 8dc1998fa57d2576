"""The score file that every model folder has; light, so that a step may add it to a folder without torch."""

from __future__ import annotations

from pathlib import Path


def score_file() -> str:
    """Return the text of ``score.py``, the same for every model."""
    return Path(__file__).with_name("score.py.j2").read_text(encoding="utf-8")
