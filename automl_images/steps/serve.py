"""serve: a model on Kubernetes, as files or applied."""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Mapping
from typing import Any

import yaml
from PIL import Image, ImageDraw

from automl_images import storage
from automl_images.deploy.block import Serve
from automl_images.deploy.manifests import kubernetes_name, manifests, storage_uri
from automl_images.errors import UserError, redact
from automl_images.experiment import Experiment
from automl_images.models.score import score_file
from automl_images.steps import LIGHT, SERVE
from automl_images.steps.register import check_model_folder
from automl_images.tasks import TASKS

_SMOKE = """#!/bin/sh
# Serves the model, waits until it is ready and sends it request.json. Needs kubectl{needs}.
# NAMESPACE: where to serve; {namespace} if not set.
{ingress}set -eu
cd "$(dirname "$0")"
NAMESPACE=${{NAMESPACE-{given}}}
k() {{ kubectl ${{NAMESPACE:+--namespace "$NAMESPACE"}} "$@"; }}
k apply -f {file}
{rest}
echo
"""
_KSERVE = """k wait --for=condition=Ready --timeout={timeout}s inferenceservice/{name}
url=$(k get inferenceservice {name} -o 'jsonpath={{.status.url}}')
curl --fail-with-body --silent --show-error --header 'Content-Type: application/json' \\
  --header "Host: ${{url#*://}}" --data @request.json "${{INGRESS:-$url}}/v1/models/{name}:predict\""""
_PLAIN = """k rollout status --timeout={timeout}s deployment/{name}
in=$(k get deployment {name} -o 'jsonpath={{.metadata.namespace}}')
k create --raw "/api/v1/namespaces/$in/services/{name}:80/proxy/v1/models/{name}:predict" -f request.json"""
_INGRESS = (
    "# INGRESS: the gateway's address, such as http://localhost:8080, where the cluster's host names do not resolve.\n"
)


def serve_model(
    model: str,
    name: str,
    how: Mapping[str, Any] | None = None,
    *,
    output: str | None = None,
    image: str | None = None,
    fetcher: str | None = None,
    example: str | None = None,
    context: str | None = None,
) -> dict[str, Any]:
    """Write what serves a model on Kubernetes and, where ``to`` says so, apply it and wait until it answers.

    Args:
        model: the address of a model folder, which the cluster should reach; also ``pvc://`` and ``oci://``.
        name: the service's and the model's, made to fit.
        how: as the experiment's block ``serve`` has it.
        output: the folder or URL of the manifest, the request and the smoke test; None: nothing is written, which takes
            a ``to`` that is applied.
        image, fetcher: the containers' images; None are this version's (see ``deploy.manifests.manifests``).
        example: the path or URL of the request's image; None for a small drawn one.
        context: of the kubeconfig; None is the current one.

    Returns:
        The addresses of ``manifest``, ``request``, ``smoke`` and ``score``, None where not written or not there, and
        ``deployed``: what :func:`automl_images.deploy.rollout.deploy` returned, None with ``to: manifest``.

    Raises:
        UserError: ``model`` is not a model folder, the cluster cannot read it or refuses it, it does not get ready,
            ``example`` is not an image, or the name cannot be one.
    """
    chosen = read_block(how)
    made = made_for(model, name, chosen, image=image, fetcher=fetcher)
    request = _request(example)
    written: dict[str, Any] = dict.fromkeys(("manifest", "request", "smoke", "score"))
    if output is not None:
        written = _write(model, made, request, chosen, output)
    deployed = None
    if chosen.to != "manifest":
        from automl_images.deploy.cluster import Cluster
        from automl_images.deploy.rollout import deploy

        deployed = deploy(Cluster(chosen.namespace, context), made, request, chosen.timeout_seconds)
    return {**written, "deployed": deployed}


def made_for(
    model: str, name: str, how: Serve, *, image: str | None = None, fetcher: str | None = None
) -> list[dict[str, Any]]:
    """Return the manifests that serve a model folder; nothing is asked of the cluster. Args and errors: serve_model."""
    if not model.startswith(("pvc://", "oci://")):  # which the cluster alone can look into
        check_model_folder(model)
    kubernetes_name(name)
    uri, why_not = storage_uri(model, how)
    if why_not and how.to != "manifest":
        raise UserError(why_not)
    if why_not:
        print(f"note: {why_not}", file=sys.stderr)
    return manifests(name, uri, how, image or SERVE, fetcher or LIGHT)


def as_yaml(made: list[dict[str, Any]]) -> str:
    """Return manifests as one file."""
    return yaml.safe_dump_all(made, sort_keys=False)


def read_block(how: Mapping[str, Any] | None) -> Serve:
    """Return the experiment's block ``serve`` with its defaults. UserError: a key is unknown, or a value wrong."""
    return Experiment.read({"task": next(iter(TASKS)), "serve": dict(how or {})}).serve or Serve()


def _write(model: str, made: list[dict[str, Any]], request: Any, how: Serve, output: str) -> dict[str, str | None]:
    """Write manifest, request and smoke test; a local model folder without a score file gets one."""
    name, plain = made[0]["metadata"]["name"], how.to == "kubernetes"
    file = "kubernetes.yaml" if plain else "inferenceservice.yaml"
    smoke = _SMOKE.format(
        needs="" if plain else " and curl",
        namespace=how.namespace or "kubectl's own",
        given=how.namespace or "",
        ingress="" if plain else _INGRESS,
        file=file,
        rest=(_PLAIN if plain else _KSERVE).format(name=name, timeout=how.timeout_seconds),
    )
    files = {
        "manifest": (file, as_yaml(made)),
        "request": ("request.json", json.dumps(request)),
        "smoke": ("smoke.sh", smoke),
    }
    written = {key: storage.join(storage.absolute(output), file) for key, (file, _) in files.items()}
    for key, (_, text) in files.items():
        storage.write(written[key], text)
    if storage.is_local(output):
        storage.local_path(written["smoke"]).chmod(0o755)
    if model.startswith(("pvc://", "oci://")):
        return {**written, "score": None}
    score = storage.join(storage.absolute(model), "score.py")
    if not storage.exists(score) and storage.is_local(model):
        trained = json.loads(storage.read_text(storage.join(model, "settings.json")))
        storage.write(score, score_file(trained.get("settings") or {}))
    return {**written, "score": score if storage.exists(score) else None}


def _request(example: str | None) -> dict[str, Any]:
    encoded = base64.b64encode(_read(example) if example else _drawn()).decode()
    return {"instances": [{"image": {"b64": encoded}}]}


def _read(example: str) -> bytes:
    try:
        data = storage.read_bytes(example)
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except FileNotFoundError:
        raise UserError(f"the example {redact(example)} is not there") from None
    except Exception:  # Pillow's readers raise whatever their parsing meets
        raise UserError(f"the example {redact(example)} is not an image that opens") from None
    return data


def _drawn() -> bytes:
    image, file = Image.new("RGB", (64, 64), "grey"), io.BytesIO()
    ImageDraw.Draw(image).rectangle([16, 20, 44, 48], fill="red")
    image.save(file, "PNG")
    return file.getvalue()


def headline(result: Mapping[str, Any]) -> str:
    """Return in a line what the step came to."""
    if deployed := result.get("deployed"):
        return f"{deployed['namespace']}/{deployed['name']} serves {deployed['url'] or ''}".rstrip()
    return str(result["manifest"])
