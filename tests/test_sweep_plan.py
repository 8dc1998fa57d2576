"""plan: what it writes, says and refuses."""

import json
import shutil

import pytest

from automl_images.errors import UserError
from automl_images.steps.plan import plan_sweep
from automl_images.sweep.fingerprint import fingerprint, without_contents
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.trial import State, Trial

SETTINGS = {"model_name": "fasterrcnn_resnet18_fpn"}
SPACE = {"learning_rate": {"choice": [0.1, 0.01, 0.001]}}


@pytest.fixture
def plan(tmp_path):
    for name in ("t", "v"):
        (tmp_path / name).write_text("")

    def plan(data="t", settings=SETTINGS, fresh="", **sweep):
        sweep = {"iterations": 2, "space": SPACE, **sweep}
        content = {"name": "e", "task": "image-object-detection", "settings": settings, "sweep": sweep}
        paths = str(tmp_path / data), str(tmp_path / "v")
        lanes = plan_sweep(content, *paths, default_storage=str(tmp_path), fresh=fresh)
        return [json.loads(lane) for lane in lanes]

    return plan


def test_the_same_experiment_has_the_same_ledger_whatever_its_budget(plan, tmp_path):
    first = plan()
    assert plan(iterations=3, max_concurrent_iterations=1, timeout_hours=1)[0]["ledger"] == first[0]["ledger"]
    others = [plan(seed=1), plan(sampling="grid"), plan(settings={**SETTINGS, "momentum": 0.5}), plan(fresh="again")]
    others.append(plan(early_termination={"policy": "median_stopping"}))
    (tmp_path / "u").write_text('{"image_url": "/a.png", "label": "cat"}\n')
    others.append(plan(data="u"))
    assert len({o[0]["ledger"] for o in others} | {first[0]["ledger"]}) == len(others) + 1


@pytest.mark.parametrize(("iterations", "at_once", "lanes"), [(2, None, 2), (5, 3, 3), (150, None, 100), (99, 80, 80)])
def test_lanes(plan, iterations, at_once, lanes):
    found = plan(iterations=iterations, max_concurrent_iterations=at_once)
    assert [lane["lane"] for lane in found] == list(range(lanes))
    assert {lane["lanes"] for lane in found} == {lanes}


def test_a_grid_has_as_many_trials_as_points(plan, capsys):
    (lane, *_) = plan(sampling="grid", iterations=9)
    assert Ledger(lane["ledger"]).run(lane["run"]).iterations == 3
    assert "grid: 3 points, 9 iterations: 3 trials" in capsys.readouterr().err


def test_repeats_are_said(plan, capsys):
    plan(iterations=3)
    assert "so some repeat" not in capsys.readouterr().err
    plan(iterations=4)
    assert "note: the space has 3 points for 4 trials, so some repeat" in capsys.readouterr().err
    plan(iterations=4, space={"learning_rate": {"uniform": [0.1, 0.2]}})
    assert "so some repeat" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("state", "resumes", "kept"),
    [
        ("completed", False, True),
        ("terminated", False, True),
        ("failed", False, True),
        ("failed", True, False),
        ("running", False, False),
        ("skipped", False, False),
    ],
)
def test_what_a_further_submission_keeps(state, resumes, kept):
    assert Trial(0, State(state), resumes=resumes).finished is kept


RECORD = '{{"image_url": "{}", "image_details": {{"digest": "{}"}}, "label": "cat"}}\n'


@pytest.fixture
def sweep(tmp_path):
    """Return a function that plans a sweep over one image, and where its files lie."""
    (tmp_path / "a.png").write_bytes(b"1" * 200_000)
    (tmp_path / "w.pt").write_bytes(b"w" * 200_000)

    def planned(digest="x", **more):
        (tmp_path / "r.jsonl").write_text(RECORD.format(tmp_path / "a.png", digest))
        experiment = {"task": "image-classification", "weights": {"source": str(tmp_path / "w.pt")}}
        records = str(tmp_path / "r.jsonl")
        return json.loads(plan_sweep(experiment, records, records, default_storage=str(tmp_path), **more)[0])["ledger"]

    return planned, tmp_path


def test_masks_that_change_under_their_names_are_another_ledger(tmp_path):
    def planned():
        experiment = {"task": "image-semantic-segmentation", "weights": {"pretrained": False}}
        return json.loads(plan_sweep(experiment, *records, default_storage=str(tmp_path))[0])["ledger"]

    (tmp_path / "a.png").write_bytes(b"1")
    label = {"mask_url": str(tmp_path / "m.png"), "classes": {"a": 0, "b": 1}, "ignore": [255]}
    records = [str(tmp_path / "r.jsonl")] * 2
    (tmp_path / "r.jsonl").write_text(json.dumps({"image_url": str(tmp_path / "a.png"), "label": label}))
    (tmp_path / "m.png").write_bytes(b"1")
    first = planned()
    (tmp_path / "m.png").write_bytes(b"2")
    assert planned() != first
    (tmp_path / "m.png").write_bytes(b"1")
    assert planned() == first


def test_images_and_weights_that_change_under_their_names_are_another_ledger(sweep, tmp_path):
    planned, folder = sweep
    first, named = planned(), str(tmp_path / "named")
    planned(ledger=named)
    assert planned("another digest") == first, "the images decide, not what the records say of them"
    (folder / "a.png").write_bytes(b"1" * 199_999 + b"2")
    assert (second := planned()) != first
    with pytest.raises(UserError, match=r"another experiment \(the images have changed\); name another ledger"):
        planned(ledger=named)
    (folder / "w.pt").write_bytes(b"w" * 199_999 + b"x")
    assert planned() not in (first, second)
    (folder / "w.pt").write_bytes(b"w" * 200_000)
    (folder / "a.png").write_bytes(b"1" * 200_000)
    assert planned() == first


def test_a_ledger_of_an_earlier_version_is_found_and_sees_changes_from_then_on(sweep, capsys):
    planned, folder = sweep
    own = Ledger(planned())
    covered = without_contents(own.experiment())
    earlier = folder / "ledgers" / f"experiment-{fingerprint(covered)}"
    shutil.move(own.url, earlier)
    (earlier / "experiment.json").write_text(json.dumps(covered))
    capsys.readouterr()
    assert planned() == str(earlier)
    assert "is of an earlier version, which did not see images change" in capsys.readouterr().err
    assert planned() == str(earlier) and "earlier version" not in capsys.readouterr().err
    (folder / "a.png").write_bytes(b"2" * 200_000)
    assert planned() not in (str(earlier), own.url)


def test_weights_that_are_not_there_leave_no_ledger(sweep):
    planned, folder = sweep
    (folder / "w.pt").unlink()
    with pytest.raises(UserError, match="weights.source: .*w.pt: no such file"):
        planned()
    assert not (folder / "ledgers").exists()
