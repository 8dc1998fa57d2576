"""What is not ours ends a command with one line: permissions, names, stores, and what stands in a file's place."""

import contextlib
import ctypes
import errno
import json
import os
import re
import sys
from pathlib import Path

import fsspec
import pytest
import yaml
from moto.server import ThreadedMotoServer
from PIL import Image

from automl_images import cli, storage
from automl_images.errors import DiskFullError, UserError
from automl_images.faults import explained
from automl_images.steps.repeat import step
from automl_images.store import patience

LONG = "x" * 300
DENIED = "permission denied: give this user the right"
IN_THE_WAY = "(file, not a folder|is in the way)"
TOO_LONG = "(the name is too long|File name too long)"


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextlib.contextmanager
def no_privilege():
    """Take from this thread what root may do with the files of others, and with its own against their modes."""
    if os.geteuid():
        yield
        return
    if sys.platform != "linux":
        pytest.skip("root reads everything here; run the tests as another user")
    libc, header, sets = ctypes.CDLL(None, use_errno=True), _Header(0x20080522, 0), (_Sets * 2)()
    assert libc.capget(ctypes.byref(header), sets) == 0
    before = sets[0].effective
    sets[0].effective &= ~(1 << 1 | 1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(ctypes.byref(header), sets) == 0
    try:
        yield
    finally:
        sets[0].effective = before
        assert libc.capset(ctypes.byref(header), sets) == 0


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return a model folder of an untrained classifier."""
    import torch

    from automl_images.hyperparameters import resolve
    from automl_images.models import catalogue, folder

    torch.manual_seed(0)
    task, path = "image-classification", tmp_path_factory.mktemp("model")
    settings = resolve(task, {"model_name": "resnet20"})
    network = catalogue.build(task, settings, ["cat", "dog"])
    folder.save(path, network, task=task, settings=settings, classes=["cat", "dog"], metrics={"epoch": 1})
    return path


@pytest.fixture
def place(tmp_path, model, monkeypatch):
    """Be in a folder with data, records, a model, an experiment, and the same without permission or in wrong places."""
    monkeypatch.chdir(tmp_path)
    for label in ("cat", "dog"):
        for i in range(3):
            Path("data", label).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 40), (80 * i, 9, 9)).save(f"data/{label}/{i}.png")
    cli.app(["convert", "data", "all.jsonl", "--task", "image-classification"], standalone_mode=False)
    Path("model").symlink_to(model)
    Path("file").write_text("a file")
    experiment = {
        "name": "tiny",
        "task": "image-classification",
        "data": {"training": {"source": "data"}},
        "settings": {"model_name": "resnet20", "number_of_epochs": 1},
        "weights": {"pretrained": False},
    }
    Path("experiment.yaml").write_text(yaml.safe_dump(experiment))
    for name in ("unread", "unread-folder/data", "unread-model"):
        path = Path("locked") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("locked")
        path.chmod(0)
    (tmp_path / "read-only").mkdir()
    Path("no-entry").mkdir()
    Path("no-entry/all.jsonl").write_bytes(Path("all.jsonl").read_bytes())
    Path("model-no-weights").mkdir()
    for file in model.iterdir():
        Path("model-no-weights", file.name).write_bytes(file.read_bytes())
    Path("model-no-weights/model.pt").chmod(0)
    Path("round").symlink_to("round")
    Path("read-only").chmod(0o555)
    Path("no-entry").chmod(0)
    yield tmp_path
    Path("read-only").chmod(0o755)
    Path("no-entry").chmod(0o755)


def run(main, monkeypatch, capsys, *arguments):
    """Return the exit code and what standard error has, of a command without privileges."""
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    code = 0
    with no_privilege():
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    return code, capsys.readouterr().err


CLASSES = ("--task", "image-classification")
COMMANDS = {  # of automl-images: its arguments, and what the one line says
    "convert: a file that is not to be read": (("convert", "locked/unread", "o.jsonl", *CLASSES), "locked/unread"),
    "convert: a folder without entry": (("convert", "no-entry", "o.jsonl", *CLASSES), "no-entry"),
    "convert: into a folder that is only read": (("convert", "data", "read-only/o.jsonl", *CLASSES), DENIED),
    "convert: into a folder without entry": (("convert", "data", "no-entry/o.jsonl", *CLASSES), DENIED),
    "convert: into a file's place": (("convert", "data", "file/o.jsonl", *CLASSES), IN_THE_WAY),
    "convert: onto a folder": (("convert", "data", "read-only", *CLASSES), "."),
    "convert: a name too long": (("convert", LONG, "o.jsonl", *CLASSES), LONG),
    "convert: onto a name too long": (("convert", "data", f"{LONG}.jsonl", *CLASSES), TOO_LONG),
    "convert: copies where nothing is written": (
        ("convert", "data", "o.jsonl", "--copy-to", "read-only/c", *CLASSES),
        DENIED,
    ),
    "convert: copies to a name too long": (("convert", "data", "o.jsonl", "--copy-to", LONG, *CLASSES), TOO_LONG),
    "convert: images at a name too long": (("convert", "data", "o.jsonl", "--images", LONG, *CLASSES), "."),
    "convert: links in a circle": (("convert", "round", "o.jsonl", *CLASSES), "round"),
    "convert: classes of what is not there": (
        ("convert", "data", "o.jsonl", "--classes-of", "none.jsonl"),
        "none.jsonl",
    ),
    "convert: classes of what is locked": (("convert", "data", "o.jsonl", "--classes-of", "locked/unread"), DENIED),
    "split: what is not to be read": (("split", "locked/unread", "a.jsonl", "b.jsonl"), DENIED),
    "split: what is not there": (("split", "none.jsonl", "a.jsonl", "b.jsonl"), "none.jsonl"),
    "split: a folder": (("split", "data", "a.jsonl", "b.jsonl"), "data"),
    "split: to where nothing is written": (("split", "all.jsonl", "read-only/a.jsonl", "b.jsonl"), DENIED),
    "split: to a name too long": (("split", "all.jsonl", f"{LONG}.jsonl", "b.jsonl"), TOO_LONG),
    "split: a name too long": (("split", LONG, "a.jsonl", "b.jsonl"), TOO_LONG),
    "split: into a file's place": (("split", "all.jsonl", "file/a.jsonl", "b.jsonl"), IN_THE_WAY),
    "plan: an experiment that is locked": (("plan", "locked/unread", "all.jsonl", "all.jsonl"), DENIED),
    "plan: an experiment of a name too long": (("plan", LONG, "all.jsonl", "all.jsonl"), TOO_LONG),
    "plan: records without entry": (("plan", "experiment.yaml", "no-entry/all.jsonl", "all.jsonl"), DENIED),
    "plan: records that are not there": (("plan", "experiment.yaml", "none.jsonl", "all.jsonl"), "none.jsonl"),
    "plan: a ledger where nothing is written": (
        ("plan", "experiment.yaml", "all.jsonl", "all.jsonl", "--storage", "read-only"),
        DENIED,
    ),
    "plan: a ledger in a file's place": (
        ("plan", "experiment.yaml", "all.jsonl", "all.jsonl", "--ledger", "file/l"),
        IN_THE_WAY,
    ),
    "plan: a ledger of a name too long": (
        ("plan", "experiment.yaml", "all.jsonl", "all.jsonl", "--ledger", LONG),
        TOO_LONG,
    ),
    "train: records that are locked": (("train", "locked/unread", "all.jsonl", "m", *CLASSES), DENIED),
    "train: a model where nothing is written": (("train", "all.jsonl", "all.jsonl", "read-only/m", *CLASSES), DENIED),
    "train: a model of a name too long": (("train", "all.jsonl", "all.jsonl", LONG, *CLASSES), TOO_LONG),
    "select: a ledger without entry": (("select", "no-entry/ledger"), "no-entry/ledger"),
    "select: a ledger of a name too long": (("select", LONG), TOO_LONG),
    "select: a file": (("select", "file"), "file"),
    "evaluate: a model that is locked": (("evaluate", "model-no-weights", "all.jsonl", "o"), DENIED),
    "evaluate: a model that is not there": (("evaluate", "none", "all.jsonl", "o"), "none"),
    "evaluate: records that are locked": (("evaluate", "model", "locked/unread", "o"), DENIED),
    "evaluate: into a folder that is only read": (("evaluate", "model", "all.jsonl", "read-only/o"), DENIED),
    "evaluate: into a name too long": (("evaluate", "model", "all.jsonl", LONG), TOO_LONG),
    "register: a model that is locked": (("register", "model-no-weights", "m"), DENIED),
    "register: metrics that are locked": (("register", "model", "m", "--metrics", "locked/unread"), DENIED),
    "register: a registry where nothing is written": (("register", "model", "m", "--registry", "read-only"), DENIED),
    "register: a registry in a file's place": (("register", "model", "m", "--registry", "file"), IN_THE_WAY),
    "register: a registry of a name too long": (("register", "model", "m", "--registry", LONG), TOO_LONG),
    "serve: where nothing is written": (("serve", "model", "m", "read-only/o"), DENIED),
    "serve: an example that is locked": (("serve", "model", "m", "o", "--example", "locked/unread"), "locked/unread"),
    "serve: a name too long": (("serve", "model", "m", LONG), TOO_LONG),
    "predict: an image that is locked": (("predict", "model", "locked/unread"), "locked/unread"),
    "predict: an image of a name too long": (("predict", "model", LONG), TOO_LONG),
    "predict: a model that is locked": (("predict", "model-no-weights", "data/cat/0.png"), DENIED),
    "predict: drawn where nothing is written": (
        ("predict", "model", "data/cat/0.png", "--output", "read-only/o.png"),
        DENIED,
    ),
    "score: a request that is locked": (("score", "model", "locked/unread"), DENIED),
    "score: a request that is not there": (("score", "model", "none.json"), "none.json"),
    "score: a folder": (("score", "model", "data"), "data"),
    "sample-data: where nothing is written": (("sample-data", "read-only/s", "--images", "1"), DENIED),
    "sample-data: a name too long": (("sample-data", LONG, "--images", "1"), TOO_LONG),
    "sweep show: a ledger without entry": (("sweep", "show", "no-entry/ledger"), "no-entry/ledger"),
    "sweep watch: a name too long": (("sweep", "watch", LONG), TOO_LONG),
}
PIPELINES = {
    "run: an experiment that is locked": (("run", "locked/unread"), DENIED),
    "run: an experiment of a name too long": (("run", LONG), TOO_LONG),
    "run: a root where nothing is written": (("run", "experiment.yaml", "--root", "read-only"), DENIED),
    "run: a root in a file's place": (("run", "experiment.yaml", "--root", "file"), IN_THE_WAY),
    "run: a root of a name too long": (("run", "experiment.yaml", "--root", LONG), TOO_LONG),
    "compile: where nothing is written": (("compile", "experiment.yaml", "-o", "read-only/p.yaml"), DENIED),
    "compile: onto a name too long": (("compile", "experiment.yaml", "-o", f"{LONG}.yaml"), TOO_LONG),
    "rerun: a run without entry": (("rerun", "no-entry", "split", "--runner", "subprocess"), "no-entry"),
}


def check(code, errors, wanted):
    assert code == 2, errors
    assert "Traceback" not in errors
    last = errors.rstrip("\n").splitlines()[-1]
    assert last.startswith("error: ") and re.search(wanted, last), errors
    assert sum(line.startswith("error: ") for line in errors.splitlines()) == 1


@pytest.mark.parametrize(("arguments", "line"), COMMANDS.values(), ids=COMMANDS)
def test_a_command_ends_with_one_line(place, monkeypatch, capsys, arguments, line):
    check(*run(cli.main, monkeypatch, capsys, *arguments), line)


@pytest.mark.parametrize(("arguments", "line"), PIPELINES.values(), ids=PIPELINES)
def test_a_pipelines_command_ends_with_one_line(place, monkeypatch, capsys, arguments, line):
    check(*run(cli.main, monkeypatch, capsys, *arguments), line)


@pytest.fixture(scope="module")
def store():
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(monkeypatch, store):
    """Have a store that answers, with credentials; nothing of the machine's own."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_ENDPOINT_URL": store,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
        "HOME": "/nowhere",
    }.items():
        monkeypatch.setenv(name, value)
    fsspec.config.conf.pop("s3", None)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    yield
    fsspec.get_filesystem_class("s3").clear_instance_cache()


