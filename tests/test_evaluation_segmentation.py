"""What a segmentation network answers, how it is scored on images, and what people see of it."""

import base64
import io
import json
import re
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from automl_images.annotations.labels.polygons import Rle
from automl_images.annotations.masks import IGNORE, indices_of
from automl_images.annotations.shapes import decoded
from automl_images.errors import UserError
from automl_images.evaluation import headline, plots, scalars, summary_lines
from automl_images.evaluation.segmentation import BEST, WORST, evaluate
from automl_images.metrics.segmentation import Tally, class_iou, segmentation_metrics
from automl_images.prediction.segmentation import Predictor, response
from automl_images.reports import Evaluation
from automl_images.reports.draw import class_colours, css
from automl_images.reports.segmentation import draw_answer, write_report
from automl_images.serving.requests import answer
from tests.helpers.segments import MAP, TASK, drawn, masked, settings_of

NAMES = [name for name, _ in MAP]
COLOURS = [np.array(colour) for colour in class_colours(NAMES).values()]


class Squares(torch.nn.Module):
    """Tells pixels by their colour: sky, red or blue."""

    def predict(self, images):
        found = []
        for image in images:
            red, _, blue = image.int()
            mask = torch.where(red > 200, 1, torch.where(blue > 200, 2, 0))
            found.append(mask.to(torch.uint8))
        return found


def predictor(**settings):
    known = settings_of(**settings)
    return Predictor(Squares(), TASK, known, NAMES, torch.device("cpu"))


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("drawn"), 16)


def answers(record, **settings):
    (answer,) = predictor(**settings).predict([Image.open(record.image_url)])
    return answer


def test_an_answer_has_the_run_lengths_of_each_class_that_occurs(records):
    answer = answers(records[1])
    truth = indices_of(records[1].label, NAMES)
    found = np.full(truth.shape, IGNORE)
    for region in answer["regions"]:
        inside = decoded(Rle(*region["rle"]["size"], region["rle"]["counts"]))
        assert (found[inside] == IGNORE).all() and inside.any()
        found[inside] = NAMES.index(region["label"])
    assert (found != IGNORE).all() and ((found == truth) | (truth == IGNORE)).all()
    assert answer["classes"] == NAMES and len(answer["regions"]) > 1
    assert list(response(np.zeros((2, 3), np.uint8), NAMES)) == ["classes", "regions"]


@pytest.mark.parametrize("kind", ["png", "bmp"])
def test_an_answer_as_an_image_has_the_class_of_each_pixel(records, kind):
    answer = answers(records[0], export_as_image=1, image_type=kind)
    image = Image.open(io.BytesIO(base64.b64decode(answer["mask"]["image"])))
    assert image.format.lower() == kind == answer["mask"]["image_type"] and image.mode == "L"
    (whole,) = predictor().outputs([[np.asarray(Image.open(records[0].image_url))]])
    assert (np.asarray(image) == whole["mask"]).all() and whole["mask"].dtype == np.uint8
    assert set(answer) == {"classes", "mask"}


def test_an_answer_is_drawn_with_a_legend_of_its_classes(records):
    image = Image.open(records[1].image_url).convert("RGB")
    shown = [
        np.asarray(draw_answer(image, answers(records[1], **given), TASK, NAMES)).astype(int)
        for given in ({}, {"export_as_image": 1})
    ]
    assert (shown[0] == shown[1]).all() and shown[0].shape[0] == 320 and shown[0].shape[1] > 448
    truth = indices_of(records[1].label, NAMES)
    for c, colour in enumerate(COLOURS):
        for y, x in np.argwhere(truth == c)[10:12]:
            expected = 0.4 * np.asarray(image.resize((448, 320), Image.Resampling.BICUBIC))[8 * y + 4, 8 * x + 4]
            assert abs(shown[0][8 * y + 4, 8 * x + 4] - expected - 0.6 * colour).max() <= 1.5
    legend = shown[0][:, 448:].reshape(-1, 3)
    for c in np.unique(truth[truth != IGNORE]):
        assert (legend == COLOURS[c]).all(1).any()


def test_images_are_scored_together_and_the_worst_shown_first(records, monkeypatch):
    """Each prediction is the truth, shifted by the number of the image."""
    tally, shown = Tally(3), []
    masks = []
    for n, record in enumerate(records):
        truth = indices_of(record.label, NAMES)
        found = np.roll(np.where(truth == IGNORE, 0, truth), n, 1)
        own = tally.add(truth, found)
        shown.append((float(np.nanmean(class_iou(own))), record.image_url.rpartition("/")[2]))
        masks.append({"mask": found})
    own = predictor(validation_batch_size=3)
    monkeypatch.setattr(own, "outputs", lambda batches: (masks.pop(0) for batch in batches for _ in batch))
    found = evaluate(own, records)
    assert found.metrics == segmentation_metrics(tally.confusion, NAMES, tally.boundary)
    shown.sort(key=lambda pair: pair[0])
    assert len(records) == WORST + BEST == len(found.examples)
    assert [(e["mean_iou"], e["name"]) for e in found.examples] == shown
    result = {"task": TASK, "images": len(records), "report": "report.html", **found.metrics, **found.more}
    assert list(scalars(result))[:2] == ["mean_iou", "pixel_accuracy"]
    assert headline(result).startswith(f"16 images: mean_iou {result['mean_iou']:.4f} (baseline ")
    lines = summary_lines(result)
    assert [line.split()[0] for line in lines] == ["class", *NAMES, "all", "mean_iou"]
    classes, matrix, roc = plots(dict(result))
    assert classes == NAMES and matrix == tally.confusion.tolist() and roc is None


