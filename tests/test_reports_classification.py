"""The report of an evaluated classifier: what it says of few classes and of many; no text in it is code."""

import re

import numpy as np
import pytest
from PIL import Image

from automl_images.metrics.classification import baseline, classification_metrics, curves
from automl_images.reports import Evaluation
from automl_images.reports.chart import Line, line_chart
from automl_images.reports.classification import write_report
from automl_images.reports.draw import class_colours, draw_labels

ELSEWHERE = re.compile(r"""(src|href|url\(|@import)\s*=?\s*["']?(https?:)?//""")
EVIL = "<script>alert(1)</script>"


def mistake(classes, truth, predicted, probs):
    marks = [np.isin(np.arange(len(classes)), places) for places in (truth, predicted)]
    image = Image.new("RGBA", (900, 30))
    return {"image": image, "name": f"{EVIL}.png", "truth": marks[0], "predicted": marks[1], "probs": np.array(probs)}


def report(path, classes, truth, probs, multilabel, mistakes=(), top_k=None, weakness=None):
    shown = Evaluation(
        title=f"T {EVIL}",
        task="image-classification",
        model={"trial": 3, "data": EVIL},
        metrics=classification_metrics(truth, probs, classes, multilabel, top_k),
        curves=curves(truth, probs, classes, multilabel),
        examples=mistakes,
        classes=classes,
        settings={"top_k": top_k, "learning_rate": 0.01},
        baseline=baseline(truth, classes, multilabel, top_k),
        weakness=weakness,
    )
    write_report(str(path), shown)
    text = path.read_text()
    assert EVIL not in text and "<script" not in text and not ELSEWHERE.search(text)
    return text


def section(text, heading):
    return re.search(rf"<h2>{heading}</h2>(.*?)</section>", text, re.S).group(1)


def rows(text):
    """Return the body's cells of the first table, row by row."""
    body = re.search(r"<tbody>(.*?)</tbody>", text, re.S).group(1)
    found = re.findall(r"<tr>(.*?)</tr>", body, re.S)
    return [[re.sub(r"<[^>]*>", "", c) for c in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.S)] for row in found]


def test_one_label_an_image(tmp_path):
    classes = ["cat", EVIL, "never"]
    probs = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.9, 0.0], [0.2, 0.7, 0.1]])
    wrong = mistake(classes, [1], [0], probs[1])
    text = report(tmp_path / "r.html", classes, [0, 1, 1, 1], probs, False, [wrong], top_k=2)
    assert "T &lt;script&gt;" in text
    assert re.search(r'class="first"><b>0.7500</b>accuracy <span class="quiet">.baseline 0.7500', text)
    assert "<b>1.0000</b>top-2 accuracy" in text
    table = rows(section(text, "Classes"))
    assert table[0] == ["cat", "1", "0.5000", "1.0000", "0.6667", "1.0000", "1.0000", "0.7500"]
    assert table[2] == ["never", "0", *["-"] * 5, "1.0000"]
    assert rows(section(text, "All figures"))[1] == ["Recall", "0.8333 (0.5000)", "0.7500 (0.7500)", "0.7500 (0.7500)"]
    for name in ("log_loss", "matthews_correlation", "norm_macro_recall", "balanced_accuracy"):
        assert f"<dt>{name}</dt>" in section(text, "All figures")
    matrix = section(text, "Confusion matrix")
    assert [row[1:] for row in rows(matrix)] == [["1", "0", "0"], ["1", "2", "0"], ["0", "0", "0"]]
    assert re.search(r'<td class="" style="--share: 33.3%" title="&lt;script[^"]*as cat: 33.3 %">1</td>', matrix)
    drawn = section(text, "Curves")
    assert drawn.count("<svg") == 2 and drawn.count("<li>") == 3  # the class that no image has has no curve
    assert "those with the least average precision" not in drawn
    shown = section(text, "Surest mistakes")
    assert shown.count("data:image/jpeg;base64") == 1
    assert re.search(
        r'true: *<b class="wrong">&lt;script.*0.300.*predicted: *<b class="wrong">cat</b>.*0.600', shown, re.S
    )


def test_a_model_without_use_is_called_so(tmp_path):
    given = ["a", "b"], [0, 0, 1], np.full((3, 2), 0.5), False
    text = report(tmp_path / "r.html", *given, weakness="accuracy 0.6667 is not above <it>")
    assert '<p class="warning">accuracy 0.6667 is not above &lt;it&gt;.</p>' in text
    assert '<p class="warning">' not in report(tmp_path / "r.html", *given)