STORES = {
    "convert: from no bucket": (("convert", "s3://no-such-bucket/a", "o.jsonl", *CLASSES), "no-such-bucket"),
    "convert: to no bucket": (("convert", "data", "s3://no-such-bucket/o.jsonl", *CLASSES), "bucket"),
    "convert: to no name of a bucket": (("convert", "data", "s3://A_B!/o.jsonl", *CLASSES), "A_B!"),
    "split: from no bucket": (("split", "s3://no-such-bucket/a.jsonl", "a.jsonl", "b.jsonl"), "bucket"),
    "plan: a ledger in no bucket": (
        ("plan", "experiment.yaml", "all.jsonl", "all.jsonl", "--storage", "s3://no-such-bucket/l"),
        "bucket",
    ),
    "register: in no bucket": (("register", "model", "m", "--registry", "s3://no-such-bucket/r"), "bucket"),
    "select: in no bucket": (("select", "s3://no-such-bucket/l"), "bucket"),
    "convert: from no protocol": (("convert", "nothing://a/b", "o.jsonl", *CLASSES), "nothing://a/b"),
}


@pytest.mark.parametrize(("arguments", "line"), STORES.values(), ids=STORES)
def test_a_store_that_has_it_not(place, s3, monkeypatch, capsys, arguments, line):
    check(*run(cli.main, monkeypatch, capsys, *arguments), line)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "the store.*127.0.0.1:1"),
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "credentials.*AWS_ACCESS_KEY_ID"),
    ],
    ids=["nobody listens", "no credentials"],
)
@pytest.mark.parametrize("arguments", [("split", "s3://b/a.jsonl", "a", "b"), ("select", "s3://b/l")])
def test_a_store_that_does_not_answer(place, s3, monkeypatch, capsys, arguments, changes, line):
    for name, value in changes.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    with patience(0.5):
        check(*run(cli.main, monkeypatch, capsys, *arguments), line)


