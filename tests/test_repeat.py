"""The line with which a step is repeated by hand."""

import json
import os
import shlex
from pathlib import Path

import pytest

from automl_images import __version__
from automl_images.annotations import read_records
from automl_images.cli import app
from automl_images.environment import CREDENTIALS, IMAGE, MOUNTS
from automl_images.errors import UserError
from automl_images.steps import repeat
from automl_images.steps.convert import commands, convert_data
from automl_images.steps.train import train_lane
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.submission import Submission
from tests.conftest import draw_squares, write_voc


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in (IMAGE, MOUNTS, *CREDENTIALS):
        monkeypatch.delenv(name, raising=False)


def pairs(line, option):
    words = shlex.split(line)
    return [words[i + 1] for i, word in enumerate(words) if word == option]


def test_the_folders_that_the_arguments_name_are_mounted_and_belong_to_the_caller(tmp_path):
    (tmp_path / "data").mkdir()
    line = repeat.docker_line("convert", [f"{tmp_path}/data", f"{tmp_path}/out/all.jsonl", "--on-error", "fail"])
    assert pairs(line, "-v") == [f"{tmp_path}/{n}:{tmp_path}/{n}" for n in ("data", "out")]
    assert pairs(line, "--user") == [f"{os.getuid()}:{os.getgid()}"]
    assert f"automl-images/light:{__version__} convert {tmp_path}/data" in line
    assert "--gpus" not in line and "--shm-size" not in line


def test_a_lane_names_its_ledger(tmp_path):
    lane = f'{{"ledger": "{tmp_path}/runs/ledgers/cells", "lane": 0}}'
    line = repeat.docker_line("train", ["--lane", lane])
    assert pairs(line, "-v") == [f"{tmp_path}/runs/ledgers:{tmp_path}/runs/ledgers"]
    assert pairs(line, "--lane") == [lane]
    assert f"automl-images/gpu:{__version__}" in line and pairs(line, "--shm-size") == ["2g"]
    assert "$(nvidia-smi -L >/dev/null 2>&1 && echo --gpus all)" in line


def test_a_command_has_the_folders_of_the_images_that_its_records_name(tmp_path):
    images = draw_squares(tmp_path / "voc/JPEGImages", 4)
    write_voc(tmp_path / "voc", images)
    app(["convert", f"{tmp_path}/voc", f"{tmp_path}/out/all.jsonl"], standalone_mode=False)
    line = repeat.docker_line("evaluate", [f"{tmp_path}/model", f"{tmp_path}/out/all.jsonl", f"{tmp_path}/new/e"])
    assert pairs(line, "-v") == [f"{f}:{f}" for f in (str(tmp_path),)]  # model is not there: what it would be in is
    (tmp_path / "model").mkdir()
    line = repeat.docker_line("evaluate", [f"{tmp_path}/model", f"{tmp_path}/out/all.jsonl", "s3://b/e"])
    assert pairs(line, "-v") == [f"{tmp_path}/{n}:{tmp_path}/{n}" for n in ("model", "out", "voc/JPEGImages")]

    ledger = Ledger(f"{tmp_path}/ledger")
    ledger.open({"task": "image-object-detection"})
    ledger.write_run(Submission("r", 1, 0.0, training=f"{tmp_path}/out/all.jsonl", weights={"source": None}))
    line = repeat.docker_line("train", ["--lane", json.dumps({"ledger": ledger.url, "run": "r", "lane": 0})])
    assert pairs(line, "-v") == [f"{tmp_path}/{n}:{tmp_path}/{n}" for n in ("ledger", "out", "voc/JPEGImages")]


def test_what_its_caller_says_of_folders_and_image_holds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(MOUNTS, "/data:/data:ro\n/runs:/runs")
    monkeypatch.setenv(IMAGE, "registry.example.com/light@sha256:12")
    line = repeat.docker_line("convert", ["sample", "/elsewhere/x"])
    assert pairs(line, "-v") == ["/data:/data:ro", "/runs:/runs"]
    assert pairs(line, "-w") == [str(tmp_path)]
    assert "registry.example.com/light@sha256:12 convert sample" in line


