"""What the smoke run on a cluster has to have brought about; each command prints a line, or fails with one.

python tests/kind/check.py model REGISTRY NAME                         the registered version and its trials
python tests/kind/check.py pods REGISTRY NAME PODS.json NODES.json LABEL=VALUE
                                                                       train's pods asked for GPUs and got them
python tests/kind/check.py manifest REGISTRY NAME ARTIFACTS FOLDER     fetch the model and what serve wrote of it
python tests/kind/check.py request IMAGES FOLDER/request.json          write a request with two images
python tests/kind/check.py predictions MODEL REQUEST.json RESPONSE.json
"""

import base64
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from automl_images import storage
from automl_images.errors import UserError
from automl_images.registry import Registry
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.trial import State

GPU, RUN = "nvidia.com/gpu", "pipeline/runid"  # the label that Kubeflow gives the pods of a run
TRIALS = 2
STRONGEST = 10  # boxes of an image that are compared; weaker ones may differ by a rounding
CLOSE = 0.01  # of a score or coordinate, both in [0, 1]; processors round differently


def check_model(registry: str, name: str) -> str:
    """Check that the latest version has all files, the figure of the best trial, and a sweep that is complete."""
    version = Registry(registry).get(name)
    files = set(storage.names(version["uri"]))
    expect(not {"model.pt", "settings.json", "labels.json", "score.py"} - files, f"{version['uri']}: has {files} alone")
    lineage = version["lineage"]
    trials = Ledger(lineage["ledger"]).trials()
    states = [t.state for t in trials]
    expect(states == [State.COMPLETED] * TRIALS, f"the trials are {states}, not {TRIALS} that are {State.COMPLETED}")
    metric = trials[0].best["metric"]
    best, found = max(t.value for t in trials), version["metrics"].get(metric)
    usable = isinstance(found, int | float) and 0 < found <= 1
    expect(usable, f"the registered {metric} is {found}")
    expect(abs(found - best) <= CLOSE, f"the registered {metric} is {found}, the best trial's {best}")
    chosen = trials[lineage["trial"]].value
    expect(chosen == best, f"trial {lineage['trial']} was chosen with {chosen}; the best has {best}")
    return f"{name} version {version['version']}: {metric} {found:.4f}, trial {lineage['trial']} of {len(trials)}"


def check_pods(run: str, pods: list[dict], nodes: list[dict], label: str) -> str:
    """Check that each of train's pods of a run asked for one GPU, where it is to be had, and ran there to its end."""
    pods = [p for p in pods if p["metadata"].get("labels", {}).get(RUN) == run]
    key, _, value = label.partition("=")
    labels = {n["metadata"]["name"]: n["metadata"]["labels"] for n in nodes}
    have = {n["metadata"]["name"]: int(n["status"]["allocatable"].get(GPU, 0)) for n in nodes}
    trained = [p for p in pods if "train" in _function(p)]
    expect(len(trained) >= TRIALS, f"{len(trained)} pods ran train, not {TRIALS}")
    for pod in trained:
        name, spec = pod["metadata"]["name"], pod["spec"]
        limits = _main(pod).get("resources", {}).get("limits", {})
        expect(limits.get(GPU) == "1", f"{name}: its limits are {limits}")
        expect(spec.get("nodeSelector", {}).get(key) == value, f"{name}: its selector is {spec.get('nodeSelector')}")
        tolerated = any(t.get("key") == GPU and t.get("operator") == "Exists" for t in spec.get("tolerations", []))
        expect(tolerated, f"{name}: tolerates {spec.get('tolerations')}")
        node = spec.get("nodeName", "")
        expect(labels.get(node, {}).get(key) == value and have[node] > 0, f"{name}: ran on '{node}', without GPUs")
        phase = pod["status"]["phase"]
        expect(phase == "Succeeded", f"{name}: {phase}")
    others = [p["metadata"]["name"] for p in pods if _function(p) and not {"train", "evaluate"} & _function(p)]
    greedy = [p["metadata"]["name"] for p in pods if p["metadata"]["name"] in others and GPU in json.dumps(_main(p))]
    expect(not greedy, f"asked for a GPU, and should not: {', '.join(greedy)}")
    return f"{len(trained)} pods asked for {GPU} and got it: {', '.join(p['spec']['nodeName'] for p in trained)}"


