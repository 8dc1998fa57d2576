"""``automl-images``: the command of every image, the same steps by hand, and the life of a pipeline.

Exit codes: 0 success, 2 something that the caller can mend (one line on standard error), 1 a fault of ours.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from automl_images import __version__, storage
from automl_images.annotations import findings, formats, read_records
from automl_images.cli_data import AsJson, Settings, settings_of
from automl_images.cli_data import app as data_commands
from automl_images.cli_evaluate import app as evaluate_commands
from automl_images.cli_import import app as import_commands
from automl_images.cli_init import app as init_commands
from automl_images.cli_models import app as models_commands
from automl_images.cli_serve import app as serve_commands
from automl_images.cli_serve import json_object
from automl_images.cli_sweep import DETECTION, Task
from automl_images.cli_sweep import app as sweep_commands
from automl_images.errors import StepFailed, UserError
from automl_images.experiment_file import read_experiment
from automl_images.faults import explained
from automl_images.pipelines.cli import app as pipeline_commands

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Labelled images in; a trained, evaluated, registered and served vision model out.",
)

app.add_typer(pipeline_commands)
app.add_typer(init_commands)
app.add_typer(data_commands)
app.add_typer(evaluate_commands)
app.add_typer(sweep_commands)
app.add_typer(serve_commands)
app.add_typer(import_commands)
app.add_typer(models_commands, name="models")


def _print(result: Any, as_json: bool, line: str) -> None:
    print(json.dumps(result, indent=1) if as_json else line)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def convert(
    source: Annotated[str, typer.Argument(help="A folder or file, local or any fsspec URL.")],
    out: Annotated[str, typer.Argument(help="The JSONL file to write.")],
    task: Task = DETECTION,
    format: Annotated[str, typer.Option(help=f"auto, or {formats.description()}.")] = "auto",
    images: Annotated[str | None, typer.Option(help="The images' root, or PREFIX=URL.")] = None,
    on_error: Annotated[str, typer.Option(help="What to do with flawed records: fail, skip or fix.")] = "fail",
    check: Annotated[
        str,
        typer.Option(help="full, or headers: an image's size alone; truncated and equal ones are not found."),
    ] = "full",
    copy_to: Annotated[
        str | None, typer.Option(help="Copy this machine's images there; records name the copies.")
    ] = None,
    near_duplicates: Annotated[bool, typer.Option(help="Say which images look alike; each is opened again.")] = False,
    classes_of: Annotated[str | None, typer.Option(help="Refuse a class that these records (JSONL) lack.")] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="A pixel value of masks to pass over, beside 255. Repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Turn annotations of any format into checked records (JSONL)."""
    from automl_images.steps import convert as step

    classes = sorted({c for r in read_records(classes_of) for c in r.label.names()}) if classes_of else None
    summary = step.convert(
        source,
        out,
        task,
        format=format,
        images=images,
        on_error=on_error,
        classes=classes,
        copy_to=copy_to,
        trained=step.digests(classes_of) if classes_of else (),
        check=check,
        near_duplicates=near_duplicates,
        ignore=ignore or (),
    )
    for line in findings.briefly(summary["findings"]):
        print(line, file=sys.stderr)
    _print(summary, as_json, json.dumps(summary))


@app.command()
def split(
    data: Annotated[str, typer.Argument(help="Records (JSONL).")],
    training: Annotated[str, typer.Argument(help="The JSONL file to write for training.")],
    validation: Annotated[str, typer.Argument(help="The JSONL file to write for validation.")],
    split_ratio: Annotated[float, typer.Option(min=0, max=1, help="The share that validates.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Equal seeds split equally, on any machine.")] = 0,
    given: Annotated[str | None, typer.Option(help="Records that validate; if it has any, none are split off.")] = None,
    by: Annotated[str, typer.Option(help="random, stratified (by class), group or list.")] = "random",
    pattern: Annotated[
        str | None,
        typer.Option(help="By group: a regular expression that matches the group in an image's name."),
    ] = None,
    metadata: Annotated[
        str | None, typer.Option(help="By group: the name in the records' metadata that tells the group.")
    ] = None,
    near_duplicates: Annotated[bool, typer.Option(help="Keep images that look alike together too.")] = False,
    validation_list: Annotated[str | None, typer.Option(help="By list: the names of images that validate.")] = None,
    test_list: Annotated[str | None, typer.Option(help="By list: the names of images to test on.")] = None,
    test: Annotated[str | None, typer.Option(help="The JSONL file to write for the test set.")] = None,
    test_ratio: Annotated[float, typer.Option(min=0, max=1, help="The share that is the test set.")] = 0.0,
    tested: Annotated[str | None, typer.Option(help="Records to test on; if it has any, none are split off.")] = None,
    as_json: AsJson = False,
) -> None:
    """Split records into training, validation and test."""
    from automl_images.steps.split import split_data

    summary = split_data(
        data,
        given,
        training,
        validation,
        ratio=split_ratio,
        seed=seed,
        by=by,
        pattern=pattern,
        metadata=metadata,
        near_duplicates=near_duplicates,
        validation_list=validation_list,
        test_list=test_list,
        test_out=test,
        test_ratio=test_ratio,
        tested=tested,
    )
    _print(summary, as_json, json.dumps(summary))


