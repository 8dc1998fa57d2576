"""The score file that every model folder has; light, so that a step may add it to a folder without torch."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from automl_images.architectures import ARCHITECTURES
from automl_images.hyperparameters import hyperparameters, inference_settings

_PLACE = "    # {{ settings }}\n"


def score_file(settings: Mapping[str, Any]) -> str:
    """Return the text of ``score.py``, which lists, commented out, what can be changed without training again.

    Args:
        settings: the model's, as it was trained; of a ``model_name`` that is not known here nothing is listed.
    """
    text = Path(__file__).with_name("score.py.j2").read_text(encoding="utf-8")
    lines: list[str] = []
    if (model := settings.get("model_name")) in ARCHITECTURES:
        rows = hyperparameters(model)
        for name in inference_settings(model):
            effect = textwrap.wrap(rows[name].effect, 112)
            lines += [*(f"    # {line}\n" for line in effect), f'    # "{name}": {settings.get(name)!r},\n']
    return text.replace(_PLACE, "".join(lines))
