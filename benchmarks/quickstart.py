"""The quick start against ultralytics' own trainer: mAP on the same images, split, input size, batch and epochs.

    python benchmarks/quickstart.py [--seeds 0 1 2] [--epochs 50]

Both start from fresh weights and are scored by the same evaluator. Ours is the better of the quick start's two trials,
each on half of the cores; the peer is one training with its own defaults (its optimiser is its own choice) on all of
them. A seed makes the images, the split and the trials.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
from automl_images.annotations import Record, read_records
from automl_images.metrics import coco_map, truth_arrays
from automl_images.sample_data import CLASSES, make_sample
from benchmarks.report import report
from pipelines.experiment import load

ROOT = Path(__file__).parents[1]
EXPERIMENT = ROOT / "pipelines/experiments/quickstart.yaml"


def ours(folder: Path, seed: int, epochs: int) -> tuple[dict, float]:
    """Run the quick start's pipeline; return its summary and how long it took in seconds."""
    fields = {
        "data.training.source": folder / "sample",
        "data.split.seed": seed,
        "sweep.seed": seed,
        "settings.number_of_epochs": epochs,
    }
    overrides = [word for name, value in fields.items() for word in ("--set", f"{name}={value}")]
    command = [sys.executable, "-m", "pipelines", "run", EXPERIMENT, "--root", folder / "runs", "--json", *overrides]
    started = time.monotonic()
    done = subprocess.run([str(c) for c in command], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout), time.monotonic() - started


def theirs(folder: Path, summary: dict, seed: int, epochs: int) -> tuple[dict, float]:
    """Train with ultralytics on the same records; return COCO's figures and how long it took in seconds."""
    folder_of_records = f"{summary['ledger']}/records"
    records = {p: list(read_records(f"{folder_of_records}/{p}.jsonl", "boxes")) for p in ("training", "validation")}
    data = folder / "peer"
    for part, found in records.items():
        _write_yolo(data / part, found)
    content = {"path": str(data), "train": "training/images", "val": "validation/images", "names": list(CLASSES)}
    (data / "data.yaml").write_text(yaml.safe_dump(content))
    settings = load(EXPERIMENT).settings
    options = {
        "data": str(data / "data.yaml"),
        "epochs": epochs,
        "imgsz": settings["img_size"],
        "batch": settings["training_batch_size"],
        "seed": seed,
        "project": str(data),
        "name": "run",
    }
    environment = {**os.environ, "YOLO_CONFIG_DIR": str(data), "YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false"}
    command = [sys.executable, __file__, "--peer", json.dumps(options), str(data / "found.json")]
    started = time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    seconds = time.monotonic() - started
    if done.returncode:
        sys.exit(f"the peer failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    found = json.loads((data / "found.json").read_text())
    truth = [truth_arrays(r.label.boxes, CLASSES, (r.width, r.height)) for r in records["validation"]]
    return coco_map(truth, [found[Path(r.image_url).name] for r in records["validation"]], CLASSES), seconds


def _write_yolo(folder: Path, records: list[Record]) -> None:
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for r in records:
        path = Path(r.image_url)
        (folder / "images" / path.name).symlink_to(path)
        lines = [
            f"{CLASSES.index(b.label)} {(b.topX + b.bottomX) / 2} {(b.topY + b.bottomY) / 2} "
            f"{b.bottomX - b.topX} {b.bottomY - b.topY}\n"
            for b in r.label.boxes
        ]
        (folder / "labels" / f"{path.stem}.txt").write_text("".join(lines))


def peer(options: dict, output: Path) -> None:
    """Train and predict with ultralytics, in a process of its own."""
    from ultralytics import YOLO

    model = YOLO("yolov5s.yaml")
    fixed = {"pretrained": False, "amp": False, "plots": False, "verbose": False, "workers": 0, "device": "cpu"}
    model.train(**options, **fixed, exist_ok=True)
    images = sorted((Path(options["data"]).parent / "validation/images").iterdir())
    found = {}
    for image in images:
        boxes = model.predict(image, conf=0.001, iou=0.7, imgsz=options["imgsz"], verbose=False)[0].boxes
        found[image.name] = {
            "boxes": boxes.xyxy.tolist(),
            "scores": boxes.conf.tolist(),
            "labels": boxes.cls.int().tolist(),
        }
    output.write_text(json.dumps(found))


def main() -> None:
    """Measure each seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=load(EXPERIMENT).settings["number_of_epochs"])
    parser.add_argument("--peer", nargs=2, metavar=("OPTIONS", "OUTPUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        peer(json.loads(options.peer[0]), Path(options.peer[1]))
        return
    rows, figures = [], {}
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            make_sample(folder / "sample", seed=seed)
            summary, seconds = ours(folder, seed, options.epochs)
            mine = summary["evaluation"]["coco"]
            other, other_seconds = theirs(folder, summary, seed, options.epochs)
        rows.append((seed, mine["map_50"], mine["map"], seconds, other["map_50"], other["map"], other_seconds))
        figures |= {
            f"map_50_seed_{seed}": mine["map_50"],
            f"map_50_ratio_seed_{seed}": mine["map_50"] / max(other["map_50"], 0.001),
            f"map_ratio_seed_{seed}": mine["map"] / max(other["map"], 0.001),
        }
    header = ("seed", "mAP@0.5", "mAP", "s", "ultralytics mAP@0.5", "ultralytics mAP", "ultralytics s")
    report("quickstart", header, rows, figures)


if __name__ == "__main__":
    main()
