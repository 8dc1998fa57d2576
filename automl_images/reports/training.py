"""The training of a model in a report: its losses and learning rate, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from automl_images.reports.chart import Line, line_chart
from automl_images.reports.draw import class_colours, css

_SIZE = 560, 300


def training_charts(history: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the charts ``losses`` and ``rate``, and ``colours`` by the losses' names; None without a second epoch.

    ``history`` is that of `automl_images.reports.Evaluation`.
    """
    if len(history) < 2:
        return None
    names = list(dict.fromkeys(name for row in history for name in row["losses"]))
    colours = {name: css(colour) for name, colour in class_colours(names).items()}
    losses = [
        Line([(row["epoch"], row["losses"][name]) for row in history if name in row["losses"]], colours[name], name)
        for name in names
    ]
    rate = Line([(row["epoch"], row["learning_rate"]) for row in history], "var(--accent)", "learning rate")
    return {
        "losses": line_chart(losses, "epoch", "", size=_SIZE),
        "rate": line_chart([rate], "epoch", "", size=_SIZE),
        "colours": colours,
    }
