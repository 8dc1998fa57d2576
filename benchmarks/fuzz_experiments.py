"""Mutated experiments: each is planned, or refused in one line, at once, and leaves nothing behind.

Most mutations give a value that is valid by itself: another sampler or rule, a hyperparameter at an end of its range,
an expression of a search space. Others are wrong, in a value, a key or the file's text.

Counted are ``tracebacks`` (anything but a line for the user), ``hangs`` (over five seconds), ``partial_outputs`` (a
refused experiment left a ledger), ``escapes`` (something was written outside the folder of ledgers) and ``unrunnable``
(it was planned, and a trial of it is proposed settings that it cannot run with).
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import random
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from automl_images.errors import UserError
from automl_images.hyperparameters import hyperparameters
from automl_images.hyperparameters.hyperparameter import Hyperparameter
from automl_images.plain import read_yaml
from automl_images.steps.plan import plan_sweep
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.proposal import proposed
from automl_images.sweep.submission import Lane

SECONDS, TRIALS = 5, 4
FAULTS = ("tracebacks", "hangs", "partial_outputs", "escapes", "unrunnable")
BASE = {
    "name": "cells",
    "task": "image-classification",
    "primary_metric": "accuracy",
    "settings": {"number_of_epochs": 2, "early_stopping": 1, "image_shape": None},
    "weights": {"pretrained": False, "source": None},
    "sweep": {
        "sampling": "random",
        "iterations": 4,
        "max_concurrent_iterations": 2,
        "timeout_hours": 1,
        "seed": 0,
        "early_termination": {"policy": "bandit", "slack_factor": 0.1, "evaluation_interval": 1},
        "space": [
            {"model_name": {"choice": ["resnet18"]}, "learning_rate": {"uniform": [0.001, 0.01]}},
            {"model_name": {"choice": ["resnet20"]}, "training_batch_size": {"quniform": [2, 8, 2]}},
        ],
    },
    "register": {"name": "cells"},
    "serve": {"name": "cells", "resources": {"limits": {"cpu": "2"}}},
    "resources": {"cpu": "8", "memory": "32Gi"},
}
VALUES = (
    None, True, -1, 0, 1, 1.5, 1e308, float("nan"), float("inf"), 10**400, 2**64, "", " ", "x", "1e-3", "0x10", "null",
    "../../escape", "/etc/passwd", "a\0b", "a\nb", "\ud800", "é" * 300, "http://[", "hf://", "s3://", "file://../x",
    "https://user:secret@host/x", "uniform(0, 1)", [], {}, [[]], [None], {"choice": []}, {"choice": [[], {}]},
    {"uniform": [1]}, {"uniform": ["a", "b"]}, {"uniform": [0, float("inf")]}, {"normal": [0, -1]},
    {"randint": 10**400},
    {"quniform": [0, 1, 0]}, {"policy": "bandit"}, {"by": "bayesian", "startup": -1}, {"a": {"b": {"c": [1, 2]}}},
)  # fmt: skip
VARIATIONS: dict[str, tuple[Any, ...]] = {
    "task": ("image_classification", "image-classification"),
    "primary_metric": (None,),
    "profile": ("azure", "sagemaker"),
    "settings": ({},),
    "weights": ({"pretrained": False}, {"pretrained": None}),
    "resources": ({"count": 0}, {"cpu": "500m", "memory": "1.5Gi"}),
    "register": (None, {"name": "a", "minimum": 0.5, "promote": "always"}),
    "serve": (None, {"to": "manifest"}),
    "storage": (None,),
    "sweep.sampling": (
        "grid", "sobol", "bayesian", {"by": "bayesian", "startup": 2},
    ),
    "sweep.iterations": (1, 2, 8, 100, 1000),
    "sweep.max_concurrent_iterations": (None, 1, 100),
    "sweep.timeout_hours": (0.5, 1440),
    "sweep.seed": (1, 2**31),
    "sweep.lanes": ("per_trial",),
    "sweep.early_termination": (
        None, {"policy": "none"}, {"policy": "median_stopping", "delay_evaluation": 5}, {"policy": "asha"},
        {"policy": "truncation_selection", "truncation_percentage": 20}, {"type": "bandit", "slack_amount": 0},
    ),
    "sweep.space": (
        None, {}, "auto", {"learning_rate": {"choice": [0.1]}}, {"model_name": ["resnet18", "resnet20"]},
        {"model_name": {"choice": ["resnet18", "vits16r224"]}, "learning_rate": {"loguniform": [-9, -3]}},
    ),
}  # fmt: skip
TEXTS = (
    "[" * 5000, "{" * 3000, "a: &a [*a]", "? [1]: 2", "!!python/object/apply:os.system ['true']", "- " * 2000,
    "\t", "%",
    "2024-01-01", "1:30:00", "!!binary aGVsbG8=", "!!set {a, b}", "9" * 400, "9" * 6000, "'", '"', "&a", "*b", "<<: 1",
    "sweep: {seed: 1}", "\x00", "\x85", "\ufeff", "---", "...",
)  # fmt: skip


def experiments(count: int, seed: int) -> dict[str, int]:
    """Return what so many mutated experiments came to; equal seeds give equal experiments."""
    for slow in ("optuna", "scipy.stats"):  # which the first of their samplers would wait for
        importlib.import_module(slow)
    draw = random.Random(seed)
    found = Counter(dict.fromkeys((*FAULTS, "planned", "refused"), 0))
    previous = signal.signal(signal.SIGALRM, _hang)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "outer/inner")
        root.mkdir(parents=True)
        (root / "records.jsonl").write_text("")
        try:
            for _ in range(count):
                _try(_mutated(draw), root, found)
        finally:
            signal.signal(signal.SIGALRM, previous)
    return dict(found)


class _Hang(BaseException):
    pass


def _hang(*_: Any) -> None:
    raise _Hang


def _try(text: str, root: Path, found: Counter[str]) -> None:
    records, ledgers = str(root / "records.jsonl"), root / "ledgers"
    ended = "refused"
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            content = read_yaml(text, "experiment.yaml")
            if not isinstance(content, dict):
                raise UserError("no mapping")
            lanes = plan_sweep({**content, "storage": str(root)}, records, records)
            ended = "planned"
            ended = _run(Lane.of_json(lanes[0]))
    except UserError as error:
        if ended == "planned":
            ended = "unrunnable"
            print(f"{error} of {text}", file=sys.stderr)
        if "\n" in str(error):
            ended = "tracebacks"
    except _Hang:
        ended = "hangs"
        print(f"over {SECONDS} s: {text[:2000]}", file=sys.stderr)
    except Exception as error:
        ended = "tracebacks"
        print(f"{type(error).__name__}: {str(error)[:100]!r} of {text[:400]!r}", file=sys.stderr)
    finally:
        signal.alarm(0)
    found[ended] += 1
    left = [p for p in root.parents[1].rglob("*") if p.name not in ("outer", "inner", "records.jsonl")]
    found["escapes"] += any(ledgers != p and ledgers not in p.parents for p in left)
    found["partial_outputs"] += ended not in ("planned", "unrunnable") and bool(left)
    for path in sorted(left, reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def _run(lane: Lane) -> str:
    """Have the first trials proposed their settings, as they would begin with; raises UserError if one cannot."""
    ledger = Ledger(lane.ledger)
    for trial in range(min(TRIALS, ledger.run(lane.run).iterations)):
        proposed(ledger, trial)
    return "planned"


def _mutated(draw: random.Random) -> str:
    content = json.loads(json.dumps(BASE))
    for _ in range(draw.randint(1, 2)):
        _vary(content, draw)
    wrong = draw.random()
    if wrong < 0.2:
        _mutate(content, draw)
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    if 0.2 <= wrong < 0.35:
        at = draw.randrange(len(text))
        text = text[:at] + draw.choice(TEXTS) + text[at + draw.randint(0, 8) :]
    return text


def _vary(content: dict[str, Any], draw: random.Random) -> None:
    """Give one value that is valid by itself: of the experiment, or of a hyperparameter, fixed or in the space."""
    kind = draw.random()
    if kind < 0.5:
        path = draw.choice(list(VARIATIONS))
        first, _, second = path.partition(".")
        holder = content[first] if second else content
        holder[second or first] = draw.choice(VARIATIONS[path])
        return
    space = content["sweep"]["space"]
    branch = draw.choice(space) if isinstance(space, list) else {}
    model = branch.get("model_name", {"choice": ["resnet18"]})["choice"][0]
    rows = hyperparameters(model)
    row = rows[draw.choice(sorted(name for name, row in rows.items() if row.sweepable))]
    if kind < 0.75 or not branch:
        content["settings"][row.name] = _value(row, model, draw)
    else:
        branch[row.name] = _expression(row, model, draw)


def _value(row: Hyperparameter, model: str, draw: random.Random) -> Any:
    ends = [n for n in (row.low, row.high) if n is not None]
    within = [n for e in ends for n in (e, e + 1, e - 1, e + 1e-6)] or [0.5, 1, 3]
    numbers = [int(n) for n in within] if row.type in ("int", "flag") else within
    return draw.choice([row.default_for("image-classification", model), *row.choices, *numbers])


def _expression(row: Hyperparameter, model: str, draw: random.Random) -> Any:
    low, high = (0.0 if row.low is None else row.low), (1.0 if row.high is None else row.high)
    middle, width = (low + high) / 2, high - low
    return draw.choice(
        [
            {"choice": [_value(row, model, draw) for _ in range(draw.randint(1, 3))]},
            _value(row, model, draw),
            {"uniform": [low, high]},
            {"quniform": [low, high, draw.choice([1, 2, 0.25])]},
            {"normal": [middle, width / 4 or 1]},
            {"qnormal": [middle, width, 1]},
            {"loguniform": [-6, -1]},
            {"qloguniform": [0, 3, 1]},
            {"lognormal": [-3, 1]},
            {"randint": draw.choice([1, 2, 5])},
        ]
    )


def _mutate(content: Any, draw: random.Random) -> None:
    places = list(_places(content))
    holder, key = draw.choice(places)
    kind = draw.random()
    if kind < 0.6:
        holder[key] = draw.choice(VALUES)
    elif kind < 0.8 and isinstance(holder, dict):
        holder[draw.choice([f"{key}s", f" {key}", "", "policy", "type", "a\0", "é"])] = holder.pop(key)
    elif isinstance(holder, dict):
        del holder[key]
    else:
        other, name = draw.choice(places)
        holder[key] = json.loads(json.dumps(other[name])) if isinstance(other[name], str | int | list) else None


def _places(content: Any) -> Any:
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        yield content, key
        if isinstance(value, dict | list):
            yield from _places(value)


def main() -> None:
    """Print the counts of 1,000 experiments, and fail if one is not as it should be."""
    figures = experiments(1000, seed=0)
    for name, count in figures.items():
        print(f"{name:16}{count:6}")
    print(json.dumps({"benchmark": "fuzz_experiments", "machine": "any", "figures": figures}))
    sys.exit(any(figures[name] for name in FAULTS))


if __name__ == "__main__":
    main()
