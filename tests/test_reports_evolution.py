"""What an evolution writes: evolve.csv, hyp_evolve.yaml, evolve.png, the leaderboard; and which trial select takes."""

import io
import random

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from automl_images.cli import app
from automl_images.errors import UserError
from automl_images.experiment import Experiment
from automl_images.reports.evolution import evolution_of, panels
from automl_images.steps.plan import check_experiment
from automl_images.steps.select import headline, select_trial
from automl_images.steps.watch import write_generations
from automl_images.sweep import proposal
from automl_images.sweep.hyp import read_hyp
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.sampling import evolving
from automl_images.sweep.trial import State

METRICS = ["metrics/precision", "metrics/recall", "metrics/mAP_0.5", "metrics/mAP_0.5:0.95"]
LOSSES = ["train/box_loss", "train/obj_loss", "train/cls_loss"]


def evolved(folder, count=30, sampling="evolve", **settings):
    """Return the ledger of an evolution of the anchor head whose fitness falls with the distance of box from 0.1."""
    settings = {"model_name": "yolov5", "head": "anchor", **settings}
    experiment = {"task": "image-object-detection", "settings": settings, "sweep": {"sampling": sampling}}
    ledger = Ledger(str(folder / "ledger"))
    ledger.open(check_experiment(Experiment.read(experiment)))
    rng = random.Random(0)
    for i in range(count):
        complete, names, _ = proposal.proposed(ledger, i)
        trial = ledger.start_trial(i, complete, names)
        if i % 7 == 5:
            ledger.end_trial(trial, State.FAILED, error="it diverged")
            continue
        top = 0.7 - 3 * abs(complete["box"] - 0.1) + rng.uniform(0, 0.02)
        model = folder / f"model-{i}"
        model.mkdir()
        rows = [{"epoch": e, "losses": {"box_loss": 1 / e, "obj": 2 / e, "cls": i / 100}} for e in (1, 2)]
        (model / "training.json").write_text(str(rows).replace("'", '"'))
        # the primary metric is another order than the fitness
        metrics = {"precision": 0.5, "recall": 0.25, "coco": {"map_50": top, "map": top / 2}}
        best = {"metric": "mean_average_precision", "value": i / 100, "epoch": 2, "metrics": metrics}
        ledger.end_trial(trial, State.COMPLETED, best=best, model=str(model))
    return ledger


def test_evolve_csv_is_a_header_and_a_row_a_generation(tmp_path):
    made = evolution_of((ledger := evolved(tmp_path, 15)).experiment(), ledger.trials())
    header, *rows = [[f.strip() for f in line.split(",")] for line in made.csv().splitlines()]
    assert header[:7] == [*METRICS, *LOSSES] and len(header) == 7 + 29
    assert header[7:12] == ["lr0", "lrf", "momentum", "weight_decay", "warmup_epochs"]
    assert header[-1] == "copy_paste" and header[7 + 14] == "anchors"
    assert len(rows) == 13 and made.without == 2 and all(len(row) == 36 for row in rows)
    assert {len(field) for line in made.csv().splitlines() for field in line.split(",")} == {20}
    assert rows[0][:7] == ["0.5", "0.25", *(f"{v:.5g}" for v in made.rows[0].metrics[2:]), "0.5", "1", "0"]
    first = [t for t in ledger.trials() if t.state is State.COMPLETED][3]
    assert float(rows[3][header.index("mosaic")]) == pytest.approx(first.settings["mosaic"], rel=1e-4)


def test_hyp_evolve_yaml_is_the_best_generation_and_starts_the_next_evolution(tmp_path):
    ledger = evolved(tmp_path)
    made = evolution_of(ledger.experiment(), ledger.trials())
    sampler, trials = evolving(ledger.experiment()), ledger.trials()
    best = max((t for t in trials if t.succeeded), key=sampler.fitness_of)
    head = made.yaml().splitlines()
    assert f"# Best generation: {best.index}, fitness" in head[1] and head[2] == "# Last generation: 29"
    path = tmp_path / "hyp_evolve.yaml"
    path.write_text(made.yaml())
    read = read_hyp(str(path))
    assert len(read) == 29 and all(best.settings[name] == value for name, value in read.items())
    next_one = evolved(tmp_path / "next", 1, {"by": "evolve", "start": str(path)})
    trial = next_one.trials()[0]
    assert {name: trial.settings[name] for name in read} == read
    trained = Experiment.read({"task": "image-object-detection", "settings": {"hyp": str(path)}}).settings
    assert trained == read


