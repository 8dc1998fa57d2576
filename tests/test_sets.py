"""Folders that hold training, validation and test: found by their names, taken whole, never merged."""

import json
import shutil

import pytest

from automl_images import storage
from automl_images.annotations import formats, read_records
from automl_images.annotations.labels import KINDS
from automl_images.annotations.sets import filled, sets_of
from automl_images.annotations.source import Source
from automl_images.errors import UserError
from automl_images.steps.convert import commands, convert_data
from tests.conftest import save_images
from tests.test_formats import MASK, VOC, mask_of

BOX = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 3, 3], "area": 9, "iscrowd": 0}
TASKS = {kind.kind: kind.task() for kind in KINDS.values()}


def coco(name, category="cat"):
    image = {"id": 1, "file_name": name, "width": 12, "height": 8}
    return json.dumps({"images": [image], "annotations": [BOX], "categories": [{"id": 1, "name": category}]})


def azure(*names, label="cat"):
    return "".join(json.dumps({"image_url": name, "label": label}) + "\n" for name in names)


CLASSES = [f"{set}/{name}/{i}.png" for set in ("train", "valid", "test") for name in ("cat", "dog") for i in "ab"]
# the kind, the images, the files, where each set is, and how many images it has
LAYOUTS = {
    "roboflow's coco": (
        "boxes",
        ["train/a.jpg", "valid/b.jpg", "test/c.jpg"],
        {
            "README.roboflow.txt": "",
            "train/_annotations.coco.json": coco("a.jpg"),
            "valid/_annotations.coco.json": coco("b.jpg"),
            "test/_annotations.coco.json": coco("c.jpg"),
        },
        {"training": "train", "validation": "valid", "test": "test"},
    ),
    "roboflow's voc": (
        "boxes",
        ["train/a.png", "valid/a.png"],
        {"train/a.xml": VOC, "valid/a.xml": VOC},
        {"training": "train", "validation": "valid"},
    ),
    "folders of classes": (
        "class",
        CLASSES,
        {},
        {"training": "train", "validation": "valid", "test": "test"},
    ),
    "in a folder of their own": (
        "class",
        [f"pets/{name}" for name in CLASSES],
        {},
        {"training": "pets/train", "validation": "pets/valid", "test": "pets/test"},
    ),
    "without a validation": (
        "class",
        [name for name in CLASSES if not name.startswith("valid")],
        {},
        {"training": "train", "test": "test"},
    ),
    "coco's own": (
        "boxes",
        ["train2017/a.jpg", "val2017/b.jpg"],
        {
            "annotations/instances_train2017.json": coco("a.jpg"),
            "annotations/instances_val2017.json": coco("b.jpg"),
            "annotations/person_keypoints_train2017.json": coco("a.jpg", "person"),
            "annotations/person_keypoints_val2017.json": coco("b.jpg", "person"),
            "annotations/captions_train2017.json": coco("a.jpg", "person"),
        },
        {"training": "annotations/instances_train2017.json", "validation": "annotations/instances_val2017.json"},
    ),
    "voc's lists": (
        "boxes",
        [f"VOC/JPEGImages/{name}.png" for name in "abc"],
        {f"VOC/Annotations/{name}.xml": VOC.replace("a.png", f"{name}.png") for name in "abc"}
        | {f"VOC/ImageSets/Main/{set}.txt": f"{name}\n" for set, name in (("train", "a"), ("val", "b"), ("test", "c"))}
        | {"VOC/ImageSets/Main/trainval.txt": "a\nb\n", "README.md": ""},
        {
            "training": "VOC/ImageSets/Main/train.txt",
            "validation": "VOC/ImageSets/Main/val.txt",
            "test": "VOC/ImageSets/Main/test.txt",
        },
    ),
    "jsonl": (
        "class",
        ["p/a.png", "p/b.png", "p/c.png"],
        {
            "train_annotations.jsonl": azure("p/a.png") + azure("p/c.png", label="dog"),
            "validation_annotations.jsonl": azure("p/b.png"),
        },
        {"training": "train_annotations.jsonl", "validation": "validation_annotations.jsonl"},
    ),
    "csv": (
        "classes",
        ["a.png", "b.png"],
        {"train.csv": "image,label\na.png,cat\n", "test.csv": "image,label\nb.png,cat\n"},
        {"training": "train.csv", "test": "test.csv"},
    ),
    "sagemaker's channels of lists": (
        "class",
        ["train/a.png", "train/c.png", "validation/b.png"],
        {"train_lst/x.lst": "0\t0\ta.png\n1\t1\tc.png\n", "validation_lst/x.lst": "0\t0\tb.png\n"},
        {"training": "train_lst", "validation": "validation_lst"},
    ),
    "a folder of masks beside each": (
        "mask",
        ["train/a.png", "val/b.png", "test/c.png"],
        {f"{set}annot/{name}.png": mask_of(1) for set, name in (("train", "a"), ("val", "b"), ("test", "c"))},
        {"training": "train", "validation": "val", "test": "test"},
    ),
    "folders of masks below": (
        "mask",
        ["images/training/a.jpg", "images/validation/b.jpg"],
        {"annotations/training/a.png": mask_of(1), "annotations/validation/b.png": mask_of(1)},
        {"training": "images/training", "validation": "images/validation"},
    ),
}


