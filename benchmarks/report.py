"""What every benchmark prints: a table for people, and one line of JSON for programs, last."""

import json
import os
import platform
from collections.abc import Mapping, Sequence


def report(name: str, header: Sequence[str], rows: Sequence[Sequence[object]], figures: Mapping[str, float]) -> None:
    """Print a table and then ``{"benchmark", "machine", "figures"}``; figures are ratios or counts."""
    table = [[f"{c:.3f}" if isinstance(c, float) else str(c) for c in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    for row in table:
        print("  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)))
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    rounded = {k: round(v, 4) for k, v in figures.items()}
    print(json.dumps({"benchmark": name, "machine": machine, "figures": rounded}))
