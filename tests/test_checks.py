"""The table of flaws: each row, under each policy, by doing what it says."""

import dataclasses
import inspect
import json

import msgspec
import numpy as np
import pytest
from PIL import Image

from automl_images.annotations import Box, Boxes, Classes, Instance, Mask, OneClass, Polygons, Record, formats
from automl_images.annotations.checks import (
    ALIKE,
    EQUAL,
    FLAWS,
    NEARLY,
    POLICIES,
    RARE,
    SHARED,
    Checker,
    check_training_classes,
    flaw_table,
)
from automl_images.annotations.imaging import TRUNCATED, UNOPENED, open_image
from automl_images.annotations.labels import KINDS
from automl_images.annotations.labels.base import (
    CONTRADICTED,
    CROWD,
    EXCHANGED,
    OTHER,
    SAME,
    SEVERAL,
    SIZE,
    UNKNOWN,
    UNSCORED,
)
from automl_images.annotations.labels.boxes import THIN
from automl_images.annotations.labels.polygons import CROSSED
from automl_images.annotations.names import nearly_equal
from automl_images.annotations.shapes import encoded
from automl_images.annotations.values import LIKE, MISSING, UNREADABLE, UNUSED, FlawError, refuse
from automl_images.errors import UserError
from automl_images.steps.convert import convert, convert_data
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


