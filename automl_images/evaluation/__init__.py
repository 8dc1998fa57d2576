"""How well a model does on records: figures and a report, by the family of its task."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from automl_images.errors import number
from automl_images.reports.trials import figure
from automl_images.tasks import get_task, part

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from automl_images.annotations import Record
    from automl_images.prediction import ModelPredictor

MATRIX_CLASSES = 50
_THREADS, _EVERY = 8, 500


@dataclass(frozen=True)
class Evaluated:
    """What a family measures on records.

    Attributes:
        metrics, more: what the family's metrics returned, and what else the result has; JSON-serialisable.
            ``baseline`` among it: figures of a model that knows no image, by their names.
        curves, examples: what the family's report draws; see its ``write_report``.
        seconds: reading and predicting.
    """

    metrics: dict[str, Any]
    more: dict[str, Any]
    curves: Mapping[str, Any]
    examples: Sequence[Any]
    seconds: float


class Family(Protocol):
    """What `evaluation/<family>.py` has."""

    def evaluate(self, predictor: ModelPredictor, records: Sequence[Record]) -> Evaluated:
        """Score a model on at least one record.

        Raises:
            UserError: a record has a class that the model does not know or another kind of label, or its image does
                not open.
        """

    def scalars(self, result: Mapping[str, Any]) -> dict[str, float | None]:
        """Return the single figures of a result, the primary metric first."""

    def headline(self, result: Mapping[str, Any]) -> dict[str, float | None]:
        """Return the few figures that one line has room for."""

    def summary_lines(self, result: Mapping[str, Any]) -> list[str]:
        """Return a result for people: a line a class, then the means."""


def outputs(predictor: ModelPredictor, records: Sequence[Record]) -> tuple[list[Any], float]:
    """Return what a model finds on each record's image, and the seconds of reading and predicting.

    Raises:
        UserError: as :func:`stream`.
    """
    found, taken = zip(*stream(predictor, records), strict=True)
    return list(found), sum(taken)


def stream(predictor: ModelPredictor, records: Sequence[Record]) -> Iterator[tuple[Any, float]]:
    """Yield what a model finds on each record's image, and the seconds of reading and predicting since the one before.

    Standard error says how far it is.

    Raises:
        UserError: an image does not open.
    """
    started = time.monotonic()
    found = predictor.outputs(_batches(records, predictor.settings["validation_batch_size"]))
    for count, output in enumerate(found, 1):
        yield output, time.monotonic() - started
        if count % _EVERY == 0:
            print(f"evaluate: {count} of {len(records)} images", file=sys.stderr, flush=True)
        started = time.monotonic()


def _batches(records: Sequence[Record], size: int) -> Iterator[list[np.ndarray]]:
    from automl_images.data.images import load_image

    with ThreadPoolExecutor(_THREADS) as pool:
        for k in range(0, len(records), size):
            yield list(pool.map(lambda r: load_image(r.image_url, r.where), records[k : k + size]))


def example(record: Record) -> tuple[Image.Image, str]:
    """Return a record's image and its file's name, for a report."""
    from PIL import Image

    from automl_images.data.images import load_image

    return Image.fromarray(load_image(record.image_url, record.where)), record.image_url.rsplit("/", 1)[-1]


def scalars(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the single figures of an evaluation, the primary metric first, without those that are undefined."""
    return {name: value for name, value in family(result["task"]).scalars(result).items() if value is not None}


def headline(result: Mapping[str, Any]) -> str:
    """Return an evaluation in a line; ``set`` of the result, if it has one, is the name of what it was measured on."""
    of = f" ({result['set']})" if "set" in result else ""
    figures, simplest = family(result["task"]).headline(result).items(), result.get("baseline") or {}
    parts = [f"{n} {v:.4f}{beside(simplest.get(n))}" for n, v in figures if v is not None]
    weak = weakness(result)
    return f"{number(result['images'], 'image')}{of}: " + ", ".join(parts) + (f"; {weak}" if weak else "")


def summary_lines(result: Mapping[str, Any]) -> list[str]:
    """Return an evaluation for people: a line a class, the means, and whether the model is worth anything."""
    weak = weakness(result)
    return family(result["task"]).summary_lines(result) + ([f"note: {weak}"] if weak else [])


def weakness(result: Mapping[str, Any]) -> str | None:
    """Return in words that the primary metric is undefined or not above its baseline, None if it is above.

    None too for a result of an older version, which has no baseline.
    """
    metric = get_task(result["task"]).primary_metric
    simplest = (result.get("baseline") or {}).get(metric)
    if simplest is None or (result[metric] is not None and result[metric] > simplest):
        return None
    reached = f"{metric} {figure(result[metric])} is not above the baseline {figure(simplest)}"
    return f"{reached}, which a model reaches that looks at no image"


def beside(simplest: float | None) -> str:
    """Return a baseline as it stands behind its figure."""
    return "" if simplest is None else f" (baseline {figure(simplest)})"


def plots(result: dict[str, Any]) -> tuple[list[str], list[list[int]] | None, dict[str, list[float]] | None]:
    """Take out of an evaluation what is too long for a step's result, and return what a page draws of it.

    Returns:
        The classes, of a detector with the background; the confusion matrix, rows by true class, or None (multi-label,
        more than 50 classes);
        the ROC curve over all pairs of image and class, ``fpr``, ``tpr`` and ``threshold``, or None (detection, or
        undefined). The curve leaves ``result``, and a confusion matrix of more than 50 classes does.
    """
    classes = list(result["per_label_metrics"])
    if len(classes) > MATRIX_CLASSES:
        result.pop("confusion_matrix", None)
    matrix = result.get("confusion_matrix")
    if not isinstance(matrix, list):
        matrix = None
    elif len(matrix) > len(classes):
        classes.append("background" if "background" not in classes else "(background)")
    return classes, matrix, result.pop("roc", None)


def columns(values: Sequence[float | None], first: int) -> str:
    """Return figures in the columns of a line of :func:`summary_lines`, the first one ``first`` characters wide."""
    return f"{figure(values[0]):>{first}} " + " ".join(f"{figure(value):>8}" for value in values[1:])


def family(task: str) -> Family:
    """Return the file of a task's family."""
    found: Family = part("evaluation", task)
    return found
