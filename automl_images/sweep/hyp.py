"""Hyperparameter files as YOLOv5 has them: YAML of names and numbers, comments and all."""

from __future__ import annotations

from typing import Any

from automl_images import storage
from automl_images.errors import UserError, nearest
from automl_images.hyperparameters.catalogue import CATALOGUE, canonical, canonical_name
from automl_images.hyperparameters.number import number
from automl_images.plain import read_yaml


def read_hyp(source: Any) -> Any:
    """Return the settings of a hyp file under their own names; what is no text, such as a mapping, as it is.

    Raises:
        UserError: there is no such file, it is no mapping of names to numbers, or a name is unknown or there twice.
    """
    if not isinstance(source, str):
        return source
    where = storage.redact(source)
    try:
        text = storage.read_text(source)
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{where}: no such hyp file") from None
    except UnicodeDecodeError:
        raise UserError(f"{where}: is no hyp file: it is not text") from None
    content = read_yaml(text, where)
    if not isinstance(content, dict) or not content:
        raise UserError(f"{where}: is no hyp file: it holds no names with values")

    def value(name: Any, given: Any) -> Any:
        row = CATALOGUE.get(canonical_name(str(name)))
        if row is None:
            raise UserError(f"{where}: {name}: no hyperparameter is called that; {nearest(str(name), CATALOGUE)}")
        if given is None or row.type not in ("int", "float"):
            return given
        try:
            return given if type(given) is int else number(given)  # YAML takes 1e-4 for text
        except ValueError:
            raise UserError(f"{where}: {name}: {given!r} is no number") from None

    return canonical(content, value, f"{where}: ")


def with_hyp(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings with those of the hyp file that ``hyp`` names among them; one given beside it goes before."""
    source = settings.get("hyp")
    if source is None:
        return {name: value for name, value in settings.items() if name != "hyp"}
    if not isinstance(source, str):
        raise UserError(f"settings.hyp: {source!r} is no file's name")
    own = {canonical_name(name): value for name, value in settings.items() if name != "hyp"}
    return {**read_hyp(source), **own}
