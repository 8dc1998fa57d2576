"""What is evaluated and kept, where weights start, what is frozen, how losses are weighed."""

import pytest
import torch

from automl_images.annotations import Classes, OneClass, Record
from automl_images.architectures import ARCHITECTURES
from automl_images.errors import UserError
from tests.effects.lab import effect, planned_weights, refused
from tests.effects.probe import MULTI, Tiny


@effect
def of_evaluation_frequency(lab):
    for every, epochs in ((1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (100, [5])):
        seen = lab.tiny(number_of_epochs=5, training_batch_size=8, evaluation_frequency=every)
        assert [e for e, *_ in seen.journal.evaluations] == epochs


@effect
def of_checkpoint_frequency(lab):
    for every, kept in ((None, []), (1, ["1", "2", "3"]), (2, ["2"]), (100, [])):
        seen = lab.tiny(number_of_epochs=3, training_batch_size=8, checkpoint_frequency=every)
        folders = sorted((seen.journal.folder / "epochs").glob("*"))
        assert [f.name for f in folders] == kept
        for folder in folders:
            state = torch.load(folder / "model.pt", weights_only=True)
            assert torch.equal(state["layer.weight"].double(), seen.weights[int(folder.name)]["layer.weight"])


@effect
def of_layers_to_freeze(lab):
    for count in (None, 1, 4):
        seen = lab.run(layers_to_freeze=count)
        held = tuple(name + "." for group in ARCHITECTURES["resnet20"].groups[: count or 0] for name in group)
        for name, tensor in seen.start.items():
            assert torch.equal(seen.end[name], tensor) is (bool(held) and name.startswith(held)), name
    refused("layers_to_freeze: 5 is more than resnet20 has; use at most 4", layers_to_freeze=5)


def starts_from_a_file(lab, name):
    run, other = lab.run(), lab.run(seed=2)
    folder = lab.folder / "weights"
    folder.mkdir(exist_ok=True)
    torch.save(other.end, folder / "other.pt")
    given = {
        "checkpoint_run_id": {"checkpoint_run_id": str(run.journal.folder / "model")},
        "checkpoint_dataset_id": {"checkpoint_dataset_id": str(folder), "checkpoint_filename": "other.pt"},
    }
    given["checkpoint_filename"] = given["checkpoint_dataset_id"]
    expected = (run if name == "checkpoint_run_id" else other).end
    staged = planned_weights(lab, **given[name])
    assert staged.keys() == expected.keys()
    assert all(torch.equal(staged[n], t) for n, t in expected.items())
    assert planned_weights(lab) is None


@effect
def of_checkpoint_run_id(lab):
    starts_from_a_file(lab, "checkpoint_run_id")
    with pytest.raises(UserError, match=r"settings\.checkpoint_run_id: .*no such run"):
        planned_weights(lab, checkpoint_run_id=str(lab.folder / "nowhere"))


@effect
def of_checkpoint_dataset_id(lab):
    starts_from_a_file(lab, "checkpoint_dataset_id")
    with pytest.raises(UserError, match="goes together with checkpoint_filename"):
        planned_weights(lab, checkpoint_dataset_id=str(lab.folder))


@effect
def of_checkpoint_filename(lab):
    starts_from_a_file(lab, "checkpoint_filename")
    for given, line in (({}, "goes together"), ({"checkpoint_dataset_id": str(lab.folder)}, "no such file")):
        with pytest.raises(UserError, match=line):
            planned_weights(lab, checkpoint_filename="none.pt", **given)


def first_bias(lab, records, **given):
    seen = lab.tiny(data=(records, records), network=lambda n: Tiny(n, zero=True), training_batch_size=8, **given)
    return seen.gradients[0]["layer.bias"].tolist()


@effect
def of_weighted_loss(lab):
    """From logits of zero the gradient of a class's bias is its weight times its images, against the others'."""
    images, labels = lab.data[0], ["blue"] * 6 + ["red"] * 2
    single = [Record(r.image_url, OneClass(label)) for r, label in zip(images, labels, strict=True)]
    classes = [(), *[("blue",)] * 4, *[("blue", "red")] * 3]
    several = [Record(r.image_url, Classes(names)) for r, names in zip(images, classes, strict=True)]
    for mode in (0, 1, 2):
        common, rare = 6 ** (-mode / 2), 2 ** (-mode / 2)
        scale = 8 / (common * 6 + rare * 2)
        expected = (rare * 2 - common * 6) * scale / 2 / 8
        bias = first_bias(lab, single, weighted_loss=mode)
        assert bias == pytest.approx([expected, -expected], abs=1e-6)
        expected = []
        for n in (7, 3):
            has, lacks = n ** (-mode / 2), (8 - n) ** (-mode / 2)
            expected.append((lacks * (8 - n) - has * n) * 8 / (lacks * (8 - n) + has * n) / 2 / 16)
        assert first_bias(lab, several, task=MULTI, weighted_loss=mode) == pytest.approx(expected, abs=1e-6)
