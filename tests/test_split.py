"""Training, validation and test from one set of records."""

import collections
import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from automl_images.annotations import Classes, OneClass, Record, read_records, record_file
from automl_images.annotations.duplicates import alike
from automl_images.annotations.split import (
    by_metadata,
    by_pattern,
    joined,
    split_listed,
    split_random,
    split_stratified,
)
from automl_images.cli import app
from automl_images.errors import UserError
from automl_images.steps.convert import convert
from automl_images.steps.split import how, split_data, words
from tests.conftest import draw_squares


def labelled(labels):
    """Return records of one class each, or of several where a list of them is given."""
    return [
        Record(f"/{i}.png", OneClass(label) if isinstance(label, str) else Classes(tuple(label)))
        for i, label in enumerate(labels)
    ]


def counts(records):
    return collections.Counter(name for record in records for name in record.label.names())


def run(tmp_path, records, **options):
    """Split records, and return what each file has."""
    paths = {name: str(tmp_path / name) for name in ("all", "training", "validation", "test")}
    record_file.write(records, paths["all"])
    test = {"test_out": paths["test"]} if options.pop("test", False) else {}
    found = split_data(paths["all"], None, paths["training"], paths["validation"], **test, **options)
    kind = records[0].label.kind
    parts = {name: list(read_records(paths[name], kind)) for name in found}
    assert found == {name: len(part) for name, part in parts.items()}
    return parts


def test_stratified_splits_each_class_in_the_ratio():
    records = labelled(["a"] * 100 + ["b"] * 50 + ["c"] * 10)
    training, validation = split_stratified(records, 0.2, 3)
    assert counts(validation) == {"a": 20, "b": 10, "c": 2} and len(training) == 128
    assert split_stratified(records, 0.2, 3) == (training, validation)
    assert split_stratified(records, 0.2, 4)[1] != validation
    assert [int(r.image_url[1:-4]) for r in validation] == sorted(int(r.image_url[1:-4]) for r in validation)


def test_stratified_is_nearer_to_the_ratio_than_random_where_images_have_several_classes():
    rng = np.random.default_rng(0)
    names = [f"c{i}" for i in range(12)]
    chances = 0.5 ** np.arange(1, 13) * 2
    records = labelled([[n for n, p in zip(names, chances, strict=True) if rng.random() < p] for _ in range(500)])

    def error(split):
        total, off = counts(records), counts(split(records, 0.2, 0)[1])
        return sum(abs(off[n] - 0.2 * total[n]) for n in total)

    assert len(split_stratified(records, 0.2, 0)[1]) in range(95, 106)
    assert error(split_stratified) < 0.5 * error(split_random)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abcdef"), max_size=3, unique=True), min_size=2, max_size=40),
    st.floats(0.05, 0.95),
    st.integers(0, 5),
    st.sampled_from([split_random, split_stratified]),
    st.data(),
)
def test_whatever_the_split_every_class_trains_and_groups_stay_together(labels, ratio, seed, split, data):
    records = labelled(labels)
    together = data.draw(st.lists(st.integers(0, 30), min_size=len(records), max_size=len(records)))
    try:
        training, off = split(records, ratio, seed, together)
    except UserError:
        return
    assert sorted(map(id, [*training, *off])) == sorted(map(id, records)) and training and off
    assert set(counts(training)) == set(counts(records))
    group = {id(record): number for record, number in zip(records, together, strict=True)}
    assert not {group[id(r)] for r in training} & {group[id(r)] for r in off}
    assert split(records, ratio, seed, together) == (training, off)


def test_three_sets_have_their_shares_of_all(tmp_path, capsys):
    records = labelled(["a", "b"] * 50)
    for by in ("random", "stratified"):
        parts = run(tmp_path, records, ratio=0.2, test_ratio=0.1, by=by, test=True)
        assert {name: len(part) for name, part in parts.items()} == {"training": 70, "validation": 20, "test": 10}
        assert sorted(r.image_url for part in parts.values() for r in part) == sorted(r.image_url for r in records)
    assert "70 images train, 20 validate, 10 test" in capsys.readouterr().err


def test_without_a_test_share_random_is_what_it_was(tmp_path):
    parts = run(tmp_path, labelled(["a"] * 20))
    assert [r.image_url for r in parts["validation"]] == ["/4.png", "/7.png", "/15.png", "/18.png"]