@app.command()
def plan(
    experiment: Annotated[str, typer.Argument(help="The experiment (YAML or JSON); - is standard input.")],
    training: Annotated[str, typer.Argument(help="Records to train on (JSONL).")],
    validation: Annotated[str, typer.Argument(help="Records to score on (JSONL).")],
    root: Annotated[str, typer.Option("--storage", help="Where ledgers lie, if the experiment does not say.")] = "runs",
    ledger: Annotated[str | None, typer.Option(help="The ledger's address, instead of a derived one.")] = None,
    fresh: Annotated[str, typer.Option(metavar="NAME", help="Start another ledger, with this in its name.")] = "",
    run: Annotated[str | None, typer.Option(help="This submission's name; null: a new one.")] = None,
) -> None:
    """Open the sweep's ledger and print its lanes, one JSON object a line."""
    from automl_images.steps.plan import plan_sweep

    content = read_experiment(experiment)
    if "task" not in content:
        raise UserError(f"{experiment}: is not an experiment: it needs at least a task")
    lanes = plan_sweep(content, training, validation, run=run or None, default_storage=root, ledger=ledger, fresh=fresh)
    print("\n".join(lanes))


@app.command()
def train(
    training: Annotated[str | None, typer.Argument(help="Records to train on (JSONL).")] = None,
    validation: Annotated[str | None, typer.Argument(help="Records to score on (JSONL).")] = None,
    model: Annotated[str | None, typer.Argument(help="The model folder to write.")] = None,
    task: Task = DETECTION,
    settings: Settings = [],  # noqa: B006 (Typer's way)
    hyp: Annotated[str | None, typer.Option(help="A hyp file as YOLOv5 has it; --set goes before it.")] = None,
    pretrained: Annotated[
        bool | None, typer.Option(help="Published weights; not given: if the model has some.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Start from this state_dict or model folder.")] = None,
    seed: Annotated[int, typer.Option(help="What is drawn depends on it.")] = 0,
    lane: Annotated[str | None, typer.Option(help="Run this lane of a sweep instead (a line of plan).")] = None,
    again: Annotated[
        bool, typer.Option(help="Train its trials once more, in a copy of the ledger below reruns.")
    ] = False,
) -> None:
    """Train once, or run one lane of a sweep. Run again after an interruption, it resumes."""
    from automl_images.steps import train as step

    if lane:
        return print(step.train_lane(step.repeated(lane) if again else lane))
    if not (training and validation and model):
        raise UserError("train: give TRAINING, VALIDATION and MODEL, or a --lane")
    start = {"pretrained": pretrained, "source": weights}
    given = {"hyp": hyp, **settings_of(settings)} if hyp else settings_of(settings)
    result = step.train_once(task, training, validation, model, settings=given, weights=start, seed=seed)
    print(json.dumps(result))


