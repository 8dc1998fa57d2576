"""The predict step: what images are named, read ahead, batched, left out, drawn and written as COCO's results."""

import json
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from automl_images import storage
from automl_images.annotations.named_images import image_files
from automl_images.annotations.results_write import Ids
from automl_images.data import ahead
from automl_images.errors import UserError
from automl_images.hyperparameters import resolve
from automl_images.models import folder as model_folder
from automl_images.prediction import load_model
from automl_images.steps.evaluate import evaluate_model
from automl_images.steps.evaluate_results import evaluate_results
from automl_images.steps.predict import predict_images
from tests.conftest import draw_squares, save_images, write_coco, write_jsonl
from tests.helpers import classifiers
from tests.helpers.command import call_step

TASK = "image-object-detection"


@pytest.fixture(scope="module")
def set_of(tmp_path_factory):
    """Return a folder of seven images, their records, and its COCO file, whose ids are none of a count."""
    folder = tmp_path_factory.mktemp("set")
    records = draw_squares(folder / "images", 7)
    content = json.loads(write_coco(folder, records).read_text())
    for image in content["images"]:
        image["id"] += 500
    for annotation in content["annotations"]:
        annotation["image_id"] += 500
    content["categories"][0]["id"] = 90
    for annotation in content["annotations"]:
        annotation["category_id"] = {1: 90}.get(annotation["category_id"], annotation["category_id"])
    (folder / "instances.json").write_text(json.dumps(content))
    return folder, records


def test_files_folders_and_patterns_are_named_once(tmp_path, capsys):
    save_images(tmp_path, ["a/1.png", "a/b/2.png", "c/3.JPG", "c/.hidden/4.png", "c/[x].png"])
    (tmp_path / "c/notes.txt").write_text("")
    everything = [str(tmp_path / name) for name in ("a/1.png", "a/b/2.png", "c/3.JPG", "c/[x].png")]
    assert image_files([tmp_path]) == everything
    assert "passed over, as their suffixes are no images': 1 .txt" in capsys.readouterr().err
    assert image_files([f"{tmp_path}/**/*.png"]) == [everything[0], everything[1], everything[3]]
    assert image_files([f"{tmp_path}/?/*"]) == everything, "a folder that is matched is taken with what is in it"
    assert image_files([f"{tmp_path}/c/[x].png"]) == [everything[3]], "a file that is called so"
    assert image_files([everything[0], tmp_path / "a"]) == everything[:2]
    assert "1 images are named more than once" in capsys.readouterr().err
    assert image_files([tmp_path / "c/notes.txt"]) == [str(tmp_path / "c/notes.txt")], "it is named itself"


@pytest.mark.parametrize(
    ("name", "said"),
    [("none.png", "none.png: no such image"), ("*.gif", r"\*.gif: matches no file"), ("", "no image is among")],
)
def test_a_name_that_leads_to_no_image_is_refused(tmp_path, name, said):
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(UserError, match=said):
        image_files([f"{tmp_path}/{name}"])


def test_a_pattern_on_a_store_gives_its_addresses():
    storage.write("memory://named/day-1/a.png", b"")
    storage.write("memory://named/day-2/b.png", b"")
    assert image_files(["memory://named/day-*/*.png"]) == ["memory://named/day-1/a.png", "memory://named/day-2/b.png"]
    assert image_files(["memory://named/day-1"]) == ["memory://named/day-1/a.png"]


def test_images_are_read_ahead_in_order_and_within_memory(monkeypatch):
    held, most = [0], [0]

    def load(url):
        held[0] += 1
        most[0] = max(most[0], held[0])
        time.sleep(0.001)
        if url == "5":
            raise UserError("5 does not open")
        return np.zeros((1000, 1000, 3), np.uint8)

    monkeypatch.setattr(ahead, "load_image", load)
    monkeypatch.setattr(ahead, "PIXELS", 6_000_000)
    found = []
    for url, image in ahead.read_ahead(map(str, range(40)), 100):
        held[0] -= 1
        found.append((url, isinstance(image, UserError)))
    assert found == [(str(i), i == 5) for i in range(40)]
    assert 2 <= most[0] <= 9


