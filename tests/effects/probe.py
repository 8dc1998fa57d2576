"""Small classification data, and what can be seen of a trial on it: batches, gradients, weights, rates, predictions."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from PIL import Image
from torch import nn

from automl_images.annotations import Classes, OneClass, Record
from automl_images.architectures import ARCHITECTURES
from automl_images.hyperparameters import resolve
from automl_images.models import catalogue
from automl_images.training import classification as trial_module
from automl_images.training.classification import ClassificationModule
from automl_images.training.fit import fit
from automl_images.training.job import Job
from tests.helpers.training_probe import Journal

SINGLE, MULTI = "image-classification", "image-classification-multilabel"
COLOURS = {"blue": (40, 60, 220), "green": (40, 200, 60), "red": (220, 50, 40)}
SMALL = {
    "model_name": "resnet20",
    "train_crop_size": 16,
    "valid_crop_size": 16,
    "valid_resize_size": 16,
    "augmentation_type": "crop",
    "training_batch_size": 4,
    "validation_batch_size": 4,
    "number_of_epochs": 1,
    "warmup_cosine_lr_warmup_epochs": 1,
    "early_stopping": 0,
    "precision_dtype": "float32",
}
STEADY = {"lr_scheduler": "step", "step_lr_gamma": 1, "momentum": 0, "nesterov": 0, "weight_decay": 0}


def draw_classes(folder: Path, labels: list, size: tuple[int, int] = (20, 20), seed: int = 0) -> list[Record]:
    """Write an image for each label (a colour's name, or a list of them): bands of its colours on noise."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for i, label in enumerate(labels):
        image = rng.integers(90, 160, (*size, 3), dtype=np.uint8)
        for name in [label] if isinstance(label, str) else label:
            top = list(COLOURS).index(name) * size[0] // len(COLOURS)
            image[top : top + size[0] // len(COLOURS)] = COLOURS[name]
        records.append(record(folder / f"{i:03d}.png", image, label))
    return records


def record(path: Path, image: np.ndarray, label) -> Record:
    """Write an image and return its record."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return Record(str(path), label_of(label), where=f"data, {path.name}")


def label_of(value):
    """Return the label of one class, given as text, or of several."""
    return OneClass(value) if isinstance(value, str) else Classes(tuple(value))


def write_labels(path: Path, records: list[Record]) -> str:
    """Write records as JSONL and return its path."""
    path.write_text("".join(json.dumps({"image_url": r.image_url, "label": r.label.to_json()}) + "\n" for r in records))
    return str(path)


class Tiny(nn.Module):
    """A linear classifier of an image's mean colour."""

    frozen, gradient_clip, sums_batches, architecture = (), None, False, ARCHITECTURES["resnet20"]

    def __init__(self, classes: int, zero: bool = False):
        super().__init__()
        torch.manual_seed(3)
        self.layer = nn.Linear(3, classes)
        if zero:
            self.layer.requires_grad_(False).weight.zero_()
            self.layer.bias.zero_()
            self.layer.requires_grad_(True)

    def forward(self, images):
        return self.layer(images.float().mean((2, 3)) / 50 - 2)


def watched(folder: Path, data, given, *, task=SINGLE, network=None, scores=(), seed=1, checkpoint=None):
    """Fit, and return what was seen.

    Args:
        folder: for the journal.
        data: (training, validation) records.
        given: settings that differ from ``SMALL``.
        network: takes the place of the model, from the number of classes.
        scores: the primary metric of each evaluation, instead of the true one.

    Returns:
        ``inputs``: the network's in training; ``batches``: their sizes; ``epochs``: of each batch; ``scored``: the
        evaluated batches; ``found``: the last evaluation's probabilities by index; ``gradients``,
        ``rates``, ``weights``: of each step, and the weights at the end; ``start``, ``end``: state dicts; ``outputs``,
        ``evaluated``: the dtype of each of the network's results and its channels, in training and in evaluations;
        ``fitted``, ``journal``, ``model``, ``settings``.
    """
    seen = SimpleNamespace(inputs=[], epochs=[], scored=[], found={}, gradients=[], rates=[], weights=[], outputs=[])
    seen.evaluated = []
    seen.settings, seen.journal = resolve(task, {**SMALL, **given}), Journal(folder)
    script = iter(scores)
    originals = SimpleNamespace(
        initial=catalogue.initial,
        classify=trial_module.classify,
        score=ClassificationModule.score,
    )

    def initial(task, settings, classes, weights):
        model, said = (
            (network(len(classes)), "probe") if network else originals.initial(task, settings, classes, weights)
        )
        seen.model = model
        seen.start = {n: t.clone() for n, t in model.state_dict().items()}
        inner = getattr(model, "network", model)
        model.register_forward_pre_hook(lambda m, x: seen.inputs.append(x[0].detach().clone()) if m.training else None)
        inner.register_forward_hook(
            lambda m, x, y: (seen.outputs if m.training else seen.evaluated).append((y.dtype, x[0].shape[1]))
        )
        return model, said

    def classify(model, images, multilabel):
        seen.scored.append(images.clone())
        return originals.classify(model, images, multilabel)

    def score(self, found):
        seen.found = dict(found)
        metrics = originals.score(self, found)
        return {**metrics, "accuracy": float(next(script))} if scores else metrics

    class Watch(Callback):
        def on_train_batch_start(self, trainer, *_):
            seen.epochs.append(trainer.current_epoch)

        def on_before_optimizer_step(self, trainer, module, optimizer):
            learning = {n: p for n, p in module.model.named_parameters() if p.requires_grad}
            seen.gradients.append({n: p.grad.detach().double().clone() for n, p in learning.items()})
            seen.weights.append({n: p.detach().double().clone() for n, p in learning.items()})
            seen.rates.append(optimizer.param_groups[0]["lr"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.setattr(catalogue, "initial", initial)
        patch.setattr(trial_module, "classify", classify)
        patch.setattr(ClassificationModule, "score", score)
        seen.fitted = fit(Job(task, seen.settings, *data, {}, seed, checkpoint), seen.journal, [Watch()])
    seen.end = {n: t.clone() for n, t in seen.model.state_dict().items()}
    learning = {n: p for n, p in seen.model.named_parameters() if p.requires_grad}
    seen.weights.append({n: p.detach().double().clone() for n, p in learning.items()})
    seen.batches = [len(images) for images in seen.inputs]
    return seen


def replayed(settings, name: str, gradients, rates, weight: torch.Tensor) -> list[torch.Tensor]:
    """Return a parameter's path: what the settings' optimiser makes of its gradients, by its published formula."""
    w, m, v, top = weight.clone(), 0.0, 0.0, torch.zeros_like(weight)
    path = [w]
    kind, momentum = settings["optimizer"], settings["momentum"]
    beta1, beta2, eps = settings["beta1"], settings["beta2"], settings["eps"]
    decay = settings["weight_decay"] if weight.ndim > 1 and kind != "rmsprop" else 0.0
    for t, (step, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        g = step[name] + (0 if kind == "adamw" else decay * w)
        if kind in ("sgd", "nag"):
            m = momentum * m + g
            ahead = kind == "nag" or settings["nesterov"]
            w = w - rate * (g + momentum * m if ahead else m)
        elif kind == "rmsprop":
            v = settings["gamma"] * v + (1 - settings["gamma"]) * g**2
            w = w - rate * g / (v**0.5 + eps)
        else:
            w = w * (1 - rate * decay) if kind == "adamw" else w
            m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
            top = torch.maximum(top, v)
            second = (top if settings["amsgrad"] else v) / (1 - beta2**t)
            w = w - rate * m / (1 - beta1**t) / (second**0.5 + eps)
        path.append(w)
    return path
