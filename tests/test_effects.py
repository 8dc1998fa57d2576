"""What each hyperparameter of a classifier observably does, by the catalogue's definition, and the ends of its range.

Each has a function that bears its name; one without fails.
"""

import pytest
import torch

from automl_images.architectures import ARCHITECTURES
from automl_images.steps.hyperparameters import list_hyperparameters
from automl_images.training.fit import fit
from automl_images.training.job import Job
from tests.effects import images, learning, models, vendors  # noqa: F401 (each adds its effects)
from tests.effects.lab import EFFECTS, Lab
from tests.effects.probe import (
    SINGLE,
)
from tests.helpers.detectors import settings_of
from tests.helpers.training_probe import Journal


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small are slower with more, much slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return Lab(tmp_path_factory.mktemp("lab"))


@pytest.mark.parametrize("name", [row["name"] for row in list_hyperparameters(SINGLE, "resnet20")])
def test_effect(lab, name):
    assert name in EFFECTS, f"{name} has no test of its effect"
    EFFECTS[name](lab)


@pytest.mark.parametrize(
    ("model", "frozen"),
    [("yolov5", 3), pytest.param("yolov5", 10, marks=pytest.mark.full), ("fasterrcnn_resnet18_fpn", 5)],
)
def test_a_detectors_frozen_layers_stay_as_they_were(squares, tmp_path, monkeypatch, model, frozen):
    from automl_images.models import catalogue

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    start, initial = {}, catalogue.initial

    def watch(*arguments):
        made, said = initial(*arguments)
        start.update({n: t.clone() for n, t in made.state_dict().items()})
        return made, said

    monkeypatch.setattr(catalogue, "initial", watch)
    given = {"number_of_epochs": 1, "training_batch_size": 4, "lr_scheduler": "step", "layers_to_freeze": frozen}
    journal = Journal(tmp_path)
    settings = {**settings_of(model, **given), "checkpoint_frequency": 1}
    fit(Job("image-object-detection", settings, squares[0][:4], squares[1][:1], {}, seed=1), journal)
    held = tuple(name + "." for group in ARCHITECTURES[model].groups[:frozen] for name in group)
    end = torch.load(tmp_path / "epochs" / "1" / "model.pt", weights_only=True)
    changed = {name for name, tensor in end.items() if not torch.equal(tensor, start[name])}
    assert not any(name.startswith(held) for name in changed)
    assert {name for name in end if name.startswith(held)}
    assert len(changed) > len([n for n in end if not n.startswith(held)]) / 2
