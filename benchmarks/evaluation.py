"""How fast COCO's figures are computed from arrays in memory, against pycocotools from its dictionaries in memory.

Run ``python -m benchmarks.evaluation [--rounds N] [--scale F]``. Boxes: 5,000 images, 36,000 objects, 180,000
detections of 80 classes. Masks: a fifth of it. The scene is generated, always the same. Timed is all that lies between
the arrays of each image and the twelve figures; of pycocotools all that lies between its annotations as dictionaries,
whose making is not timed, and its twelve figures. Both take turns; the speedups are ratios of medians.
``largest_difference`` is over all twelve figures, of boxes and masks.
"""

import argparse
import contextlib
import io
import statistics
import time
from typing import Any

import numpy as np
from faster_coco_eval import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from automl_images.metrics import coco_map
from automl_images.metrics.arrays import box_area
from benchmarks.report import report

WIDTH, HEIGHT, CLASSES, CROWD, CORNERS = 640, 480, 80, 0.02, 24
IMAGES, OBJECTS, DETECTIONS = 5_000, 36_000, 180_000
NAMES = ["map", "map_50", "map_75", "map_small", "map_medium", "map_large"]
NAMES += ["mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large"]

Image = dict[str, Any]


def scene(images: int, objects: int, detections: int, masks: bool) -> tuple[list[Image], list[Image]]:
    """Return the truth and detections of images: most detections are shifted objects, a third lies anywhere."""
    rng = np.random.default_rng(0)
    place = np.sort(rng.integers(0, images, objects))
    boxes, labels = _boxes(rng, objects), rng.integers(0, CLASSES, objects)
    of = np.sort(rng.integers(0, objects, detections))
    shifted = boxes[of] + np.tile(boxes[of, 2:] - boxes[of, :2], 2) * rng.normal(0, 0.1, (detections, 4))
    shifted[:, 2:] = np.maximum(shifted[:, 2:], shifted[:, :2] + 2)
    anywhere = rng.random(detections) < 1 / 3
    found = np.where(anywhere[:, None], _boxes(rng, detections), shifted).clip(0, (WIDTH, HEIGHT) * 2)
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
    names = np.where(rng.random(detections) < 0.1, rng.integers(0, CLASSES, detections), labels[of])
    scores = rng.random(detections).round(4)  # some are equal
    share = rng.uniform(0.4, 1, objects)
    truth = {"boxes": boxes, "labels": labels, "crowd": rng.random(objects) < CROWD, "area": box_area(boxes) * share}
    hits = {"boxes": found, "labels": names, "scores": scores}
    if masks:
        truth |= _outlined(rng, boxes)
        hits |= {k: v for k, v in _outlined(rng, found).items() if k != "area"}
    order = np.lexsort((-scores, place[of]))
    return _by_image(truth, place, images), _by_image({k: v[order] for k, v in hits.items()}, place[of], images)


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    sides = np.exp(rng.uniform(np.log(8), np.log(300), (count, 2)))
    corner = rng.uniform(0, 1, (count, 2)) * (np.array([WIDTH, HEIGHT]) - sides)
    return np.hstack([corner, corner + sides])


def _outlined(rng: np.random.Generator, boxes: np.ndarray) -> Image:
    """Return uneven outlines within boxes as masks, with their boxes and areas."""
    angle = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    masks = np.empty(len(boxes), dtype=object)
    for n, box in enumerate(boxes):
        reach = rng.uniform(0.7, 1, CORNERS) / 2
        points = np.column_stack([np.cos(angle), np.sin(angle)]) * reach[:, None] + 0.5
        outline = (box[:2] + points * (box[2:] - box[:2])).ravel().tolist()
        masks[n] = coco_mask.frPyObjects([outline], HEIGHT, WIDTH)[0]
    tight = np.array(coco_mask.toBbox(masks.tolist()), dtype=np.float64)
    tight[:, 2:] += tight[:, :2]
    return {"masks": masks, "boxes": tight, "area": np.array(coco_mask.area(masks.tolist()), dtype=np.float64)}