A_BOX, ANOTHER = Box("cat", 0.25, 0.5, 0.75, 1.0), Box("dog", 0, 0, 0.5, 0.5)
CHECKS = {
    ("any", MISSING): [unopened(None)],
    ("any", UNOPENED): [unopened(b""), unopened(b"text")],
    ("any", TRUNCATED): [unopened("half")],
    ("any", UNREADABLE): [unread],
    ("any", EQUAL): [same(EQUAL, 5, 9, 5)],
    ("any", ALIKE): [looking_alike],
    ("any", SHARED): [same(SHARED, 5, 9)],
    ("any", LIKE): [reported(LIKE), said_of_coco(LIKE, "/x.json: 'A.PNG' is 'a.png'")],
    ("any", UNUSED): [reported(UNUSED), said_of_coco(UNUSED, "/x.json: 'emu'")],
    ("any", NEARLY): [named(NEARLY, ["'RBC' (12) and 'RCB' (1)"], RBC=12, RCB=1, WBC=2)],
    ("any", RARE): [named(RARE, ["'b' has 1", "'c' has 9"], a=10, b=1, c=9)],
    ("class", SIZE): [other_size("class")],
    ("class", "an image without a class"): [none("class")],
    ("class", UNKNOWN): [unknown("class", OneClass("emu"))],
    ("class", SAME): [twice("class", OneClass("cat"), OneClass("cat"), expected=OneClass("cat"))],
    ("class", OTHER): [twice("class", OneClass("cat"), OneClass("dog"))],
    ("class", CONTRADICTED): [contradicted("class", OneClass("cat"), OneClass("dog"))],
    ("class", "training with fewer than two classes"): [training("class", ["a"]), training("class", [])],
    ("class", UNSCORED): [missing("class")],
    ("classes", SIZE): [other_size("classes")],
    ("classes", "an image without a class"): [none("classes")],
    ("classes", UNKNOWN): [
        unknown("classes", Classes(("cat", "emu")), Classes(("cat",))),
        unknown("classes", Classes(("emu",)), Classes(())),
    ],
    ("classes", SAME): [
        twice("classes", Classes(("cat", "dog")), Classes(("dog", "cat")), expected=Classes(("cat", "dog")))
    ],
    ("classes", OTHER): [
        twice("classes", Classes(("cat", "dog")), Classes(("cat",))),
        twice("classes", Classes(()), Classes(("cat",))),
    ],
    ("classes", CONTRADICTED): [contradicted("classes", Classes(("cat", "dog")), Classes(("cat",)))],
    ("classes", "training with one class alone"): [training("classes", ["a"])],
    ("classes", "training without a class"): [training("classes", [])],
    ("classes", UNSCORED): [missing("classes")],
    ("boxes", "a box without area"): [box(0.5, 0.1, 0.5, 0.5, left=0, counted="dropped_boxes")],
    ("boxes", "a box outside the image by at most a pixel"): [
        box(0.5, 0.1, 1 + 0.9 / 12, 0.5, counted="clipped_boxes"),
        box(-0.9 / 12, 0.1, 0.4, 0.5, counted="clipped_boxes"),
    ],
    ("boxes", "a box further outside"): [
        box(0.5, 0.1, 1 + 2 / 12, 0.5, counted="fixed_boxes"),
        box(0.5, 0.1, 0.6, 1 + 2 / 8, counted="fixed_boxes"),
    ],
    ("boxes", "a box that ends before it begins"): [box(0.5, 0.1, 0.2, 0.5, counted="fixed_boxes")],
    ("boxes", "a box that stands twice"): [twice("boxes", Boxes((A_BOX, A_BOX)), expected=Boxes((A_BOX,)))],
    ("boxes", SEVERAL): [
        twice("boxes", Boxes((A_BOX,)), Boxes((ANOTHER, A_BOX)), expected=Boxes((A_BOX, ANOTHER))),
        twice("boxes", Boxes(()), Boxes((A_BOX,)), expected=Boxes((A_BOX,))),
    ],
    ("boxes", THIN): [
        box(0.1, 0.1, 0.1 + 1 / 12, 0.5, counted="thin"),
        box(0.1, 0.1, 0.5, 0.1 + 0.9 / 8, counted="thin"),
    ],
    ("boxes", CROWD): [crowd("boxes")],
    ("boxes", EXCHANGED): [exchanged("boxes")],
    ("polygons", CROSSED): [crossed],
    ("polygons", CROWD): [crowd("polygons")],
    ("polygons", EXCHANGED): [exchanged("polygons")],
    ("boxes", SIZE): [other_size("boxes")],
    ("boxes", UNKNOWN): [box(0.1, 0.1, 0.2, 0.5, left=0, name="emu", counted="dropped_boxes")],
    ("polygons", "a polygon with fewer than three points"): [
        polygon((0.1, 0.1, 0.5, 0.5), left=0, counted="dropped_instances"),
        polygon(TRIANGLE, (0.1, 0.1, 0.5, 0.5), counted="dropped_parts"),
    ],
    ("polygons", "a polygon without area"): [
        polygon((0.1, 0.1, 0.2, 0.2, 0.3, 0.3), left=0, counted="dropped_instances"),
        polygon(TRIANGLE, (0.5, 0.5, 0.5, 0.5, 0.5, 0.5), counted="dropped_parts"),
    ],
    ("polygons", "a polygon outside the image by at most a pixel"): [
        polygon((0.5, 0.5, 1 + 0.9 / 12, 0.5, 0.75, 1.0), counted="clipped_instances")
    ],
    ("polygons", "a polygon further outside"): [
        polygon((0.5, 0.5, 1 + 2 / 12, 0.5, 0.75, 1.0), counted="fixed_instances")
    ],
    ("polygons", "a mask of another size than its image"): [
        polygon(rle=encoded(np.ones((9, 12))), counted="dropped_instances")
    ],
    ("polygons", "an object that stands twice"): [
        twice("polygons", Polygons(LABELS["polygons"].instances * 2), expected=LABELS["polygons"])
    ],
    ("polygons", SEVERAL): [
        twice("polygons", LABELS["polygons"], LABELS["polygons"], expected=LABELS["polygons"]),
        twice("polygons", Polygons(()), LABELS["polygons"], expected=LABELS["polygons"]),
    ],
    ("polygons", SIZE): [other_size("polygons")],
    ("polygons", UNKNOWN): [polygon(TRIANGLE, name="emu", counted="dropped_instances")],
    ("mask", "a mask that is missing or does not open"): [masked(url="/no")],
    ("mask", "a mask of another size than its image"): [masked(size=(12, 9))],
    ("mask", "a pixel value of no class"): [masked(values=(1, 7))],
    ("mask", SIZE): [other_size("mask")],
    ("mask", SAME): [masks_twice("m.png", "m.png")],
    ("mask", OTHER): [masks_twice("m.png", "n.png")],
    ("mask", CONTRADICTED): [masks_contradicted],
    ("mask", UNSCORED): [missing("mask")],
}
TABLES = {"any": FLAWS, **{name: kind.flaws for name, kind in KINDS.items()}}
ROWS = {(name, flaw): tuple(outcomes) for name, flaws in TABLES.items() for flaw, *outcomes in flaws}


