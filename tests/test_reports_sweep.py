"""What a person is shown of a sweep: curves' ends, parallel coordinates, importance, the time line, watch and show."""

import io
import json
import random
import re
import time
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from math import log10
from pathlib import Path
from urllib.parse import unquote

import pytest
from rich.console import Console
from typer.testing import CliRunner

from automl_images.cli import app
from automl_images.errors import UserError
from automl_images.reports.importance import importance
from automl_images.reports.leaderboard import write_leaderboard
from automl_images.reports.parallel import parallel_chart
from automl_images.reports.timeline import timeline
from automl_images.steps.watch import ended, newest_run, watch_trials
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.score import Evaluation, Score
from automl_images.sweep.submission import Submission
from automl_images.sweep.trial import State, Trial

METRIC = "mean_average_precision"


def trial(number, settings, values=(0.1, 0.3), state="completed", start=0.0, end=10.0):
    made = Trial(number, State(state), 1, settings, tuple(sorted(settings)), epochs=4, started=start, ended=end)
    return made.with_curve(dict(enumerate(values, 1)))


def sweep(count):
    """Return trials of two branches; the learning rate alone decides, the rest is noise."""
    rng, trials = random.Random(1), []
    for i in range(count):
        rate = 10 ** rng.uniform(-5, -1)
        settings = {"learning_rate": rate, "<b>mode": rng.choice(["<i>a</i>", "b"]), "flag": rng.random() < 0.5}
        settings |= {"size": rng.choice([4, 8, 16])} if i % 2 else {"weight_decay": rng.uniform(0, 0.01)}
        top = 0.8 - 0.2 * abs(log10(rate) + 3)
        state = ("completed", "terminated", "completed", "failed")[i % 4]
        trials.append(trial(i, settings, (top / 2, top), state, 10.0 * (i // 3), 10.0 * (i // 3) + 9))
    return trials


@pytest.mark.parametrize("count", [1, 40, 300])
def test_a_page_is_whole_escaped_and_fetches_nothing(tmp_path, count):
    write_leaderboard(f"{tmp_path}/board.html", title="T", metric=METRIC, trials=sweep(count), best=0)
    text = (tmp_path / "board.html").read_text()
    assert text.rstrip().endswith("</html>") and len(text) < 1_000_000
    script = re.findall(r"<script>(.*?)</script>", text, re.S)
    assert [f"script-src 'sha256-{b64encode(sha256(s.encode()).digest()).decode()}'" in text for s in script] == [True]
    assert "<i>a" not in text and "<b>mode" not in text
    assert not re.search(r"""src\s*=|href="(?!#tr)|@import|url\((?!#shade\))|https?://""", text)
    assert {*re.findall('href="#([^"]*)', text)} <= {*re.findall('id="([^"]*)', text)}
    assert text.count('class="spark"') == text.count("<tbody>") == count
    panels = re.findall(r'<svg class="gene".*?</svg>', text, re.S)  # a setting that half of the trials lack too
    assert [p.count("<circle") for p in panels if "size:" in p] == ([count // 2] if count > 1 else [])
    assert len(panels) == (0 if count == 1 else 5)
    assert text.count('class="bar ') == count
    says = {1: ("At least 8 trials", "No sampled"), 40: ("PED-ANOVA", ""), 300: ("151 of 300 trials", "101 of 300")}
    assert says[count][0] in text and says[count][1] in text
    marks = [text.count(f'class="end {mark}"') for mark in ("cross", "diamond")]
    assert count == 300 or marks == ([11, 11] if count == 40 else [0, 0])  # ten trials each, and the key


def test_a_trial_tells_the_settings_that_set_it_apart_its_model_and_its_log(tmp_path):
    ledger = Ledger(f"{tmp_path}/led ger")
    trials = [replace(trial(i, {"rate": 0.5 * i, "same": 7}), model=f"s3://key:secret@b/{i}") for i in range(2)]
    Path(ledger.artifacts(0).log()).parent.mkdir(parents=True)
    Path(ledger.artifacts(0).log()).write_text("epoch 1")
    write_leaderboard(f"{tmp_path}/out/b.html", title="T", metric=METRIC, trials=trials, best=1, ledger=ledger)
    text = (tmp_path / "out/b.html").read_text()
    links = re.findall('href="([^#"]+)"', text)
    assert [(tmp_path / "out" / unquote(link)).read_text() for link in links] == ["epoch 1"]  # the other has none
    # each is among the best trial's sampled settings too
    assert text.count("<dt>same</dt>") == 2 and text.count("<dt>rate</dt>") == 3 and "secret" not in text
    remote = Ledger("memory://somewhere/l")
    write_leaderboard(f"{tmp_path}/c.html", title="T", metric=METRIC, trials=trials[:1], best=0, ledger=remote)
    text = (tmp_path / "c.html").read_text()
    assert f'<code class="text">{remote.artifacts(0).log()}</code>' in text and 'href="#trial-0"' in text


def test_lines_have_gaps_where_trials_lack_a_setting():
    trials = [trial(i, {"a": i, "b": 1.0 * i, "c": i} if i % 2 else {"a": i, "c": i, "d": i}) for i in range(8)]
    chart = parallel_chart(trials, METRIC, ["a", "b", "c", "d"], best=1)
    names = [axis["name"] for axis in chart["axes"]]
    assert {*names[:2]} == {"b", "d"}
    for line in chart["lines"]:
        lacks = "d" if int(re.match(r"trial (\d+)", line["title"]).group(1)) % 2 else "b"
        drawn = {float(x) for x in re.findall(r"[ML]([\d.]+) ", line["path"])} | {x for x, _ in line["dots"]}
        assert drawn == {axis["x"] for axis in chart["axes"] if axis["name"] != lacks}
        assert line["path"].count("M") + len(line["dots"]) == 1 + (names[1] == lacks)
    assert [line["strong"] for line in chart["lines"]] == [False] * 7 + [True]


def test_axes_suit_their_values():
    log, mixed = ([1e-4, 1e-3, 0.01], [0, 0.5, 1], "0.0001 0.001 0.01"), (["z", None, True], [1, 0, 0.5], "- True z")
    for values, places, labels in (log, mixed):
        chart = parallel_chart([trial(i, {"s": v}, (0.1 + i,)) for i, v in enumerate(values)], METRIC, ["s"], None)
        ys = [float(re.match(r"M[\d.]+ ([\d.]+)", line["path"]).group(1)) for line in chart["lines"]]
        shares = [(chart["bottom"] - y) / (chart["bottom"] - chart["top"]) for y in ys]
        assert shares == pytest.approx(places, abs=0.01)
        assert " ".join(whole for _, _, whole in chart["axes"][0]["ticks"]) == labels


def test_the_setting_that_matters_comes_first_or_a_line_says_why_none_does():
    shares, why = importance([replace(t, state=State.COMPLETED) for t in sweep(40)])
    assert next(iter(shares)) == "learning_rate" and shares["learning_rate"] > 0.4
    assert sum(shares.values()) == pytest.approx(1) and why == "" and len(shares) == 5
    flat, constant = [[trial(i, {"a": i * f}, (0.3 * i * (1 - f),)) for i in range(9)] for f in (1, 0)]
    said = {text.split(" ")[0]: shares for shares, text in map(importance, (sweep(9), flat, constant))}
    assert said == {"At": {}, "All": {}, "No": {}}


def test_the_time_line_counts_what_ran_at_a_time_and_cuts_the_night():
    spans = [(0, 100), (0, 50), (60, 100), (90, 100), (90_000, 90_100)]
    chart = timeline([trial(i, {}, start=a, end=b) for i, (a, b) in enumerate(spans)], best=4)
    assert [bar["y"] for bar in chart["bars"]].count(chart["top"]) == 2
    assert (chart["most"], chart["busy"], chart["mean"]) == (3, 200, 1.5)
    assert [text for _, text in chart["cuts"]] == ["24h 58m"] and chart["unit"] == "minutes"
    assert max(bar["x"] + bar["width"] for bar in chart["bars"]) <= chart["width"]


@pytest.fixture(params=["local", "memory"])
def ledger(request, tmp_path):
    made = Ledger(str(tmp_path / "ledger") if request.param == "local" else f"memory://{tmp_path.name}")
    made.open({"primary_metric": METRIC})
    made.write_run(Submission("r", 2, time.time() + 3600))
    for number, value, state in ((0, 0.25, State.COMPLETED), (1, 0.5, State.FAILED)):
        content = made.start_trial(number, {"number_of_epochs": 1, "learning_rate": value}, ["learning_rate"])
        made.evaluate(Evaluation(number, 1, Score(1, 1, value, value, value)))
        made.end_trial(content, state, error="boom" if state == State.FAILED else None)
    return made


@pytest.mark.parametrize("terminal", [False, True], ids=["file", "terminal"])
def test_watch_ends_when_all_have_ended(ledger, terminal):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120, height=30, color_system=None)
    watch_trials(ledger.url, 0.1, console)
    text = console.file.getvalue()
    assert (
        "1 completed, 1 failed; best: trial 1 (*)" if terminal else "trial 1 failed after 0s at epoch 1 of 1"
    ) in text
    assert terminal or text.endswith(
        "ended: 1 completed, 1 failed; the best is trial 1, mean_average_precision 0.5000\n"
    )


def test_a_sweep_has_not_ended_while_its_newest_run_expects_more(ledger):
    (run, written), trials = newest_run(ledger), ledger.trials()
    more = replace(run, iterations=3)
    assert ended(trials, run, written) and not ended(trials, more, written)
    assert ended(trials, replace(more, deadline=0), written)
    assert not ended([replace(trials[0], state=State.RUNNING), trials[1]], replace(run, deadline=0), written)
    later, killed = time.time() + 60, replace(trials[1], state=State.FAILED, resumes=True)
    assert ended(trials, run, later) and not ended([trials[0], killed], run, later)
    time.sleep(0.05)  # the store's clock moves on
    ledger.write_run(Submission("a-later-one", 5, time.time() + 3600))
    assert newest_run(ledger)[0].iterations == 5


def test_show(ledger):
    told = CliRunner().invoke(app, ["sweep", "show", ledger.url, "--json"])
    assert [(t["trial"], t["best"]["value"]) for t in json.loads(told.output)] == [(0, 0.25), (1, 0.5)]
    table = CliRunner().invoke(app, ["sweep", "show", ledger.url]).output
    assert "1 completed, 1 failed" in table and "learning_rate" in table
    for command in (["show"], ["show", "--json"], ["watch"]):
        error = CliRunner().invoke(app, ["sweep", *command, ledger.url + "-none"]).exception
        assert isinstance(error, UserError) and "is this a ledger" in str(error)
