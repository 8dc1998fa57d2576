"""A container's memory by its control group, and a lane that ends a trial before the kernel ends both."""

import json
import subprocess
import sys
import time

import pytest

from automl_images import memory
from automl_images.memory import Memory
from automl_images.steps import train
from automl_images.steps.plan import plan_sweep
from automl_images.sweep.ledger import Ledger

MIB = 2**20
STAT_V2 = "anon 100\nfile 5000\nshmem 1000\nslab_reclaimable 300\nslab_unreclaimable 7\n"
STAT_V1 = "cache 1\nrss 2\ntotal_cache 5000\ntotal_shmem 1000\ntotal_rss 100\n"
V2 = {"memory.max": "20000\n", "memory.current": "10000\n", "memory.stat": STAT_V2}
V1 = {"memory.limit_in_bytes": "20000\n", "memory.usage_in_bytes": "10000\n", "memory.stat": STAT_V1}
GROUPS = {
    "v2": ("", V2, Memory(10000 - 4000 - 300, 20000)),
    "v2 without a limit": ("", {**V2, "memory.max": "max\n"}, None),
    "v2 without a stat": ("", {n: t for n, t in V2.items() if n != "memory.stat"}, None),
    "v2 with little in its stat": ("", {**V2, "memory.stat": "anon 5\n"}, Memory(10000, 20000)),
    "v1": ("memory", V1, Memory(10000 - 4000, 20000)),
    "v1 without a limit": ("memory", {**V1, "memory.limit_in_bytes": "9223372036854771712\n"}, None),
    "neither": ("", {}, None),
    "no numbers": ("", {**V2, "memory.current": "much\n"}, None),
}


def lay(root, folder, files):
    (root / folder).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / folder / name).write_text(text)


@pytest.mark.parametrize(("folder", "files", "expected"), GROUPS.values(), ids=GROUPS)
def test_what_a_control_group_says(tmp_path, folder, files, expected):
    lay(tmp_path, folder, files)
    assert memory.container(tmp_path) == expected


def test_a_process_is_left_alone_below_the_limit_and_ended_with_its_children_at_it(tmp_path):
    lay(tmp_path, "", V2)
    code = "import subprocess, sys; print(subprocess.Popen(['sleep', '60']).pid, flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        below = int(child.stdout.readline())
        with memory.guarded(child.pid, root=tmp_path) as guard:
            time.sleep(0.6)
            assert guard.ended is None and child.poll() is None
            lay(tmp_path, "", {"memory.current": "23500\n"})  # less than what it holds, so it is the cause
            assert child.wait(10) == -9
        assert guard.ended == Memory(23500 - 4300, 20000)
    for _ in range(100):
        if (
            "sleep"
            not in subprocess.run(["ps", "-o", "args=,stat=", "-p", str(below)], capture_output=True, text=True).stdout
        ):
            break
        time.sleep(0.05)
    else:
        raise AssertionError("what it had started goes on")


def test_of_several_that_share_a_container_the_small_one_stays(tmp_path):
    lay(tmp_path, "", {"memory.max": str(8 << 30), "memory.current": str(8 << 30), "memory.stat": "anon 5\n"})
    with subprocess.Popen(["sleep", "60"]) as child:
        with memory.guarded(child.pid, lanes=2, root=tmp_path) as guard:
            time.sleep(0.3)
        assert guard.ended is None and child.poll() is None
        child.kill()


GROWING = """
import sys, time
from pathlib import Path
from automl_images.sweep.proposal import proposed
from automl_images.sweep.trial import State
from automl_images.sweep.ledger import Ledger
url, run, index, group = sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[5])
ledger = Ledger(url)
settings, sampled, _ = proposed(ledger, index)
content, held = ledger.start_trial(index, settings, sampled), []
if index == 0:
    for step in range(1, 400):
        held.append(bytearray(1 << 20))
        (group / "used").write_text(str((200 + step) << 20))
        (group / "used").rename(group / "memory.current")
        time.sleep(0.005)
else:
    (group / "memory.current").write_text(str(200 << 20))
best = {"metric": "m", "value": 0.5, "epoch": 1}
ledger.end_trial(content, State.COMPLETED, best=best, model=ledger.artifacts(index).model(1))
"""


def test_a_trial_that_grows_is_ended_and_the_lane_goes_on(tmp_path, monkeypatch, capfd):
    group = tmp_path / "group"
    lay(group, "", {"memory.max": str(600 * MIB), "memory.current": str(200 * MIB), "memory.stat": "anon 5\nfile 0\n"})
    script, records = tmp_path / "growing.py", tmp_path / "records.jsonl"
    script.write_text(GROWING)
    records.write_text("")

    class Popen(subprocess.Popen):
        def __init__(self, command, **options):
            super().__init__([sys.executable, str(script), *command[3:], str(group)], **options)

    monkeypatch.setattr(train.subprocess, "Popen", Popen)
    monkeypatch.setattr(memory, "ROOT", group)
    space = {"training_batch_size": {"choice": [64, 2]}}
    sweep = {"sampling": "grid", "iterations": 2, "max_concurrent_iterations": 1, "space": space}
    experiment = {
        "task": "image-object-detection",
        "settings": {"model_name": "fasterrcnn_resnet18_fpn"},
        "sweep": sweep,
    }
    (lane,) = plan_sweep(experiment, str(records), str(records), ledger=str(tmp_path / "ledger"))
    assert json.loads(train.train_lane(lane))["trials"] == {"0": "failed", "1": "completed"}
    first = Ledger(str(tmp_path / "ledger")).trial(0)
    assert first.error.startswith("out of memory: lower training_batch_size (5")
    assert "of the container's 600 MiB" in first.error
    assert first.resumes is False, "the next submission would end the same way"
    assert "trial 0: failed" in capfd.readouterr().err
