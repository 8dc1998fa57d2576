"""serve: what serves a model on Kubernetes, as files; nothing is sent to a cluster."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from typing import Any

import yaml
from PIL import Image, ImageDraw

from automl_images import storage
from automl_images.errors import UserError
from automl_images.models.score import score_file
from automl_images.serving import kserve
from automl_images.steps import SERVE
from automl_images.steps.register import check_model_folder

_SMOKE = """#!/bin/sh
# Serves the model, waits until it is ready and sends it request.json. Needs kubectl and curl.
# NAMESPACE: where to serve; kubectl's own if not set.
# INGRESS: the gateway's address, such as http://localhost:8080, where the cluster's host names do not resolve.
set -eu
cd "$(dirname "$0")"
k() {{ kubectl ${{NAMESPACE:+--namespace "$NAMESPACE"}} "$@"; }}
k apply -f inferenceservice.yaml
k wait --for=condition=Ready --timeout=600s inferenceservice/{name}
url=$(k get inferenceservice {name} -o 'jsonpath={{.status.url}}')
curl --fail-with-body --silent --show-error --header 'Content-Type: application/json' \\
  --header "Host: ${{url#*://}}" --data @request.json "${{INGRESS:-$url}}/v1/models/{name}:predict"
echo
"""


def serve_manifest(
    model: str,
    name: str,
    output: str,
    *,
    image: str | None = None,
    example: str | None = None,
    resources: Mapping[str, Any] | None = None,
) -> dict[str, str | None]:
    """Write ``inferenceservice.yaml``, ``request.json`` and ``smoke.sh``, which sends the one to the other.

    A local model folder without a score file gets one.

    Args:
        model: the address of a model folder, which the cluster should reach.
        name, image, resources: as for :func:`automl_images.serving.kserve.manifest`.
        output: the folder to write, local or on any store.
        example: the path or URL of the request's image; None for a small drawn one.

    Returns:
        The addresses of ``manifest``, ``request``, ``smoke`` and ``score``; the last is None where there is none.

    Raises:
        UserError: ``model`` is not a model folder, ``example`` is not an image, or the name cannot be one.
    """
    check_model_folder(model)
    service = kserve.manifest(name, model, image or SERVE, resources)
    encoded = base64.b64encode(_read(example) if example else _drawn()).decode()
    files = {
        "manifest": ("inferenceservice.yaml", yaml.safe_dump(service, sort_keys=False)),
        "request": ("request.json", json.dumps({"instances": [{"image": {"b64": encoded}}]})),
        "smoke": ("smoke.sh", _SMOKE.format(name=service["metadata"]["name"])),
    }
    written = {key: storage.join(storage.absolute(output), file) for key, (file, _) in files.items()}
    for key, (_, text) in files.items():
        storage.write(written[key], text)
    if storage.is_local(output):
        storage.local_path(written["smoke"]).chmod(0o755)
    score = storage.join(storage.absolute(model), "score.py")
    if not storage.exists(score) and storage.is_local(model):
        storage.write(score, score_file())
    return {**written, "score": score if storage.exists(score) else None}


def _read(example: str) -> bytes:
    try:
        data = storage.read_bytes(example)
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except FileNotFoundError:
        raise UserError(f"the example {storage.redact(example)} is not there") from None
    except Exception:  # Pillow's readers raise whatever their parsing meets
        raise UserError(f"the example {storage.redact(example)} is not an image that opens") from None
    return data


def _drawn() -> bytes:
    image, file = Image.new("RGB", (64, 64), "grey"), io.BytesIO()
    ImageDraw.Draw(image).rectangle([16, 20, 44, 48], fill="red")
    image.save(file, "PNG")
    return file.getvalue()


def headline(result: Mapping[str, Any]) -> str:
    """Return in a line what the step came to."""
    return str(result["manifest"])
