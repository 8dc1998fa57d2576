"""Write each component's README from its signature, its docstring and its metadata.

    python -m automl_images.components.readme [--check]

With ``--check`` nothing is written; the exit code is 1, and the files are named, if a README is not what would be
written.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import docstring_parser
import yaml

from automl_images.steps import STEPS

FOLDER = Path(__file__).parent


def component(step: str) -> Any:
    """Return the component of a step."""
    return getattr(importlib.import_module(f"automl_images.components.{step}.component"), step)


def readme(step: str) -> str:
    """Return the README of a component.

    Raises:
        ValueError: an input or output has no description in the component's docstring.
    """
    made = component(step)
    documented = docstring_parser.parse(made.python_func.__doc__, docstring_parser.DocstringStyle.GOOGLE)
    texts = {p.arg_name: p.description or "" for p in documented.params}
    if documented.returns:
        texts["Output"] = documented.returns.description or ""  # KFP's name of what is returned
    metadata = yaml.safe_load((FOLDER / step / "metadata.yaml").read_text())
    spec = made.component_spec
    inputs, outputs = spec.inputs or {}, spec.outputs or {}
    missing = [name for name in (*inputs, *outputs) if not texts.get(name)]
    if missing:
        raise ValueError(f"components/{step}/component.py: the docstring does not describe {', '.join(missing)}")

    def row(name: str, part: Any, *more: str) -> tuple[str, ...]:
        return f"`{name}`", part.type.partition("@")[0], *more, texts[name]

    lines = [f"# {step}", "", documented.short_description or "", ""]
    lines += [f"Stability: {metadata['stability']}. Image: `{spec.implementation.container.image}`.", ""]
    lines += ["## Inputs", "", "| name | type | default | description |", "| --- | --- | --- | --- |"]
    lines += [_line(row(name, part, _default(part))) for name, part in inputs.items()]
    lines += ["", "## Outputs", "", "| name | type | description |", "| --- | --- | --- |"]
    lines += [_line(row(name, part)) for name, part in outputs.items()]
    lines += ["", "## By hand", "", f"    automl-images {step} --help", ""]
    lines += ["The step's log has the `docker run` line that repeats it.", ""]
    return "\n".join(lines)


def _default(part: Any) -> str:
    return f"`{json.dumps(part.default)}`" if part.optional else "required"


def _line(cells: tuple[str, ...]) -> str:
    """Return a row of a Markdown table; a cell is one line and has no bar of its own."""
    return f"| {' | '.join(' '.join(c.split()).replace('|', chr(92) + '|') for c in cells)} |"


def main() -> int:
    """Write or check all READMEs; return the exit code."""
    stale = [s for s in STEPS if not _path(s).exists() or _path(s).read_text() != readme(s)]
    check = "--check" in sys.argv[1:]
    for step in stale:
        if check:
            print(f"{_path(step)}: is stale; run python -m automl_images.components.readme", file=sys.stderr)
        else:
            _path(step).write_text(readme(step))
    return int(check and bool(stale))


def _path(step: str) -> Path:
    return FOLDER / step / "README.md"


if __name__ == "__main__":
    sys.exit(main())
