"""Reports: what a person is shown of a sweep, an evaluation, an image."""

import io
import re
from functools import cache

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from automl_images.annotations import Box, Boxes, Record
from automl_images.evaluation import detection as evaluation
from automl_images.reports import Evaluation, fonts
from automl_images.reports.chart import Line, line_chart
from automl_images.reports.detection import draw_answer, write_report
from automl_images.reports.draw import class_colours, draw_boxes, draw_labels
from automl_images.reports.leaderboard import write_leaderboard
from automl_images.reports.terminal import TrialTable
from automl_images.sweep.pace import Pace
from automl_images.sweep.trial import Trial

METRIC = "mean_average_precision"
ERROR = "<script>alert(1)</script> out of [red]memory"
ELSEWHERE = re.compile(r"""(src|href|url\(|@import)\s*=?\s*["']?(https?:)?//""")


def trial(number, state="completed", values=(0.1, 0.3), **changes):
    curve = [{"epoch": i, "value": v} for i, v in enumerate(values, 1)]
    best = max(curve, key=lambda e: e["value"]) if curve else None
    content = {
        "trial": number,
        "state": state,
        "attempt": 1,
        "settings": {"learning_rate": 0.01 * (number + 1), "model_name": "yolov5"},
        "sampled": ["learning_rate"],
        "best": best and {"metric": METRIC, **best},
        "evaluations": curve,
        "epoch": len(curve),
        "epochs": 4,
        "error": None,
        "reason": None,
        "started": 100.0,
        "ended": None if state == "running" else 190.0,
        **changes,
    }
    return Trial.of_json(content)


SWEEP = [
    trial(0),
    trial(1, values=(0.2, 0.6)),
    trial(2, "failed", (), error=f"Traceback\n{ERROR}", settings={"learning_rate": "<i>"}),
    trial(3, "running", (0.5,)),
]


def page(folder, trials=SWEEP, best=1):
    path = folder / "leaderboard.html"
    write_leaderboard(str(path), title="Cells & <more>", metric=METRIC, trials=trials, best=best)
    return path.read_text()


def test_the_leaderboard_ranks_and_explains(tmp_path):
    text = page(tmp_path)
    rows = re.findall(r'<tr class="[^"]*">\s*<td class="number">(\d*)</td>.*?</tr>', text, re.S)
    assert rows == ["1", "2", "3", ""]
    best = re.search(r'<tr class="best [^"]*">.*?</tr>', text, re.S).group()
    assert "0.6000" in best and "0.02" in best
    assert [row for row in re.findall(r"<tr.*?</tr>", text, re.S) if "&#9733;" in row] == [best]
    assert "<summary>&lt;script&gt;alert(1)&lt;/script&gt; out of [red]memory</summary>" in text
    assert text.count("<script") == 1 and "<script>alert" not in text and "<i>" not in text
    assert "Cells &amp; &lt;more&gt;" in text and not ELSEWHERE.search(re.sub('href="#trial', "", text))


@pytest.mark.parametrize("trials", [[], [SWEEP[2]], [SWEEP[0]]], ids=["none", "failed", "one"])
def test_leaderboards_of_little(tmp_path, trials):
    assert "</html>" in page(tmp_path, trials, best=None)


def rendered(trials, total=None, terminal=True):
    console = Console(file=io.StringIO(), width=120, height=40, force_terminal=terminal, color_system=None)
    console.print(TrialTable(METRIC, total).render(trials))
    return console.file.getvalue()


def test_the_live_table():
    text = rendered(SWEEP, total=6)
    assert "1 running, 2 completed, 1 failed, 2 to come; best: trial 1 (*)" in text
    row = next(line for line in text.splitlines() if line.strip().startswith("*1"))
    assert "0.6000" in row and "2/4" in row and "1m 30s" in row and "0.02" in row
    running = next(line for line in text.splitlines() if " running " in line)
    assert "━" in running and "1/4" in running
    assert f"trial 2 failed: {ERROR}" in text


def test_a_low_terminal_keeps_the_best_and_the_running():
    many = [trial(i, values=(0.001 * i,)) for i in range(200)] + [trial(200, "running", (0.0,))]
    many[3] = trial(3, values=(0.9,))
    lines = rendered(many).splitlines()
    assert len(lines) <= 40
    assert any(line.strip().startswith("*3 ") for line in lines)
    assert any(line.strip().startswith("200 ") for line in lines)
    assert "are not shown" in "".join(lines)
    assert len(rendered(many, terminal=False).splitlines()) == 203


