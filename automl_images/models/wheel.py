"""Pack this installed package into a wheel, so that a model folder needs no registry to be served."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import automl_images

_WHEEL = "Wheel-Version: 1.0\nGenerator: automl-images\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write_wheel(folder: Path) -> Path:
    """Write ``automl_images-<version>-py3-none-any.whl`` into a folder and return its path."""
    from wheel.wheelfile import WheelFile  # training has it; a served model folder, which is only read, need not

    version = automl_images.__version__
    root = Path(automl_images.__file__).parent
    info = f"automl_images-{version}.dist-info"
    path = folder / f"automl_images-{version}-py3-none-any.whl"
    with WheelFile(path, "w") as wheel:
        for file in sorted(root.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                wheel.write(file, f"automl_images/{file.relative_to(root).as_posix()}")
        found: Any = metadata.metadata("automl-images")  # without its long description, which no index will show
        lines = (f"{k}: {v}\n" for k, v in found.items() if k != "Description" and "\n" not in v)
        wheel.writestr(f"{info}/METADATA", "".join(lines))
        wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\nautoml-images = automl_images.cli:main\n")
        wheel.writestr(f"{info}/WHEEL", _WHEEL)
    return path
