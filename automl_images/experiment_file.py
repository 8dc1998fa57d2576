"""The file of an experiment, ours or a vendor's: read into plain values, and written with where each is from."""

from __future__ import annotations

import posixpath
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from automl_images import storage
from automl_images.errors import UserError, redact
from automl_images.experiment import Experiment
from automl_images.hyperparameters import vendors
from automl_images.hyperparameters.vendors import Document, Draft, Maps
from automl_images.hyperparameters.vendors.draft import name_of
from automl_images.plain import read_yaml

_PARTS = ("training", "validation", "test")


def read_experiment(path: str, overrides: Sequence[str] = (), maps: Sequence[str] = ()) -> dict[str, Any]:
    """Return the plain values of an experiment's file; what a vendor's file has that does not act is said on stderr.

    Args:
        path: an experiment (YAML or JSON), or a vendor's file; - is standard input.
        overrides: ``PATH=VALUE``, such as ``sweep.iterations=4``; the value is YAML.
        maps: ``REFERENCE=PLACE``: what a vendor's references are here.

    Raises:
        UserError: the file is missing or neither; a value of a vendor's is wrong, or a reference has no place.
    """
    document = _document(path)
    if vendors.vendor_of(document):
        draft = _imported([document], overrides, maps)
        for note in draft.notes:
            print(f"note: {note}", file=sys.stderr)
        return draft.content
    if maps:
        raise UserError(f"--map {maps[0]}: is for a vendor's file, and {path} is none")
    content = read_yaml(document.text, document.file) if document.content is None else document.content
    if not isinstance(content, dict):
        raise UserError(f"{path}: is not an experiment: its top level is no mapping")
    for override in overrides:
        override_with(content, override)
    return content


def import_files(paths: Sequence[str], overrides: Sequence[str] = (), maps: Sequence[str] = ()) -> Draft:
    """Return the experiment of a vendor's files, with where each value is from; see :func:`read_experiment`."""
    return _imported([_document(path) for path in paths], overrides, maps)


def override_with(content: dict[str, Any], override: str) -> tuple[str, Any]:
    """Set a path of plain values as ``PATH=VALUE`` says; return the two."""
    path, value = _pair(override)
    *parents, last = path.split(".")
    at = content
    for key in parents:
        if not isinstance(at.get(key), dict):
            at[key] = {}
        at = at[key]
    at[last] = value
    return path, value


def _pair(override: str) -> tuple[str, Any]:
    name, equals, text = override.partition("=")
    if not equals or not name.strip().rpartition(".")[2]:
        raise UserError(f"--set {override}: write PATH=VALUE, such as sweep.iterations=4")
    return name.strip(), read_yaml(text, f"--set {override}")


def _document(path: str) -> Document:
    try:
        text = sys.stdin.read() if path == "-" else _text(path)
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{path}: no such experiment") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    file = "standard input" if path == "-" else redact(path)
    try:
        content = read_yaml(text, file)
    except UserError:
        content = None  # a command line may be no YAML
    return Document(file, text, content, "" if path == "-" else posixpath.dirname(path))


def _text(path: str) -> str:
    """Return a file's text; a local one may be a pipe."""
    if storage.is_local(path):
        return storage.local_path(path).read_text(encoding="utf-8-sig")
    return storage.read_text(path)


def _imported(documents: Sequence[Document], overrides: Sequence[str], given_maps: Sequence[str]) -> Draft:
    given, maps = dict(map(_pair, overrides)), Maps(given_maps)
    for path, value in [*given.items()]:
        if isinstance(value, Mapping):
            given |= {f"{path}.{name}": each for name, each in value.items()}
    draft = vendors.read(documents, maps, given)
    for reference in maps.unused():
        raise UserError(f"--map {reference}: no file names that")
    for part in _PARTS:  # what a file says of its own source says nothing of another
        if f"data.{part}.source" in given:
            draft.content.get("data", {}).pop(part, None)
            draft.origins = {p: o for p, o in draft.origins.items() if not p.startswith(f"data.{part}.")}
    for override in overrides:
        path, _ = override_with(draft.content, override)
        draft.origins = {p: o for p, o in draft.origins.items() if not p.startswith((f"{path}.", f"{path}["))}
        draft.origins[path] = "--set"
    if "name" not in draft.content:
        stem = posixpath.splitext(posixpath.basename(documents[0].file))[0]
        draft.put("name", name_of(stem), f"{documents[0].file}: its own name")
    for path, line in draft.needed.items():
        above = [path.rsplit(".", n)[0] for n in range(path.count(".") + 1)]
        if path not in draft.origins and not set(above) & set(given):
            raise UserError(line)
    return draft


def write(draft: Draft, files: Sequence[str]) -> str:
    """Return an imported experiment as YAML: each line with where it is from, below what does not act, and why."""
    order = {field.alias or name: i for i, (name, field) in enumerate(Experiment.model_fields.items())}
    content = dict(sorted(draft.content.items(), key=lambda item: order.get(item[0], len(order))))
    lines = [f"# Imported from {', '.join(map(_line, files))}, of {vendors.VENDORS[draft.vendor].TITLE}."]
    lines += _lines(content, "", 0, draft.origins)
    if draft.notes:
        lines += ["", "# Without a counterpart, or without effect here:", *(f"# - {_line(n)}" for n in draft.notes)]
    return "\n".join(lines) + "\n"


def _lines(value: Mapping[str, Any], path: str, depth: int, origins: Mapping[str, str]) -> list[str]:
    lines, pad = list[str](), "  " * depth
    for name, each in value.items():
        at = f"{path}.{name}" if path else str(name)
        comment = f"  # {_line(origins[at])}" if at in origins else ""
        key = f"{pad}{_flow(name)}:"
        deeper = any(p.startswith((f"{at}.", f"{at}[")) for p in origins)
        if isinstance(each, Mapping) and each and (deeper or len(_flow(each)) > 80):
            lines += [f"{key}{comment}", *_lines(each, at, depth + 1, origins)]
        elif isinstance(each, list) and deeper:
            lines.append(f"{key}{comment}")
            for i, item in enumerate(each):
                first, *rest = _lines(item, f"{at}[{i}]", depth + 2, origins) or [f"{pad}    {_flow(item)}"]
                lines += [f"{pad}  - {first.lstrip()}", *rest]
        else:
            lines.append(f"{key} {_flow(each)}{comment}")
    return lines


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**9, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...").strip()


def _line(text: str) -> str:
    return " ".join(redact(str(text)).split())
