"""A source, its images and what is written, all on S3: listed once, each image fetched once, many at a time."""

import collections
import json
import threading

import fsspec
import pytest

from automl_images import storage
from automl_images.annotations import read_records
from automl_images.steps.convert import convert
from automl_images.steps.inspect import inspect_source
from automl_images.steps.split import split_data
from tests.conftest import draw_squares, save_images, write_coco

COUNT = 24


@pytest.fixture(scope="module")
def server():
    pytest.importorskip("s3fs")
    boto3 = pytest.importorskip("boto3")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**keys, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
            patch.setenv(name, value)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        boto3.client("s3").create_bucket(Bucket="data")
        yield "s3://data"
    server.stop()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture
def asked(server, monkeypatch):
    """Return what S3 was asked: {method: [key or prefix, ...]}, and under ``at once`` how many were under way."""
    kind = fsspec.get_filesystem_class("s3")
    call, asked, lock = kind._call_s3, collections.defaultdict(list), threading.Lock()
    under_way = [0]

    async def counted(self, method, *args, **kwargs):
        options = {**{k: v for one in args if isinstance(one, dict) for k, v in one.items()}, **kwargs}
        with lock:
            asked[method].append(options.get("Key") or options.get("Prefix"))
            if method == "list_objects_v2" and "MaxKeys" not in options:
                asked["listings"].append(options["Prefix"])
            under_way[0] += 1
            asked["at once"].append(under_way[0])
        try:
            return await call(self, method, *args, **kwargs)
        finally:
            with lock:
                under_way[0] -= 1

    monkeypatch.setattr(kind, "_call_s3", counted)
    return asked


@pytest.mark.parametrize("check", ["full", "headers"])
def test_a_set_on_s3_is_converted_and_split_there(tmp_path, server, asked, check):
    root = f"{server}/{check}"
    records = draw_squares(tmp_path / "images", COUNT)
    write_coco(tmp_path, records)
    storage.put_folder(tmp_path, f"{root}/set")
    asked.clear()
    out = f"{root}/out/records.jsonl"
    assert convert(f"{root}/set", out, "image-object-detection", check=check)["images"] == COUNT
    assert asked["listings"] == [f"{check}/set/"], "the source is listed once"
    images = [key for key in asked["get_object"] if key.endswith(".png")]
    assert len(images) == len(set(images)) == COUNT, "each is fetched once"
    assert max(asked["at once"]) > 4
    found = list(read_records(out, "boxes"))
    assert [r.label.names() for r in found] == [r.label.names() for r in records]
    assert all(r.image_url.startswith(f"{root}/set/images/") for r in found)
    counts = split_data(out, None, f"{root}/t.jsonl", f"{root}/v.jsonl", by="stratified")
    assert counts["validation"] in (4, 5, 6) and counts["training"] == COUNT - counts["validation"]
    assert len(list(read_records(f"{root}/v.jsonl"))) == counts["validation"]


@pytest.mark.parametrize("sets", [(), ("train/", "valid/")])
def test_a_source_on_s3_is_listed_once_to_be_looked_at(tmp_path, server, asked, sets):
    root = f"looks-{len(sets)}"
    for folder in sets or ("",):
        write_coco(tmp_path / folder, draw_squares(tmp_path / folder / "images", 4))
    storage.put_folder(tmp_path, f"{server}/{root}")
    asked.clear()
    found, _ = inspect_source(f"{server}/{root}")
    assert [one["images"] for one in found["sets"].values()] == [4] * (len(sets) or 1)
    beside = [] if sets else [""]  # the names in the folder above, where masks may be
    assert asked["listings"] == [f"{root}/", *beside]


def test_masks_are_copied_with_their_images(tmp_path, server):
    from PIL import Image

    save_images(tmp_path, ["a.png", "b.png"])
    for name in "ab":
        Image.new("L", (12, 8), 1).save(tmp_path / f"{name}_mask.png")
    lines = [{"image_url": f"{n}.png", "label": {"mask_url": f"{n}_mask.png", "classes": {"cat": 1}}} for n in "ab"]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, lines)))
    out, task = f"{server}/masks.jsonl", "image-semantic-segmentation"
    summary = convert(str(tmp_path / "x.jsonl"), out, task, copy_to=f"{server}/copies")
    for record in read_records(out, "mask"):
        for url in (record.image_url, record.label.mask_url):
            assert url.startswith(f"{server}/copies/") and storage.exists(url)
    assert summary["copied_images"] == 4
