"""Masks that are written and read back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from automl_images.annotations import Instance, Mask, Polygons, Record, formats, shapes
from automl_images.annotations.labels import KINDS
from automl_images.annotations.masks import pixels_of
from automl_images.errors import UserError
from automl_images.steps.convert import convert
from tests.conftest import save_images
from tests.helpers.masks import nuclei, plain, write

MASK, INSTANCES = "image-semantic-segmentation", "image-instance-segmentation"


def exported(folder, records, kind):
    """Return what the format says is lost, and what it reads of what it has written."""
    written = formats.FORMATS["masks"].write(records, str(folder), KINDS[kind])
    assert written.images == len(records)
    return dict(written.lost), list(formats.read(str(folder), "masks", label=kind))


@st.composite
def objects(draw, width, height):
    """Return objects, given as runs or as polygons, some of them without a pixel."""
    made = []
    for name in draw(st.lists(st.sampled_from(["cat", "dog", "grey cat", "Ä.b"]), max_size=4)):
        crowd, area = draw(st.booleans()), draw(st.none() | st.just(3.0))
        if draw(st.booleans()):
            pixels = draw(arrays(np.bool_, (height, width)))
            made.append(Instance(name, rle=shapes.encoded(pixels), isCrowd=crowd, area=area))
        else:
            points = draw(st.lists(st.floats(0, 1), min_size=6, max_size=8).filter(lambda part: len(part) % 2 == 0))
            made.append(Instance(name, (tuple(points),), crowd, area=area))
    return Polygons(tuple(made))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_objects_are_read_back_to_the_pixel(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("objects")
    width, height = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    labels = data.draw(st.lists(objects(width, height), min_size=1, max_size=3))
    save_images(folder / "images", [f"{i}.png" for i in range(len(labels))], (width, height))
    records = [Record(str(folder / f"images/{i}.png"), label, width, height) for i, label in enumerate(labels)]
    lost, found = exported(folder, records, "polygons")
    every = [one for label in labels for one in label.instances]
    seen = [one for one in every if shapes.mask_of(one, width, height).any()]
    expected = {
        "isCrowd": sum(one.isCrowd for one in every),
        "area": sum(one.area is not None for one in every),
        "outlines (pixels are kept)": sum(one.rle is None for one in every),
        "objects without a pixel": len(every) - len(seen),
    }
    assert lost == {what: count for what, count in expected.items() if count}

    def pixels(label):
        masks = [(one.label, shapes.mask_of(one, width, height)) for one in label.instances]
        return sorted((name, mask.tolist()) for name, mask in masks if mask.any())

    assert [pixels(r.label) for r in found] == [pixels(label) for label in labels]
    assert [r.image_url for r in found] == [r.image_url for r in records]


@settings(max_examples=30, deadline=None)
@given(
    names=st.lists(st.sampled_from(["sky", "cat", "7", "Ä"]), unique=True),
    coloured=st.booleans(),
    ignore=st.sampled_from([(), (255,), (9, 255)]),
)
def test_masks_are_read_back_whole(tmp_path_factory, names, coloured, ignore):
    folder = tmp_path_factory.mktemp("masks")
    save_images(folder / "images", ["a.png", "p/b.png"])
    values = [f"#0000{i:02x}" if coloured else i for i in range(len(names))]
    ignore = tuple(f"#ff00{i:02x}" for i in ignore) if coloured and names else ignore
    write(folder, {"truth.png": plain(*range(len(names)))})
    label = Mask(str(folder / "truth.png"), tuple(zip(names, values, strict=True)), ignore)
    records = [Record(str(folder / "images" / name), label) for name in ("a.png", "p/b.png")]
    lost, found = exported(folder, records, "mask")
    assert lost == {} and [r.image_url for r in found] == [r.image_url for r in records]
    for record in found:
        assert (record.label.classes, record.label.ignore) == (label.classes, label.ignore)
        assert (pixels_of(record.label.mask_url) == pixels_of(label.mask_url)).all()


def test_what_cannot_be_written_is_refused_by_name(tmp_path):
    save_images(tmp_path, ["a.png", "x/images/a.png", "x/images/a.jpg"])
    write(tmp_path, {"m.png": plain(1)})

    def record(image, label, **sizes):
        return Record(str(tmp_path / image), label, where="here", **sizes)

    cat, dog = (Mask(str(tmp_path / "m.png"), ((name, 1),)) for name in ("cat", "dog"))
    far = Polygons((Instance("a/b", ((0, 0, 1, 0, 1, 1),)),))
    for records, kind, said in (
        ([record("a.png", cat)], Mask, "here: the image is not in images/, and masks are found by name; write links"),
        (
            [record("x/images/a.png", cat), record("x/images/a.jpg", cat)],
            Mask,
            "here: the image is called like another",
        ),
        ([record("x/images/a.png", far, width=12, height=8)], Polygons, "here: the class 'a/b' cannot name a folder"),
        ([record("x/images/a.png", far)], Polygons, "here: has no size, which masks need"),
    ):
        with pytest.raises(UserError, match=said):
            formats.FORMATS["masks"].write(records, str(tmp_path / "x"), kind)
    save_images(tmp_path, ["y/images/a.png", "y/images/b.png"])
    with pytest.raises(UserError, match="here: its mask has other classes than those before"):
        formats.FORMATS["masks"].write(
            [record("y/images/a.png", cat), record("y/images/b.png", dog)], str(tmp_path / "y"), Mask
        )


def test_records_are_exported_and_converted_again(tmp_path):
    from automl_images.steps.export import export_records

    nuclei(tmp_path / "n", **{"classes.txt": "nucleus\n"})
    before = convert(str(tmp_path / "n"), str(tmp_path / "r.jsonl"), INSTANCES)
    export_records(str(tmp_path / "r.jsonl"), str(tmp_path / "out"), "masks", images="copy")
    assert convert(str(tmp_path / "out"), str(tmp_path / "s.jsonl"), INSTANCES) == before
    assert (tmp_path / "out/masks/1/nucleus/0001.png").is_file()