def test_lines_say_only_what_is_new():
    table = TrialTable(METRIC)
    before = [trial(0, "running", (0.1,))]
    assert table.lines(before, []) == [
        "trial 0 starts: learning_rate=0.01",
        f"trial 0: epoch 1/4: {METRIC} 0.1000 (best 0.1000)",
    ]
    assert table.lines(before, before) == []
    now = [trial(0, "failed", (0.1, 0.05), error="boom"), trial(1, "running", ())]
    assert table.lines(now, before) == [
        f"trial 0: epoch 2/4: {METRIC} 0.0500 (best 0.1000)",
        f"trial 0 failed after 1m 30s at epoch 2 of 4, best {METRIC} 0.1000 at epoch 1: boom",
        "trial 1 starts: learning_rate=0.02",
    ]
    again = [trial(0, "running", (0.1, 0.05), attempt=2)]
    assert table.lines(again, now[:1]) == ["trial 0 starts again (attempt 2): learning_rate=0.01"]


def test_each_evaluation_since_the_last_look_has_a_line_and_the_last_its_pace():
    found = TrialTable(METRIC).lines([trial(0, "running", (0.1, 0.3, 0.2))], [], {0: Pace(3, 1.25, 8.0, 61.0)})
    assert found[1:] == [
        f"trial 0: epoch 1/4: {METRIC} 0.1000 (best 0.1000)",
        f"trial 0: epoch 2/4: {METRIC} 0.3000 (best 0.3000)",
        f"trial 0: epoch 3/4: {METRIC} 0.2000 (best 0.3000); loss 1.250; 8.0 images/s, about 1m 01s left",
    ]


def test_lines_that_trials_wrote_themselves_come_between_start_and_end():
    table, told = TrialTable(METRIC), {0: ["trial 0: epoch 1/1: a", "trial 0: epoch 2/2: b"], 7: ["not there yet"]}
    found = table.lines([trial(0, "completed", (0.1,))], [], told=told)
    assert [line.partition(" after")[0] for line in found] == [
        "trial 0 starts: learning_rate=0.01",
        "trial 0: epoch 1/1: a",
        "trial 0: epoch 2/2: b",
        "trial 0 completed",
    ]
    assert told == {7: ["not there yet"]}


BOX = {"box": {"topX": 0.25, "topY": 0.25, "bottomX": 0.75, "bottomY": 0.75}, "label": "a", "score": 0.9}
PIXELS = [20, 10, 60, 30]  # the same of 80 x 40


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_boxes_are_drawn_where_they_are(mode):
    image = Image.new(mode, (80, 40))
    drawn = draw_boxes(image, [PIXELS], ["a"], class_colours("a"), [0.9])
    assert drawn.size == (640, 320)
    answer = draw_answer(image, {"boxes": [BOX]}, "image-object-detection", ["a"])
    assert np.array_equal(np.asarray(answer), np.asarray(drawn))
    pixels = np.asarray(drawn)
    colour = class_colours(["a"])["a"]
    for x, y in ((160, 200), (478, 200), (320, 238)):
        near = pixels[y - 3 : y + 4, x - 3 : x + 4].reshape(-1, 3)
        assert (near == colour).all(axis=1).any()
    assert not (pixels[150:200, 300:350] != 0).any()
    assert not np.asarray(image.convert("L")).any()


def test_large_images_keep_their_size_and_their_pixels():
    image = Image.new("RGB", (900, 700))
    drawn = draw_boxes(image, [PIXELS, [90, 70, 360, 280]], ["a", "b"], class_colours("ab"))
    assert drawn.size == image.size
    assert drawn.getbbox() and not image.getbbox()


def test_of_a_label_wider_than_the_image_the_beginning_is_seen():
    image = Image.new("RGB", (60, 700))
    one, other = (np.asarray(draw_boxes(image, [PIXELS], [a + "long" * 9], {})) for a in "HL")
    assert (one != other).any()


@pytest.mark.parametrize("value", [0.5, 0.0, -0.2, 1e-12, 100.0])
def test_a_chart_of_one_point_shows_it(value):
    chart = line_chart([Line([(1, value)], "red", "t", mark=(1, value))], "epoch", METRIC)
    ((x, y),) = chart["lines"][0]["dots"]
    assert chart["left"] <= x <= chart["right"] and chart["top"] <= y <= chart["bottom"]
    assert chart["lines"][0]["mark"] == (x, y)
    assert len({text for _, text in chart["ticks_y"]}) == len(chart["ticks_y"]) > 1


def test_classes_have_colours_of_their_own():
    assert len(set(class_colours(map(str, range(80))).values())) == 80


def reported(folder, label, found, classes, shown_above=None, images=1):
    """Return the report of equal images with this label and these detections."""
    Image.new("RGB", (64, 64), (40, 90, 40)).save(folder / "x.png")
    settings = {"validation_metric_type": "voc", "validation_iou_threshold": 0.5, "box_score_thresh": 0.1}
    records = [Record(str(folder / "x.png"), label)] * images
    measured = evaluation.measured(records, [found] * images, settings, classes, 1.0, shown_above)
    shown = Evaluation(
        title="T",
        task="image-object-detection",
        model={"trial": 3},
        metrics=measured.metrics,
        curves=measured.curves,
        examples=measured.examples,
        classes=classes,
        settings={"learning_rate": 0.01},
        baseline={},
        weakness=None,
    )
    write_report(str(folder / "r.html"), shown)
    return (folder / "r.html").read_text()


