"""The table of flaws: each row, under each policy, by doing what it says."""

import inspect
import json

import numpy as np
import pytest

from automl_images.annotations import Box, Boxes, Classes, OneClass, Polygons
from automl_images.annotations.checks import (
    ALIKE,
    EQUAL,
    FLAWS,
    NEARLY,
    POLICIES,
    RARE,
    SHARED,
    flaw_table,
)
from automl_images.annotations.imaging import TRUNCATED, UNOPENED
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
from automl_images.annotations.values import LIKE, MISSING, UNREADABLE, UNUSED
from automl_images.errors import UserError
from automl_images.steps.convert import convert
from tests.conftest import save_images
from tests.helpers.flawed_labels import (
    LABELS,
    TRIANGLE,
    box,
    contradicted,
    crossed,
    masked,
    masks_contradicted,
    masks_twice,
    none,
    other_size,
    polygon,
    twice,
    unknown,
)
from tests.helpers.flawed_sources import (
    crowd,
    exchanged,
    looking_alike,
    missing,
    named,
    reported,
    said_of_coco,
    same,
    training,
    unopened,
    unread,
)

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
