"""What a step of the local run costs above its work, against kfp's own empty step in the same run.

    python benchmarks/step_overhead.py

Times are of processes: what the machine computes for a step, whoever else uses it. Interleaved, medians of seven.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from kfp import dsl

from automl_images.pipelines.local import Runner
from benchmarks.report import report

ROUNDS = 7


@dsl.component(base_image="python", install_kfp_package=False)
def empty(text: str) -> str:
    """Do nothing."""
    return text


@dsl.component(base_image="python", install_kfp_package=False)
def entered(text: str) -> str:
    """Do nothing, as one of our steps."""
    from automl_images.steps.repeat import step

    with step("split", [text]):
        from automl_images.steps.split import split_data  # noqa: F401

        return text


@dsl.pipeline(name="empty")
def bare():
    """Run kfp's empty step."""
    empty(text="x")


@dsl.pipeline(name="entered")
def ours():
    """Run our empty step."""
    entered(text="x")


def seconds(pipeline: object, folder: Path) -> tuple[float, float]:
    """Return wall and process seconds of a pipeline of one step."""
    runner = Runner(folder, 1)
    before, wall = os.times(), time.monotonic()
    runner.run(pipeline)
    after = os.times()
    return time.monotonic() - wall, (after.children_user + after.children_system) - (
        before.children_user + before.children_system
    )


def main() -> None:
    """Measure, interleaved."""
    walls: dict[str, list[float]] = {"kfp": [], "ours": []}
    cpus: dict[str, list[float]] = {"kfp": [], "ours": []}
    with tempfile.TemporaryDirectory() as scratch:
        for i in range(ROUNDS + 1):
            for name, pipeline in (("kfp", bare), ("ours", ours)):
                wall, cpu = seconds(pipeline, Path(scratch, f"{name}{i}"))
                if i:  # the first warms the file cache
                    walls[name].append(wall)
                    cpus[name].append(cpu)
    rows = [
        (name, statistics.median(walls[name]), min(walls[name]), max(walls[name]), statistics.median(cpus[name]))
        for name in walls
    ]
    ratio = statistics.median(cpus["ours"]) / statistics.median(cpus["kfp"])
    report("step_overhead", ("step", "wall s", "least", "most", "process s"), rows, {"process_time_ratio": ratio})


if __name__ == "__main__":
    main()
