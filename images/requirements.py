"""Print what an image installs, one requirement a line: the library's dependencies, and those of the extras named.

    python requirements.py [EXTRA ...]

Read from the pyproject.toml of the working folder; versions come from constraints when pip installs.
"""

import sys
import tomllib
from pathlib import Path


def requirements(pyproject: Path, extras: list[str]) -> list[str]:
    """Return the requirements of the library with some of its extras, sorted, each once.

    Raises:
        KeyError: there is no such extra.
    """
    project = tomllib.loads(pyproject.read_text())["project"]
    optional = [r for extra in extras for r in project["optional-dependencies"][extra]]
    return sorted({*project["dependencies"], *optional})


if __name__ == "__main__":
    print("\n".join(requirements(Path("pyproject.toml"), sys.argv[1:])))
