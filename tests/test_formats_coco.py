"""COCO: outlines in both forms and back, agreement with pycocotools and globox, and what is refused where."""

import json
import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from automl_images.annotations import Box, Boxes, Instance, Polygons, Record, Rle, coco_file, formats, record_file
from automl_images.annotations.shapes import area_of, decoded, encoded, mask_of, rle
from automl_images.annotations.values import SAID
from automl_images.errors import UserError
from tests.conftest import save_images

NAMES = st.sampled_from(["cat", "dog", 'a "b"', "鳥", "a/b"])
AREAS = st.none() | st.floats(0.5, 1e6)


@st.composite
def pixel_points(draw, width, height, least=3):
    """Return x, y, x, y, ... in hundredths of pixels, as COCO has them."""
    count = draw(st.integers(least, 8))
    points = [(draw(st.integers(0, width * 100)), draw(st.integers(0, height * 100))) for _ in range(count)]
    return [v / 100 for point in points for v in point]


@st.composite
def instances(draw, width, height):
    label, crowd, area = draw(NAMES), draw(st.booleans()), draw(AREAS)
    if draw(st.booleans()):
        bits = np.random.default_rng(draw(st.integers(0, 999))).integers(0, 2, (height, width))
        return Instance(label, (), crowd, encoded(bits), area)
    parts = draw(st.lists(pixel_points(width, height), min_size=1, max_size=3))
    polygon = tuple(tuple(v / (height if i % 2 else width) for i, v in enumerate(part)) for part in parts)
    return Instance(label, polygon, crowd, None, area)


@st.composite
def boxes(draw, width, height):
    x, y = draw(st.integers(0, 100 * width - 1)) / 100, draw(st.integers(0, 100 * height - 1)) / 100
    w, h = draw(st.integers(1, 300)) / 100, draw(st.integers(1, 300)) / 100
    corners = (x / width, y / height, (x + w) / width, (y + h) / height)
    return Box(draw(NAMES), *corners, draw(st.booleans()), draw(AREAS))


def records(label):
    return [Record("/x/b.png", type(label)(()), 7, 5), Record("/x/a.png", label, 7, 5)]


def written(tmp, found, kind):
    out = str(tmp / "out.json")
    done = formats.FORMATS["coco"].write(found, out, kind)
    return done, out


def close(found, wanted):
    """Return whether fractions agree but for their last bits."""
    return len(found) == len(wanted) and np.allclose(found, wanted, rtol=0, atol=1e-14)


@settings(max_examples=20, deadline=None)
@given(st.lists(instances(7, 5), max_size=4))
def test_polygons_come_back(tmp_path_factory, found):
    tmp = tmp_path_factory.mktemp("coco")
    # one number above 1, as else they would be fractions
    found = (Instance("cat", ((0.0, 0.0, 1.0, 0.0, 1.0, 1.0),)), *found)
    done, out = written(tmp, records(Polygons(found)), Polygons)
    empty, record = read(tmp, out, "polygons")
    assert (done.images, done.lost, empty.label) == (2, {}, Polygons(()))
    for one, wanted in zip(record.label.instances, found, strict=True):
        assert (one.label, one.isCrowd, one.rle) == (wanted.label, wanted.isCrowd, wanted.rle)
        assert one.area == area_of(wanted, 7, 5)
        for part, as_before in zip(one.polygon, wanted.polygon, strict=True):
            assert part == as_before, "numbers of hundredths come back as they were"


def read(tmp, out, kind):
    return list(formats.read(out, "coco", f"/x/={tmp}/", label=kind))


