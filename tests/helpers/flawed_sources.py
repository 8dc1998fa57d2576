"""Checks of one flaw in a source, a set or an image each: what comes of it under a policy."""

import dataclasses
import json

import msgspec
import numpy as np
from PIL import Image

from automl_images.annotations import OneClass, Record, formats
from automl_images.annotations.checks import (
    ALIKE,
    SHARED,
    Checker,
    check_training_classes,
)
from automl_images.annotations.imaging import open_image
from automl_images.annotations.labels import KINDS
from automl_images.annotations.labels.base import (
    CROWD,
)
from automl_images.annotations.values import LIKE, UNUSED, FlawError, refuse
from automl_images.errors import UserError
from automl_images.steps.convert import convert, convert_data
from tests.conftest import save_images
from tests.helpers.flawed_labels import (
    LABELS,
    mask,
    one,
)


def training(kind, classes):
    def outcome(tmp_path, policy):
        try:
            check_training_classes(classes, kind)
        except UserError:
            return "refused"
        return "said"

    return outcome


def missing(kind):
    """Return a check of a validation set without an image of a class."""

    def outcome(tmp_path, policy, capsys):
        save_images(tmp_path, ["a.png", "b.png"])
        labels = {
            "class": ("cat", "dog"),
            "classes": (["cat"], ["dog"]),
            "mask": tuple(
                {**mask(tmp_path, *[i] * 96, name=f"{i}.png").to_json(), "mask_url": f"{i}.png"} for i in (1, 2)
            ),
        }
        lines = [json.dumps({"image_url": f"{n}.png", "label": v}) for n, v in zip("ab", labels[kind], strict=True)]
        (tmp_path / "t.jsonl").write_text("\n".join(lines))
        (tmp_path / "v.jsonl").write_text(lines[0])
        data = {n: {"source": str(tmp_path / f"{n[0]}.jsonl")} for n in ("training", "validation")}
        outs = {name: str(tmp_path / f"{name}.out") for name in data}
        convert_data(KINDS[kind].task(), {**data, "on_error": policy}, outs)
        return "said" if "validation: no image has the class dog" in capsys.readouterr().err else "nothing"

    return outcome


def unopened(content):
    def outcome(tmp_path, policy):
        checker = Checker(policy, label="class")
        path = tmp_path / "broken.png"
        if content == "half":
            Image.effect_noise((60, 60), 90).save(path)
            path.write_bytes(path.read_bytes()[:2000])
        elif content is not None:
            path.write_bytes(content)
        try:
            return {0: "image left out"}[len(list(checker.check([Record(str(path), OneClass("cat"))])))]
        except UserError:
            return "refused"

    return outcome


def unread(tmp_path, policy):
    save_images(tmp_path, ["a.png"])
    (tmp_path / "x.jsonl").write_text('{"image_url": "a.png", "label": "cat"}\n{\n')
    checker = Checker(policy, label="class")
    found = formats.read(str(tmp_path / "x.jsonl"), broken=checker.broken, label="class")
    try:
        return {1: "image left out"}[len(list(checker.check(found)))]
    except UserError:
        return "refused"


def same(*given):
    """Return a check of images of the sample's size and of these bytes (a number each), with the flaw counted."""

    def outcome(tmp_path, policy):
        flaw, *values = given
        for i, value in enumerate(values):
            Image.new("L", (12, 8), value).save(tmp_path / f"{i}.png")
        records = [Record(str(tmp_path / f"{i}.png"), OneClass("cat"), where=f"{i}") for i in range(len(values))]
        trained = {open_image(records[0].image_url).digest} if flaw == SHARED else ()
        checker = Checker(policy, label="class", trained=trained)
        assert list(checker.check(records)) and checker.images == len(values)
        assert checker.findings.to_json()[flaw]["count"] == 1
        return checker.findings.to_json()[flaw]["outcome"]

    return outcome


