"""``automl-images run | compile | submit | rerun | step | schema``: the life of an experiment's pipeline."""

from __future__ import annotations

import json
import select
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from signal import SIGINT
from typing import Annotated

import typer

from automl_images.errors import UserError, say

app = typer.Typer()
_PATIENCE = 10  # seconds that a question waits for an answer
File = Annotated[Path, typer.Argument(metavar="EXPERIMENT", help="A YAML file, or one that ships: quickstart.")]
Set = Annotated[list[str], typer.Option("--set", help="PATH=VALUE, such as sweep.iterations=4; may be repeated.")]
Fresh = Annotated[bool, typer.Option(help="Start over, even if this experiment has run before.")]
Token = Annotated[str | None, typer.Option(envvar="KF_PIPELINES_TOKEN", help="A bearer token.")]


class Where(StrEnum):
    """What runs a step on this machine."""

    subprocess = "subprocess"
    docker = "docker"


Runs = Annotated[Where, typer.Option(help="Where it runs: docker needs the images (make images).")]


@app.command()
def run(
    experiment: File,
    overrides: Set = [],  # noqa: B006 (Typer's way)
    root: Annotated[str, typer.Option(help="The folder of runs.")] = "runs",
    fresh: Fresh = False,
    runner: Runs = Where.subprocess,
    stop: Annotated[
        bool, typer.Option("--stop-after-current", help="Train no further: the best so far goes on to the end.")
    ] = False,
    predict: Annotated[Path | None, typer.Option(help="Then predict this image.")] = None,
    predict_to: Annotated[Path, typer.Option(help="Where the predicted image is drawn.")] = Path("prediction.png"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Run the pipeline on this machine. Run again after an interruption, it resumes."""
    from automl_images.pipelines import run as local
    from automl_images.pipelines.experiment import draw_sample, load

    if stop and fresh:
        raise UserError("--stop-after-current: ends a sweep that has begun, so it does not go with --fresh")
    loaded = load(experiment, overrides)
    draw_sample(loaded)
    if predict is not None and not predict.is_file():
        raise UserError(f"--predict {predict}: no such image")
    try:
        summary = local.run(loaded, root=root, fresh=fresh, runner=runner.value, stop=stop)
    except local.RunInterrupted as end:
        say(f"interrupted: {end.kept}; {_how_to_go_on(fresh, end.trained and not stop)}")
        if fresh or stop or not (end.trained and end.number == SIGINT and _wants_the_best_so_far()):
            raise
        summary = local.run(loaded, root=root, runner=runner.value, stop=True)
    print(json.dumps(summary, indent=1) if as_json else "\n".join(local.summary_text(summary)))
    if predict is not None:
        local.predict(summary, predict, predict_to)
        print(f"predicted {predict}: {predict_to}", file=sys.stderr if as_json else sys.stdout)


def _how_to_go_on(fresh: bool, trained: bool) -> str:
    if fresh:
        return "what --fresh began is not found again: the next run is another"
    from automl_images.pipelines.run import command

    again = shlex.join([command(), *sys.argv[1:]])
    return f"go on with: {again}" + (f"; end with the best so far: {again} --stop-after-current" if trained else "")


def _wants_the_best_so_far() -> bool:
    """Ask on a terminal; no answer is no."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    asked = f"end the sweep here and go on with the best so far? [y/N] ({_PATIENCE} s) "
    print(asked, end="", file=sys.stderr, flush=True)
    try:
        answered = select.select([sys.stdin], [], [], _PATIENCE)[0]
        return bool(answered) and sys.stdin.readline().strip().lower() in ("y", "yes")
    except KeyboardInterrupt:
        return False
    finally:
        print(file=sys.stderr)


@app.command("compile")
def compile_(
    experiment: File,
    output: Annotated[Path, typer.Option("--output", "-o", help="The package to write.")] = Path("pipeline.yaml"),
    overrides: Set = [],  # noqa: B006
) -> None:
    """Write the pipeline's package for Kubeflow Pipelines."""
    from automl_images.pipelines.experiment import load
    from automl_images.pipelines.pipeline import compile_package

    compile_package(load(experiment, overrides), output)
    print(output)


@app.command()
def submit(
    experiment: File,
    overrides: Set = [],  # noqa: B006
    host: Annotated[str | None, typer.Option(help="The Kubeflow Pipelines API; else cluster.endpoint.")] = None,
    namespace: Annotated[str | None, typer.Option(help="The runs' namespace; else cluster.namespace.")] = None,
    token: Token = None,
    wait: Annotated[bool, typer.Option(help="Follow the run to its end.")] = True,
    fresh: Fresh = False,
    follow: Annotated[str | None, typer.Option(metavar="RUN", help="Send nothing; follow this run of it.")] = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="If a run of it still goes, end that one and go on with its trials.")
    ] = False,
    local_images: Annotated[
        bool, typer.Option("--local-images", help="The cluster's nodes have the images, which name no registry (kind).")
    ] = False,
    resubmit: Annotated[
        int | None,
        typer.Option(min=0, max=100, help="How often to send it again, while followed, if a pod of its is lost: 2."),
    ] = None,
) -> None:
    """Send the pipeline to Kubeflow and follow it; submitted again, it goes on where it stopped."""
    from automl_images.pipelines import submit as remote
    from automl_images.pipelines.experiment import draw_sample, load
    from automl_images.pipelines.kubeflow import Kubeflow

    if follow and (fresh or take_over or local_images or not wait):
        others = "--fresh, --take-over, --local-images or --no-wait"
        raise UserError(f"--follow: sends nothing, so it does not go with {others}")
    if resubmit is not None and not wait:
        raise UserError("--resubmit: is done while the run is followed, so it does not go with --no-wait")
    again = 2 if resubmit is None else resubmit
    loaded = load(experiment, [*overrides, *([f"cluster.namespace={namespace}"] if namespace else [])])
    kubeflow = Kubeflow(host or loaded.cluster.endpoint, loaded.cluster.namespace, token)  # copying data takes long
    if follow:
        return remote.follow(loaded, kubeflow, follow, again)
    draw_sample(loaded)
    run = remote.submit(loaded, kubeflow, fresh=fresh, take_over=take_over, local_images=local_images)
    print(f"run {run}: {kubeflow.link(run)}", flush=True)
    if wait:
        remote.follow(loaded, kubeflow, run, again)


