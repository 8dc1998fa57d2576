"""Checks of one flaw in a label each: what comes of it under a policy."""

import dataclasses

from PIL import Image

from automl_images.annotations import Box, Boxes, Classes, Instance, Mask, OneClass, Polygons, Record, formats
from automl_images.annotations.checks import (
    Checker,
)
from automl_images.annotations.labels.polygons import CROSSED
from automl_images.errors import UserError
from tests.conftest import save_images

TRIANGLE = (0.25, 0.5, 0.75, 0.5, 0.75, 1.0)
LABELS = {
    "class": OneClass("cat"),
    "classes": Classes(("cat", "dog")),
    "boxes": Boxes((Box("cat", 0.25, 0.5, 0.75, 1.0),)),
    "polygons": Polygons((Instance("cat", (TRIANGLE,)),)),
}


def one(tmp_path, label, kind, policy, classes=("cat", "dog"), **changes):
    """Return what came of a record of a 12 x 8 image: refused, image left out, or (label, counts)."""
    save_images(tmp_path, ["a.png"])
    checker = Checker(policy, classes, label=kind)
    record = Record(str(tmp_path / "a.png"), label, **{"where": "x", "width": 12, "height": 8, **changes})
    try:
        kept = list(checker.check([record]))
    except UserError:
        return "refused"
    assert not kept or (kept[0].width, kept[0].height) == (12, 8)
    return (kept[0].label, checker.found) if kept else "image left out"


def box(*corners, left=1, name="cat", counted=None):
    """Return a check of one box, of which so many are left inside the image, and the flaw counted."""

    def outcome(tmp_path, policy):
        found = one(tmp_path, Boxes((Box(name, *corners),)), "boxes", policy)
        if isinstance(found, str):
            return found
        label, counts = found
        assert len(label.boxes) == left and (counted in (None, "thin") or counts[counted] == 1)
        assert all(0 <= v <= 1 for b in label.boxes for v in (b.topX, b.topY, b.bottomX, b.bottomY))
        if not label.boxes:
            return "dropped"
        (after,) = label.boxes
        if counted == "thin":
            return "kept" if after == Box(name, *corners) else "changed"
        if counts["clipped_boxes"] or max(corners) > 1:
            return "clipped"
        assert (after.topX, after.bottomX) == (corners[2], corners[0])
        return "corners exchanged"

    return outcome


def other_size(kind):
    def outcome(tmp_path, policy):
        label = mask(tmp_path) if kind == "mask" else LABELS[kind]
        found = one(tmp_path, label, kind, policy, width=24, height=16)
        return found if isinstance(found, str) else {1: "its own taken"}[found[1]["fixed_sizes"]]

    return outcome


def mask(folder, *values, size=(12, 8), ignore=(0, 255), name="mask.png"):
    """Write a mask whose first pixels have ``values``, or 1 and 2, and whose others have 0; return its label."""
    image = Image.new("L", size)
    for i, value in enumerate(values or (1, 2)):
        image.putpixel((i % 12, i // 12), value)
    image.save(folder / name)
    return Mask(str(folder / name), (("cat", 1), ("dog", 2)), ignore)


def masked(values=(), url=None, **changes):
    """Return a check of one mask, of whose values one is left out."""

    def outcome(tmp_path, policy):
        label = mask(tmp_path, *values, **changes)
        label = dataclasses.replace(label, mask_url=url or label.mask_url)
        found = one(tmp_path, label, "mask", policy)
        if isinstance(found, str):
            return found
        assert found[0].present == ("cat",) and found[1]["unknown_values"] == 1
        return {(0, 255, 7): "ignored"}[found[0].ignore]

    return outcome


def polygon(*parts, left=1, counted=None, name="cat", rle=None):
    """Return a check of one object, of which so many parts are left inside the image, and the flaw counted."""

    def outcome(tmp_path, policy):
        found = one(tmp_path, Polygons((Instance(name, parts, rle=rle),)), "polygons", policy)
        if isinstance(found, str):
            return found
        label, counts = found
        assert counts[counted] == 1
        if not label.instances:
            return "dropped"
        (after,) = label.instances
        assert len(after.polygon) == left and all(0 <= v <= 1 for part in after.polygon for v in part)
        return "clipped" if after.polygon[0] != parts[0] else "dropped"

    return outcome


def crossed(tmp_path, policy):
    label = Polygons(
        (Instance("cat", (TRIANGLE,)), Instance("cat", (TRIANGLE, (0.1, 0.1, 0.4, 0.4, 0.4, 0.1, 0.1, 0.4))))
    )
    save_images(tmp_path, ["a.png"])
    checker = Checker(policy, label="polygons")
    (record,) = checker.check([Record(str(tmp_path / "a.png"), label, where="x")])
    assert checker.findings.to_json()[CROSSED]["first"] == ["x: object 2 (cat)"]
    return "kept" if record.label == label else "changed"


def unknown(kind, label, left=None):
    def outcome(tmp_path, policy):
        found = one(tmp_path, label, kind, policy)
        return found if isinstance(found, str) else {left: "class dropped"}[found[0]]

    return outcome


def none(kind):
    """Return a check of an image without a class: not to be read as one class, an empty list of several."""

    def outcome(tmp_path, policy):
        save_images(tmp_path, ["a.png"])
        (tmp_path / "x.csv").write_text("image,label\na.png,\n")
        checker = Checker(policy, label=kind)
        try:
            found = list(checker.check(formats.read(str(tmp_path / "x.csv"), broken=checker.broken, label=kind)))
        except UserError:
            return "refused"
        assert checker.found["unlabelled_images"] == len(found)
        return "kept" if found else "image left out"

    return outcome


def twice(kind, *given, expected=None):
    """Return a check of several records of one image, of which ``expected`` is left."""

    def outcome(tmp_path, policy):
        save_images(tmp_path, ["a.png"])
        checker = Checker(policy, label=kind)
        try:
            found = list(checker.check([Record(str(tmp_path / "a.png"), label, where=str(i)) for i, label in given]))
        except UserError:
            return "refused"
        left = [record.label for record in checker.settled(lambda: iter(found))]
        assert checker.images == len(left)
        if not left:
            return "image left out"
        repeated = "repeated_images" if len(given) > 1 else f"repeated_{expected.counted}"
        assert left == [expected] and checker.found[repeated] == 1
        assert checker.labels.total() == len(expected.names())
        return "joined" if len(given) > 1 and kind in ("boxes", "polygons") else "counted once"

    given = list(enumerate(given))
    return outcome


def masks_twice(*names):
    """Return a check of two records of one image, with masks of these names."""

    def outcome(tmp_path, policy):
        labels = [mask(tmp_path, name=name) for name in names]
        expected = dataclasses.replace(labels[0], present=("cat", "dog"))
        return twice("mask", *labels, expected=expected)(tmp_path, policy)

    return outcome


def masks_contradicted(tmp_path, policy):
    labels = [mask(tmp_path, *values, name=f"{values}.png") for values in ((1, 2), (1, 1))]
    return contradicted("mask", *labels)(tmp_path, policy)


def contradicted(kind, first, second):
    """Return a check of two images of equal bytes."""

    def outcome(tmp_path, policy):
        save_images(tmp_path, ["a.png"])
        (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
        checker = Checker(policy, label=kind)
        records = [Record(str(tmp_path / f"{n}.png"), label) for n, label in (("a", first), ("b", second))]
        return {(2, 1): "kept"}[len(list(checker.check(records))), checker.summary()["contradicted_images"]]

    return outcome
