"""Write the compiled components, with their READMEs, metadata and owners, as one versioned package.

    python -m automl_images.components.package [OUT.zip]

Each ``<step>/component.yaml`` in it loads with ``kfp.components.load_component_from_file``. The images in them are
those of :mod:`automl_images.steps`: for a release, name them by digest in the environment. Equal sources give equal
bytes.
"""

import sys
import tempfile
import zipfile
from pathlib import Path

from kfp import compiler

from automl_images import __version__
from automl_images.components.readme import FOLDER, component
from automl_images.steps import STEPS

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can tell


def write_package(out: str | Path) -> None:
    """Write the package, a zip file; the folders above it are made."""
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as package:
        for step in STEPS:
            compiled = Path(folder, f"{step}.yaml")
            compiler.Compiler().compile(component(step), package_path=str(compiled))
            files = {n: FOLDER / step / n for n in ("README.md", "metadata.yaml", "OWNERS")}
            for name, file in {"component.yaml": compiled, **files}.items():
                package.writestr(zipfile.ZipInfo(f"{step}/{name}", _EPOCH), file.read_bytes())


if __name__ == "__main__":
    path = sys.argv[1] if len(sys.argv) > 1 else f"dist/automl-images-components-{__version__}.zip"
    write_package(path)
    print(path)
