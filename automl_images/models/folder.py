"""The model folder: all that prediction needs, wherever it is copied to.

model.pt (state_dict)  settings.json  labels.json  metrics.json
score.py  requirements.txt  automl_images-*.whl  README.md
training.json (each epoch's losses and learning rate, up to this model's)
thresholds.json (of a detector: the scores of the best F1 on validation)
"""

from __future__ import annotations

import io
import json
import pickle
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import nn

from automl_images.architectures import architecture
from automl_images.errors import UserError
from automl_images.hyperparameters import check_inference, check_model, hyperparameters, without_effect
from automl_images.hyperparameters.sizes import check_sizes
from automl_images.hyperparameters.yolov5 import ANCHOR_FREE
from automl_images.models.catalogue import build
from automl_images.models.score import score_file
from automl_images.models.wheel import write_wheel
from automl_images.tasks import get_task

_REQUIRED = ("torch", "torchvision")
_LONGEST = 1 << 16  # of a side in pixels, or of a batch
THRESHOLDS, HISTORY = "thresholds.json", "training.json"


def save(
    folder: Path,
    model: nn.Module,
    *,
    task: str,
    settings: Mapping[str, Any],
    classes: Sequence[str],
    metrics: Mapping[str, Any],
) -> None:
    """Write the weights, what describes them and ``score.py``.

    Args:
        folder: made if absent.
        model: the network, of :func:`automl_images.models.catalogue.build`.
        task, settings: the trial's; predictions use the thresholds and sizes among the settings.
        classes: the labels, in the network's order.
        metrics: what the model reached, JSON-serialisable; ``epoch`` among them, and ``baseline``, where there is one:
            the metrics of a model that looks at no image. ``thresholds`` among them, of
            :func:`automl_images.metrics.matching.best_thresholds`, and ``history``, a row ``epoch``,
            ``learning_rate``, ``losses`` an epoch, become files of their own.
    """
    files = {THRESHOLDS: metrics.get("thresholds"), HISTORY: metrics.get("history")}
    metrics = {name: value for name, value in metrics.items() if name not in ("thresholds", "history")}
    folder.mkdir(parents=True, exist_ok=True)
    row = architecture(settings)
    weights = io.BytesIO()  # a full disk is no OSError of torch.save's
    torch.save({n: tensor.detach().cpu().contiguous() for n, tensor in model.state_dict().items()}, weights)
    (folder / "model.pt").write_bytes(weights.getbuffer())
    described: dict[str, Any] = {"task": task, "settings": dict(settings)}
    if row.frozen_norms:
        described["frozen_norms"] = not any(n.endswith("num_batches_tracked") for n in model.state_dict())
    (folder / "settings.json").write_text(json.dumps(described, indent=1))
    (folder / "labels.json").write_text(json.dumps(list(classes), indent=1))
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1))
    for name, content in files.items():
        (folder / name).unlink(missing_ok=True)  # of what was there before
        if content:
            (folder / name).write_text(json.dumps(content, indent=1))
    wheel = write_wheel(folder)
    pins = [f"{package}=={metadata.version(package)}" for package in (*_REQUIRED, *row.packages)]
    # ultralytics' own OpenCV needs X libraries
    opencv = "".join(p for p in pins if p.startswith("opencv-python-headless"))
    swap = (
        f"    pip uninstall --yes opencv-python && pip install --no-deps --force-reinstall {opencv}\n" if opencv else ""
    )
    (folder / "requirements.txt").write_text("\n".join([f"./{wheel.name}", *pins]) + "\n")
    simplest = metrics.get("baseline") or {}
    beside = {k: "" if simplest.get(k) is None else f"{simplest[k]:.4f}" for k in metrics}
    figures = "\n".join(f"| {k} | {v:.4f} | {beside[k]} |" for k, v in metrics.items() if isinstance(v, float))
    options = "\n".join(f"| {k} | {v} |" for k, v in settings.items())
    (folder / "README.md").write_text(
        f"# {row.name}\n\nTask: {task}. Labels: {', '.join(classes)}.\n\n"
        f"Trained by automl-images {metadata.version('automl-images')} with torch {torch.__version__}, "
        f"Python {platform.python_version()}.\n\n"
        f"## Metrics on validation\n\nThe baseline is a model that looks at no image.\n\n"
        f"| metric | value | baseline |\n| --- | --- | --- |\n{figures}\n\n"
        f"## Settings\n\n| setting | value |\n| --- | --- |\n{options}\n\n## Use\n\n"
        f"    pip install -r requirements.txt\n{swap}    python score.py image.jpg\n"
    )
    (folder / "score.py").write_text(score_file(settings), encoding="utf-8")


