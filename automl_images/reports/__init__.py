"""What people see: HTML reports, drawings, the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Evaluation:
    """What a report shows of an evaluation.

    Attributes:
        title, task: the page's heading, the task's name.
        model: what the model is and where it came from, shown as given: name, trial, data, versions.
        metrics, curves: what the family's metrics returned, and what of it is drawn as curves.
        examples: images to show, with what is true and what is predicted.
        classes: all class names, in the model's order.
        settings: the trial's.
        baseline: the figures of a model that looks at no image, by their names.
        weakness: in words, that the model is no better.
        history: of each epoch of its training ``epoch``, ``learning_rate`` and ``losses`` by name.
    """

    title: str
    task: str
    model: Mapping[str, Any]
    metrics: Mapping[str, Any]
    curves: Mapping[str, Any]
    examples: Sequence[Any]
    classes: Sequence[str]
    settings: Mapping[str, Any]
    baseline: Mapping[str, float | None]
    weakness: str | None
    history: Sequence[Mapping[str, Any]] = ()


class Family(Protocol):
    """What `reports/<family>.py` has."""

    def write_report(self, path_html: str, shown: Evaluation) -> None:
        """Write the report of an evaluation to any fsspec URL."""

    def draw_answer(
        self, image: Image.Image, answer: Mapping[str, Any], task: str, classes: Sequence[str]
    ) -> Image.Image:
        """Return a copy of an image with a prediction, in Azure's response shape, drawn on it."""

    def answer_line(self, answer: Mapping[str, Any], task: str) -> str:
        """Return a prediction, in Azure's response shape, in a few words."""
