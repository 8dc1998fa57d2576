"""Annotations of classification that cannot be read: what is said, and where."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automl_images.annotations import formats
from automl_images.annotations.checks import Checker
from automl_images.annotations.labels import KINDS
from automl_images.errors import UserError
from tests.conftest import IMAGES, azure, jsonl_lines, lay, ref, save_images

LIST = "label: is a list, and image-classification takes one class; use task image-classification-multilabel"
BOX = {"label": "a", "topX": 0, "topY": 0, "bottomX": 1, "bottomY": 1}
LST = "index, class and path, separated by tabs"
CSV = "image,label\na.png,cat\n"
# file, kind, text, the place, what is said
BAD = {
    "jsonl: list for one": ("x.jsonl", "class", azure("cat", ["a"]), 2, LIST),
    "jsonl: boxes for one": ("x.jsonl", "class", azure([BOX]), 1, "list of boxes.*use task image-object-detection"),
    "jsonl: box for one": ("x.jsonl", "class", azure(BOX), 1, "list of boxes"),
    "jsonl: none": ("x.jsonl", "class", azure("a", None), 2, 'has no label; .* such as "label": "cat"'),
    "jsonl: empty": ("x.jsonl", "class", azure("a", " "), 2, "label is empty"),
    "jsonl: truth": ("x.jsonl", "class", azure(True), 1, "label is true, which is no class name; write it as text"),
    "jsonl: not finite": ("x.jsonl", "class", '{"image_url": "a", "label": NaN}\n', 1, "not a finite number"),
    "jsonl: two lines": ("x.jsonl", "class", azure("a\nb"), 1, "one line of printable text"),
    "jsonl: half a character": ("x.jsonl", "class", '{"image_url": "a", "label": "\\ud800"}\n', 1, "printable text"),
    "jsonl: no image": ("x.jsonl", "class", '\n{"label": "a"}\n', 2, "has no image_url"),
    "jsonl: no JSON": ("x.jsonl", "class", azure("a") + "{\n", 2, "is not JSON"),
    "jsonl: one for list": ("x.jsonl", "classes", azure("cat"), 1, r'is "cat".* write \["cat"\], or use task image-cl'),
    "jsonl: number for list": ("x.jsonl", "classes", azure(["a"], 3), 2, r"is 3, .* write \[3\]"),
    "jsonl: boxes for list": ("x.jsonl", "classes", azure([BOX]), 1, "list of boxes.*use task image-object-detection"),
    "jsonl: none for list": ("x.jsonl", "classes", azure([], None), 2, "has no label; .*, \\[\\] where there is none"),
    "jsonl: null in list": ("x.jsonl", "classes", azure(["a", None]), 1, "label 2 is missing"),
    "jsonl: list in list": (
        "x.jsonl",
        "classes",
        azure(["a", ["b"]]),
        1,
        r'label 2 is \["b"\], which is no class name',
    ),
    "jsonl: empty in list": ("x.jsonl", "classes", azure(["a", ""]), 1, "label 2 is empty"),
    "lst: spaces": ("x.lst", "class", "0 1 a.png\n", 1, f"has 1 columns; it needs {LST}"),
    "lst: two columns": ("x.lst", "class", "0\t1\ta.png\n1\tb.png\n", 2, f"has 2 columns; it needs {LST}"),
    "lst: index": ("x.lst", "class", "index\tclass\tpath\n", 1, "the index is 'index', which is not a number"),
    "lst: class": ("x.lst", "class", "0\tcat\ta.png\n", 1, "the class id is 'cat', which is not a number"),
    "lst: half": ("x.lst", "class", "0\t0.5\ta.png\n", 1, "'0.5', which is not a whole number from 0"),
    "lst: below 0": ("x.lst", "class", "0\t-1\ta.png\n", 1, "'-1', which is not a whole number from 0"),
    "lst: no path": ("x.lst", "class", "0\t1\t\n", 1, "has no path in its last column"),
    "lst: leaves the root": ("x.lst", "class", "0\t1\t../../etc/passwd\n", 1, "leaves the image root"),
    "lst: multi-hot for one": ("x.lst", "class", "0\t1\t0\ta.png\n", 1, "takes one; use task .*-multilabel"),
    "lst: id for several": ("x.lst", "classes", "0\t7\ta.png\n", 1, "is a class id.* use task image-classification$"),
    "lst: not hot": ("x.lst", "classes", "0\t1\t2\ta.png\n", 1, "the column of class 1 is '2'; write 0 or 1"),
    "lst: ragged": ("x.lst", "classes", "0\t1\t0\ta.png\n1\t1\t0\t1\tb.png\n", 2, "has 3 .* the lines before have 2"),
    "csv: image": ("x.csv", "class", "a,label\nx,y\n", 1, "'a,label' no column is called image or filename or"),
    "csv: label": ("x.csv", "class", "image,class\nx,y\n", 1, "no column is called label or labels"),
    "csv: bars": ("x.csv", "class", "image/label\n", 1, "in the header 'image/label' no column"),
    "csv: two images": ("x.csv", "class", "image,path,label\n", 1, "the columns 'image' and 'path' compete"),
    "csv: fields": ("x.csv", "class", CSV + "b.png,big, dog\n", 3, "has 3 fields, and the header has 2; quote"),
    "csv: no image": ("x.csv", "class", CSV + " ,dog\n", 3, "has no image"),
    "csv: no label": ("x.csv", "class", CSV + "b.png,\n", 3, "label is empty"),
    "csv: several": ("x.csv", "class", CSV + "b.png,cat|dog\n", 3, r"'cat\|dog' is several classes.*-multilabel"),
    "csv: gap": ("x.csv", "classes", CSV + "b.png,cat||dog\n", 3, "label 2 is empty"),
    "csv: quote": ("x.csv", "class", CSV + 'b.png,"dog\n', 3, "is not CSV"),
    "csv: after two lines in quotes": (
        "x.csv",
        "class",
        'image,note,label\nb.png,"two\nlines",dog\nb.png,,\n',
        4,
        "label is empty",
    ),
    "manifest: no image": ("x.manifest", "class", jsonl_lines(ref(0), {"animal": 1}), 2, "has no source-ref"),
    "manifest: no JSON": ("x.manifest", "class", jsonl_lines(ref(0), "{"), 2, "is not JSON"),
    "manifest: no class": ("x.manifest", "class", jsonl_lines(ref(0), {"source-ref": "b"}), 2, "has no 'animal'"),
    "manifest: list": ("x.manifest", "class", jsonl_lines(ref([0])), 1, "is a list, and .* use task .*-multilabel"),
    "manifest: list as text": ("x.manifest", "class", jsonl_lines(ref("[1, 0]")), 1, "'animal' is a list"),
    "manifest: object": ("x.manifest", "class", jsonl_lines(ref({})), 1, "'animal' is {}, which is no class name"),
    "manifest: without a name": (
        "x.manifest",
        "class",
        jsonl_lines(ref(0, {"class-name": "dog"}), ref(1)),
        2,
        "the class id 1 has no name",
    ),
    "manifest: two names": (
        "x.manifest",
        "class",
        jsonl_lines(ref(0, {"class-name": "dog"}), ref(0, {"class-name": "cat"})),
        2,
        "class id 0 is 'cat' here, and 'dog' in a line before",
    ),
    "manifest: one for several": ("x.manifest", "classes", jsonl_lines(ref(3)), 1, "is 3, and .* a list of classes"),
    "manifest: id twice": (
        "x.manifest",
        "classes",
        jsonl_lines(ref([0, 2]), ref([2, 2])),
        2,
        "class id stands in it tw",
    ),
    "manifest: not hot": (
        "x.manifest",
        "classes",
        jsonl_lines(ref([0, 1, 1]), ref([1, 1, 0]), ref([1, 1])),
        3,
        "has 2 values; the multi-hot lists of this manifest have 3",
    ),
    "manifest: nested": ("x.manifest", "classes", jsonl_lines(ref([[1]])), 1, "which is no list of classes"),
    "manifest: id without a name": (
        "x.manifest",
        "classes",
        jsonl_lines(ref([0], {"class-map": {"0": "dog"}}), ref([4, 5], {"class-map": {"4": "cat"}})),
        2,
        "the class id 5 has no name",
    ),
}


@pytest.mark.parametrize(("name", "kind", "text", "line", "message"), BAD.values(), ids=BAD)
def test_a_bad_line_is_refused_with_its_place_and_left_out_by_skip(tmp_path, name, kind, text, line, message):
    lay(tmp_path, {name: text})
    source = str(tmp_path / name)
    with pytest.raises(UserError, match=f"{name}, line {line}: .*{message}") as raised:
        list(formats.read(source, label=kind))
    assert "\n" not in str(raised.value)
    if name == "x.csv" and line == 1:
        return  # a header is no record that could be left out
    checker = Checker("skip", label=kind)
    list(formats.read(source, images=None, broken=checker.broken, label=kind))
    assert checker.found["skipped_images"] == 1


# files, kind, format, images, what is said
UNREADABLE = {
    "boxes for classification": (
        {},
        "class",
        "coco",
        None,
        "coco holds boxes or polygons, and image-classification takes one class",
    ),
    "voc for several": ({}, "classes", "voc", None, "use jsonl, manifest, lst, .*csv, .*or auto"),
    "folder for several": ({}, "classes", "folder", None, "folder holds one class an image, and .* a list of classes"),
    "lst for boxes": (
        {},
        "boxes",
        "lst",
        None,
        "lst holds one class an image or a list of .*, and image-object-detection takes boxes",
    ),
    "unknown": ({}, "class", "foldr", None, "did you mean 'folder'"),
    "nothing": (
        {"x.xml": ""},
        "class",
        "auto",
        None,
        "no annotations for image-classification: a folder per class, JSONL",
    ),
    "two": ({"x.lst": "", "x.csv": CSV}, "class", "auto", None, "could be lst or csv; set format"),
    "two files": ({"x.lst": "", "y.lst": ""}, "class", "auto", None, "holds 2 files .*/x.lst, y.lst; name one"),
    "only loose images": ({}, "class", "folder", None, "its images lie in no class's folder; .*/CLASS/IMAGE"),
    "no csv": ({"x.csv": "a,b\n"}, "class", "csv", None, "holds no labels ..csv with the columns image and label"),
    "empty csv": ({"x.csv": ""}, "class", "x.csv", None, "is empty; it needs a header"),
    "empty manifest": ({"x.manifest": "\n"}, "class", "x.manifest", None, "is empty; it needs a line of JSON"),
    "manifest of boxes": (
        {"x.manifest": jsonl_lines({"source-ref": "a.png"})},
        "class",
        "x.manifest",
        None,
        "line 1: has no class attribute",
    ),
    "manifest of two": (
        {"x.manifest": jsonl_lines(ref(0, colour=1))},
        "class",
        "x.manifest",
        None,
        "line 1: 'animal' and 'colour' may hold the classes; a manifest needs one",
    ),
    "names with a gap": (
        {"x.lst": "0\t1\ta.png\n", "classes.txt": "cat\n\ndog\n"},
        "class",
        "x.lst",
        None,
        "classes.txt, line 2: is empty",
    ),
    "a name twice": (
        {"x.lst": "0\t1\ta.png\n", "classes.txt": "cat\ncat\n"},
        "class",
        "x.lst",
        None,
        "classes.txt, line 2: the name 'cat' stands on line 1 too",
    ),
    "no names": ({"x.lst": "0\t1\ta.png\n", "classes.txt": "\n"}, "class", "x.lst", None, "classes.txt: is empty"),
    "id without a name": (
        {"x.lst": "0\t2\ta.png\n", "classes.txt": "cat\ndog\n"},
        "class",
        "x.lst",
        None,
        "line 1: the class id 2 has no name: classes.txt has 2 lines, for 0 to 1",
    ),
    "columns without a name": (
        {"x.lst": "0\t1\t0\t1\ta.png\n", "classes.txt": "cat\ndog\n"},
        "classes",
        "x.lst",
        None,
        "line 1: has 3 columns of classes, and classes.txt has 2 names",
    ),
    "not UTF-8": ({"x.csv": "image,label\na.png,caf\udce9\n"}, "class", "x.csv", None, "x.csv: is not UTF-8 text"),
}


@pytest.mark.parametrize(("files", "kind", "format", "images", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_source_that_cannot_be_read(tmp_path, files, kind, format, images, message):
    save_images(tmp_path, IMAGES)
    for name, text in files.items():
        (tmp_path / name).write_text(text, errors="surrogateescape")
    source, format = (str(tmp_path / format), "auto") if format in files else (str(tmp_path), format)
    with pytest.raises(UserError, match=message) as raised:
        list(formats.read(source, format, images, label=kind))
    assert "\n" not in str(raised.value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list(BOX)), inner, max_size=6),
    max_leaves=8,
)


@pytest.mark.parametrize("kind", KINDS)
@given(value=VALUES)
@settings(max_examples=150, deadline=None)
def test_any_label_is_refused_in_one_line_or_comes_back_as_it_was_read(kind, value):
    try:
        label = KINDS[kind].of_json(value)
    except UserError as error:
        assert "\n" not in str(error)
        return
    assert KINDS[kind].restored(json.loads(json.dumps(label.to_json()))) == label