def test_groups_are_on_one_side(tmp_path, capsys):
    records = [Record(f"/x/{person}_{i}.png", OneClass("ab"[i % 2])) for person in "pqrstu" for i in range(5)]
    parts = run(tmp_path, records, by="group", pattern=r"^([a-z])_\d", ratio=0.35, test_ratio=0.2, test=True)
    people = {name: {record.image_url[3] for record in part} for name, part in parts.items()}
    assert [len(people[name]) for name in ("training", "validation", "test")] == [3, 2, 1]
    assert not any(one & other for one, other in itertools.combinations(people.values(), 2))


def test_a_group_may_be_told_by_metadata_from_the_source_on(tmp_path):
    draw_squares(tmp_path, 10)
    said = [(f"{i:03}.png", "ab"[i % 2], {"who": i // 2, "x": []}) for i in range(10)]
    lines = [json.dumps({"image_url": name, "label": label, "metadata": known}) for name, label, known in said]
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    files = [str(tmp_path / name) for name in ("all", "t", "v")]
    convert(str(tmp_path / "x.jsonl"), files[0], "image-classification")
    assert [record.metadata for record in read_records(files[0])] == [{"who": i // 2} for i in range(10)]
    words = ["--by", "group", "--metadata", "who", "--split-ratio", "0.4"]
    assert CliRunner().invoke(app, ["split", *files, *words]).exit_code == 0
    people = [{record.metadata["who"] for record in read_records(file)} for file in files[1:]]
    assert [len(one) for one in people] == [3, 2] and not people[0] & people[1]


def test_a_group_of_metadata_is_text_or_number_and_never_absent():
    records = [Record(f"/{i}.png", OneClass("a"), metadata={"who": who}) for i, who in enumerate(["7", 7, 7.0, 7.5])]
    assert by_metadata(records, "who") == ["7", "7", "7", "7.5"]
    with pytest.raises(UserError, match="split.metadata: 2 images have no 'who', the first /x.png"):
        by_metadata([*records, Record("/x.png", OneClass("a"), metadata={"whom": 1}), *labelled(["a"])], "who")


def test_a_group_may_be_the_folder_and_the_whole_match():
    records = [Record(f"s3://b/{film}/{i}.png", OneClass("a")) for film in ("one", "two") for i in range(2)]
    assert by_pattern(records, r"[^/]+(?=/[^/]+$)") == ["one", "one", "two", "two"]
    with pytest.raises(UserError, match="'z' is not found in s3://b/one/0.png"):
        by_pattern(records, "z")
    with pytest.raises(UserError, match="is no regular expression"):
        by_pattern(records, "(")


def test_a_test_set_that_is_given_is_kept(tmp_path):
    records = labelled(["a", "b"] * 5)
    record_file.write(records[:3], str(tmp_path / "tested"))
    parts = run(tmp_path, records[3:], test=True, tested=str(tmp_path / "tested"))
    assert parts["test"] == records[:3] and len(parts["training"]) == 6
    record_file.write([], str(tmp_path / "tested"))
    assert run(tmp_path, records, test=True, tested=str(tmp_path / "tested"))["test"] == []


def test_what_belongs_together_is_joined():
    assert joined([0, 1, 2, 3, 4], ["a", "a", "b", "c", "d"], [1, 2, 1, 3, 4]) == [0, 0, 0, 3, 4]


def test_lists_name_images_in_the_usual_ways(tmp_path, capsys):
    records = [Record(f"/d/{folder}/{name}.jpg", OneClass(name)) for folder in "xy" for name in ("a", "b")]
    records.append(Record("/d/c.jpg", OneClass("c")))
    (tmp_path / "v.txt").write_text("x/a\n\n./y/b.jpg\n")
    (tmp_path / "t.txt").write_text("c\n")
    lists = {"validation_list": str(tmp_path / "v.txt"), "test_list": str(tmp_path / "t.txt")}
    parts = run(tmp_path, records, by="list", test=True, **lists)
    assert [r.image_url for r in parts["validation"]] == ["/d/x/a.jpg", "/d/y/b.jpg"]
    assert [r.image_url for r in parts["test"]] == ["/d/c.jpg"] and len(parts["training"]) == 2
    assert "no image that trains has the class c" in capsys.readouterr().err
    for lines, error in (
        (["x/a", "none"], "the list of validation, line 2: 'none': no image has this name"),
        (["a"], "line 1: 'a': several images have this name; write more of the path"),
    ):
        with pytest.raises(UserError, match=error):
            split_listed(records, {"validation": lines})
    with pytest.raises(UserError, match=r"the list of test, line 1: 'x/a.jpg' is in that of validation too"):
        split_listed(records, {"validation": ["x/a"], "test": ["x/a.jpg"]})


def test_images_that_look_alike_stay_together_on_request(tmp_path, capsys):
    rng = np.random.default_rng(0)
    records = []
    for i in range(6):
        image = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize((160, 160), Image.BICUBIC)
        image.save(tmp_path / f"{i}.png")
        image.resize((120, 120)).save(tmp_path / f"{i}_small.jpg", quality=80)
        records += [Record(str(tmp_path / name), OneClass("a")) for name in (f"{i}.png", f"{i}_small.jpg")]
    numbers = alike([record.image_url for record in records])
    assert numbers[::2] == numbers[1::2] and len(set(numbers)) == 6
    for seed in range(5):
        parts = run(tmp_path, records, ratio=0.35, seed=seed, near_duplicates=True)
        assert len(parts["validation"]) == 4
        assert len({r.image_url.rpartition("/")[2][0] for r in parts["validation"]}) == 2
    assert "split: 6 images look like another" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"by": "even"}, "data.split.by: 'even' is no way to split"),
        ({"ratio": 1.0}, "split_ratio: 1.0 is out of range"),
        ({"test_ratio": 0.8, "test": True}, "test_ratio: 0.8 is out of range"),
        ({"test_ratio": 0.1}, "test_ratio: there is no file"),
        ({"by": "group"}, "by group needs a pattern"),
        ({"pattern": "a"}, "these are for by: group alone"),
        ({"metadata": "a"}, "these are for by: group alone"),
        ({"by": "group", "metadata": "a", "pattern": "a"}, "give one of the two"),
        ({"by": "group", "metadata": "a"}, "9 images have no 'a'"),
        ({"by": "list"}, "by list needs a list"),
        ({"validation_list": "v"}, "lists of names are for by: list alone"),
        ({"by": "list", "validation_list": "v", "near_duplicates": True}, "have no place there"),
        ({"by": "list", "test_list": "v"}, "test_list: there is no file"),
        ({"tested": "TESTED", "test_ratio": 0.2, "test": True}, "test_ratio: .* a test set is given"),
        ({"by": "list", "validation_list": "/no/list"}, "/no/list: is no list of names"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path, options, error):
    record_file.write(labelled(["a"]), str(tmp_path / "tested"))
    options = {key: str(tmp_path / "tested") if value == "TESTED" else value for key, value in options.items()}
    with pytest.raises(UserError, match=error):
        run(tmp_path, labelled(["a"] * 9), **options)


def test_the_command_splits_in_three(tmp_path):
    record_file.write(labelled(["a", "b"] * 10), str(tmp_path / "all"))
    files = [str(tmp_path / name) for name in ("all", "t", "v")]
    words = ["--by", "stratified", "--test-ratio", "0.2", "--test", str(tmp_path / "e"), "--json"]
    result = CliRunner().invoke(app, ["split", *files, *words])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"training": 12, "validation": 4, "test": 4}
    assert counts(read_records(str(tmp_path / "e"))) == {"a": 2, "b": 2}


def test_what_an_experiment_says_of_splitting_is_what_the_command_is_told(tmp_path):
    from automl_images.pipelines.experiment import Experiment

    block = {
        "training": {"source": "x"},
        "split_ratio": 0.25,
        "test_ratio": 0.25,
        "split": {"by": "group", "pattern": r"(\d)\.", "seed": 3},
    }
    task = "image-classification"
    data = Experiment.read({"name": "e", "task": task, "data": block}).data
    options = how(data.model_dump())
    records = labelled(["a"] * 40)
    parts = run(tmp_path, records, test=True, **options)
    assert {name: len(part) for name, part in parts.items()} == {"training": 24, "validation": 8, "test": 8}
    files = [str(tmp_path / name) for name in ("all", "t", "v")]
    result = CliRunner().invoke(app, ["split", *files, "--test", str(tmp_path / "e"), *words(options)])
    assert result.exit_code == 0, result.output
    assert [(tmp_path / n).read_text() for n in "tve"] == [
        (tmp_path / n).read_text() for n in ("training", "validation", "test")
    ]
    for wrong, error in (
        ({"split": {"by": "group"}}, "by: group needs a pattern"),
        ({"split": {"metadata": "who"}}, "by: group needs a pattern or metadata"),
        ({"split": {"by": "list"}}, "by: list needs a list"),
        ({"split": {"validation_list": "v"}}, "by: list needs a list"),
        ({"test_ratio": 0.8, "split": {}}, "leave no share that trains"),
        ({"test": {"source": "y"}}, "give one of the two"),
        (
            {"validation": {"source": "y"}, "test_ratio": 0, "split": {"by": "list", "validation_list": "v"}},
            "of the two",
        ),
    ):
        with pytest.raises(UserError, match=error):
            Experiment.read({"name": "e", "task": task, "data": {**block, **wrong}})
