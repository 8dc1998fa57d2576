"""The commands that score models, or predictions made elsewhere; :mod:`automl_images.cli` has them among its own."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from automl_images import storage
from automl_images.cli_data import AsJson
from automl_images.errors import UserError, say
from automl_images.steps.model_address import model_address
from automl_images.tasks import get_task

app = typer.Typer()

_RESULTS, _MADE = "With COCO results:", "With COCO results or masks:"


@app.command()
def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="A model folder, REGISTRY/NAME@ALIAS, COCO results (.json), or a folder of masks made elsewhere."
        ),
    ],
    data: Annotated[
        str, typer.Argument(help="Records (JSONL); with predictions annotations of any format that convert reads.")
    ],
    output: Annotated[str, typer.Argument(help="The folder to write metrics.json and report.html to.")],
    title: Annotated[str | None, typer.Option(help="The report's heading.")] = None,
    keep_thresholds: Annotated[
        bool,
        typer.Option("--keep-thresholds", help="Write the scores of the best F1 into the model folder, for predict."),
    ] = False,
    task: Annotated[
        str | None,
        typer.Option(help=f"{_RESULTS} that of boxes or of masks of objects; with masks: image-semantic-segmentation."),
    ] = None,
    format: Annotated[str | None, typer.Option(help=f"{_MADE} auto, or one of convert's.")] = None,
    images: Annotated[str | None, typer.Option(help=f"{_MADE} the images' root, or PREFIX=URL.")] = None,
    on_error: Annotated[
        str | None, typer.Option(help=f"{_MADE} what to do with flawed records: fail, skip or fix.")
    ] = None,
    iou_threshold: Annotated[
        float | None, typer.Option(help=f"{_RESULTS} from how much overlap an object is found; 0.5.")
    ] = None,
    score_threshold: Annotated[
        float | None, typer.Option(help=f"{_RESULTS} for precision, recall and drawings; 0.3.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score a model, COCO results or masks: all metrics of the task, per class, and a report.

    image_id and category_id of COCO results are the ids of a COCO file; with other annotations they are the name of the
    image's file and of the class. Masks are found by the name of the image's file.
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
    elif task is not None and get_task(task).label == "mask":
        unfit = [name for name in given if name.endswith("_threshold")] + ["keep_thresholds"] * keep_thresholds
        if unfit:
            raise UserError(f"--{unfit[0].replace('_', '-')}: does not apply to masks")
        from automl_images.steps.evaluate_masks import evaluate_masks

        result = evaluate_masks(model, data, output, title=title, **given)
        left_out = result["annotations"].get("skipped_images", 0), result["masks_left_out"]
        lines = ["left out: {} images, {} masks of none that counts".format(*left_out)]
    elif given:
        option = next(iter(given)).replace("_", "-")
        raise UserError(f"--{option}: is for predictions made elsewhere; a model folder has settings of its own")
    else:
        from automl_images.steps.evaluate import evaluate_model

        result = evaluate_model(model_address(model), data, output, title=title, keep_thresholds=keep_thresholds)
    print(json.dumps(result, indent=1) if as_json else "\n".join([*summary_lines(result), *lines]))


@app.command()
def compare(
    models: Annotated[list[str], typer.Argument(help="Model folders or REGISTRY/NAME@ALIAS, all of one task.")],
    data: Annotated[list[str], typer.Option(help="Labelled images in any format that is read. Repeatable.")],
    output: Annotated[str, typer.Option(help="The folder for compare.html, compare.json and each report.")] = "compare",
    format: Annotated[str, typer.Option(help="What the data are: auto, or one of convert's.")] = "auto",
    images: Annotated[str | None, typer.Option(help="The images' root, or PREFIX=URL.")] = None,
    on_error: Annotated[str, typer.Option(help="What to do with flawed records: fail, skip or fix.")] = "fail",
    title: Annotated[str | None, typer.Option(help="The page's heading.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score several models, or one on several test sets, side by side: a table and a page."""
    from automl_images.reports.compare import comparison_lines
    from automl_images.steps.compare import compare_models

    for name in {m for m in models if models.count(m) > 1}:
        raise UserError(f"{storage.redact(name)}: is there twice; give each model once")
    found = compare_models(
        {storage.redact(m): model_address(m) for m in models},
        data,
        output,
        format=format,
        images=images,
        on_error=on_error,
        title=title,
        tell=say,
    )
    print(
        json.dumps(found, indent=1) if as_json else "\n".join([*comparison_lines(found), f"report {found['report']}"])
    )
