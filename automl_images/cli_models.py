"""The commands that look at a registry, move its aliases and pull its models; :mod:`automl_images.cli` has them too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from automl_images.cli_data import AsJson
from automl_images.errors import UserError, redact
from automl_images.registry import READY, Registry, open_registry, parse_address, pull, verify
from automl_images.registry.champion import figure

app = typer.Typer(no_args_is_help=True, help="Look at a registry, move its aliases, pull its models.")

Address = Annotated[str, typer.Argument(help="REGISTRY/NAME, REGISTRY/NAME@ALIAS or REGISTRY/NAME:VERSION.")]


@app.command("list")
def list_models(
    registry: Annotated[str, typer.Argument(help="The registry's address: a folder on any store.")],
    as_json: AsJson = False,
) -> None:
    """List a registry's models: their newest version and their champion."""
    opened = open_registry(registry)
    rows = [_summary(opened, name) for name in opened.models()]
    if as_json:
        return print(json.dumps(rows, indent=1))
    if not rows:
        return print(f"{redact(opened.url)}: has no model")
    columns = ("name", "versions", "latest", "champion", "metric", "value", "registered", "aliases")
    _print_table(columns, [[*map(row.get, columns[:-1]), _named(row["aliases"])] for row in rows])


@app.command()
def show(address: Address, as_json: AsJson = False) -> None:
    """Show a model's versions and who moved its aliases; with an alias or a version all that is known of that one."""
    registry, name, version = parse_address(address)
    opened = open_registry(registry)
    if version:
        _show_version(opened.get(name, version), as_json)
        return
    opened.get(name)  # refuses a name that is not there
    every = opened.versions(name)
    whole = [v for v in every if v["state"] == READY]
    unfinished = len(every) - len(whole)
    aliases, moves = opened.aliases(name), opened.moves(name)
    if as_json:
        told = {"name": name, "aliases": aliases, "versions": whole, "unfinished": unfinished, "moves": moves}
        return print(json.dumps(told, indent=1))
    rows = [
        [v["version"], _named({a: n for a, n in aliases.items() if n == v["version"]}), *_headline(v), _minute(v)]
        for v in whole
    ]
    _print_table(("version", "aliases", "metric", "value", "test set", "registered"), rows)
    if unfinished:
        print(f"{unfinished} more not whole: the same model, registered again, finishes it")
    for move in moves:
        note = f": {move['note']}" if move["note"] else ""
        print(f"{move['at']} {move['alias']}: {move['before'] or 'none'} -> {move['version']} by {move['by']}{note}")


@app.command()
def promote(
    address: Annotated[str, typer.Argument(help="REGISTRY/NAME.")],
    version: Annotated[str, typer.Argument(help="The version's number, or an alias of it.")],
    to: Annotated[str, typer.Option(help="The alias to point at it, such as champion or production.")],
    note: Annotated[str, typer.Option(help="Why; kept with who moved it, and when.")] = "",
    as_json: AsJson = False,
) -> None:
    """Point an alias at a version of a model."""
    registry, name, other = parse_address(address)
    if other:
        raise UserError(f"{redact(address)}: give REGISTRY/NAME, and the version {other} after it")
    move = open_registry(registry).promote(name, version, to, note)
    before = f", before version {move['before']}" if move["before"] not in (None, move["version"]) else ""
    print(json.dumps(move, indent=1) if as_json else f"{name}: {to} is version {move['version']}{before}")


@app.command("pull")
def pull_model(
    address: Address,
    folder: Annotated[str, typer.Argument(help="The folder to write on this machine, not there yet or empty.")],
    as_json: AsJson = False,
) -> None:
    """Copy a registered model folder to this machine, each file compared with the hash that it was registered with."""
    registry, name, version = parse_address(address)
    found = open_registry(registry).get(name, version or "latest")
    told = {"name": name, "version": found["version"], **pull(found, folder)}
    if as_json:
        return print(json.dumps(told, indent=1))
    unsure = len(told["unverified"])
    checked = f"{told['files'] - unsure} of {told['files']} files verified"
    why = f"; of {', '.join(told['unverified'])} no hash was kept when it was registered" if unsure else ""
    print(f"{name} version {told['version']}: {told['folder']}; {checked}{why}")


def _summary(registry: Registry, name: str) -> dict[str, Any]:
    aliases = registry.aliases(name)
    whole = {v["version"]: v for v in registry.versions(name) if v["state"] == READY}
    champion = whole.get(aliases.get("champion", -1))
    metric, value, _ = _headline(champion) if champion else (None, None, None)
    told = {"name": name, "versions": len(whole), "latest": aliases["latest"], "champion": aliases.get("champion")}
    told |= {"metric": metric, "value": value, "registered": _minute(whole[aliases["latest"]])}
    return told | {"aliases": {a: v for a, v in aliases.items() if a not in ("latest", "champion")}}


def _headline(version: Mapping[str, Any]) -> tuple[str | None, float | None, str | None]:
    """Return the metric that the champion is chosen by, its value, and the beginning of its test set's digest."""
    metric = version.get("metric") or None
    told = (version.get("lineage") or {}).get("evaluated") or {}
    return metric, figure(version["metrics"].get(metric)), str(told["digest"])[:12] if told.get("digest") else None


def _show_version(version: Mapping[str, Any], as_json: bool) -> None:
    differs = verify(version)
    if as_json:
        return print(json.dumps({**version, "differs": differs}, indent=1))
    metric, value, digest = _headline(version)
    rows = {
        "version": f"{version['name']} {version['version']}, registered {version['created']}",
        "folder": redact(version["uri"]),
        metric or "metric": value,
        "test set": digest,
        "content": version.get("content") or f"model.pt {version['digest']}",
        "files": f"{len(version['files'])}" if version.get("files") else "not hashed, but for model.pt",
        "differs": "; ".join(differs) or "nothing",
    }
    rows |= {f"lineage {key}": _short(one) for key, one in version["lineage"].items() if key != "evaluated"}
    _print_table(("", ""), [[key, one] for key, one in rows.items()], header=False)


def _short(value: Any) -> str:
    if isinstance(value, dict | list):
        return f"{len(value)} entries; --json has them"
    return redact(str(value))


def _minute(version: Mapping[str, Any]) -> str:
    """Return when a version was registered, to the minute, UTC."""
    return str(version["created"])[:16].replace("T", " ")


def _named(aliases: Mapping[str, int]) -> str:
    return ", ".join(sorted(aliases))


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, header: bool = True) -> None:
    """Print a table that fits the terminal: cells fold, and nothing of them is cut off."""
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), show_header=header)
    for i, name in enumerate(columns):
        numbers = [row[i] for row in rows if row[i] is not None]
        right = header and bool(numbers) and all(isinstance(n, int | float) for n in numbers)
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*("-" if c is None else f"{c:.4f}" if isinstance(c, float) else str(c) for c in row))
    Console(markup=False, highlight=False, soft_wrap=False).print(table)
