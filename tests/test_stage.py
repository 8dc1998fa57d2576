"""Data and weights that only one machine has: copied to a store, or refused with the reason."""

from pathlib import Path

import fsspec
import pytest
import yaml

from automl_images import storage
from automl_images.annotations import read_records
from automl_images.errors import UserError
from automl_images.pipelines.experiment import load
from automl_images.pipelines.stage import source_digest, stage
from automl_images.steps.convert import convert, convert_data
from tests.conftest import draw_squares, save_images, write_jsonl, write_voc

STORE = "memory://store/automl"
TASK = "image-object-detection"


@pytest.fixture(autouse=True)
def memory():
    """Return the store's files; empty at first."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


@pytest.fixture
def experiment(tmp_path):
    def make(**changes):
        content = {
            "name": "cells",
            "task": TASK,
            "data": {"training": {"source": "s3://bucket/cells"}},
            "settings": {"model_name": "fasterrcnn_resnet18_fpn"},
            "weights": {"pretrained": False},
        }
        path = tmp_path / "experiment.yaml"
        path.write_text(yaml.safe_dump({**content, **changes}))
        return load(path)

    return make


def local(path, **more):
    return {"training": {"source": str(path), **more}}


def test_convert_copies_local_images_and_leaves_remote_ones(tmp_path, memory):
    records = draw_squares(tmp_path / "data", 4)
    memory.pipe_file("/far/000.png", (tmp_path / "data" / "000.png").read_bytes())
    path = write_jsonl(tmp_path / "data", records)
    path.write_text(path.read_text().replace(records[0].image_url, "memory://far/000.png"))
    out = str(tmp_path / "out.jsonl")
    summary = convert(str(path), out, TASK, copy_to=f"{STORE}/images")
    assert (summary["copied_images"], summary["present_images"]) == (3, 0)
    made = list(read_records(out))
    assert made[0].image_url == "memory://far/000.png"
    for before, after in zip(records[1:], made[1:], strict=True):
        assert memory.cat_file(after.image_url) == Path(before.image_url).read_bytes()
        assert (after.label, after.width, after.height) == (before.label, before.width, before.height)
    again = convert(str(path), out, TASK, copy_to=f"{STORE}/images")
    assert (again["copied_images"], again["present_images"]) == (0, 3)
    assert list(read_records(out)) == made


def test_without_a_place_nothing_is_copied(tmp_path, memory):
    path = write_jsonl(tmp_path, draw_squares(tmp_path, 3))
    summary = convert(str(path), str(tmp_path / "out.jsonl"), TASK)
    assert "copied_images" not in summary and memory.store == {}


def test_equal_names_in_different_folders_stay_apart(tmp_path, memory):
    save_images(tmp_path / "data", ["cat/1 a#.png", "dog/1 a#.png"])
    out = str(tmp_path / "out.jsonl")
    convert(str(tmp_path / "data"), out, "image-classification", copy_to=STORE)
    first, second = (r.image_url for r in read_records(out))
    assert first != second
    assert first.endswith("-1_a_.png") and second.endswith("-1_a_.png")


def test_the_digest_of_records_is_that_of_their_content(tmp_path):
    outs = {name: str(tmp_path / f"{name}.jsonl") for name in ("training", "validation", "test")}
    write_jsonl(tmp_path / "data", draw_squares(tmp_path / "data", 3))
    first = convert_data(TASK, local(tmp_path / "data"), outs)["training"]["digest"]
    assert convert_data(TASK, local(tmp_path / "data"), outs)["training"]["digest"] == first
    write_jsonl(tmp_path / "data", draw_squares(tmp_path / "data", 4))
    assert convert_data(TASK, local(tmp_path / "data"), outs)["training"]["digest"] != first


def test_any_format_becomes_records_that_pods_read(tmp_path, experiment):
    records = draw_squares(tmp_path / "voc" / "JPEGImages", 6)
    write_voc(tmp_path / "voc", records)
    write_jsonl(tmp_path / "voc" / "JPEGImages", records[:2])
    given = {**local(tmp_path / "voc", format="voc"), "validation": {"source": str(tmp_path / "voc" / "JPEGImages")}}
    staged = stage(experiment(data=given, storage=f"{STORE}/")).data
    for part, count in ((staged.training, 6), (staged.validation, 2)):
        assert (part.format, part.images) == ("jsonl", None)
        assert part.source.startswith(f"{STORE}/data/")
        made = list(read_records(part.source))
        assert len(made) == count
        assert all(r.image_url.startswith(f"{STORE}/images/") for r in made)


def test_a_remote_list_of_local_images(tmp_path, experiment, memory):
    write_jsonl(tmp_path, draw_squares(tmp_path, 4))
    lines = (tmp_path / "annotations.jsonl").read_text().replace(str(tmp_path), "AmlDatastore://mine")
    memory.pipe_file("/lists/cells.jsonl", lines.encode())
    data = local("memory://lists/cells.jsonl", images=f"AmlDatastore://mine={tmp_path}")
    staged = stage(experiment(data=data, storage=STORE)).data.training
    assert all(r.image_url.startswith(f"{STORE}/images/") for r in read_records(staged.source))


def test_what_is_remote_stays(experiment, memory):
    made = experiment(storage=STORE)
    assert stage(made) == made
    assert memory.store == {}


def test_what_is_on_the_volume_of_all_pods_stays(tmp_path, experiment, memory, monkeypatch):
    volume = tmp_path / "volume"
    write_jsonl(volume / "cells", draw_squares(volume / "cells", 4))
    cluster = {"data_volume": {"claim": "cells", "path": "/images"}}
    data = {"training": {"source": "/images/cells"}, "validation": {"source": "/images/more.zip"}}
    made = experiment(data=data, weights={"source": "/images/w.pt"}, cluster=cluster)
    assert stage(made) == made, "no storage is needed, and nothing of it is looked for here"
    for elsewhere in ("/imagesque/cells", "/images/../etc", "images/cells"):
        with pytest.raises(UserError, match="data.training: pods do not reach"):
            stage(experiment(data=local(elsewhere), cluster=cluster))
    # in a pod, convert copies nothing of it
    monkeypatch.setenv("AUTOML_IMAGES_SHARED", str(volume))
    records = draw_squares(tmp_path / "own", 1)
    path = write_jsonl(volume / "cells", [*read_records(str(volume / "cells" / "annotations.jsonl")), *records])
    summary = convert(str(path), str(tmp_path / "out.jsonl"), TASK, images=str(tmp_path), copy_to=f"{STORE}/images")
    assert (summary["copied_images"], summary["present_images"]) == (1, 0)
    urls = [r.image_url for r in read_records(str(tmp_path / "out.jsonl"))]
    assert [u.startswith(str(volume)) for u in urls] == [True] * 4 + [False]


def test_weights_are_copied_once(tmp_path, experiment, memory, monkeypatch):
    (tmp_path / "w.pt").write_bytes(b"weights")
    made = stage(experiment(weights={"source": str(tmp_path / "w.pt")}, storage=STORE)).weights.source
    assert made.startswith(f"{STORE}/weights/") and made.endswith("/w.pt")
    assert memory.cat_file(made) == b"weights"
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.pt").write_bytes(b"weights")
    (folder / "labels.json").write_text('["a"]')
    inside = stage(experiment(weights={"source": str(folder)}, storage=STORE)).weights.source
    assert inside != made and memory.cat_file(inside) == b"weights"
    assert memory.cat_file(inside.replace("model.pt", "labels.json")) == b'["a"]'
    monkeypatch.setattr(type(memory), "pipe_file", lambda *_, **__: pytest.fail("sent again"))
    assert stage(experiment(weights={"source": str(folder)}, storage=STORE)).weights.source == inside


REFUSED = {
    "no store": ({"data": local("sample")}, "^data.training: pods do not reach 'sample' .* name one in storage"),
    "no store for images": (
        {"data": local("s3://a/b.jsonl", images="AmlDatastore://x=/here")},
        "^data.training: pods do not reach '/here'",
    ),
    "no store for weights": ({"weights": {"source": "w.pt"}}, "^weights.source: pods do not reach 'w.pt'"),
    "a local store": ({"storage": "/here"}, "^storage: pods do not reach '/here'"),
    "a local registry": ({"register": {"registry": "here"}}, "^register.registry: pods do not reach 'here'"),
    "a local run": (
        {"settings": {"checkpoint_dataset_id": "/runs/x", "checkpoint_filename": "w.pt"}},
        "^settings.checkpoint_dataset_id: pods do not reach '/runs/x'.*weights.source",
    ),
    "no such data": ({"data": local("nowhere"), "storage": STORE}, "^data.training: nowhere: no such file or folder"),
    "no such weights": (
        {"weights": {"source": "none.pt"}, "storage": STORE},
        "^weights.source: .*none.pt: no such file",
    ),
}


@pytest.mark.parametrize(("changes", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_copied_is_refused(experiment, changes, said):
    with pytest.raises(UserError, match=said):
        stage(experiment(**changes))


def test_a_flaw_is_found_before_anything_is_submitted(tmp_path, experiment):
    path = write_jsonl(tmp_path, draw_squares(tmp_path, 3))
    (tmp_path / "001.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"^data.training: .*annotations.jsonl, line 2: the image .* does not open"):
        stage(experiment(data=local(path), storage=STORE))
    skipped = stage(experiment(data={**local(path), "on_error": "skip"}, storage=STORE)).data.training
    assert len(list(read_records(skipped.source))) == 2


def test_the_digest_of_sources(experiment, memory):
    def digest(**changes):
        data = {**local("memory://bucket/cells"), **changes}
        return source_digest(experiment(data=data).data)

    memory.pipe_file("/bucket/cells/a.jpg", b"1")
    memory.pipe_file("/bucket/cells/a.xml", b"2")
    first = digest()
    assert first and digest() == first
    assert digest(split_ratio=0.3) != first, "what is asked of the sources counts too"
    memory.pipe_file("/bucket/cells/b.jpg", b"3")
    second = digest()
    assert second != first
    memory.pipe_file("/bucket/cells/b.jpg", b"4")
    assert digest() != second, "an object that is written anew counts, even with its size"
    memory.pipe_file("/bucket/labels.jsonl", b"{}")
    listed = {"training": {"source": "memory://bucket/labels.jsonl", "images": "memory://bucket/cells"}}
    third = digest(**listed)
    memory.pipe_file("/bucket/cells/c.jpg", b"5")
    assert digest(**listed) != third, "the images' root counts"


UNKNOWN = {
    "not there": {"training": {"source": "memory://bucket/none"}},
    "no driver": {"training": {"source": "nothing://bucket/none"}},
    "one of two": {**local("memory://bucket/cells"), "test": {"source": "memory://bucket/none"}},
    "images elsewhere": {**local("memory://bucket/labels.jsonl"), "on_error": "skip"},
}


@pytest.mark.parametrize("data", UNKNOWN.values(), ids=UNKNOWN)
def test_sources_without_a_digest(experiment, memory, data):
    memory.pipe_file("/bucket/cells/a.jpg", b"1")
    memory.pipe_file("/bucket/labels.jsonl", b"{}")
    assert source_digest(experiment(data=data).data) is None


def test_a_store_that_tells_nothing_of_content_gives_no_digest(experiment, memory, monkeypatch):
    memory.pipe_file("/bucket/cells/a.jpg", b"1")
    found = {"/bucket/cells/a.jpg": {"name": "a", "size": 1, "type": "file"}}
    monkeypatch.setattr(type(memory), "find", lambda *_, **__: found)
    assert source_digest(experiment(data=local("memory://bucket/cells")).data) is None


@pytest.fixture
def s3(monkeypatch):
    """Return the address of a bucket on a server of its own."""
    pytest.importorskip("s3fs")
    boto3 = pytest.importorskip("boto3")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**keys, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    boto3.client("s3").create_bucket(Bucket="data")
    yield "s3://data"
    server.stop()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_on_s3(tmp_path, experiment, s3):
    records = draw_squares(tmp_path, 5)
    made = experiment(data=local(write_jsonl(tmp_path, records)), storage=f"{s3}/automl")
    staged = stage(made)
    copies = list(read_records(staged.data.training.source))
    assert [storage.read_bytes(c.image_url) for c in copies] == [Path(r.image_url).read_bytes() for r in records]
    first = source_digest(staged.data)
    assert first and source_digest(stage(made).data) == first, "what is there already is the same object"
    folder = experiment(data=local(f"{s3}/automl/images"))
    before = source_digest(folder.data)
    storage.write(copies[0].image_url, b"other")
    assert before and source_digest(folder.data) not in (None, before)
