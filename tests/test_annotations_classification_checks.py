"""Records of classification: written and read back, checked, converted, split."""

import numpy as np
import pytest
from PIL import Image

from automl_images.annotations import Box, Boxes, Classes, OneClass, Record, read_records, record_file
from automl_images.annotations.checks import Checker, check_training_classes
from automl_images.annotations.split import split_random
from automl_images.errors import UserError
from automl_images.steps.convert import convert, convert_data, summary_line
from automl_images.steps.split import split_data
from tests.conftest import save_images

ONE, SEVERAL = "image-classification", "image-classification-multilabel"
TASKS = {"class": ONE, "classes": SEVERAL}


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        (OneClass("cat"), "class"),
        (Classes(("cat", "dog")), "classes"),
        (Classes(()), "classes"),
        (Boxes((Box("cat", 0, 0, 1, 0.5, True),)), "boxes"),
    ],
    ids=["class", "classes", "empty", "boxes"],
)
def test_records_are_read_back_as_they_were_written(tmp_path, label, kind):
    record = Record("/a.png", label, 12, 8, "png")
    record_file.write([record], str(tmp_path / "r"))
    assert list(read_records(str(tmp_path / "r"), kind)) == [record]
    assert list(read_records(str(tmp_path / "r"))) == [record]
    for other in {"class", "classes", "boxes"} - {kind}:
        if label == Classes(()) and other != "class":
            continue  # an image with nothing suits both kinds of list
        with pytest.raises(
            UserError, match="line 1: is not as `automl-images convert --task .*` writes; convert first"
        ):
            list(read_records(str(tmp_path / "r"), other))


@pytest.mark.parametrize(
    "label", ['""', "3", "null", '["a", "a"]', '["a", 1]', '["a", {}]', '[""]', '{"label": "a"}', '[{"label": "a"}]']
)
def test_records_are_read_back_strictly(tmp_path, label):
    (tmp_path / "r").write_text(f'{{"image_url": "/a.png", "label": {label}}}\n')
    with pytest.raises(UserError, match="line 1: is not as `automl-images convert` writes"):
        list(read_records(str(tmp_path / "r")))


def test_the_class_of_each_thing_that_is_labelled():
    boxes = Boxes((Box("a", 0, 0, 1, 1), Box("b", 0, 0, 1, 1), Box("a", 0, 0, 1, 1)))
    labels = OneClass("a"), Classes(("a", "b")), Classes(()), boxes
    assert [label.names() for label in labels] == [["a"], ["a", "b"], [], ["a", "b", "a"]]


def label_of(value):
    """Return the label of one class, given as text, or of several."""
    return OneClass(value) if isinstance(value, str) else Classes(tuple(value))


def record_of(tmp_path, label, name="i.png", **changes):
    save_images(tmp_path, [name])
    return Record(
        **{"image_url": str(tmp_path / name), "label": label_of(label), "where": "x.jsonl, line 3", **changes}
    )


@pytest.mark.parametrize(
    ("label", "kind", "left"),
    [("dgo", "class", []), (["cat", "dgo"], "classes", [["cat"]]), (["dgo"], "classes", [[]])],
    ids=["class", "one of two", "the only one of a list"],
)
def test_a_class_that_training_does_not_have(tmp_path, label, kind, left):
    record = record_of(tmp_path, label)
    with pytest.raises(UserError, match="x.jsonl, line 3: has the class 'dgo', which the training.*did you mean 'dog'"):
        list(Checker("fail", ["cat", "dog"], label=kind).check([record]))
    skipping = Checker("skip", ["cat", "dog"], label=kind)
    assert list(skipping.check([record])) == []
    assert skipping.summary()["skipped_images"] == 1
    fixing = Checker("fix", ["cat", "dog"], label=kind)
    assert [r.label.to_json() for r in fixing.check([record])] == left
    assert fixing.found["dropped_labels"] == len(left)
    assert fixing.found["skipped_images"] == 1 - len(left)


def test_an_image_without_labels_is_kept_and_counted(tmp_path):
    checker = Checker(label="classes")
    records = [record_of(tmp_path, []), record_of(tmp_path, ["a", "b"], "j.png")]
    Image.new("RGB", (12, 8), "red").save(tmp_path / "j.png")
    assert [r.label.names() for r in checker.check(records)] == [[], ["a", "b"]]
    summary = checker.summary()
    assert (summary["images"], summary["labels"], summary["unlabelled_images"]) == (2, 2, 1)
    assert summary_line(summary) == "2 images, 2 labels, 2 classes; 1 unlabelled images"


def test_a_size_that_is_not_the_images_is_taken_from_it(tmp_path):
    checker = Checker(label="class")
    (kept,) = checker.check([record_of(tmp_path, "a", width=8, height=12)])
    assert (kept.width, kept.height) == (12, 8)
    assert checker.summary()["fixed_sizes"] == 1


@pytest.mark.parametrize("kind", ["class", "classes"])
def test_one_image_with_other_classes_is_refused(tmp_path, kind):
    first, other = ("a", "b") if kind == "class" else (["a", "c"], ["b"])
    again = first if kind == "class" else first[::-1]
    records = [record_of(tmp_path, label, where=f"x.jsonl, line {i}") for i, label in enumerate((first, again, other))]
    checker = Checker("skip", label=kind)
    kept = list(checker.check(records))
    assert len(kept) == 1 and list(checker.settled(lambda: iter(kept))) == []
    summary = checker.summary()
    assert (summary["images"], summary["repeated_images"], summary["skipped_images"]) == (0, 1, 2)
    with pytest.raises(UserError, match="^x.jsonl, line 2: the image has other classes in x.jsonl, line 0: .*i.png"):
        list(Checker("fail", label=kind).check(records))