@app.command()
def select(
    ledger: Annotated[str, typer.Argument(help="The ledger's address.")],
    run: Annotated[str | None, typer.Option(help="The submission whose iterations count; null: all trials.")] = None,
    report: Annotated[str | None, typer.Option(help="Write the leaderboard there (HTML).")] = None,
    title: Annotated[str | None, typer.Option(help="The leaderboard's heading.")] = None,
    evolution: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Write evolve.csv, hyp_evolve.yaml, evolve.png, ... there.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Choose the best trial of a sweep."""
    from automl_images.steps import select as step

    chosen = step.select_trial(ledger, run, report=report, title=title, evolution=evolution)
    _print(chosen, as_json, f"{step.headline(chosen)}: {chosen['model']}")


@app.command()
def register(
    model: Annotated[str, typer.Argument(help="A model folder.")],
    name: Annotated[str, typer.Argument(help="The name to register it under.")],
    registry: Annotated[str, typer.Option(help="The registry's address.")] = "runs/registry",
    metrics: Annotated[
        str | None, typer.Option(help="A metrics.json; - is stdin; not given: the model folder's.")
    ] = None,
    lineage: Annotated[str, typer.Option(help="Where the model comes from, a JSON object.")] = "{}",
    minimum: Annotated[float | None, typer.Option(help="Refuse a model whose primary metric is below this.")] = None,
    promote: Annotated[
        str, typer.Option(help="Champion: if_better (on the same test set), always or never.")
    ] = "if_better",
    as_json: AsJson = False,
) -> None:
    """Register a model folder under a name and the next version."""
    from automl_images.steps.register import register_model

    origin = json_object("--lineage", lineage)
    source = metrics or storage.join(model, "metrics.json")
    try:
        figures = json.loads(sys.stdin.read() if source == "-" else storage.read_text(source))
    except (FileNotFoundError, ValueError):
        raise UserError(f"{source}: no metrics there that parse as JSON; give --metrics") from None
    result = register_model(model, name, registry, figures, origin, minimum, promote)
    _print(result, as_json, f"{result['name']} version {result['version']}: {result['uri']}")


@app.command()
def predict(
    model: Annotated[
        str,
        typer.Argument(
            help="The folder of a run, a trial or a model, REGISTRY/NAME[@ALIAS], or what export wrote (.onnx)."
        ),
    ],
    images: Annotated[
        list[str], typer.Argument(help="Images, folders and .zip files of them, patterns (*, **); on any store.")
    ],
    output: Annotated[
        str | None, typer.Option("--draw", "--output", help="Draw predictions: a file for one image, else a folder.")
    ] = None,
    settings: Settings = [],  # noqa: B006
    batch: Annotated[
        int | None, typer.Option(min=1, help="Images at once, fewer large ones; not given: validation_batch_size.")
    ] = None,
    on_error: Annotated[
        str, typer.Option(help="skip: leave out what does not open, exit with 2 at the end; fail: at the first.")
    ] = "skip",
    results: Annotated[
        str | None, typer.Option("--coco-results", help="Write finds of all scores there, as evaluate reads them.")
    ] = None,
    coco: Annotated[
        str | None, typer.Option(help="The COCO file whose ids results have; not given: names of files and classes.")
    ] = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print rows: file, class, score, of a detector a box; not of masks.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Predict images; print a line an image (the best class first), CSV, or JSON.

    Of a detector's finds those count with a score above that of the best F1 on validation, over all classes, which the
    model folder knows; --set box_score_thresh=0.5 is another one. An endpoint goes by box_score_thresh alone.
    """
    from automl_images.steps.model_address import model_address
    from automl_images.steps.predict import predict_images
    from automl_images.steps.predict_rows import write_rows

    if as_csv and as_json:
        raise UserError("--csv: does not go with --json; give one of the two")
    how = {"batch": batch, "on_error": on_error, "results": results, "coco": coco}
    plain = as_csv or as_json
    answers = predict_images(model_address(model), images, output, settings_of(settings), line=not plain, **how)  # type: ignore[arg-type]
    if as_csv:
        return write_rows(answers, sys.stdout)
    for found in answers:
        print(json.dumps(found) if as_json else f"{found['filename']}: {found['line']}", flush=True)


@app.command()
def score(
    model: Annotated[Path, typer.Argument(help="A local model folder.")],
    request: Annotated[Path, typer.Argument(help="An image, or a JSON request.")],
) -> None:
    """Run a model folder's own score file on a request, as an endpoint would."""
    from automl_images.serving.score import run_score_file

    print(json.dumps(run_score_file(model, request.read_bytes())))


def main() -> None:
    """Run the command line."""
    try:
        with explained():
            app([storage.at_home(a) for a in sys.argv[1:]], standalone_mode=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except StepFailed as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
