"""Training a YOLOv5 without anchors: our loop against ultralytics' own trainer, on the same network, data and settings.

    python -m benchmarks.yolo_overhead [--quick] [--map] [--seeds 0 1 2 3 4] [--epochs 50]

Images per second of all of ``fit()``, decoding included, over those of its ``train()`` (``vs_ultralytics``;
``vs_ultralytics_low`` and ``vs_ultralytics_high``: what the median lies between, 95 %): small, from random weights, in
turns, each in a process of its own, whose start is not counted. The images are the quick start's at 128 pixels; a GPU
has 640 and a batch of 32. Loss, augmentation and optimiser have the same settings, ultralytics keeps its images in
memory as we do, and both predict eight validation images at the end, since its trainer has to.

With ``--map`` instead the mAP at an overlap of 0.5 of each seed, which makes the images and the weights, on 40
validation images by one evaluator: ``map_50``, ``map_50_ultralytics`` (means), ``map_50_spread`` (its standard
deviation over seeds) and ``map_50_behind``, by how many of them ours is lower. Both keep the last epoch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from automl_images.annotations import Box, Boxes, Record
from automl_images.hyperparameters import resolve
from automl_images.hyperparameters.yolov5 import ANCHOR_FREE
from automl_images.metrics import coco_map, truth_arrays
from automl_images.sample_data import CLASSES, draw
from benchmarks.classification.stopwatch import ON_GPU
from benchmarks.classification_training import Journal, interval, quotients, spread
from benchmarks.detection import ultralytics_peer as peer
from benchmarks.report import report

TASK, DRAWN = "image-object-detection", 160
SIZE, BATCH, IMAGES, EPOCHS = (640, 32, 640, 3) if ON_GPU else (128, 16, 160, 2)
NMS = 0.7
SAME = (  # settings that have one name and one meaning with both
    *("box", "cls", "dfl", "lrf", "warmup_momentum", "warmup_bias_lr", "momentum", "weight_decay"),
    *("hsv_h", "hsv_s", "hsv_v", "degrees", "translate", "scale", "shear", "perspective", "flipud", "fliplr"),
    *("mosaic", "mixup", "copy_paste", "close_mosaic"),
)


def drawn(folder: Path, count: int, seed: int) -> list[Record]:
    """Write the quick start's images and return their records."""
    folder.mkdir(parents=True)
    records = []
    for i in range(count):
        pixels, objects, _ = draw(DRAWN, np.random.default_rng((seed, i)))
        path = folder / f"{i:06d}.jpg"
        Image.fromarray(pixels).save(path, quality=92)
        boxes = tuple(Box(label, *(side / DRAWN for side in box)) for label, box in objects)
        records.append(Record(str(path), Boxes(boxes), DRAWN, DRAWN))
    return records


def settings_of(epochs: int, **given: Any) -> dict[str, Any]:
    """Return complete settings; only the last epoch is evaluated."""
    return resolve(
        TASK,
        {
            "model_name": "yolov5",
            "head": ANCHOR_FREE,
            "model_size": "small",
            "img_size": SIZE,
            "number_of_epochs": epochs,
            "training_batch_size": BATCH,
            "validation_batch_size": BATCH,
            "evaluation_frequency": epochs,
            "early_stopping": 0,
            "optimizer": "adamw",
            "learning_rate": 0.001,
            "weight_decay": 0.01,
            "lrf": 0.01,
            "warmup_cosine_lr_warmup_epochs": min(3, epochs / 2),
            "nms_iou_thresh": NMS,
            "close_mosaic": epochs // 5,
            **given,
        },
    )


def theirs(data: Path, settings: dict[str, Any], seed: int, predict: bool) -> dict[str, Any]:
    """Train with ultralytics by our settings."""
    return peer.trained(
        "yolov5s.yaml",
        data,
        predict,
        imgsz=settings["img_size"],
        epochs=settings["number_of_epochs"],
        batch=settings["training_batch_size"],
        nbs=settings["training_batch_size"],  # no accumulation
        optimizer="AdamW",
        lr0=settings["learning_rate"],
        warmup_epochs=settings["warmup_cosine_lr_warmup_epochs"],
        cos_lr=True,
        seed=seed,
        val=False,
        cache="ram",
        deterministic=False,
        amp=ON_GPU,
        workers=8 if ON_GPU else 0,
        device=0 if ON_GPU else "cpu",
        **{name: settings[name] for name in SAME},
    )


def ours(folder: Path, records: dict[str, list[Record]], settings: dict[str, Any], seed: int) -> float:
    """Run fit() in a process of its own and return its seconds; the model lies in ``folder/model``."""
    from automl_images.annotations.record_file import write

    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in records.items():
        write(rows, str(folder / f"{part}.jsonl"))
    (folder / "settings.json").write_text(json.dumps({"settings": settings, "seed": seed}))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.yolo_overhead", "--ours", str(folder)],
        cwd=peer.ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"our training failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return float((folder / "seconds").read_text())


