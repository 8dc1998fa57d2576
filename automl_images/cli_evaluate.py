"""The command that scores a model, or predictions made elsewhere; :mod:`automl_images.cli` has it among its own."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from automl_images.cli_data import AsJson
from automl_images.errors import UserError
from automl_images.registry import resolve

app = typer.Typer()

_RESULTS = "With COCO results:"


@app.command()
def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="A model folder, REGISTRY/NAME@ALIAS, or predictions made elsewhere: COCO results, a .json file."
        ),
    ],
    data: Annotated[
        str, typer.Argument(help="Records (JSONL); with COCO results annotations of any format that convert reads.")
    ],
    output: Annotated[str, typer.Argument(help="The folder to write metrics.json and report.html to.")],
    title: Annotated[str | None, typer.Option(help="The report's heading.")] = None,
    keep_thresholds: Annotated[
        bool,
        typer.Option("--keep-thresholds", help="Write the scores of the best F1 into the model folder, for predict."),
    ] = False,
    task: Annotated[
        str | None, typer.Option(help=f"{_RESULTS} image-object-detection or image-instance-segmentation.")
    ] = None,
    format: Annotated[str | None, typer.Option(help=f"{_RESULTS} auto, or one of convert's.")] = None,
    images: Annotated[str | None, typer.Option(help=f"{_RESULTS} the images' root, or PREFIX=URL.")] = None,
    on_error: Annotated[
        str | None, typer.Option(help=f"{_RESULTS} what to do with flawed records: fail, skip or fix.")
    ] = None,
    iou_threshold: Annotated[
        float | None, typer.Option(help=f"{_RESULTS} from how much overlap an object is found; 0.5.")
    ] = None,
    score_threshold: Annotated[
        float | None, typer.Option(help=f"{_RESULTS} for precision, recall and drawings; 0.3.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score a model, or COCO results: all metrics of the task, per class, and a report.

    image_id and category_id of COCO results are the ids of a COCO file; with other annotations they are the name of the
    image's file and of the class.
    """
    from automl_images.evaluation import summary_lines

    results = {
        "task": task,
        "format": format,
        "images": images,
        "on_error": on_error,
        "iou_threshold": iou_threshold,
        "score_threshold": score_threshold,
    }
    given: dict[str, Any] = {name: value for name, value in results.items() if value is not None}
    lines = []
    if model.lower().endswith(".json"):
        if keep_thresholds:
            raise UserError("--keep-thresholds: COCO results have no model folder to keep them in")
        if task is None:
            raise UserError("--task: COCO results need it; image-object-detection or image-instance-segmentation")
        from automl_images.steps.evaluate_results import counted_line, evaluate_results

        result = evaluate_results(model, data, output, title=title, **given)
        lines = [counted_line(result)]
    elif given:
        option = next(iter(given)).replace("_", "-")
        raise UserError(f"--{option}: is for COCO results, a .json file; a model folder has settings of its own")
    else:
        from automl_images.steps.evaluate import evaluate_model

        result = evaluate_model(resolve(model), data, output, title=title, keep_thresholds=keep_thresholds)
    print(json.dumps(result, indent=1) if as_json else "\n".join([*summary_lines(result), *lines]))
