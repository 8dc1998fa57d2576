"""What tells one experiment from another, whatever its budget and where it runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def fingerprint(experiment: Mapping[str, Any]) -> str:
    """Return 12 hexadecimal digits that stand for what an experiment trains, whatever its budget; 1.0 is 1."""
    text = json.dumps(_whole(experiment), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def without_contents(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an earlier version's fingerprint covered: addresses, and not what lies behind them."""
    kept = dict(experiment)
    for block, name in (("data", "images"), ("weights", "content")):
        if isinstance(kept.get(block), Mapping):
            kept[block] = {key: value for key, value in kept[block].items() if key != name}
    return kept


def difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return in words what of two experiments differs."""
    differing = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    if without_contents(found) == without_contents(wanted):
        changed = [{"data": "images", "weights": "starting weights"}[name] for name in differing]
        return f"the {' and the '.join(changed)} have changed"
    return f"other {', '.join(differing)}"


def _whole(value: Any) -> Any:
    """Return JSON with whole numbers written without a point, as they are where a person wrote none."""
    if isinstance(value, Mapping):
        return {k: _whole(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