def train(folder: Path) -> None:
    """Run fit() on what :func:`ours` wrote."""
    from automl_images.annotations import read_records
    from automl_images.training.fit import fit
    from automl_images.training.job import Job

    content = json.loads((folder / "settings.json").read_text())
    training, validation = (list(read_records(str(folder / f"{p}.jsonl"), "boxes")) for p in ("training", "validation"))
    begun = time.perf_counter()
    fit(Job(TASK, content["settings"], training, validation, {"pretrained": False}, content["seed"]), Journal(folder))
    (folder / "seconds").write_text(str(time.perf_counter() - begun))


def speed(folder: Path, quick: bool) -> tuple[list[tuple], dict[str, float]]:
    """Measure both trainers in turns."""
    rounds, count = (2, 32) if quick else (7, IMAGES)
    records = drawn(folder / "images", count + 8, 0)
    parts = {"training": records[:count], "validation": records[count:]}
    settings = settings_of(EPOCHS)
    seconds: tuple[list[float], list[float]] = ([], [])
    for i in range(rounds):
        data = peer.write(folder / f"theirs-{i}", parts, CLASSES)
        for turn in (i % 2, 1 - i % 2):
            if turn:
                seconds[1].append(theirs(data, settings, i, False)["seconds"])
            else:
                seconds[0].append(ours(folder / f"ours-{i}", parts, settings, i))
    ratios = quotients(seconds[1], seconds[0])
    low, high = interval(ratios)
    rows = [
        (f"small at {SIZE}: {name}, images/s", *spread([EPOCHS * count / s for s in times]))
        for name, times in zip(("fit()", "ultralytics' train()"), seconds, strict=True)
    ]
    rows.append(("fit() / ultralytics' train()", *spread(ratios)))
    return rows, {
        "vs_ultralytics": statistics.median(ratios),
        "vs_ultralytics_low": low,
        "vs_ultralytics_high": high,
    }


def quality(folder: Path, seeds: list[int], epochs: int, quick: bool) -> tuple[list[tuple], dict[str, float]]:
    """Measure what both have learned."""
    from automl_images.data.detection import image_tensor
    from automl_images.data.images import load_image
    from automl_images.prediction import load_model
    from automl_images.prediction.detection import detect

    rows, count, scored = [], *((16, 4) if quick else (160, 40))
    found: tuple[list[float], list[float]] = ([], [])
    for seed in seeds:
        records = drawn(folder / f"images-{seed}", count + scored, seed)
        parts = {"training": records[:count], "validation": records[count:]}
        settings = settings_of(epochs)
        ours(folder / f"ours-{seed}", parts, settings, seed)
        predictor = load_model(folder / f"ours-{seed}" / "model")
        names = [predictor.classes.index(name) for name in CLASSES]
        other = theirs(peer.write(folder / f"theirs-{seed}", parts, CLASSES), settings, seed, True)["found"]
        truth, mine = [], []
        for r in parts["validation"]:
            truth.append(truth_arrays(r.label.boxes, CLASSES, (DRAWN, DRAWN)))
            image = image_tensor(load_image(r.image_url))
            (one,) = detect(predictor.model, [image], predictor.device)
            mine.append({**one, "labels": np.array([names.index(label) for label in one["labels"]], dtype=int)})
        scores = [
            coco_map(truth, detections, CLASSES)["map_50"]
            for detections in (mine, [other[Path(r.image_url).name] for r in parts["validation"]])
        ]
        rows.append((f"seed {seed}", *scores))
        for score, kept in zip(scores, found, strict=True):
            kept.append(score)
    means, sigma = [statistics.mean(values) for values in found], statistics.stdev(found[1])
    return rows, {
        "map_50": means[0],
        "map_50_ultralytics": means[1],
        "map_50_spread": sigma,
        "map_50_behind": (means[1] - means[0]) / max(sigma, 0.001),
    }


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer images and rounds")
    parser.add_argument("--map", action="store_true", help="mAP in place of speed")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)), help="of --map, two at least")
    parser.add_argument("--epochs", type=int, default=50, help="of --map")
    parser.add_argument("--ours", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ours:
        train(options.ours)
        return
    with tempfile.TemporaryDirectory() as scratch:
        if options.map:
            rows, figures = quality(Path(scratch), options.seeds, options.epochs, options.quick)
            header: tuple[str, ...] = ("mAP@0.5", "fit()", "ultralytics")
        else:
            rows, figures = speed(Path(scratch), options.quick)
            header = ("", "median", "least", "most")
    report("yolo_overhead", header, rows, figures)


if __name__ == "__main__":
    main()
