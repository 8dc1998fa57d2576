"""A journal that remembers, and a network of three numbers whose training can be computed by hand."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from torch import nn

from automl_images.annotations import Box, Boxes, Record
from automl_images.hyperparameters import resolve
from automl_images.models import catalogue
from automl_images.models.detector import Detector
from automl_images.training import detection as trial_module
from automl_images.training.fit import fit
from automl_images.training.job import Job

TASK = "image-object-detection"
PLAIN = {
    "model_name": "fasterrcnn_resnet18_fpn",
    "lr_scheduler": "step",
    "step_lr_gamma": 1,
    "learning_rate": 0.1,
    "weight_decay": 0,
}
PULLS = [1.0, 3.0, -2.0, 0.5, 0.1, -4.0, 1.5, 0.25]


def named(value):
    """Return a case's id."""
    return " ".join(f"{k}={x}" for k, x in value.items()) or "default" if isinstance(value, dict) else ""


class Journal:
    """Records what a trial reports; stops it at an epoch, if told to; keeps models and checkpoints."""

    def __init__(self, folder: Path, stop_at: int = 0):
        self.folder, self.stop_at = folder, stop_at
        self.evaluations, self.numbers, self.saved, self.paces = [], [], [], []

    def evaluated(self, score):
        self.evaluations.append(score[1:])
        self.numbers.append(score.number)
        return "told to" if score.epoch == self.stop_at else None

    def progressed(self, pace):
        self.paces.append(pace)

    def save_model(self, folder):
        shutil.rmtree(self.folder / "model", ignore_errors=True)
        shutil.copytree(folder, self.folder / "model")
        self.saved.append(json.loads((folder / "metrics.json").read_text())["epoch"])

    def save_epoch(self, folder, epoch):
        shutil.copytree(folder, self.folder / "epochs" / str(epoch))

    def save_checkpoint(self, folder, epoch):
        shutil.copytree(folder, self.folder / f"checkpoint-{epoch}", dirs_exist_ok=True)

    def model(self):
        return torch.load(self.folder / "model" / "model.pt", weights_only=True)


class Probe(Detector):
    """A network of three numbers: ``w``'s gradient at the n-th call is known, the others move by decay only."""

    def __init__(self, pulls=PULLS):
        super().__init__()
        self.pulls, self.calls, self.predicted = pulls, [], []
        self.w = nn.Parameter(torch.ones(1, 1, dtype=torch.float64))
        self.still = nn.Parameter(torch.ones(1, 1, dtype=torch.float64))
        self.bias = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def losses(self, images, targets):
        pull = self.pulls[len(self.calls) % len(self.pulls)]
        self.calls.append((len(images), float(self.w.detach()), float(torch.rand(()))))
        return {"loss": self.w.sum() * pull + 0 * (self.still.sum() + self.bias.sum())}

    def predict(self, images):
        self.predicted.append(len(images))
        torch.rand(7)  # evaluation may draw; training must not notice
        one = {"boxes": [[0.0, 0, 32, 20]], "scores": [0.9], "labels": [0]}
        return [{k: torch.tensor(v) for k, v in one.items()} for _ in images]

    @property
    def path(self):
        return np.array([w for _, w, _ in self.calls] + [float(self.w.detach())])


def trainer(squares, tmp_path, monkeypatch):
    """Return a function that fits a probe to six images with scripted metrics and returns (probe, fitted, journal)."""

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # what is computed by hand is in full precision
    truth = [Box("blue", 0, 0, 0.5, 0.5), *[Box("blue", 0.5, 0.5, 1, 1)] * 2]  # the probe finds the first, IoU 0.625
    validation = [Record(r.image_url, Boxes((box,)), 64, 64) for r, box in zip(squares[1], truth, strict=False)]

    def run(given, pulls=PULLS, values=(), stop_at=0, seed=1, checkpoint=None, name="trial"):
        probe, journal = Probe(pulls), Journal(tmp_path / name, stop_at)
        monkeypatch.setattr(catalogue, "initial", lambda *_: (probe, "weights: fresh"))
        if values:
            script = iter(values)
            monkeypatch.setattr(
                trial_module, "detection_metrics", lambda *_: {"mean_average_precision": float(next(script))}
            )
        settings = resolve(TASK, {**PLAIN, **given})
        fitted = fit(Job(TASK, settings, squares[0][:6], validation, {}, seed, checkpoint), journal)
        return probe, fitted, journal

    return run