def test_the_flaw_table_is_documented_as_it_is():
    from automl_images.annotations import checks

    assert flaw_table() in checks.__doc__
    lines = [tuple(line.strip("| ").split(" | ")) for line in flaw_table().splitlines()]
    assert lines[2:] == [(*row, *outcomes) for row, outcomes in ROWS.items()]
    assert lines[0][2:] == POLICIES
    assert set(CHECKS) == set(ROWS)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("row", ROWS, ids="-".join)
def test_each_row_of_the_flaw_table_is_what_happens(tmp_path, capsys, row, policy):
    expected = ROWS[row][POLICIES.index(policy)]
    for check in CHECKS[row]:
        more = (capsys,) if "capsys" in inspect.signature(check).parameters else ()
        assert check(tmp_path, policy, *more) == expected


def test_all_of_a_source_is_read_before_its_flaws_are_refused(tmp_path, capsys):
    save_images(tmp_path, [f"{i}.png" for i in range(30)])
    boxes = [{"label": "cat", "topX": 0.5, "topY": 0.1, "bottomX": 0.2, "bottomY": 0.5}]
    lines = [json.dumps({"image_url": f"{i}.png", "label": boxes if i % 2 else []}) for i in range(30)]
    lines[2], lines[4] = "{", json.dumps({"image_url": "none.png", "label": []})
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    (tmp_path / "out").write_text("before")
    with pytest.raises(UserError) as raised:
        convert(str(tmp_path / "x.jsonl"), str(tmp_path / "out"), KINDS["boxes"].task())
    place = f"{tmp_path}/x.jsonl, line"
    assert str(raised.value).startswith(f"{place} 3: is not JSON: ")
    assert str(raised.value).endswith(
        "; it is one of 17: 15 x a box that ends before it begins, 1 x a record that cannot be read, "
        "1 x an image that is missing; mend them, or set on_error to skip or fix"
    )
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "error: 15 x a box that ends before it begins (refused)" and told[11] == "  and 5 more"
    assert told[1] == f"  {place} 2: box 1 (cat) from (6, 0.8) to (2.4, 4) ends before it begins"
    assert (tmp_path / "out").read_text() == "before"
    summary = convert(str(tmp_path / "x.jsonl"), str(tmp_path / "out"), KINDS["boxes"].task(), on_error="skip")
    found = summary["findings"]["a box that ends before it begins"]
    assert (found["count"], found["severity"], found["outcome"]) == (15, "error", "image left out")
    assert len(found["first"]) == 10 and summary["skipped_images"] == 17 and summary["images"] == 13


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("RBC", "rbc", "RCB", "WBC"), [("RBC", "RCB"), ("RBC", "rbc"), ("RCB", "rbc")]),
        (("plane", "planes", "plan"), [("plan", "plane"), ("plane", "planes")]),
        (("cat", "car", "a", "b", "c1", "c2", "10", "11", "class 1", "class 2"), []),
        (("é", "è", "!", "?"), []),
    ],
)
def test_nearly_equal_names(names, expected):
    assert nearly_equal(names) == expected