def test_a_component_ends_the_same(capsys):
    with pytest.raises(SystemExit) as end, step("split"):
        raise PermissionError(errno.EACCES, "Permission denied", "/data/all.jsonl")
    assert end.value.code == 2
    assert capsys.readouterr().err == f"error: /data/all.jsonl: {DENIED}, or name another place\n"


def test_what_is_ours_keeps_its_traceback():
    for fault in (KeyError("x"), ValueError("x"), OSError("x"), FileNotFoundError(2, "no", cli.__file__)):
        with pytest.raises(type(fault)), explained():
            raise fault


def test_a_full_disk_stays_one():
    with pytest.raises(DiskFullError), explained():
        raise OSError(errno.ENOSPC, "No space left on device", "a")


def test_a_line_has_no_credential_no_line_end_and_no_temporary_name():
    secret = "s3://user:hunter2@b/a\nerror: forged"
    with pytest.raises(UserError) as end, explained():
        raise PermissionError(errno.EACCES, "Permission denied", secret)
    assert "hunter2" not in str(end.value) and "\n" not in str(end.value)
    with pytest.raises(UserError, match="^/t/0007.json: permission denied"), explained():
        raise PermissionError(errno.EACCES, "Permission denied", f"/t/.0007.json.{'a' * 32}")