def test_an_evaluation_is_shown(tmp_path):
    square = Box(label="a<b", topX=0.25, topY=0.25, bottomX=0.75, bottomY=0.75, isCrowd=0)
    boxes = np.array([[16.0, 16, 48, 48], [0, 0, 9, 9]])
    found = {"boxes": boxes, "scores": np.array([0.9, 0.8]), "labels": np.array([0, 0]), "size": (64, 64)}
    text = reported(tmp_path, Boxes((square,)), found, ["a<b", "never"])
    assert "a&lt;b" in text and "a<b" not in text
    row = re.search(r"a&lt;b</td>(.*?)</tr>", text, re.S).group(1)
    figures = ["1", "1.0000", "1.0000", "1.0000", "0.5000", "1.0000", "1.0000", "0.8500"]
    assert re.findall(r">([^<\s]+)</td>", row) == figures
    assert text.count("<svg") == 2 and "<title>a&lt;b</title>" in text and "<title>F1</title>" in text
    assert text.count("data:image/jpeg;base64") == 2
    assert "x.png: 1 of 1 found, 1 false." in text
    assert "".join(re.findall(r'<td class="[^"]*" style="--share[^>]*>(\d)<', text)) == "100000100"
    assert not ELSEWHERE.search(text)


def test_class_names_of_any_script_are_drawn(capsys, monkeypatch):
    """What no font has is said once; boxes stand for it."""
    monkeypatch.setattr(fonts, "_installed", lambda: (str(fonts._HERE),))  # a machine may have fonts of all scripts
    monkeypatch.setattr(fonts, "_path", cache(fonts._path.__wrapped__))
    fonts._said.clear()
    names = ["cat", "caf\u00e9", "\u0416\u0443\u043a", "\U00012345 x", "\U00012345 y", " "]
    drawn = [np.asarray(draw_labels(Image.new("RGB", (640, 60)), [(n, 0.5)], {})) for n in names]
    assert len({d.tobytes() for d in drawn}) == len(names)
    lines = capsys.readouterr().err.splitlines()
    assert sum("U+12345" in line for line in lines) == 1
    for name in names[:3]:
        for _, font in fonts.runs(name, 20):
            absent = bytes(font.getmask("\uffff"))
            assert all(bytes(font.getmask(c)) != absent for c in name)


def test_many_classes_are_shown_by_their_confusions(tmp_path):
    names = [f"class {n}" for n in range(80)]
    square = Box(label="class 3", topX=0.25, topY=0.25, bottomX=0.75, bottomY=0.75, isCrowd=0)
    lost = Box(label="class 5", topX=0, topY=0, bottomX=0.1, bottomY=0.1, isCrowd=0)
    boxes = np.array([[16.0, 16, 48, 48], [50, 50, 60, 60]])
    found = {"boxes": boxes, "scores": np.array([0.9, 0.8]), "labels": np.array([7, 8]), "size": (64, 64)}
    text = reported(tmp_path, Boxes((square, lost)), found, names, images=20)
    rows = re.search(r"Confusion matrix</h2>(.*?)</table>", text, re.S).group(1)
    assert re.findall(r">([^<\n]+)</td>", rows) == ["class 3", "class 7", "20", "100.0 %"]
    assert "20 boxes were missed, and 20 detections are of nothing." in text
    assert text.count("<figure>") == evaluation.WORST
    assert "of 76 classes" not in text


def test_the_worst_images_come_first_and_some_good_ones_last(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "x.png")
    square = Box(label="a", topX=0.25, topY=0.25, bottomX=0.75, bottomY=0.75, isCrowd=0)
    right = {"boxes": np.array([[16.0, 16, 48, 48]]), "scores": np.array([0.9]), "labels": np.array([0])}
    none = {"boxes": np.zeros((0, 4)), "scores": np.zeros(0), "labels": np.zeros(0, int)}
    false = {"boxes": np.array([[0.0, 0, 9, 9]] * 3), "scores": np.array([0.9, 0.8, 0.2]), "labels": np.zeros(3, int)}
    cases = [(square, right)] * 6 + [(None, none)] * 3 + [(square, none)] * 2 + [(square, false)]
    records = [Record(str(tmp_path / "x.png"), Boxes((box,) if box else ())) for box, _ in cases]
    found = [{**one, "size": (64, 64)} for _, one in cases]
    settings = {"validation_metric_type": "voc", "validation_iou_threshold": 0.5, "box_score_thresh": 0.1}
    examples = evaluation.measured(records, found, settings, ["a"], 1.0, 0.5).examples
    errors = [(int(e["missed"].sum()), int(e["false"].sum()), len(e["found"]["scores"])) for e in examples]
    assert errors == [(1, 2, 2), (1, 0, 0), (1, 0, 0), *[(0, 0, 1)] * evaluation.GOOD]