def load(folder: Path, overrides: Mapping[str, Any] | None = None) -> tuple[nn.Module, str, dict[str, Any], list[str]]:
    """Return the network, the task, the settings and the labels of a local model folder.

    ``overrides`` are hyperparameters that act at inference, by name or alias, to use instead of the folder's.

    Raises:
        UserError: the folder is not a model folder, its task has no model here, its weights do not fit its settings, or
            an override would have no effect or does not fit the model.
    """
    described, classes, _ = _read(folder)
    task, settings = get_task(described["task"]).name, described["settings"]
    settings, changed = changed_settings(task, settings, overrides or {})
    model = build(task, settings, classes, frozen_norms=described.get("frozen_norms", False))
    try:
        state = torch.load(folder / "model.pt", map_location="cpu", weights_only=True)
        model.load_state_dict(state)
    except FileNotFoundError:
        raise UserError(f"{folder}: has no model.pt; is it a model folder?") from None
    except (pickle.UnpicklingError, LookupError, AttributeError):  # their texts say nothing to act on
        raise UserError(f"{folder}/model.pt: does not load: it is damaged or holds more than tensors") from None
    except (RuntimeError, EOFError, ValueError, TypeError) as error:
        if changed and "size mismatch" in str(error):
            raise UserError(
                f"{', '.join(changed)}: {folder}/model.pt does not fit the network that this makes"
            ) from None
        raise UserError(f"{folder}/model.pt: does not load: {str(error).partition(chr(10))[0]}") from None
    return model.eval(), task, settings, classes


def changed_settings(
    task: str, settings: Mapping[str, Any], overrides: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return complete settings with those of ``overrides`` in their place, and these alone, checked.

    Raises:
        UserError: an override does not act at inference, would have no effect, or does not fit the model.
    """
    changed = check_inference(check_model(task, settings["model_name"]), overrides)
    settings = {**settings, **changed}
    if changed:
        check_sizes(settings)
        for row in hyperparameters(settings["model_name"]).values():
            row.check_beside(settings)
        if idle := without_effect(settings, changed):
            raise UserError(idle[0])
    return settings, changed


def best_threshold(folder: Path) -> dict[str, float]:
    """Return the score threshold of the best F1 as the override of :func:`load` that has it act, or no override.

    There is none where the folder has no ``thresholds.json``, or nothing found on validation was right.

    Raises:
        UserError: the file is damaged.
    """
    try:
        value = json.loads((folder / THRESHOLDS).read_text(encoding="utf-8"))["overall"]["threshold"]
    except FileNotFoundError:
        return {}
    except (ValueError, LookupError, TypeError, RecursionError):
        raise UserError(f"{folder}/{THRESHOLDS}: has no overall threshold; remove the file") from None
    if value is None:
        return {}
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise UserError(f"{folder}/{THRESHOLDS}: its overall threshold is no score from 0 to 1; remove the file")
    return {"box_score_thresh": float(value)}


def history(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of ``training.json``: ``epoch``, ``learning_rate``, ``losses`` by name; none where it is not.

    Raises:
        UserError: the file is damaged.
    """
    try:
        rows = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
        return [
            {
                "epoch": int(row["epoch"]),
                "learning_rate": float(row["learning_rate"]),
                "losses": {str(name): float(value) for name, value in row["losses"].items()},
            }
            for row in rows
        ]
    except FileNotFoundError:
        return []
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{folder}/{HISTORY}: is not what training writes; remove the file") from None


def _read(folder: Path) -> tuple[dict[str, Any], list[str], dict[str, Any]]:
    """Return settings.json, labels.json and metrics.json, checked: they may be an older version's, or changed."""
    try:
        described, classes, metrics = (
            json.loads((folder / f"{n}.json").read_text(encoding="utf-8")) for n in ("settings", "labels", "metrics")
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        name = Path(str(error.filename)).name
        raise UserError(f"{folder}: has no {name}; is it a model folder?") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{folder}: a .json file in it does not parse: {error}") from None
    content = described if isinstance(described, dict) else {}
    if not isinstance(content.get("task"), str) or not isinstance(content.get("settings"), dict):
        raise UserError(f"{folder}: its settings.json has no task and settings; is it a model folder?")
    try:
        settings = _checked(get_task(content["task"]).name, content["settings"])
    except UserError as error:
        raise UserError(f"{folder}/settings.json: {error}") from None
    named = isinstance(classes, list) and all(isinstance(name, str) and name.isprintable() for name in classes)
    if not named or not classes or len(set(classes)) < len(classes):
        raise UserError(f"{folder}/labels.json: is not a list of different class names, each one line of text")
    return {**content, "settings": settings}, classes, metrics


def _checked(task: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the defaults of those that they lack; a choice is checked where it is read.

    Raises:
        UserError: a number is none, or out of range.
    """
    model = check_model(task, str(given.get("model_name")))
    settings, rows = dict(given), hyperparameters(model)
    if "head" in rows:
        settings.setdefault("head", ANCHOR_FREE)  # an earlier version's, which had no other
    for name, row in rows.items():
        if name not in settings:
            settings[name] = row.default_for(task, model, head=settings.get("head"))
        elif row.type not in ("choice", "text"):
            settings[name] = row.check(settings[name])
        if name.endswith("size") and isinstance(settings[name], int) and settings[name] > _LONGEST:
            raise UserError(f"{name}: {settings[name]} is more than {_LONGEST}")
    return settings