def test_the_home_folder_is_meant_everywhere(place, monkeypatch, capsys):
    """A shell expands a tilde at the beginning of a word alone."""
    monkeypatch.setenv("HOME", str(place))
    for main, arguments in (
        (cli.main, ("convert", "~/data", "~/made.jsonl", *CLASSES)),
        (cli.main, ("split", "~/made.jsonl", "~/a.jsonl", "~/b.jsonl")),
        (cli.main, ("sample-data", "~/drawn", "--images=1")),
        (cli.main, ("serve", "~/model", "m", "~/served", "--example=~/data/cat/0.png")),
        (cli.main, ("plan", "~/experiment.yaml", "~/a.jsonl", "~/b.jsonl", "--storage=~/ledgers")),
        (cli.main, ("compile", "~/experiment.yaml", "--output=~/p.yaml", "--set", "storage=~/runs")),
    ):
        code, errors = run(main, monkeypatch, capsys, *arguments)
        assert code == 0, errors
    assert {"made.jsonl", "a.jsonl", "b.jsonl", "drawn", "served", "ledgers", "p.yaml"} <= {
        p.name for p in place.iterdir()
    }
    assert not Path("~").exists()
    assert str(place / "runs") in Path("p.yaml").read_text()
    assert storage.local_path("~/a") == storage.local_path("file://~/a") == place / "a"
    assert [storage.at_home(a) for a in ("a~/b", "~", "x=~", "~other/a", "a=b=~/c")] == [
        "a~/b",
        "~",
        "x=~",
        "~other/a",
        "a=b=~/c",
    ]


def test_a_write_that_fails_leaves_the_folder_as_it_was(place):
    with no_privilege(), pytest.raises(PermissionError):
        storage.write("read-only/a", "x")
    assert list(Path("read-only").iterdir()) == []
    assert json.loads(Path("all.jsonl").read_text().splitlines()[0])["label"] == "cat"
