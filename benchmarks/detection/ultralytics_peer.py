"""ultralytics by its documented interface: records as its data, its trainer, its predictions, offline.

    python -m benchmarks.detection.ultralytics_peer OPTIONS.json FOUND.json

is the process that trains; :func:`trained` starts it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from automl_images.annotations import Record

ROOT = Path(__file__).parents[2]


def write(folder: Path, parts: Mapping[str, Sequence[Record]], classes: Sequence[str]) -> Path:
    """Write records as YOLO's images, which are links, labels and ``data.yaml``, whose path is returned.

    ``parts`` has ``training`` and ``validation``.
    """
    for part, records in parts.items():
        for name in ("images", "labels"):
            (folder / part / name).mkdir(parents=True, exist_ok=True)
        for r in records:
            path = Path(r.image_url)
            (folder / part / "images" / path.name).symlink_to(path)
            lines = [
                f"{classes.index(b.label)} {(b.topX + b.bottomX) / 2} {(b.topY + b.bottomY) / 2} "
                f"{b.bottomX - b.topX} {b.bottomY - b.topY}\n"
                for b in r.label.boxes
            ]
            (folder / part / "labels" / f"{path.stem}.txt").write_text("".join(lines))
    content = {"path": str(folder), "train": "training/images", "val": "validation/images", "names": list(classes)}
    (folder / "data.yaml").write_text(yaml.safe_dump(content))
    return folder / "data.yaml"


def trained(network: str, data: Path, predict: bool = True, **options: Any) -> dict[str, Any]:
    """Train a network from random weights in a process of its own.

    Args:
        network: as ``yolov5s.yaml``.
        data: what :func:`write` returned; beside it the run is written.
        predict: whether the validation images are predicted afterwards.
        options: of its ``train``.

    Returns:
        ``seconds`` of ``train`` alone; ``found``, by the name of each validation image ``boxes``, ``scores``,
        ``labels``.
    """
    folder = data.parent
    options = {"data": str(data), "project": str(folder), "name": "run", "exist_ok": True, **options}
    (folder / "options.json").write_text(json.dumps({"network": network, "predict": predict, "train": options}))
    environment = {
        **os.environ,
        "YOLO_CONFIG_DIR": str(folder),
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_VERBOSE": "false",
    }
    files = [str(folder / name) for name in ("options.json", "found.json")]
    command = [sys.executable, "-m", "benchmarks.detection.ultralytics_peer", *files]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the peer failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return json.loads((folder / "found.json").read_text())


def main(options: Mapping[str, Any], output: Path) -> None:
    """Train and predict."""
    from ultralytics import YOLO, settings

    settings.update({"sync": False})
    model = YOLO(options["network"])
    fixed = {"pretrained": False, "plots": False, "verbose": False}
    begun = time.perf_counter()
    model.train(**{**fixed, **options["train"]})
    seconds, found = time.perf_counter() - begun, {}
    images = (Path(options["train"]["data"]).parent / "validation/images").iterdir() if options["predict"] else ()
    for image in sorted(images):
        size = options["train"]["imgsz"]
        boxes = model.predict(image, conf=0.001, iou=0.7, imgsz=size, verbose=False)[0].boxes
        found[image.name] = {
            "boxes": boxes.xyxy.tolist(),
            "scores": boxes.conf.tolist(),
            "labels": boxes.cls.int().tolist(),
        }
    output.write_text(json.dumps({"seconds": seconds, "found": found}))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