@settings(max_examples=20, deadline=None)
@given(st.lists(boxes(7, 5), max_size=4))
def test_boxes_come_back(tmp_path_factory, found):
    tmp = tmp_path_factory.mktemp("coco")
    found = (Box("cat", 0.0, 0.0, 1.0, 1.0), *found)
    done, out = written(tmp, records(Boxes(found)), Boxes)
    _, record = read(tmp, out, "boxes")
    assert (done.images, done.lost) == (2, {})
    for one, wanted in zip(record.label.boxes, found, strict=True):
        assert (one.label, one.isCrowd, one.area) == (wanted.label, wanted.isCrowd, wanted.area)
        corners = [(b.topX, b.topY, b.bottomX, b.bottomY) for b in (one, wanted)]
        assert close(*corners)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=6, max_size=20).map(lambda v: v[: len(v) // 2 * 2]))
def test_any_fraction_comes_back_but_for_its_last_bits(tmp_path_factory, flat):
    tmp = tmp_path_factory.mktemp("coco")
    whole = Instance("cat", ((0.0, 0.0, 1.0, 0.0, 1.0, 1.0),))
    _, out = written(tmp, [Record("/x/a.png", Polygons((whole, Instance("cat", (tuple(flat),)))), 641, 479)], Polygons)
    (record,) = read(tmp, out, "polygons")
    assert close(record.label.instances[1].polygon[0], flat)


@settings(max_examples=25, deadline=None)
@given(st.lists(pixel_points(31, 23), min_size=1, max_size=3), st.integers(0, 999))
@example([[0.0, 0.0, 4.9, 0.0, 0.0, 6.5]], 0)  # whose corner is half way between two pixels
def test_masks_and_areas_agree_with_pycocotools(tmp_path_factory, parts, seed):
    from pycocotools import mask as theirs
    from pycocotools.coco import COCO

    tmp = tmp_path_factory.mktemp("coco")
    big = np.zeros((23, 31), bool)
    big[3:10, 5:16] = np.random.default_rng(seed).integers(0, 2, (7, 11))
    compressed = theirs.encode(np.asfortranarray(big.astype(np.uint8)))
    flat = big.ravel(order="F")  # whose first pixel is outside
    counts = [len(run) for run in np.split(flat, np.flatnonzero(np.diff(flat)) + 1)]
    runs = [{"size": [23, 31], "counts": one} for one in (compressed["counts"].decode(), counts)]
    shapes = [parts, *runs, [[0, 0, 31, 0, 31, 23]]]  # one number above 1, as else they would be fractions
    file = tmp / "x.json"
    file.write_text(
        json.dumps(content([{"segmentation": shape, "area": None} for shape in shapes], width=31, height=23))
    )
    (record,) = formats.read(str(file), "coco", f"a.png={tmp}/a.png", label="polygons")
    reference = COCO(str(file))
    for key, one in enumerate(record.label.instances, 1):
        wanted = reference.annToMask(reference.anns[key]).astype(bool)
        assert (mask_of(one, 31, 23) == wanted).all() and area_of(one, 31, 23) == wanted.sum()
    assert record.label.instances[1].rle == record.label.instances[2].rle == encoded(big)
    assert (decoded(encoded(big)) == big).all() and encoded(big).counts == compressed["counts"].decode()


def content(annotations, **image):
    return {
        "images": [{"id": 1, "file_name": "a.png", "width": 12, "height": 8, **image}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": 1, "bbox": [3, 4, 6, 4], "iscrowd": 0, "area": 9, **one}
            for i, one in enumerate(annotations, 1)
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }


def test_boxes_agree_with_globox(tmp_path, capsys):
    from globox import AnnotationSet

    draw = np.random.default_rng(0)
    corners = draw.uniform(0, 4, (20, 4)).round(2).tolist()
    (tmp_path / "x.json").write_text(
        json.dumps(content([{"bbox": b, "segmentation": [[3, 4, 9, 4, 9, 8]]} for b in corners]))
    )
    save_images(tmp_path, ["a.png"])
    (record,) = formats.read(str(tmp_path), label="boxes")
    assert "its outlines are passed over; task image-instance-segmentation takes them" in capsys.readouterr().err
    theirs = AnnotationSet.from_coco(tmp_path / "x.json")["a.png"].boxes
    assert len(theirs) == 20
    for one, other in zip(record.label.boxes, theirs, strict=True):
        wanted = np.array(other.ltrb) / (12, 8, 12, 8)
        assert close((one.topX, one.topY, one.bottomX, one.bottomY), wanted) and one.label == other.label
    formats.FORMATS["coco"].write([record], str(tmp_path / "out.json"), Boxes)
    again = AnnotationSet.from_coco(tmp_path / "out.json")["a.png"].boxes
    assert [b.ltrb for b in again] == pytest.approx(np.array([b.ltrb for b in theirs]).reshape(20, 4))


def test_what_is_written_is_what_pycocotools_reads(tmp_path):
    from pycocotools.coco import COCO

    mask = encoded(np.eye(5, 7, dtype=bool))
    polygon = Instance("cat", ((0.0, 0.0, 1.0, 0.0, 1.0, 1.0), (0.0, 0.5, 0.2, 0.5, 0.2, 1.0)), area=3.5)
    found = [polygon, Instance("dog", (), True, mask), Instance("cat"), Instance("cat", ((),))]
    done, out = written(tmp_path, records(Polygons(tuple(found))), Polygons)
    reference = COCO(out)
    assert done.lost == {"objects without outline": 2} and sorted(reference.imgs) == [1, 2]
    assert [c["name"] for c in reference.cats.values()] == ["cat", "dog"]
    first, second = reference.anns[1], reference.anns[2]
    assert first["bbox"] == [0, 0, 7, 5] and first["area"] == 3.5 and first["segmentation"][0] == [0, 0, 7, 0, 7, 5]
    assert second["bbox"] == [0, 0, 5, 5] and second["area"] == 5 and second["iscrowd"] == 1
    assert (reference.annToMask(second) == np.eye(5, 7)).all()


def test_names_are_relative_below_the_folder_and_sizes_are_the_images(tmp_path):
    save_images(tmp_path, ["p/a.png"])
    record = Record(str(tmp_path / "p/a.png"), Boxes((Box("cat", 0.25, 0.5, 0.75, 1.0),)))
    formats.FORMATS["coco"].write([record], str(tmp_path / "x.json"), Boxes)
    image = json.loads((tmp_path / "x.json").read_text())["images"][0]
    assert image == {"id": 1, "file_name": "p/a.png", "width": 12, "height": 8}
    (found,) = formats.read(str(tmp_path / "x.json"), label="boxes")
    assert (found.image_url, found.label) == (record.image_url, record.label)


def test_outlines_as_fractions_are_known_by_the_whole_file(tmp_path, capsys):
    save_images(tmp_path, ["a.png"])
    shape = {"segmentation": [[0.25, 0.5, 0.75, 0.5, 0.75, 1.0]], "area": 0.1}
    (tmp_path / "x.json").write_text(json.dumps(content([shape])))
    (record,) = formats.read(str(tmp_path), label="polygons")
    assert record.label.instances == (Instance("cat", ((0.25, 0.5, 0.75, 0.5, 0.75, 1.0),)),)
    assert "no number of its outlines is above 1: they are read as fractions" in capsys.readouterr().err


def test_numbers_as_text_and_a_flat_polygon_serve(tmp_path):
    save_images(tmp_path, ["a.png"])
    shapes = [{"segmentation": [3, 4, 9, 4, 9, 8]}, {"segmentation": [["3", 4, "9", "4", 9, 8]], "iscrowd": "1"}]
    (tmp_path / "x.json").write_text(json.dumps(content(shapes)))
    (record,) = formats.read(str(tmp_path), label="polygons")
    part = (0.25, 0.5, 0.75, 0.5, 0.75, 1.0)
    assert [one.polygon for one in record.label.instances] == [(part,), (part,)]
    assert [one.isCrowd for one in record.label.instances] == [False, True]


RLE = {"size": [8, 12], "counts": [90, 6]}
WRONG = {
    "no segmentation": ({}, "annotation 1: has no segmentation, which image-instance-segmentation needs"),
    "an empty one": ({"segmentation": []}, "annotation 1: has no segmentation"),
    "null": ({"segmentation": None}, "annotation 1: has no segmentation"),
    "text": ({"segmentation": "x"}, 'annotation 1: its segmentation is "x", neither polygons nor run lengths'),
    "an odd number": ({"segmentation": [[1, 2, 3]]}, "annotation 1: part 1 of its segmentation has 3 numbers"),
    "no number": ({"segmentation": [[1, 2, 3, 4, 5, "x"]]}, "annotation 1: segmentation is 'x', which is not a number"),
    "not finite": ({"segmentation": [[1, 2, 3, 4, 5, float("nan")]]}, "annotation 1: segmentation is nan"),
    "too large": ({"segmentation": [[1, 2, 3, 4, 5, 10**400]]}, "annotation 1: segmentation is 1000000000000"),
    "nested": ({"segmentation": [[[1, 2], [3, 4], [5, 6]]]}, "annotation 1: segmentation is [1, 2]"),
    "mixed": ({"segmentation": [[1, 2, 3, 4, 5, 6], 7]}, "annotation 1: segmentation is [1, 2, 3"),
    "rle without size": ({"segmentation": {"counts": [96]}}, "annotation 1: the size of its rle is null"),
    "rle too short": ({"segmentation": {**RLE, "counts": [9]}}, "annotation 1: the counts of its rle"),
    "rle below 0": ({"segmentation": {**RLE, "counts": [-1, 97]}}, "annotation 1: the counts of its rle"),
    "rle text": ({"segmentation": {**RLE, "counts": "\x00"}}, "annotation 1: the counts of its rle"),
    "rle huge": (
        {"segmentation": {"size": [1 << 20, 1 << 20], "counts": "0"}},
        "annotation 1: the size of its rle is [1048576, 1048576], more",
    ),
    "crowd": ({"segmentation": RLE, "iscrowd": 2}, "annotation 1: iscrowd is 2; write 0 or 1"),
    "area": ({"segmentation": RLE, "area": "x"}, "annotation 1: area is 'x', which is not a number"),
    "category": ({"segmentation": RLE, "category_id": 9}, "annotation 1: its category_id 9 is that of no category"),
    "a true category": ({"segmentation": RLE, "category_id": True}, "annotation 1: its category_id true is that of no"),
}


@pytest.mark.parametrize(("annotation", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_an_outline_is_said_in_a_line(tmp_path, annotation, said):
    save_images(tmp_path, ["a.png"])
    (tmp_path / "x.json").write_text(json.dumps(content([annotation])))
    errors = []
    assert list(formats.read(str(tmp_path), broken=errors.append, label="polygons")) == []
    (error,) = [str(one) for one in errors if getattr(one, "flaw", None) not in SAID]  # such as an unused class
    assert f"x.json, image 1 (a.png): {said}" in error and "\n" not in error


FILES = {
    "no JSON": ("{", "is not JSON"),
    "cut off": (json.dumps(content([RLE]))[:-9], "is not JSON"),
    "a list": ("[1]", "is not COCO's format"),
    "no categories": ('{"images": []}', "is not COCO's format"),
    "annotations of no list": ('{"images": [], "categories": [], "annotations": {"a": 1}}', "which is no list"),
    "a key twice": ('{"images": [], "categories": [], "images": []}', "the key 'images' stands twice in one object"),
    "a category of no object": ('{"images": [], "categories": [3]}', "category 1: is not an object with an id"),
    "a category without name": ('{"images": [], "categories": [{"id": 3}]}', "category 3: its name is missing"),
    "two names of an id": (
        '{"images": [], "categories": [{"id": 3, "name": "a"}, {"id": "3", "name": "b"}]}',
        "the category id 3 is 'a' and 'b'",
    ),
    "an image of no object": ('{"images": [3], "categories": []}', "image 1: is not an object with an id"),
    "an annotation of no object": (
        '{"images": [], "categories": [], "annotations": [3]}',
        "annotation at position 1: has no image_id",
    ),
    "an image that is not listed": (
        '{"images": [], "categories": [], "annotations": [{"id": 7, "image_id": 9}]}',
        "annotation 7: its image 9 is not among the images",
    ),
    "half a character": ('{"images": [{"id": 1, "file_name": "\\ud800"}], "categories": []}', "x.json"),
}


@pytest.mark.parametrize("padded", [False, True], ids=["small", "large"])
@pytest.mark.parametrize(("text", "said"), FILES.values(), ids=FILES)
def test_what_is_wrong_with_a_file_is_said_in_a_line(tmp_path, monkeypatch, text, said, padded):
    if padded:
        monkeypatch.setattr(coco_file, "_SMALL", 0)
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match=re.escape(said)) as error:
        list(formats.read(str(tmp_path / "x.json"), "coco", label="boxes"))
    assert "x.json" in str(error.value) and "\n" not in str(error.value)


TWICE = [
    '{"id": 1, "image_id": 1, "image_id": 2, "category_id": 1, "bbox": [3, 4, 6, 4]}',
    '{"id": 1, "image_id": 1, "category_id": 1, "bbox": [3, 4, 6, 4], "bbox": [3, 4, 6, 5]}',
    '{"id": 1, "id": 2, "image_id": 1, "category_id": 1, "bbox": [3, 4, 6, 4]}',
    '{"image_id": 1, "category_id": 1, "iscrowd": 0, "iscrowd": 1, "bbox": [3, 4, 6, 4]}',
]


@pytest.mark.parametrize("annotation", TWICE)
def test_a_key_twice_is_refused_in_a_large_file_too(tmp_path, monkeypatch, annotation):
    save_images(tmp_path, ["a.png"])
    monkeypatch.setattr(coco_file, "_SMALL", 0)
    whole = json.dumps(content([{}]))
    (tmp_path / "x.json").write_text(re.sub(r'"annotations": \[.*?\}\]', f'"annotations": [{annotation}]', whole))
    with pytest.raises(UserError, match="x.json: the key '.*' stands twice in one object"):
        list(formats.read(str(tmp_path), label="boxes"))


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("odd", [{}, {"bbox": ["3", 4, "6", 4]}])
def test_ids_and_boxes_of_numbers_and_text_keep_their_order(tmp_path, monkeypatch, large, odd):
    if large:
        monkeypatch.setattr(coco_file, "_SMALL", 0)
    save_images(tmp_path, ["a.png"])
    found = [{"image_id": key, "area": area} for area, key in enumerate([1, "1", 1.0, 1])]
    (tmp_path / "x.json").write_text(json.dumps(content([*found, odd])))
    (record,) = formats.read(str(tmp_path), label="boxes")
    assert record.label.boxes == tuple(Box("cat", 0.25, 0.5, 0.75, 1.0, area=area) for area in [0, 1, 2, 3, 9])


@pytest.mark.parametrize("bbox", [None, [3, 4, 6], "3 4 6 4", [3, 4, 6, None]])
def test_a_box_that_is_none_is_told_beside_those_that_are(tmp_path, bbox):
    save_images(tmp_path, ["a.png"])
    (tmp_path / "x.json").write_text(json.dumps(content([{}, {"bbox": bbox}])))
    with pytest.raises(UserError, match=r"annotation 2: (has no bbox of four numbers|bbox\[3\] is missing)$"):
        list(formats.read(str(tmp_path), label="boxes"))


def test_a_large_file_is_not_parsed_by_python_as_well(tmp_path, monkeypatch):
    save_images(tmp_path, ["a.png"])
    monkeypatch.setattr(coco_file, "_SMALL", 0)
    monkeypatch.setattr(coco_file, "json_value", lambda data: pytest.fail("is parsed by Python"))
    whole = content([{}]) | {"licenses": [{"id": 1, "name": "x"}], "info": {"name": "y"}, "type": "instances"}
    (tmp_path / "x.json").write_text("\ufeff" + json.dumps(whole))
    (record,) = formats.read(str(tmp_path), label="boxes")
    assert record.label.boxes == (Box("cat", 0.25, 0.5, 0.75, 1.0, area=9),)


numbers = st.floats() | st.floats(0, 1) | st.floats(0, 1e-3) | st.integers(-1, 1)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.builds(Box, st.text(min_size=1), *[numbers] * 4, st.booleans(), st.none() | st.floats(0, 1e17)),
        max_size=3,
    ),
    st.booleans(),
)
def test_a_line_of_boxes_is_as_json_writes_it(found, sized):
    record = Record("/x/ä.png", Boxes(tuple(found)), *((12, 8, "png") if sized else ()), digest="ab" if sized else None)
    item = {"image_url": record.image_url}
    if sized:
        item["image_details"] = {"format": "png", "width": 12, "height": 8, "digest": "ab"}
    item["label"] = record.label.to_json()
    assert record_file.line_of(record) == json.dumps(item, ensure_ascii=False) + "\n"


@settings(max_examples=20, deadline=None)
@given(st.lists(instances(7, 5), max_size=4))
def test_a_line_of_polygons_is_read_back(found):
    label = Polygons(tuple(found))
    item = json.loads(record_file.line_of(Record("/x/a.png", label)))
    assert Polygons.restored(item["label"]) == label == Polygons.of_json(item["label"])


def test_run_lengths_are_read_in_both_forms():
    both = [rle({"size": [2, 3], "counts": counts}) for counts in ([1, 2, 3], "123")]
    assert both[0] == both[1] == Rle(2, 3, "123")
