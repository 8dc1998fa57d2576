"""``automl-images import``: a vendor's configuration as an experiment."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

app = typer.Typer()


@app.command("import")
def import_(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="An Azure job (YAML) or v1 argument list; a SageMaker request or its hyperparameters (JSON); YOLOv5's "
            "data.yaml, hyp.yaml and train.py command, one of each. - is standard input.",
        ),
    ],
    overrides: Annotated[
        list[str], typer.Option("--set", metavar="PATH=VALUE", help="A value of the experiment. Repeatable.")
    ] = [],  # noqa: B006
    maps: Annotated[
        list[str],
        typer.Option("--map", metavar="REFERENCE=PLACE", help="Where what a file refers to is here. Repeatable."),
    ] = [],  # noqa: B006
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="The file to write; not given: it is printed.")
    ] = None,
) -> None:
    """Turn a configuration of Azure, SageMaker or YOLOv5 into an experiment, and say what has no counterpart."""
    from automl_images import storage
    from automl_images.errors import UserError
    from automl_images.experiment import Experiment
    from automl_images.experiment_file import import_files, write
    from automl_images.steps.plan import check_experiment

    draft = import_files(files, overrides, maps)
    try:
        check_experiment(Experiment.read(draft.content))
    except UserError as error:
        raise UserError(f"{', '.join(files)}: as an experiment: {error}") from None
    text = write(draft, files)
    for note in draft.notes:
        print(f"note: {note}", file=sys.stderr)
    if output is None:
        return print(text, end="")
    storage.write(output, text)
    print(output)