def test_many_labels_an_image(tmp_path):
    classes = ["a", "b"]
    truth, probs = np.array([[1, 0], [1, 1], [0, 0]]), np.array([[0.9, 0.8], [0.7, 0.2], [0.1, 0.1]])
    wrong = mistake(classes, [0], [0, 1], probs[0])
    text = report(tmp_path / "r.html", classes, truth, probs, True, [wrong])
    assert re.search(r'class="first"><b>0.6667</b>IoU, mean over images', text)
    assert "<b>0.3333</b>accuracy (all labels right)" in text and "<b>0.6667</b>accuracy, mean over classes" in text
    assert rows(section(text, "Right and wrong by class")) == [["a", "2", "0", "0", "1"], ["b", "0", "1", "1", "1"]]
    assert rows(section(text, "All figures"))[0][0] == "IoU"
    shown = section(text, "Surest mistakes")
    assert re.search(r'true: *<b>a</b>.*predicted: *<b class="wrong">b</b>.*<b>a</b>', shown, re.S)


def test_of_many_classes_the_worst_are_shown(tmp_path):
    classes = [f"c{i:02}" for i in range(45)]
    truth = np.repeat(np.arange(45), 2)
    probs = np.full((90, 45), 0.001)
    probs[np.arange(90), truth] = 0.5
    probs[[6, 7], 3], probs[[6, 7], 9] = 0.1, 0.9  # c03 is taken for c09 twice
    probs[20, 10], probs[20, 0] = 0.1, 0.9
    text = report(tmp_path / "r.html", classes, truth, probs / probs.sum(1, keepdims=True), False)
    assert rows(section(text, "Confusion matrix")) == [["c03", "c09", "2", "100.0 %"], ["c10", "c00", "1", "50.0 %"]]
    drawn = section(text, "Curves")
    assert "12 of 45 classes are drawn" in drawn and ">c03<" in drawn and drawn.count("<li>") == 13


def test_labels_of_a_mistake_are_cut_short(tmp_path):
    classes = [f"c{i}" for i in range(20)]
    one = mistake(classes, [], range(20), np.linspace(0.51, 0.99, 20))
    text = report(tmp_path / "r.html", classes, np.zeros((1, 20)), np.full((1, 20), 0.9), True, [one])
    shown = section(text, "Surest mistakes")
    assert "and 12 more" in shown and "c19" in shown and "c11<" not in shown
    assert re.search(r'true: *<span class="quiet">none', shown)
    assert "there is no curve" in section(text, "Curves")


@pytest.mark.parametrize("multilabel", [False, True])
def test_a_perfect_single_class_has_a_report(tmp_path, multilabel):
    truth = [[1], [1]] if multilabel else [0, 0]
    text = report(tmp_path / "r.html", ["only"], truth, np.ones((2, 1)), multilabel)
    assert "every prediction is right" in text and "Undefined: every image has the class" in text


def test_a_chart_of_shares_goes_from_0_to_1():
    chart = line_chart([Line([(0.2, 0.3), (0.4, 0.5)], "red", "t")], "x", "y", shares=True, size=(500, 400))
    assert (
        [t for _, t in chart["ticks_x"]] == [t for _, t in chart["ticks_y"]] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    )
    assert (chart["ticks_x"][0][0], chart["ticks_x"][-1][0]) == (chart["left"], chart["right"])
    assert (chart["width"], chart["height"]) == (500, 400) and chart["bottom"] < 400


def test_labels_are_written_one_below_the_other():
    image, colours = Image.new("L", (80, 40)), class_colours(["a", "b"])
    drawn = np.asarray(draw_labels(image, [("a", 0.9), ("b", 0.05)], colours))
    assert drawn.shape == (320, 640, 3) and not np.asarray(image).any()
    at = {n: np.argwhere((drawn == colours[n]).all(2)) for n in "ab"}
    assert at["a"][:, 0].min() == 0 and at["a"][:, 1].min() == at["b"][:, 1].min() == 0
    assert at["a"][:, 0].max() < at["b"][:, 0].min() + 2
    assert not drawn[at["b"][:, 0].max() + 1 :].any()
    few = np.asarray(draw_labels(Image.new("RGB", (640, 40)), [(str(i), 0.5) for i in range(30)], {}))
    assert few.shape == (40, 640, 3) and few.any()