@app.command()
def rerun(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, or with --host a run's id on Kubeflow.")],
    step: Annotated[str, typer.Argument(metavar="STEP", help="The step to repeat, such as evaluate.")],
    lane: Annotated[int | None, typer.Option(min=0, help="Which lane of train; null: the first.")] = None,
    runner: Runs = Where.docker,
    root: Annotated[str, typer.Option(help="Where a run on Kubeflow is repeated to.")] = "runs",
    host: Annotated[str | None, typer.Option(help="The Kubeflow Pipelines API that the run is on.")] = None,
    namespace: Annotated[str, typer.Option(help="The run's namespace.")] = "kubeflow",
    token: Token = None,
) -> None:
    """Repeat one step of a finished run with the same inputs; what it writes goes to a folder of its own."""
    from automl_images.pipelines.kubeflow import Kubeflow
    from automl_images.pipelines.rerun import rerun as repeat

    kubeflow = Kubeflow(host, namespace, token) if host else None
    print(json.dumps(repeat(run, step, lane=lane, runner=runner.value, root=root, kubeflow=kubeflow), indent=1))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def step(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="STEP", help="A command of automl-images, such as train.")],
) -> None:
    """Run one command of automl-images in its image; what follows are its arguments."""
    from automl_images.pipelines.rerun import in_container

    sys.exit(in_container(name, context.args))


@app.command()
def schema() -> None:
    """Print the JSON schema of an experiment."""
    from automl_images.pipelines.experiment import Experiment

    print(json.dumps(Experiment.model_json_schema(by_alias=True), indent=1))
