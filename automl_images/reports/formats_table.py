"""Bring the table of formats in ``docs/annotations.md`` up to what the formats say of themselves.

    python -m automl_images.reports.formats_table [--check]

The first columns are written anew; the last, what a person has to say of a format, is kept, and is the beginning of its
module's documentation where there is none. With ``--check`` nothing is written; the exit code is 1 if the table is not
what would be written.
"""

from __future__ import annotations

import sys
from pathlib import Path

from automl_images.annotations import formats

PAGE = Path(__file__).parents[2] / "docs" / "annotations.md"
_HEAD = ("format", "labels", "written too", "")
_START, _RULE = "| format |", "| ---"


def page_of(text: str) -> str:
    """Return the page with its table of formats brought up to date.

    Raises:
        ValueError: the page has no table that begins with ``| format |``.
    """
    lines = text.split("\n")
    first = next((i for i, line in enumerate(lines) if line.startswith(_START)), None)
    if first is None:
        raise ValueError("the page has no table of formats")
    last = next((i for i in range(first, len(lines)) if not lines[i].startswith("|")), len(lines))
    said = {}
    for line in lines[first:last]:
        cells = [cell.strip() for cell in line.replace("\\|", "\0").strip("| ").split("|")]
        said[cells[0]] = cells[-1].replace("\0", "\\|")
    return "\n".join([*lines[:first], *table(said), *lines[last:]])


def table(said: dict[str, str]) -> list[str]:
    """Return the lines of the table; ``said`` has the last column by the format's name."""
    rows = [_HEAD, ("---",) * len(_HEAD)]
    for name, format in formats.FORMATS.items():
        kinds = ", ".join(kind.kind for kind in format.kinds)
        words = {False: "a file", True: "a folder"}[format.folder] if format.write else ""
        rows.append((name, kinds, words, said.get(name) or _documented(format)))
    return [f"| {' | '.join(row)} |" for row in rows]


def _documented(format: formats.Format) -> str:
    """Return the first sentence of a format's module."""
    text = " ".join((sys.modules[format.read.__module__].__doc__ or format.title).split("\n\n")[0].split())
    return text.partition(". ")[0].rstrip(".").replace("``", "`").replace("|", "\\|")


def main() -> int:
    """Write or check the page; return the exit code."""
    old = PAGE.read_text(encoding="utf-8")
    new = page_of(old)
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(new, encoding="utf-8")
        return 0
    if new != old:
        print(f"{PAGE}: is stale; run python -m automl_images.reports.formats_table", file=sys.stderr)
    return int(new != old)


if __name__ == "__main__":
    sys.exit(main())
