"""Copies a model folder into a pod before its server starts: what KServe's storage initializer does where KServe is.

python -m automl_images.deploy.fetch URL FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from automl_images import storage
from automl_images.errors import UserError, redact
from automl_images.faults import explained

_WEIGHTS = ("model.pt", "model.onnx")


def fetch(url: str, folder: str) -> str:
    """Copy the model folder at ``url``, on a store, into ``folder`` on this machine; return what was done in a line.

    Raises:
        UserError: there is no such folder, or it has no weights.
    """
    files = storage.files_below(url)
    if not any(name in files for name in _WEIGHTS):
        raise UserError(f"{redact(url)}: has no {' or '.join(_WEIGHTS)}; is it a model folder, and the secret its key?")
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    storage.get_folder(url, target)  # file by file, not through memory
    size = sum((target / name).stat().st_size for name in files)
    return f"{redact(url)}: {len(files)} files, {size / 1e6:.1f} MB"


if __name__ == "__main__":
    try:
        with explained():
            print(fetch(*sys.argv[1:3]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
