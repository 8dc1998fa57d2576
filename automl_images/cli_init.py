"""The command that looks at data and writes an experiment for it; :mod:`automl_images.cli` has it too."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from automl_images.annotations import formats
from automl_images.cli_data import AsJson
from automl_images.errors import UserError

app = typer.Typer()


@app.command()
def init(
    source: Annotated[str, typer.Argument(help="A folder or file of annotations, local or any fsspec URL.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The experiment to write.")] = Path("experiment.yaml"),
    task: Annotated[str | None, typer.Option(help="The task; not given: the one that the source alone fits.")] = None,
    format: Annotated[str, typer.Option(help=f"auto, or {formats.description()}.")] = "auto",
    images: Annotated[str | None, typer.Option(help="The images' root, or PREFIX=URL.")] = None,
    hours: Annotated[float, typer.Option(min=0.01, help="What the trials may take together on this machine.")] = 1.0,
    measure: Annotated[
        bool, typer.Option(help="Train a few steps, to say how long a trial takes, and look for pretrained weights.")
    ] = True,
    force: Annotated[bool, typer.Option(help="Write over a file that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at a data set and write a commented experiment that fits it and this machine; `run` is next."""
    from automl_images.steps.init import init_experiment
    from automl_images.steps.inspect import SeveralTasksError

    if output.exists() and not force:
        raise UserError(f"{output}: is there already; name another with -o, or give --force")

    def begin(task: str | None) -> dict:
        return init_experiment(source, output, task, format=format, images=images, hours=hours, measured=measure)

    try:
        result = begin(task)
    except SeveralTasksError as several:
        result = begin(_asked(several))
    print(json.dumps(result, indent=1) if as_json else "\n".join([*result["lines"], f"next: {result['next']}"]))


def _asked(several: Exception) -> str:
    """Return the task that is chosen on the terminal; where there is none, raise the error."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise several
    tasks: list[str] = several.tasks  # type: ignore[attr-defined]
    for number, name in enumerate(tasks, 1):
        print(f"{number}: {name}", file=sys.stderr)
    print(f"the annotations fit {len(tasks)} tasks; which one is it? ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline().strip()
    if answer.isdecimal() and 0 < int(answer) <= len(tasks):
        return tasks[int(answer) - 1]
    if answer in tasks:
        return answer
    raise several
