"""The scripts of the folder examples, as a person runs them."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_example(name: str, folder: Path, smaller: Mapping[str, str]) -> str:
    """Run an example in a folder, with some of its text replaced, each piece once; return what it printed."""
    text = (ROOT / "examples" / f"{name}.py").read_text()
    for piece, instead in smaller.items():
        assert text.count(piece) == 1, piece
        text = text.replace(piece, instead)
    (folder / f"{name}.py").write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, f"{name}.py"], capture_output=True, text=True, cwd=folder, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