def lay(folder, images, files):
    save_images(folder, images)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def converted(folder, kind, data=None):
    """Return what :func:`convert_data` makes of a folder given as training, and the images of each set."""
    outs = {name: str(folder.parent / f"{name}.jsonl") for name in ("training", "validation", "test")}
    summary = convert_data(TASKS[kind], data or {"training": {"source": str(folder)}}, outs)
    return summary, {name: [r.image_url for r in read_records(out)] for name, out in outs.items()}


@pytest.mark.parametrize(("kind", "images", "files", "expected"), LAYOUTS.values(), ids=LAYOUTS)
def test_the_sets_of_an_export_fill_training_validation_and_test(tmp_path, capsys, kind, images, files, expected):
    lay(tmp_path / "x", images, files)
    found = sets_of(Source(str(tmp_path / "x")), KINDS[kind])
    assert {name: part.source.removeprefix(f"{tmp_path}/x/") for name, part in found.items()} == expected
    summary, urls = converted(tmp_path / "x", kind)
    lines = [line for line in capsys.readouterr().err.splitlines() if "holds sets" in line]
    assert len(lines) == 1 and all(f"{name} is {place}" in lines[0] for name, place in expected.items())
    assert ("validation is split off" in lines[0]) is ("validation" not in expected)
    assert set(summary) == set(expected) == {name for name, found in urls.items() if found}
    every = [url for found in urls.values() for url in found]
    assert len(every) == len(set(every)) == len(images), "no image is in two sets, and none is left out"
    for name, place in expected.items():
        if (tmp_path / "x" / place).is_dir() and not place.endswith("_lst"):
            assert all(f"/{place}/" in url for url in urls[name])


@pytest.mark.parametrize(("kind", "images", "files", "expected"), LAYOUTS.values(), ids=LAYOUTS)
def test_read_as_one_set_such_a_folder_is_refused_by_name(tmp_path, kind, images, files, expected):
    lay(tmp_path / "x", images, files)
    with pytest.raises(UserError, match="holds the sets .* and .*; name one of them, such as") as error:
        list(formats.read(str(tmp_path / "x"), label=kind))
    assert all(place in str(error.value) for place in expected.values()) and "\n" not in str(error.value)


def test_commands_do_what_the_step_does(tmp_path):
    kind, images, files, expected = LAYOUTS["sagemaker's channels of lists"]
    lay(tmp_path / "x", images, files)
    outs = {name: f"{name}.jsonl" for name in ("training", "validation", "test")}
    found = commands(TASKS[kind], {"training": {"source": str(tmp_path / "x")}}, outs)
    assert [words[0] for words in found] == [str(tmp_path / "x" / place) for place in expected.values()]
    assert found[1][found[1].index("--images") + 1] == str(tmp_path / "x/validation")


def test_what_is_given_is_kept(tmp_path, capsys):
    lay(tmp_path / "x", CLASSES, {})
    lay(tmp_path / "y", ["cat/1.png"], {})
    kind, given = KINDS["class"], {"source": str(tmp_path / "y")}
    found = filled({"training": {"source": str(tmp_path / "x"), "format": "folder"}, "test": given}, kind)
    assert found["test"] == given and found["validation"]["source"].endswith("x/valid")
    assert found["validation"]["format"] == "folder"
    data = {"training": {"source": str(tmp_path / "x")}, "validation": given}
    assert filled(data, kind) == data
    with pytest.raises(UserError, match="data.training: .*holds the sets train, valid and test"):
        converted(tmp_path / "x", "class", data)
    assert "holds sets" not in capsys.readouterr().err