def test_batches_are_cut_by_count_and_by_pixels(monkeypatch):
    monkeypatch.setattr(ahead, "PIXELS", 100)
    sides = [5, 5, 5, 9, 9, 0, 20]
    read = [(str(i), np.zeros((s, s, 3), np.uint8) if s else UserError("no")) for i, s in enumerate(sides)]
    assert [[url for url, _ in batch] for batch in ahead.batches(read, 2)] == [
        ["0", "1"],
        ["2"],
        ["3"],
        ["4"],
        ["5"],
        ["6"],
    ]


def same(one, other):
    assert [b["label"] for b in one["boxes"]] == [b["label"] for b in other["boxes"]]
    for name in ("topX", "topY", "bottomX", "bottomY"):
        assert [b["box"][name] for b in one["boxes"]] == pytest.approx(
            [b["box"][name] for b in other["boxes"]], abs=1e-4
        )
    assert [b["score"] for b in one["boxes"]] == pytest.approx([b["score"] for b in other["boxes"]], abs=1e-4)


def test_a_batch_has_the_answers_of_its_images(model, set_of):
    files = [r.image_url for r in set_of[1][:4]]
    predictor = load_model(model, device="cpu", box_score_thresh=0.3)
    alone = [predictor.predict([Image.open(file)])[0] for file in files]
    together = list(predict_images(str(model), files, None, {"box_score_thresh": 0.3}, batch=4))
    assert [one["filename"] for one in together] == files and sum(len(one["boxes"]) for one in alone)
    for one, other in zip(together, alone, strict=True):
        same(one, other)


def test_what_does_not_open_is_named_and_left_out(model, tmp_path, monkeypatch, capsys):
    save_images(tmp_path / "in", ["a.png", "c.png"], (40, 30))
    (tmp_path / "in/b.png").write_bytes(b"no image")
    arguments = ["predict", model, tmp_path / "in", "--json", "--draw", tmp_path / "drawn"]
    code, out, err = call_step(monkeypatch, capsys, *arguments)
    assert code == 2
    assert [Path(json.loads(line)["filename"]).name for line in out.splitlines()] == ["a.png", "c.png"]
    assert sorted(file.name for file in (tmp_path / "drawn").iterdir()) == ["a.png", "c.png"]
    lines = [line for line in err.splitlines() if "a second" not in line]  # a slow machine says how far it is
    assert lines[-2].startswith("predict: left out: the image ") and "b.png does not open" in lines[-2]
    assert lines[-1].startswith("error: predict: of 3, 1 image was left out: ")
    code, out, err = call_step(monkeypatch, capsys, *arguments[:3], "--batch", 1, "--on-error", "fail")
    assert code == 2 and "b.png does not open" in err.splitlines()[-1]
    assert len(out.splitlines()) == 1 and out.startswith(f"{tmp_path / 'in' / 'a.png'}: ") and " object" in out


def test_results_are_scored_as_the_model_is(model, set_of, tmp_path, capsys):
    """By the ids of a COCO file and by names: evaluate reads both, and finds what it finds of the model itself."""
    folder, records = set_of
    list(
        predict_images(str(model), [folder / "images"], results=f"{tmp_path}/ids.json", coco=f"{folder}/instances.json")
    )
    assert "call images by" not in capsys.readouterr().err
    rows = json.loads((tmp_path / "ids.json").read_text())
    assert {row["image_id"] for row in rows} == set(range(500, 507)) and {row["category_id"] for row in rows} == {2, 90}
    list(predict_images(str(model), [folder / "images"], results=f"{tmp_path}/names.json"))
    assert "results call images by their files' names" in capsys.readouterr().err
    data = str(write_jsonl(folder, records))
    expected = evaluate_model(str(model), data, str(tmp_path / "model"))
    ids = evaluate_results(f"{tmp_path}/ids.json", f"{folder}/instances.json", f"{tmp_path}/a", TASK)
    names = evaluate_results(f"{tmp_path}/names.json", data, f"{tmp_path}/b", TASK)
    assert ids["results"] == names["results"] == len(rows)
    for found in (ids, names):
        assert found["coco"]["map"] == pytest.approx(expected["coco"]["map"], abs=1e-6)
    assert expected["coco"]["map"] > 0


