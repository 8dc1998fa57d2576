"""The commands that look at data, write it in other formats and make some; :mod:`automl_images.cli` has them too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from automl_images.annotations import formats
from automl_images.errors import UserError
from automl_images.plain import read_yaml

app = typer.Typer()

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


Settings = Annotated[list[str], typer.Option("--set", help="A hyperparameter, NAME=VALUE; may be repeated.")]


def settings_of(given: list[str]) -> dict[str, Any]:
    """Return what ``--set`` was given, by name; raises UserError where it is not NAME=VALUE."""
    settings = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals:
            raise UserError(f"--set {item}: write NAME=VALUE, such as learning_rate=0.01")
        settings[name.strip()] = read_yaml(value, f"--set {name}")
    return settings


@app.command()
def inspect(
    source: Annotated[str, typer.Argument(help="A folder or file of annotations, local or any fsspec URL.")],
    task: Annotated[str | None, typer.Option(help="The task; not given: the one that the source alone fits.")] = None,
    format: Annotated[str, typer.Option(help=f"auto, or {formats.description()}.")] = "auto",
    images: Annotated[str | None, typer.Option(help="The images' root, or PREFIX=URL.")] = None,
    html: Annotated[str | None, typer.Option(help="Write a page with pictures there, too (HTML).")] = None,
    as_json: AsJson = False,
) -> None:
    """Look at a data set: images, objects, classes, sizes, and what is wrong with it. Nothing of it is changed."""
    from automl_images.reports.data import print_tables
    from automl_images.steps.inspect import inspect_source

    result, shown = inspect_source(source, task, format=format, images=images, html=html)
    if as_json:
        return print(json.dumps(result, indent=1))
    for part in shown:
        found = result["sets"][part.name]
        print_tables(f"{found['source']}: {result['task']}, {found['format']}", part)


@app.command()
def export(
    source: Annotated[str, typer.Argument(help="Records (JSONL), as convert and split write them; or a model folder.")],
    out: Annotated[
        str | None, typer.Argument(help="The file to write, or the folder, not there yet; of a model it may be left.")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(help=f"Of records: one of {', '.join(n for n, f in formats.FORMATS.items() if f.write)}."),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Of records: the task; not given: the one whose labels the records have.")
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(help="Of records, in a folder: link, copy or none; not given: link, on a store none."),
    ] = None,
    to: Annotated[str | None, typer.Option(help="Of a model: onnx.")] = None,
    check: Annotated[
        list[str], typer.Option(help="Of a model: images to compare it on; not given: the sample data's. Repeatable.")
    ] = [],  # noqa: B006
    settings: Settings = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Write records in another format, and say what it cannot hold; or a model as ONNX, and compare what it finds."""
    if (format is None) == (to is None):
        raise UserError("export: give --format for records, or --to onnx for a model folder")
    of_records, of_model = {"task": task, "images": images}, {"check": check, "set": settings}
    for name, value in (of_model if format else of_records).items():
        if value:
            raise UserError(f"--{name}: is for {'a model, with --to onnx' if format else 'records, with --format'}")
    if to is not None:
        from automl_images.steps.export_model import export_model, summary_line

        if to != "onnx":
            raise UserError(f"--to {to}: a model is written as onnx alone")
        written = export_model(source, out, overrides=settings_of(settings), images=check)
        return print(json.dumps(written, indent=1) if as_json else summary_line(written))
    if out is None:
        raise UserError("export: records need OUT, the file or folder to write")
    from automl_images.steps.export import export_records, summary_lines

    assert format is not None
    result = export_records(source, out, format, task=task, images=images)
    print(json.dumps(result, indent=1) if as_json else "\n".join(summary_lines(result)))


@app.command("sample-data")
def sample_data(
    folder: Annotated[Path, typer.Argument(help="The folder to write.")],
    images: Annotated[int, typer.Option(min=1, help="How many images.")] = 200,
    size: Annotated[int, typer.Option(min=32, help="Their width and height in pixels.")] = 160,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal images.")] = 0,
) -> None:
    """Write a synthetic data set: textured shapes on cluttered backgrounds, as Pascal VOC and as a CSV of classes."""
    from automl_images.sample_data import make_sample

    print(json.dumps(make_sample(folder, images=images, size=size, seed=seed)))