def fetch_manifest(registry: str, name: str, artifacts: str, folder: str) -> str:
    """Copy the registered model, and what serve wrote for it, to a local folder."""
    address = Registry(registry).get(name)["uri"]
    for path in storage.files_below(artifacts):
        if not path.endswith("/inferenceservice.yaml"):
            continue
        text = storage.read_text(storage.join(artifacts, path))
        if _served(yaml.safe_load(text)) == address:
            storage.copy_folder(storage.join(artifacts, path.rpartition("/")[0]), folder)
            storage.copy_folder(address, storage.join(folder, "model"))
            return f"{path} serves {address}"
    raise UserError(f"{artifacts}: no inferenceservice.yaml there serves {address}")


def write_request(images: str, path: str) -> str:
    """Write a request in KServe's V1 form with the first two images of a folder."""
    chosen = sorted(Path(images).iterdir())[:2]
    instances = [{"image": {"b64": base64.b64encode(image.read_bytes()).decode()}} for image in chosen]
    storage.write(path, json.dumps({"instances": instances}))
    return f"{path}: {', '.join(image.name for image in chosen)}"


def check_predictions(model: str, request: Any, response: Any) -> str:
    """Check a server's answer by its shape, and against what the same model folder predicts in this process."""
    from automl_images.prediction import load_model
    from automl_images.serving.requests import answer

    predictor = load_model(model, device="cpu")
    expected = answer(predictor, request)["predictions"]
    found = response.get("predictions") if isinstance(response, dict) else None
    expect(isinstance(found, list) and len(found) == len(expected), f"{len(expected)} predictions were asked for")
    for served, here in zip(found, expected, strict=True):
        expect(isinstance(served, dict) and set(served) == {"boxes"}, f"no boxes: {str(served)[:200]}")
        for box in served["boxes"]:
            corners = box["box"]
            inside = 0 <= corners["topX"] < corners["bottomX"] <= 1 and 0 <= corners["topY"] < corners["bottomY"] <= 1
            expect(inside and 0 <= box["score"] <= 1 and box["label"] in predictor.classes, f"no box: {box}")
        expect(bool(here["boxes"]), "the model finds no box at all, so nothing is compared")
        for box in _strongest(here["boxes"]):
            expect(any(_same(box, other) for other in served["boxes"]), f"not among what was served: {box}")
        counts = len(served["boxes"]), len(here["boxes"])
        expect(min(counts) >= 0.8 * max(counts), f"{counts[0]} boxes were served, {counts[1]} are right")
    return f"{len(found)} predictions as they should be: {[len(p['boxes']) for p in found]} boxes"


def expect(holds: bool, otherwise: str) -> None:
    """Fail with a line unless something holds."""
    if not holds:
        raise UserError(otherwise)


def _strongest(boxes: list[dict]) -> list[dict]:
    return sorted(boxes, key=lambda b: -b["score"])[:STRONGEST]


def _same(one: dict, other: dict) -> bool:
    near = all(abs(one["box"][c] - other["box"][c]) <= CLOSE for c in one["box"])
    return near and one["label"] == other["label"] and abs(one["score"] - other["score"]) <= CLOSE


def _main(pod: dict) -> dict:
    return next((c for c in pod["spec"]["containers"] if c["name"] == "main"), {})


def _function(pod: dict) -> set[str]:
    """Return the name of the step that a pod runs; drivers run none."""
    words = [*_main(pod).get("command", []), *_main(pod).get("args", [])]
    return {after for word, after in itertools.pairwise(words) if word == "--function_to_execute"}


def _served(service: dict) -> str | None:
    environment = service["spec"]["predictor"]["containers"][0]["env"]
    return next((e["value"] for e in environment if e["name"] == "STORAGE_URI"), None)


def _json(path: str) -> Any:
    try:
        return json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: is not JSON that can be read: {error}") from None


COMMANDS = {
    "model": (2, check_model),
    "pods": (
        5,
        lambda registry, name, pods, nodes, label: check_pods(
            Registry(registry).get(name)["lineage"]["run"], _json(pods)["items"], _json(nodes)["items"], label
        ),
    ),
    "manifest": (4, fetch_manifest),
    "request": (2, write_request),
    "predictions": (3, lambda model, request, response: check_predictions(model, _json(request), _json(response))),
}


def main(arguments: list[str]) -> int:
    """Run a command; return the exit code."""
    count, command = COMMANDS.get(arguments[0] if arguments else "", (-1, None))
    if command is None or len(arguments) != 1 + count:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        print(command(*arguments[1:]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