def test_only_the_worst_and_the_best_are_kept_and_memory_does_not_grow(records, monkeypatch):
    def run(count):
        many = [records[n % len(records)] for n in range(count)]
        own = predictor(validation_batch_size=4)
        random = np.random.default_rng(0)
        monkeypatch.setattr(
            own,
            "outputs",
            lambda batches: ({"mask": random.integers(0, 3, (40, 56)).astype(np.uint8)} for b in batches for _ in b),
        )
        tracemalloc.start()
        found = evaluate(own, many)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return found, most

    run(20)
    (few, least), (found, most) = run(20), run(100)
    assert len(few.examples) == len(found.examples) == WORST + BEST
    values = [e["mean_iou"] for e in found.examples]
    assert values == sorted(values) and values[WORST - 1] <= values[WORST]
    assert most < 1.2 * least


def test_what_cannot_be_scored_is_refused_or_counted(records, tmp_path):
    whole = masked(tmp_path, "whole", np.zeros((40, 56, 3)), np.full((40, 56), 255))
    found = evaluate(predictor(), [whole, records[0]])
    assert found.more["images_ignored"] == 1 and len(found.examples) == 1
    nothing = evaluate(predictor(), [whole])
    assert nothing.metrics["mean_iou"] is None and not nothing.examples
    path = tmp_path / "report.html"
    write_report(str(path), shown_of(nothing))
    assert "all pixels are ignored" in path.read_text()
    own = predictor()
    own.classes = NAMES[:2]
    with pytest.raises(UserError, match=r"data, 01: the mask .* pixel value 20, the class .blue., which is not in the"):
        evaluate(own, records)


def shown_of(found, classes=NAMES, **more):
    values = {"title": "A <title>", "task": TASK, "model": {}, "settings": {}, "weakness": None, "classes": classes}
    figures = {"metrics": found.metrics, "curves": {}, "examples": found.examples, "baseline": found.more["baseline"]}
    return Evaluation(**{**values, **figures, **more})


def test_the_report_shows_image_truth_and_prediction_with_a_legend(records, tmp_path):
    found = evaluate(predictor(), records)
    path = tmp_path / "report.html"
    history = [{"epoch": n, "learning_rate": 0.1, "losses": {"loss": 1.0, "auxiliary": 0.5}} for n in (1, 2)]
    write_report(str(path), shown_of(found, history=history))
    page = path.read_text()
    assert "A &lt;title&gt;" in page and "auxiliary" in page
    figures = re.findall(r"<figure>.*?</figure>", page, re.S)
    assert len(figures) == len(found.examples) == 16
    for figure, example in zip(figures, found.examples, strict=True):
        assert example["name"] in figure
        shown = dict(re.findall(r'<img src="data:image/jpeg;base64,([^"]+)" alt="([^"]+)"', figure))
        assert list(shown.values()) == ["Image", "Ground truth", "Prediction"]
    legend = page[page.index('<ul class="legend classes">') :].partition("</ul>")[0]
    assert re.findall(r"background: (#\w+)", legend) == [css(tuple(colour)) for colour in COLOURS]
    assert "ignored" in legend
    matrix = page[page.index('<table class="heat">') :].partition("</table>")[0]
    assert len(re.findall(r"<td", matrix)) == 9 and ">100.0<" in matrix
    total = sum(map(sum, found.metrics["confusion_matrix"]))
    share = found.metrics["per_label_metrics"]["sky"]["count"] / total
    assert f"{100 * share:.1f} %" in page and total == 16 * 39 * 56


def test_many_classes_have_their_most_frequent_confusions(records, tmp_path):
    names = [f"c{n}" for n in range(25)]
    matrix = np.diag(np.full(25, 100))
    matrix[3, 7], matrix[4, 2] = 50, 20
    metrics = segmentation_metrics(matrix, names, np.ones((25, 2)))
    found = SimpleNamespace(metrics=metrics, examples=[], more={"baseline": {}})
    write_report(str(tmp_path / "r.html"), shown_of(found, names))
    page = (tmp_path / "r.html").read_text()
    assert '<table class="heat">' not in page and "25 classes are too many to show all" in page
    rows = re.findall(
        r'<tr><td class="text">(c\d+)</td><td class="text">(c\d+)</td><td class="number">(\d+)</td>', page
    )
    assert rows == [("c3", "c7", "50"), ("c4", "c2", "20")]


def test_a_request_is_answered_in_the_forms_of_the_server_and_the_score_file(records):
    data = [Path(record.image_url).read_bytes() for record in records[:2]]
    encoded = [base64.b64encode(one).decode() for one in data]
    expected = [answers(record) for record in records[:2]]
    assert expected[0] != expected[1]
    own = predictor()
    assert answer(own, data[0]) == expected[0]
    v1 = {"instances": [{"image": {"b64": one}} for one in encoded]}
    assert json.loads(json.dumps(answer(own, v1))) == {"predictions": expected}
    assert answer(own, {"input_data": {"columns": ["image"], "data": encoded}}) == expected
