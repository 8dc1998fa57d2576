"""What people write as YAML or JSON: read strictly, so that nothing is dropped, and refused where nobody means it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from automl_images.errors import UserError, redact

_MOST_BYTES, _MOST_VALUES, _DEEPEST, _MOST_DIGITS = 2_000_000, 100_000, 32, 18
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge")}


class _Loader(yaml.SafeLoader):
    """YAML of plain values: a date is text, and a key given twice is an error."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (as in the base class)
        first: [(tag, pattern) for tag, pattern in resolvers if tag in _PLAIN_TAGS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        own = [self.construct_object(key, deep=True) for key, _ in node.value if not key.tag.endswith(":merge")]
        for i, key in enumerate(own):
            if key in own[:i] and not isinstance(key, list | dict):
                raise yaml.constructor.ConstructorError(None, None, f"the key '{key}' is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(text: str, where: str) -> Any:
    """Return what YAML or JSON holds, in plain values.

    Raises:
        UserError: it is no YAML, gives a key twice, or grows beyond what anybody writes; ``where`` stands first.
    """
    try:
        if len(text) > _MOST_BYTES:
            raise UserError(f"{where}: has {len(text)} characters; at most {_MOST_BYTES} are read")
        _check_growth(text, where)
        return yaml.load(text, _Loader)  # noqa: S506 (a subclass of the safe one)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a number of thousands of digits
        raise UserError(f"{where}: is not YAML: {redact(' '.join(str(error).split()))}") from None


def _check_growth(text: str, where: str) -> None:
    """Refuse nesting and aliases that would not end, by the events alone: nothing is built."""
    sizes: dict[Any, int] = {}
    open_: list[tuple[str | None, int]] = [(None, 0)]
    for event in yaml.parse(text, _Loader):
        anchor, size = getattr(event, "anchor", None), 1
        place = f"{where}: line {event.start_mark.line + 1}" if event.start_mark else where
        if isinstance(event, yaml.CollectionStartEvent):
            open_.append((anchor, 1))
            if len(open_) > _DEEPEST:
                raise UserError(f"{place}: is nested deeper than {_DEEPEST} levels")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_.pop()
        elif isinstance(event, yaml.AliasEvent):
            if anchor not in sizes:
                raise UserError(f"{place}: *{anchor} names nothing that has ended")
            anchor, size = None, sizes[anchor]
        elif not isinstance(event, yaml.ScalarEvent):
            continue
        if anchor:
            sizes[anchor] = size
        above, total = open_.pop()
        open_.append((above, total + size))
        if total + size > _MOST_VALUES:
            raise UserError(f"{place}: its aliases grow beyond {_MOST_VALUES} values")


def check_plain(content: Any, where: str = "") -> None:
    """Raise UserError, with the path, for what is no plain value: a date, a text with NUL, credentials, 400 digits."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            if not isinstance(key, str) or _CONTROL.search(key):
                raise UserError(f"{where or 'experiment'}: {key!r} is no name")
            check_plain(value, f"{where}.{key}" if where else key)
    elif isinstance(content, list | tuple):
        for i, value in enumerate(content):
            check_plain(value, f"{where}[{i}]")
    elif isinstance(content, str):
        if _CONTROL.search(content):
            raise UserError(f"{where}: {content[:80]!r} has a character that cannot be printed")
        if redact(content) != content:
            raise UserError(
                f"{where}: holds credentials ({redact(content)}); leave them out: a store's are read from the "
                "environment (AWS_ACCESS_KEY_ID and so on), on a cluster from the secret that cluster.secret names"
            )
    elif isinstance(content, int):
        if abs(content) >= 10**_MOST_DIGITS:
            raise UserError(f"{where}: has more than {_MOST_DIGITS} digits")
    elif content is not None and not isinstance(content, float):
        raise UserError(f"{where}: a {type(content).__name__} is no plain value; quote it")
