"""Write each component's README from its signature, its docstring and its metadata.

    python -m components.readme [--check]

With ``--check`` nothing is written; the exit code is 1 if a README is not what would be written.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

import docstring_parser
import yaml

FOLDER = Path(__file__).parent
STEPS = ("convert", "split", "plan", "train", "select", "evaluate", "register", "serve")


def readme(step: str) -> str:
    """Return the README of a component."""
    component = getattr(importlib.import_module(f"components.{step}"), step)
    said = docstring_parser.parse(component.python_func.__doc__)
    texts = {p.arg_name: " ".join((p.description or "").split()) for p in said.params}
    metadata = yaml.safe_load((FOLDER / step / "metadata.yaml").read_text())
    spec = component.component_spec
    lines = [f"# {step}", "", said.short_description or "", ""]
    lines += [f"Stability: {metadata['stability']}. Image: `{spec.implementation.container.image}`.", ""]
    lines += ["## Inputs", "", *_table(spec.inputs or {}, texts), ""]
    returned = " ".join(((said.returns and said.returns.description) or "").split())
    lines += ["## Outputs", "", *_table(spec.outputs or {}, {**texts, "Output": returned}), ""]
    lines += ["## By hand", "", f"    automl-images {step} --help", ""]
    lines += ["The step's log has the `docker run` line that repeats it.", ""]
    return "\n".join(lines)


def _table(parts: dict[str, Any], texts: dict[str, str]) -> list[str]:
    rows = [f"| `{name}` | {part.type.partition('@')[0]} | {texts[name]} |" for name, part in parts.items()]
    return ["| name | type | description |", "| --- | --- | --- |", *rows]


def main() -> int:
    """Write or check all READMEs; return the exit code."""
    stale = [s for s in STEPS if not _path(s).exists() or _path(s).read_text() != readme(s)]
    if "--check" in sys.argv[1:]:
        for step in stale:
            print(f"{_path(step)}: is stale; run python -m components.readme", file=sys.stderr)
        return 1 if stale else 0
    for step in stale:
        _path(step).write_text(readme(step))
    return 0


def _path(step: str) -> Path:
    return FOLDER / step / "README.md"


if __name__ == "__main__":
    sys.exit(main())