NONE = {
    "a class that is called train": ("class", ["train/a.png", "car/b.png"], {}),
    "a file that labels all": (
        "class",
        ["train/a.png", "test/b.png"],
        {"labels.csv": "image,label\ntrain/a.png,cat\ntest/b.png,dog\n"},
    ),
    "no training": ("class", ["val/cat/a.png", "test/cat/b.png"], {}),
    "one set": ("class", ["train/cat/a.png", "train/dog/b.png"], {}),
    "files of no set": ("boxes", ["a.png"], {"restrain.json": coco("a.png")}),
    "files that are no annotations": (
        "class",
        ["cat/a.png", "dog/b.png"],
        {"train.json": '{"loss": 1}', "val.json": '{"loss": 2}'},
    ),
}


@pytest.mark.parametrize(("kind", "images", "files"), NONE.values(), ids=NONE)
def test_what_is_one_set_stays_one(tmp_path, kind, images, files):
    lay(tmp_path, images, files)
    assert sets_of(Source(str(tmp_path)), KINDS[kind]) == {}


@pytest.mark.parametrize(
    ("kind", "images", "files", "said"),
    [
        ("class", ["train/a/1.png", "val/a/2.png", "valid/a/3.png"], {}, "validation may be val or valid; name one"),
        (
            "class",
            ["a.png"],
            {"train.jsonl": azure("a.png"), "dev.jsonl": azure("a.png"), "val.jsonl": azure("a.png")},
            "validation may be dev.jsonl or val.jsonl; name one",
        ),
        (
            "class",
            ["a.png"],
            {f"{place}{name}.jsonl": azure("a.png") for place in ("p/", "q/") for name in ("train", "val")},
            "training may be .*p/train.jsonl or .*q/train.jsonl; name one",
        ),
    ],
)
def test_a_set_that_is_there_twice_is_refused_by_name(tmp_path, kind, images, files, said):
    lay(tmp_path, images, files)
    with pytest.raises(UserError, match=said):
        list(formats.read(str(tmp_path), label=kind))
    with pytest.raises(UserError, match=f"^data.training: .*{said}"):
        converted(tmp_path, kind)


def test_a_folder_that_cannot_hold_sets_is_not_listed_for_them(tmp_path, monkeypatch):
    lay(tmp_path / "x", ["cat/a.png", "dog/b.png", "emu/c.png"], {})
    listed = []
    files_below = storage.files_below
    monkeypatch.setattr(storage, "files_below", lambda url: listed.append(url) or files_below(url))
    converted(tmp_path / "x", "class")
    assert listed == [str(tmp_path / "x")]


def test_a_label_map_above_the_sets_names_the_classes_of_each(tmp_path):
    kind, images, files, _ = LAYOUTS["a folder of masks beside each"]
    lay(tmp_path / "x", images, {**files, "label_map.json": json.dumps({"classes": MASK["classes"], "ignore": [0]})})
    summary, _ = converted(tmp_path / "x", kind)
    assert [list(found["classes"]) for found in summary.values()] == [["cat"]] * 3


@pytest.mark.parametrize("source", ["x", "x.zip"])
def test_what_is_submitted_is_copied_set_by_set(tmp_path, source):
    from automl_images.pipelines.experiment import Experiment
    from automl_images.pipelines.stage import stage

    lay(tmp_path / "x", CLASSES, {})
    shutil.make_archive(str(tmp_path / "x"), "zip", tmp_path / "x")
    data = {"training": {"source": str(tmp_path / source)}}
    experiment = Experiment(name="pets", task=TASKS["class"], data=data, storage="memory://sets")
    data = stage(experiment).data
    found = {
        name: [r.image_url for r in read_records(getattr(data, name).source)]
        for name in ("training", "validation", "test")
    }
    assert {name: len(urls) for name, urls in found.items()} == dict.fromkeys(found, 4)
    assert all(url.startswith("memory://sets/images/") for urls in found.values() for url in urls)
