"""Write the reference from the code: ``python docs/generate.py [FOLDER]``, and each build of the site.

Commands and their options are the command line's own, fields those of the experiment's schema, hyperparameters the rows
that ``automl-images hyperparameters`` prints.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from automl_images.architectures import ARCHITECTURES
from automl_images.cli import app
from automl_images.pipelines.experiment import Experiment
from automl_images.steps.hyperparameters import list_hyperparameters
from automl_images.tasks import TASKS


def write_reference(folder: Path) -> None:
    """Write ``commands.md``, ``experiment.md``, ``hyperparameters.md`` and a page a task; what is the same is kept."""
    pages = {"commands": _commands(), "experiment": _experiment(), "hyperparameters": _tasks()}
    pages |= {f"hyperparameters-{name}": _task(name) for name in TASKS}
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in pages.items():
        (folder / f"{name}.md").write_text("\n".join(lines) + "\n")


def _plain(text: object) -> str:
    """Return a text as one line of Markdown that shows it as it is, also in a table; ``so`` is code."""
    parts = " ".join(str(text).split()).split("``")
    return "".join(_code(p) if i % 2 else re.sub(r"([\\`*_{}\[\]<>|#~$])", r"\\\1", p) for i, p in enumerate(parts))


def _code(value: object) -> str:
    text = " ".join(str(value).split()).replace("|", "\\|")
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [*(f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows)), ""]


def _commands() -> Iterator[str]:
    yield from ("# Commands", "", "`automl-images COMMAND --help` prints the same.", "")
    for name, command in _walk("automl-images", typer.main.get_command(app)):
        context = command.make_context(name, [], resilient_parsing=True)
        yield from (f"## {name}", "", *_paragraphs(command.help))
        yield from ("```text", " ".join(command.get_usage(context).removeprefix("Usage: ").split()), "```", "")
        records = filter(None, (part.get_help_record(context) for part in command.params))
        yield from _table(("argument or option", ""), ((_code(words), _plain(text)) for words, text in records))


def _walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    if commands := getattr(command, "commands", None):
        for word, each in sorted(commands.items()):
            yield from _walk(f"{name} {word}", each)
    else:
        yield name, command


def _paragraphs(text: str | None) -> list[str]:
    parts = re.split(r"\n\s*\n", (text or "").strip())
    return [line for part in parts for line in (_plain(part), "")]


def _experiment() -> Iterator[str]:
    schema = Experiment.model_json_schema(by_alias=True)
    yield from ("# The experiment's file", "", _plain(schema["description"]), "")
    yield from ("`automl-images schema` prints the same as a JSON schema, for editors and programs.", "")
    yield from _fields(schema)
    for name, block in sorted(schema["$defs"].items()):
        yield from (f"## {name}", "", _plain(block.get("description", "")), "")
        yield from _fields(block) if "properties" in block else (_kind(block), "")


def _fields(block: Mapping[str, Any]) -> list[str]:
    needed = block.get("required", ())
    rows = []
    for name, field in block["properties"].items():
        default = "needed" if name in needed else _json(field["default"]) if "default" in field else ""
        rows.append((_code(name), _kind(field), default, _plain(field.get("description", ""))))
    return _table(("field", "value", "default", ""), rows)


def _json(value: object) -> str:
    text = json.dumps(value)
    return _code(text) if len(text) <= 40 else "see there"


_LIMITS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


def _kind(field: Mapping[str, Any]) -> str:
    """Return in words what a value of a JSON schema may be."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf"):
        if several in field:
            return " or ".join(dict.fromkeys(_kind(each) for each in field[several]))
    if "const" in field:
        return _code(json.dumps(field["const"]))
    if "enum" in field:
        return ", ".join(_code(value) for value in field["enum"])
    kind = str(field.get("type", "anything"))
    if kind == "array":
        return f"a list of {_kind(field['items'])}" if field.get("items") else "a list"
    if kind == "object":
        values = field.get("additionalProperties")
        return f"a mapping to {_kind(values)}" if isinstance(values, Mapping) and values else "a mapping"
    limits = [f"{words} {field[key]:g}" for key, words in _LIMITS.items() if key in field]
    limits += [f"at most {field['maxLength']} characters"] if "maxLength" in field else []
    return ", ".join([kind, *limits])


def _tasks() -> Iterator[str]:
    yield from ("# Hyperparameters", "", "By task and model, as `automl-images hyperparameters` prints them.", "")
    rows = []
    for task in TASKS.values():
        models = ", ".join(_code(name) for name in _models(task.family))
        rows.append((f"[{task.name}](hyperparameters-{task.name}.md)", _code(task.default_model), models))
    yield from _table(("task", "default model", "models"), rows)
    yield from ("```{toctree}", ":hidden:", "", *(f"hyperparameters-{name}" for name in TASKS), "```")


def _models(family: str) -> list[str]:
    return [name for name, row in ARCHITECTURES.items() if row.family == family]


def _task(name: str) -> Iterator[str]:
    alike: dict[str, list[str]] = {}
    for model in _models(TASKS[name].family):
        alike.setdefault(json.dumps(list_hyperparameters(name, model)), []).append(model)
    yield from (f"# {name}", "", "Models with the same hyperparameters, ranges and defaults stand together.", "")
    for rows, models in alike.items():
        yield from (f"## {', '.join(models)}", "")
        yield from _table(
            ("name", "value", "default", "default of `profile: sagemaker`", ""), map(_row, json.loads(rows))
        )


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    sagemakers = "" if row["default_sagemaker"] == row["default"] else _value(row["default_sagemaker"])
    place = "" if row["place"] == "settings" else f" Given as {_code(row['place'])}."
    also = f" Also {', '.join(map(_code, row['aliases']))}." if row["aliases"] else ""
    acts = " Acts at inference." if row["inference"] else ""
    effect = _plain(row["description"]) + acts + place + also
    return _code(row["name"]), _plain(f"{row['type']}, {row['range']}"), _value(row["default"]), sagemakers, effect


def _value(value: object) -> str:
    return "not set" if value is None else _code(value)


if __name__ == "__main__":
    write_reference(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "reference")