def test_remote_addresses_need_no_folder_and_credentials_go_by_name(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:9000")
    line = repeat.docker_line("evaluate", ["s3://b/model", "s3://user:hunter2@b/val.jsonl", "s3://b/out"])
    assert pairs(line, "-e") == ["AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"]
    assert pairs(line, "--network") == ["host"]
    assert "-v" not in shlex.split(line) and "--user" not in line
    assert "hunter2" not in line


def test_what_the_step_reads_is_piped():
    line = repeat.docker_line("plan", ["-", "s3://b/t"], stdin='{"name": "it\'s"}')
    words = shlex.split(line)
    assert words[:4] == ["printf", "%s", '{"name": "it\'s"}', "|"]
    assert words[4:8] == ["docker", "run", "--rm", "-i"]


def test_a_users_error_is_one_line_and_exit_code_2(capsys):
    with pytest.raises(SystemExit) as ended, repeat.step("split", ["s3://b/a"], ["s3://b/b"]):
        raise UserError("data: is empty")
    assert ended.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["repeat with", "repeat with", "error"]
    assert lines[-1] == "error: data: is empty"


@pytest.mark.parametrize(
    ("uri", "path", "expected"),
    [("/runs/x/all", "/runs/x/all", "/runs/x/all"), ("minio://b/x/all", "/minio/b/x/all", "minio://b/x/all")],
)
def test_an_artifact_lies_at_its_uri_unless_it_is_here(uri, path, expected):
    artifact = type("Artifact", (), {"uri": uri, "path": path})
    assert repeat.address(artifact) == expected
    assert repeat.neighbour(artifact, "report") == expected.replace("all", "report")


def test_the_commands_of_convert_do_what_the_step_does(tmp_path, monkeypatch):
    """The sets of an experiment each have a command; run by hand they write the same records and copies."""
    monkeypatch.chdir(tmp_path)
    for name in ("train", "test"):
        write_voc(tmp_path / name, draw_squares(tmp_path / name / "JPEGImages", 4))
    data = {"training": {"source": "train", "format": "voc"}, "test": {"source": "test"}, "on_error": "skip"}
    outs, others = (dict(zip(("training", "validation", "test"), letters, strict=True)) for letters in ("abc", "xyz"))
    convert_data("image-object-detection", data, outs, f"{tmp_path}/copies")
    made = commands("image-object-detection", data, others, f"{tmp_path}/copies")
    assert [m[:2] for m in made] == [["train", "x"], ["test", "z"]]
    assert "--classes-of" in made[1] and "--classes-of" not in made[0]
    for arguments in made:
        app(["convert", *arguments], standalone_mode=False)
    for a, b in (("a", "x"), ("c", "z")):
        assert (tmp_path / a).read_bytes() == (tmp_path / b).read_bytes()
    assert all("/copies/" in r.image_url for r in read_records("x"))


def test_convert_refuses_a_class_that_other_records_lack(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_voc(tmp_path / "voc", draw_squares(tmp_path / "voc/JPEGImages", 4))
    app(["convert", "voc", "all.jsonl"], standalone_mode=False)
    Path("green.jsonl").write_text(Path("all.jsonl").read_text().replace('"red"', '"green"'))
    with pytest.raises(UserError, match="red"):
        app(["convert", "voc", "out.jsonl", "--classes-of", "green.jsonl"], standalone_mode=False)
    assert not Path("out.jsonl").exists()


@pytest.mark.parametrize("lane", ["x", "[]", '{"ledger": "a"}', '{"ledger": "a", "run": "1", "lane": "b", "lanes": 1}'])
def test_what_is_no_lane_is_refused(lane):
    with pytest.raises(UserError, match="is not a lane"):
        train_lane(lane)


@pytest.mark.parametrize("option", ["--lineage", "--resources"])
def test_what_is_no_object_is_refused(option):
    command = {"--lineage": ["register", "m", "n", "--metrics", "-"], "--resources": ["serve", "m", "n", "o"]}[option]
    with pytest.raises(UserError, match=f"{option}: is not a JSON object"):
        app([*command, option, "[1]"], standalone_mode=False)


@pytest.mark.parametrize(
    ("allowed", "lanes", "given", "expected"),
    [
        (16, "1", None, None),
        (3, "1", None, "3"),
        (16, "4", None, "4"),
        (3, "8", None, "2"),
        (16, "99", None, "1"),
        (3, "1", "7", "7"),
    ],
    ids=["all", "a container's limit", "a lane's share", "both", "at least one", "what was asked for"],
)
def test_threads_are_no_more_than_the_cores_that_a_step_has(allowed, lanes, given, expected, monkeypatch):
    monkeypatch.setattr(repeat.os, "cpu_count", lambda: 16)
    monkeypatch.setattr("joblib.cpu_count", lambda: allowed)
    environment = {"AUTOML_IMAGES_LANES_HERE": lanes, **({"OMP_NUM_THREADS": given} if given else {})}
    assert repeat.limit_threads(environment) is environment
    assert environment.get("OMP_NUM_THREADS") == expected
