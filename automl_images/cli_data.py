"""The commands that look at data, write it in other formats and make some; :mod:`automl_images.cli` has them too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from automl_images.annotations import formats

app = typer.Typer()

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


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
    records: Annotated[str, typer.Argument(help="Records (JSONL), as convert and split write them.")],
    out: Annotated[str, typer.Argument(help="The file to write, or the folder, not there yet.")],
    format: Annotated[str, typer.Option(help=f"One of {', '.join(n for n, f in formats.FORMATS.items() if f.write)}.")],
    task: Annotated[
        str | None, typer.Option(help="The task; not given: the one whose labels the records have.")
    ] = None,
    images: Annotated[
        str | None, typer.Option(help="In a folder: link, copy or none; not given: link, on a store none.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write records in another format, and say what it cannot hold."""
    from automl_images.steps.export import export_records, summary_lines

    result = export_records(records, out, format, task=task, images=images)
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
