"""Training and evolution need no network and try none: in a namespace without one, every attempt written down."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import draw_squares, write_jsonl

ROOT = Path(__file__).parents[1]
CUT = ["unshare", "--map-root-user", "--net"]
HEADS = ("anchor", "anchor_free")


def allowed():
    return (
        bool(shutil.which(CUT[0])) and not subprocess.run([*CUT, "true"], check=False, capture_output=True).returncode
    )


pytestmark = pytest.mark.skipif(not allowed(), reason="this machine allows no network namespaces (unshare --net)")

# python runs it at its start, so that no child process goes unseen
SEAM = """
import os, socket, sys

def hook(event, args):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg") and args[0].family == socket.AF_UNIX:
        return
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname",
                 "socket.gethostbyaddr"):
        with open(os.environ["TRIED"], "a") as file:
            file.write(f"{event} {args[1:] if event.startswith('socket.send') else args}\\n")

sys.addaudithook(hook)
with open(os.environ["TRIED"] + ".seen", "a") as file:
    file.write(f"{os.getpid()}\\n")
"""


@pytest.fixture
def run(tmp_path):
    """Return a function that runs python with the network or without, and returns its process and what was tried."""
    (tmp_path / "seam").mkdir()
    (tmp_path / "seam/sitecustomize.py").write_text(SEAM)
    kept = {n: v for n, v in os.environ.items() if "OFFLINE" not in n and "TELEMETRY" not in n}

    def python(name, *arguments, cut=True):
        tried = tmp_path / f"{name}.tried"
        paths = os.pathsep.join([str(tmp_path / "seam"), str(ROOT)])
        environment = {**kept, "PYTHONPATH": paths, "TRIED": str(tried), "OMP_NUM_THREADS": "1"}
        command = [*(CUT if cut else []), sys.executable, *map(str, arguments)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, cwd=tmp_path)
        seen = Path(f"{tried}.seen").read_text().splitlines()
        return done, tried.read_text().splitlines() if tried.exists() else [], len(seen)

    return python


def evolution(run, tmp_path, name, head, *how, cut=True):
    """Run the tiny evolution in a folder of its own, and return what it came to and how many processes there were."""
    folder = tmp_path / name
    shutil.copy(write_jsonl(tmp_path, draw_squares(tmp_path / "images", 6)), folder.with_suffix(".jsonl"))
    folder.mkdir()
    shutil.move(folder.with_suffix(".jsonl"), folder / "records.jsonl")
    helper = ROOT / "tests/helpers/offline_run.py"
    done, tried, processes = run(name, helper, folder, head, *how, cut=cut)
    assert done.returncode == 0, done.stderr[-2000:]
    assert tried == []
    found = json.loads(done.stdout.splitlines()[-1])
    assert {p.name for p in (folder / "evolution").iterdir()} == {"evolve.csv", "hyp_evolve.yaml", "evolve.png"}
    assert [t["state"] for t in found["trials"]] == ["completed", "completed"]
    assert found["trials"][0]["settings"] != found["trials"][1]["settings"]
    assert all(t["losses"] and all(v > 0 for v in t["losses"][0].values()) for t in found["trials"])
    return found, processes


def test_the_seam_sees_each_attempt_and_no_socket_of_this_machine_alone(run):
    code = """
import contextlib, os, socket
one = socket.socket(socket.AF_UNIX)
one.bind("here"), one.listen(), socket.socket(socket.AF_UNIX).connect("here")
for attempt in (
    lambda: socket.create_connection(("192.0.2.1", 80), 1),
    lambda: socket.getaddrinfo("example.org", 443),
    lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"a", ("192.0.2.1", 53)),
):
    with contextlib.suppress(OSError):
        attempt()
        print("reached")
"""
    done, tried, _ = run("seam", "-c", code)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    events = [line.split()[0] for line in tried]
    assert events == [f"socket.{e}" for e in ("getaddrinfo", "connect", "getaddrinfo", "sendto")]


def test_an_evolution_without_a_network_tries_none(run, tmp_path):
    evolution(run, tmp_path, "cut", "anchor")


@pytest.mark.full
@pytest.mark.parametrize("head", HEADS)
def test_with_and_without_a_network_an_evolution_comes_to_the_same_and_tries_none(run, tmp_path, head):
    if head == "anchor_free" and not find_spec("ultralytics"):
        pytest.skip("head: anchor_free needs the extra")
    cut, processes = evolution(run, tmp_path, "cut", head, "lane")
    assert processes >= 3, "the lane and a process for each trial were seen"
    assert evolution(run, tmp_path, "open", head, "lane", cut=False)[0] == cut
