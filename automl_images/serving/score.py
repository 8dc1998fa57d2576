"""Run a model folder's score file as an endpoint would."""

from __future__ import annotations

import importlib.util
import os
import sys
import uuid
from pathlib import Path
from typing import Any
from unittest import mock

from automl_images.errors import UserError


def run_score_file(folder: Path, request: bytes) -> Any:
    """Import a model folder's own score file afresh, call ``init()`` and return ``run(request)``.

    Raises:
        UserError: the folder has no score file or no model, or the request is malformed.
    """
    path = (Path(folder) / "score.py").absolute()
    if not path.exists():
        raise UserError(f"{folder}: has no score.py; is it a model folder?")
    name = f"automl_images_score_{uuid.uuid4().hex}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        # a folder that the caller's environment names must not take the place of this one
        with mock.patch.dict(os.environ, {"AZUREML_MODEL_DIR": str(path.parent)}):
            spec.loader.exec_module(module)
            module.init()
        return module.run(request)
    finally:
        del sys.modules[name]
