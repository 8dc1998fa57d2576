"""The commands on hyperparameters and sweeps; :mod:`automl_images.cli` has them among its own."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.markup import escape

from automl_images.cli_data import AsJson

app = typer.Typer()

DETECTION = "image-object-detection"
Task = Annotated[str, typer.Option(help="The task, such as image-object-detection.")]


@app.command()
def hyperparameters(
    task: Task = DETECTION,
    model: Annotated[str | None, typer.Option(help="The model; its task's default if left out.")] = None,
    vendor: Annotated[
        str | None, typer.Option(help="List azure's, sagemaker's or yolov5's instead, by its names, with ours beside.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List a model's hyperparameters: type, range, default, effect."""
    from automl_images.steps.hyperparameters import list_hyperparameters, list_of_vendor

    rows = list_of_vendor(vendor, task, model) if vendor else list_hyperparameters(task, model)
    if as_json:
        return print(json.dumps(rows, indent=1))
    from rich.console import Console
    from rich.padding import Padding

    console = Console(highlight=False)
    for row in rows:
        default = "not set" if row["default"] is None else row["default"]
        kind = f"{row['type']}, {row['range']}; default {default}" + "; acts at inference" * row.get("inference", False)
        kind = f"ours {row['ours']}; {kind}" if vendor else kind
        if console.is_terminal:
            console.print(f"[bold]{row['name']}[/]  {escape(kind)}")
            console.print(Padding(escape(row["description"]), (0, 0, 0, 4)))
        else:
            print(f"{row['name']}: {kind}. {row['description']}")


sweep = typer.Typer(no_args_is_help=True, help="Look at a sweep: live, or as it stands.")
app.add_typer(sweep, name="sweep")
LedgerAddress = Annotated[str, typer.Argument(help="The ledger's address, local or on any store.")]


@sweep.command("watch")
def sweep_watch(
    ledger: LedgerAddress,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks at the ledger.")] = 2.0,
) -> None:
    """Follow a sweep until its trials have ended, or Ctrl-C: a live table on a terminal, lines elsewhere."""
    from automl_images.steps.watch import watch_trials

    watch_trials(ledger, every)


@sweep.command("show")
def sweep_show(
    ledger: LedgerAddress,
    as_json: AsJson = False,
    csv: Annotated[str | None, typer.Option(metavar="FILE", help="Of an evolution: write its evolve.csv.")] = None,
    hyp: Annotated[str | None, typer.Option(metavar="FILE", help="Of an evolution: write its hyp_evolve.yaml.")] = None,
) -> None:
    """Print a sweep's trials, once; or write what an evolution came to so far."""
    from automl_images.steps import watch

    if csv or hyp:
        return print(watch.write_generations(ledger, csv, hyp))
    if as_json:
        return print(json.dumps(watch.read_trials(ledger), indent=1))
    watch.show_trials(ledger)