def _by_image(arrays: Image, place: np.ndarray, images: int) -> list[Image]:
    cuts = np.searchsorted(place, np.arange(1, images))
    split = {name: np.split(values, cuts) for name, values in arrays.items()}
    one: list[Image] = [dict(zip(split, values, strict=True)) for values in zip(*split.values(), strict=True)]
    return [{**i, "masks": i["masks"].tolist()} if "masks" in i else i for i in one]


def dictionaries(images: list[Image]) -> list[dict[str, Any]]:
    """Return annotations as pycocotools takes them."""
    rows: list[dict[str, Any]] = []
    for n, image in enumerate(images):
        for k, (x0, y0, x1, y1) in enumerate(image["boxes"].tolist()):
            row = {"id": len(rows) + 1, "image_id": n + 1, "category_id": int(image["labels"][k]) + 1}
            row |= {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "iscrowd": 0}
            if "masks" in image:
                row |= {"segmentation": image["masks"][k], "area": float(coco_mask.area(image["masks"][k]))}
            if "scores" in image:
                row["score"] = float(image["scores"][k])
            else:
                row |= {"area": float(image["area"][k]), "iscrowd": int(image["crowd"][k])}
            rows.append(row)
    return rows


def by_pycocotools(rows: list[list[dict[str, Any]]], images: int, kind: str) -> list[float | None]:
    """Return the twelve figures."""
    sides = []
    with contextlib.redirect_stdout(io.StringIO()):
        for annotations in rows:
            coco = COCO()
            coco.dataset = {
                "images": [{"id": n + 1, "width": WIDTH, "height": HEIGHT} for n in range(images)],
                "categories": [{"id": c + 1, "name": str(c)} for c in range(CLASSES)],
                "annotations": annotations,
            }
            coco.createIndex()
            sides.append(coco)
        evaluation = COCOeval(*sides, iouType=kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [None if figure == -1 else float(figure) for figure in evaluation.stats]


def measure(kind: str, sizes: list[int], rounds: int) -> tuple[list[float], list[float], float]:
    """Return pycocotools' seconds, ours, and the largest difference of a figure."""
    truth, found = scene(*sizes, masks=kind == "segm")
    classes = [str(c) for c in range(CLASSES)]
    theirs, ours, difference = [], [], 0.0
    for _ in range(rounds):
        rows = [dictionaries(truth), dictionaries(found)]
        start = time.perf_counter()
        expected = by_pycocotools(rows, len(truth), kind)
        theirs.append(time.perf_counter() - start)
        del rows
        for _ in range(3):
            start = time.perf_counter()
            figures = coco_map(truth, found, classes)
            ours.append(time.perf_counter() - start)
        for name, figure in zip(NAMES, expected, strict=True):
            if (figure is None) != (figures[name] is None):
                raise SystemExit(f"{kind}: {name} is {figures[name]}, by pycocotools {figure}")
            difference = max(difference, abs((figure or 0) - (figures[name] or 0)))
    return theirs, ours, difference


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of images, objects and detections")
    given = parser.parse_args()
    rows, figures, differences = [], {}, []
    for name, kind, share in (("boxes", "bbox", 1.0), ("masks", "segm", 0.2)):
        sizes = [max(1, int(n * share * given.scale)) for n in (IMAGES, OBJECTS, DETECTIONS)]
        theirs, ours, difference = measure(kind, sizes, given.rounds)
        rows.append((name, sizes[0], statistics.median(theirs), statistics.median(ours)))
        figures[f"{name}_speedup"] = statistics.median(theirs) / statistics.median(ours)
        differences.append(difference)
    header = ("of", "images", "pycocotools, seconds", "ours, seconds")
    print(f"largest difference of a figure: {max(differences):.2e}")
    report("evaluation", header, rows, {**figures, "largest_difference": max(differences)})


if __name__ == "__main__":
    main()
