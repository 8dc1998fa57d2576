"""The quick start against ultralytics' own trainer: mAP on the same images, split, input size, batch and epochs.

    python benchmarks/quickstart.py [--seeds 0 1 2] [--epochs 50]

Both start from fresh weights and are scored by the same evaluator. Ours is the better of the quick start's two trials,
each on half of the cores; the peer is one training with its own defaults (its optimiser is its own choice) on all of
them. A seed makes the images, the split and the trials.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from automl_images.annotations import read_records
from automl_images.metrics import coco_map, truth_arrays
from automl_images.pipelines.experiment import load
from automl_images.sample_data import CLASSES, make_sample
from benchmarks.detection import ultralytics_peer as peer
from benchmarks.report import report

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
    settings = load(EXPERIMENT).settings
    begun = time.monotonic()
    found = peer.trained(
        "yolov5s.yaml",
        peer.write(folder / "peer", records, CLASSES),
        epochs=epochs,
        imgsz=settings["img_size"],
        batch=settings["training_batch_size"],
        seed=seed,
        amp=False,
        workers=0,
        device="cpu",
    )["found"]
    seconds = time.monotonic() - begun
    truth = [truth_arrays(r.label.boxes, CLASSES, (r.width, r.height)) for r in records["validation"]]
    return coco_map(truth, [found[Path(r.image_url).name] for r in records["validation"]], CLASSES), seconds


def main() -> None:
    """Measure each seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=load(EXPERIMENT).settings["number_of_epochs"])
    options = parser.parse_args()
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
