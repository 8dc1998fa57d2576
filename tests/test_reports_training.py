"""Losses and rates of a training: kept in the model folder, shown by the report."""

import json

import pytest

from automl_images.errors import UserError
from automl_images.models.folder import HISTORY, history
from automl_images.reports.training import training_charts

ROWS = [{"epoch": n, "learning_rate": 0.1 / n, "losses": {"box": 1 / n, "mask": 2.0}} for n in (1, 2, 3)]


def test_the_charts_have_a_line_a_loss_and_the_rate():
    charts = training_charts(ROWS)
    assert [line["title"] for line in charts["losses"]["lines"]] == ["box", "mask"] == list(charts["colours"])
    (rate,) = charts["rate"]["lines"]
    heights = [float(point.split(",")[1]) for point in rate["points"].split()]
    assert len(heights) == 3 and heights == sorted(heights), "falls on the page as on paper"


def test_one_epoch_is_no_line():
    assert training_charts(ROWS[:1]) is None and training_charts([]) is None


def test_the_rows_are_read_as_they_were_written_or_refused(tmp_path):
    assert history(tmp_path) == []
    (tmp_path / HISTORY).write_text(json.dumps(ROWS))
    assert history(tmp_path) == ROWS
    for wrong in ("{", "[1]", '[{"epoch": 1}]', '[{"epoch": 1, "learning_rate": "x", "losses": {}}]', "3"):
        (tmp_path / HISTORY).write_text(wrong)
        with pytest.raises(UserError, match=r"training\.json: is not what training writes"):
            history(tmp_path)