def test_evolve_png_has_a_panel_a_gene_and_marks_the_best(tmp_path):
    ledger = evolved(tmp_path)
    made = evolution_of(ledger.experiment(), ledger.trials())
    drawn = {p["title"].partition(" ")[0]: p for p in panels(made)}
    assert len(drawn) == 29 and drawn["fliplr"]["fixed"] is not None and drawn["fliplr"]["ends"] == ["0.5"]
    box = drawn["box"]
    assert box["fixed"] is None and len(box["points"]) == len(made.rows)
    assert box["best"][1] == min(y for _, y, _ in box["points"]) == box["top"]
    xs = [row.genes[made.genes.index("box")] for row in made.rows]
    assert np.corrcoef(xs, [x for x, _, _ in box["points"]])[0, 1] > 0.999
    assert len({c for _, _, c in box["points"]}) > 1
    select_trial(ledger.url, evolution=str(tmp_path / "out"))
    picture = Image.open(tmp_path / "out" / "evolve.png")
    assert picture.size == (5 * 190 * 2, 6 * 170 * 2)
    assert (tmp_path / "out" / "hyp_evolve.yaml").read_text() == made.yaml()


def test_select_takes_the_best_fitness_and_says_so(tmp_path, capsys):
    ledger = evolved(tmp_path)
    chosen = select_trial(ledger.url, report=f"{tmp_path}/board.html")
    best = evolution_of(ledger.experiment(), ledger.trials()).best
    assert chosen["trial"] == best.trial != max(t.index for t in ledger.trials() if t.succeeded)
    assert f"chosen by its fitness, {best.fitness:.4f}" in headline(chosen)
    assert "4 of 30 trials have no fitness" in capsys.readouterr().err
    page = (tmp_path / "board.html").read_text()
    assert page.count(': fitness by value"') == 29 and f"# Best generation: {best.trial}" in page and LOSSES[0] in page
    assert page.count("<script") == 1 and "https" not in page  # the one that sorts tables


def test_a_running_evolution_is_written_and_another_sweep_refused(tmp_path):
    ledger = evolved(tmp_path, 3)
    settings, names, _ = proposal.proposed(ledger, 3)
    ledger.start_trial(3, settings, names)
    files = [str(tmp_path / "so far.csv"), str(tmp_path / "so far.yaml")]
    shown = CliRunner().invoke(app, ["sweep", "show", ledger.url, "--csv", files[0], "--hyp", files[1]])
    assert shown.exit_code == 0 and shown.stdout.startswith("generations: 3; trials without a fitness: 1; the best is")
    assert len((tmp_path / "so far.csv").read_text().splitlines()) == 4 and len(read_hyp(files[1])) == 29
    other = Ledger(f"{tmp_path}/other")
    other.open(check_experiment(Experiment.read({"task": "image-classification", "sweep": {"iterations": 2}})))
    with pytest.raises(UserError, match="a sweep that evolves"):
        write_generations(other.url, files[0], None)
    empty = evolved(tmp_path / "empty", 0)
    assert "no best yet" in write_generations(empty.url, *files)
    assert "No generation of 0 has a fitness" in (tmp_path / "so far.yaml").read_text()


def test_an_evolution_without_a_generation_is_a_picture_that_says_so():
    from automl_images.reports.evolution import Evolution
    from automl_images.reports.evolution_picture import png

    picture = Image.open(io.BytesIO(png(Evolution(("m",), (), ("a",), (), 3, 4))))
    assert min(picture.convert("L").getextrema()) < 128