def test_records_of_another_kind_are_a_fault(tmp_path):
    with pytest.raises(TypeError, match="does not suit image-classification"):
        list(Checker(label="class").check([record_of(tmp_path, ["a"])]))


@pytest.mark.parametrize("content", [None, b"", b"text", "truncated"], ids=["missing", "empty", "text", "truncated"])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_images_that_do_not_open_are_refused_or_left_out(tmp_path, content, suffix):
    rng = np.random.default_rng(0)
    for name in ("cat/1", "dog/1", "dog/2"):
        path = tmp_path / "d" / f"{name}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (90, 90, 3), dtype=np.uint8)).save(path)
    (tmp_path / "x.csv").write_text(f"image,label\nd/cat/1.{suffix},cat\nd/dog/1.{suffix},dog\nd/dog/2.{suffix},dog\n")
    if content is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content == "truncated" else content)
    with pytest.raises(UserError, match="x.csv, line 4: the image .*dog/2"):
        convert(str(tmp_path / "x.csv"), str(tmp_path / "o"), ONE)
    summary = convert(str(tmp_path / "x.csv"), str(tmp_path / "o"), ONE, on_error="fix")
    assert (summary["classes"], summary["skipped_images"]) == ({"cat": 1, "dog": 1}, 1)


@pytest.mark.parametrize(
    ("classes", "kind", "message"),
    [
        (["a"], "class", "has one class alone, 'a'; image-classification needs at least two classes"),
        ([], "classes", "has no class; image-classification-multilabel needs at least one class"),
    ],
)
def test_too_few_classes_to_train(classes, kind, message):
    with pytest.raises(UserError, match=message):
        check_training_classes(classes, kind)


def test_what_is_enough_to_train(capsys):
    check_training_classes(["a", "b"], "class")
    check_training_classes(["a"], "boxes")
    assert capsys.readouterr().err == ""
    check_training_classes(["a"], "classes")
    assert "has one class alone, 'a': each image is trained and scored on having it or not" in capsys.readouterr().err


def sets(tmp_path, **folders):
    for name, files in folders.items():
        save_images(tmp_path / name, files)
    outs = {name: str(tmp_path / f"{name}.out") for name in ("training", "validation", "test")}
    return {name: {"source": str(tmp_path / name)} for name in folders}, outs


def test_one_class_in_training_is_refused(tmp_path):
    data, outs = sets(tmp_path, training=["cat/1.png", "cat/2.png"])
    with pytest.raises(UserError, match="data.training: the training data has one class alone, 'cat'"):
        convert_data(ONE, data, outs)


def test_a_class_without_an_image_in_validation_is_said(tmp_path, capsys):
    data, outs = sets(tmp_path, training=["cat/1.png", "dog/1.png", "emu/1.png"], validation=["dog/2.png"])
    summaries = convert_data(ONE, data, outs)
    assert summaries["validation"]["classes"] == {"dog": 1}
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "training: 3 images, 3 classes",
        "training: note: 3 x a class with fewer than 10 examples (said); first 'cat' has 1",
        "validation: 1 images, 1 classes",
        "validation: 1 images also train, by their bytes",
        "validation: no image has the class cat, emu; the metrics of each such class are absent",
    ]


def test_a_class_only_in_validation_is_refused_or_left_out(tmp_path):
    data, outs = sets(tmp_path, training=["cat/1.png", "dog/1.png"], validation=["dog/2.png", "emu/1.png"])
    with pytest.raises(UserError, match="data.validation: .*emu/1.png: has the class 'emu', which the training"):
        convert_data(ONE, data, outs)
    assert convert_data(ONE, {**data, "on_error": "skip"}, outs)["validation"]["classes"] == {"dog": 1}


def labelled(labels):
    return [Record(f"/{i}.png", label_of(label)) for i, label in enumerate(labels)]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("several", [False, True], ids=["class", "classes"])
def test_every_class_trains(seed, several):
    rng = np.random.default_rng(seed)
    names = [f"c{i}" for i in range(12)]
    one = [names[min(11, int(rng.geometric(0.25)))] for _ in range(40)]
    several_of_them = [list(rng.choice(names, size=rng.integers(0, 4), replace=False)) for _ in range(40)]
    records = labelled(several_of_them if several else one)
    training, validation = split_random(records, 0.3, seed)
    assert len(training) + len(validation) == 40
    assert len(validation) == 12
    assert {n for r in training for n in r.label.names()} == {n for r in records for n in r.label.names()}


def test_a_split_keeps_labels_and_says_what_does_not_validate(tmp_path, capsys):
    paths = [str(tmp_path / n) for n in ("all", "t", "v")]
    records = labelled([["a", "b"], ["a"], ["a"], [], ["a"]])
    record_file.write(records, paths[0])
    split_data(paths[0], None, *paths[1:], ratio=0.4)
    parts = [list(read_records(p, "classes")) for p in paths[1:]]
    assert sorted(parts[0] + parts[1], key=lambda r: r.image_url) == records
    assert "no image has the class b" in capsys.readouterr().err