def named(flaw, places, **counts):
    """Return a check of so many images of each class."""

    def outcome(tmp_path, policy):
        save_images(tmp_path, ["a.png"])
        names = [name for name, count in counts.items() for _ in range(count)]
        for i in range(len(names)):
            (tmp_path / f"{i}.png").write_bytes((tmp_path / "a.png").read_bytes())
        checker = Checker(policy, label="class")
        list(checker.check(Record(str(tmp_path / f"{i}.png"), OneClass(n), where=str(i)) for i, n in enumerate(names)))
        found = checker.findings.to_json()[flaw]
        assert found["first"] == places and found["severity"] == "note"
        return found["outcome"]

    return outcome


def reported(flaw):
    """Return a check of what a reader says, and goes on."""

    def outcome(tmp_path, policy):
        checker = Checker(policy, label="class")
        checker.broken(FlawError("x.json: emu", flaw))
        assert list(checker.check([])) == [] and checker.found["skipped_images"] == 0
        refuse(FlawError("x.json: emu", flaw))
        found = checker.findings.to_json()[flaw]
        return {("x.json: emu",): found["outcome"]}[tuple(found["first"])]

    return outcome


def said_of_coco(flaw, place):
    def outcome(tmp_path, policy):
        save_images(tmp_path, ["a.png"])
        content = {
            "images": [{"id": 1, "file_name": "A.PNG", "width": 12, "height": 8}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [3, 4, 6, 4]}],
            "categories": [{"id": 7, "name": "cat"}, {"id": 8, "name": "emu"}],
        }
        (tmp_path / "x.json").write_text(json.dumps(content))
        options = {"task": KINDS["boxes"].task(), "on_error": policy}
        found = convert(str(tmp_path / "x.json"), str(tmp_path / "o"), **options)["findings"][flaw]
        assert found["first"] == [f"{tmp_path}{place}"]
        scored = convert(str(tmp_path / "x.json"), str(tmp_path / "o"), **options, classes=["cat"])["findings"]
        assert (UNUSED in scored, LIKE in scored) == (False, True)
        return found["outcome"]

    return outcome


def looking_alike(tmp_path, policy):
    noise = np.random.default_rng(0).integers(0, 255, (2, 8, 8, 3), dtype=np.uint8)
    for i, size in enumerate([(160, 160), (90, 90), (160, 160)]):
        path = tmp_path / "cat" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(noise[i // 2]).resize(size, Image.BICUBIC).save(path)
    options = {"task": KINDS["class"].task(), "on_error": policy}
    assert ALIKE not in convert(str(tmp_path), str(tmp_path / "o"), **options)["findings"]
    found = convert(str(tmp_path), str(tmp_path / "o"), **options, near_duplicates=True)["findings"][ALIKE]
    assert found["first"] == [f"{tmp_path}/cat/1.png: looks like {tmp_path}/cat/0.png"]
    return found["outcome"]


def exchanged(kind):
    def outcome(tmp_path, policy):
        found = one(tmp_path, LABELS[kind], kind, policy, width=8, height=12)
        return found if isinstance(found, str) else "taken"

    return outcome


def crowd(kind):
    """Return a check of two images whose every object is crowd, and of one more that has another."""

    def outcome(tmp_path, policy):
        save_images(tmp_path, ["a.png", "b.png"])
        (attribute,) = (field.name for field in dataclasses.fields(LABELS[kind]))
        plain = LABELS[kind]
        replace = dataclasses.replace if kind == "polygons" else msgspec.structs.replace
        objects = tuple(replace(o, isCrowd=True) for o in getattr(plain, attribute))
        records = [
            Record(str(tmp_path / f"{n}.png"), dataclasses.replace(plain, **{attribute: objects}), where=n)
            for n in "ab"
        ]
        checker = Checker(policy, label=kind)
        found = list(checker.check(records))
        assert checker.findings[CROWD] == 2
        left = [record.label for record in checker.settled(lambda: iter(found))]
        checker = Checker(policy, label=kind)
        found = list(checker.check([records[0], dataclasses.replace(records[1], label=plain)]))
        assert not checker.findings[CROWD] and not checker.unsettled
        return "taken as objects" if left == [plain] * 2 else {2: "kept"}[sum(label.crowds() for label in left)]

    return outcome