def test_ids_that_are_not_known_are_refused(set_of, tmp_path):
    folder, records = set_of
    files, coco = [r.image_url for r in records], str(folder / "instances.json")
    for classes, said in ((["blue", "rde"], "no category 'rde', a class of the model; did you mean 'red'"),):
        with pytest.raises(UserError, match=said):
            Ids.of_coco(coco, files, classes)
    with pytest.raises(UserError, match="other.png: .*has no image of this file name"):
        Ids.of_coco(coco, [*files, "/elsewhere/other.png"], ["blue", "red"])
    with pytest.raises(UserError, match=r"b/000.png: is image 500 of .*, and so is .*a/000.png"):
        Ids.of_coco(coco, ["/a/000.png", "/b/000.png"], ["blue", "red"])


def test_names_have_as_much_of_a_path_as_they_need():
    urls = ["s3://x/a/1.png", "s3://x/b/1.png", "s3://x/b/2.png", "s3://y/b/1.png"]
    found = Ids.of_names(urls, ["red"]).images
    assert found == {urls[0]: "a/1.png", urls[1]: "x/b/1.png", urls[2]: "2.png", urls[3]: "y/b/1.png"}


def test_results_without_boxes_or_ids_without_results_are_refused(model, set_of):
    with pytest.raises(UserError, match="coco: has the ids of results"):
        list(predict_images(str(model), [set_of[0]], coco="x.json"))
    with pytest.raises(UserError, match="on_error: 'skpi' is no policy; did you mean 'skip'"):
        list(predict_images(str(model), [set_of[0]], on_error="skpi"))


def test_images_on_s3_are_predicted_and_drawn_there(model, set_of, tmp_path):
    pytest.importorskip("s3fs")
    boto3 = pytest.importorskip("boto3")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**keys, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
                patch.setenv(name, value)
            fsspec.get_filesystem_class("s3").clear_instance_cache()
            boto3.client("s3").create_bucket(Bucket="data")
            storage.put_folder(set_of[0] / "images", "s3://data/in")
            pattern, out = "s3://data/in/00[0-2].png", "s3://data/out"
            found = list(predict_images(str(model), [pattern], f"{out}/drawn", results=f"{out}/r.json", line=True))
            assert [one["filename"] for one in found] == [f"s3://data/in/00{n}.png" for n in range(3)]
            assert storage.names(f"{out}/drawn") == [f"00{n}.png" for n in range(3)]
            assert len(json.loads(storage.read_text(f"{out}/r.json"))) >= sum(len(one["boxes"]) for one in found) > 0
    finally:
        server.stop()
        fsspec.get_filesystem_class("s3").clear_instance_cache()


PEAK = """
import resource, sys
from automl_images.steps.predict import predict_images
count = sum(1 for _ in predict_images(sys.argv[1], sys.argv[2:]))
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.full
def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    """300 images of 1600 x 1600 pixels are 2.3 GB."""
    task, model = classifiers.TASK, tmp_path / "model"
    settings = resolve(task, classifiers.settings_of("resnet20"))
    network = classifiers.made("resnet20").eval()
    model_folder.save(model, network, task=task, settings=settings, classes=classifiers.CLASSES, metrics={"epoch": 1})
    noise = np.random.default_rng(0).integers(0, 255, (50, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((1600, 1600)).save(tmp_path / "000.jpg")
    for n in range(1, 300):
        (tmp_path / f"{n:03d}.jpg").hardlink_to(tmp_path / "000.jpg")
    peaks = []
    for pattern, count in (("0[0-3]?.jpg", 40), ("*.jpg", 300)):
        words = [sys.executable, "-c", PEAK, str(model), f"{tmp_path}/{pattern}"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        found, peak = map(int, done.stdout.split())
        assert found == count
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 250, f"{peaks} MB"
