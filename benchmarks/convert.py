"""Annotations of COCO's size, read and written, against a converter of the standard library and against globox.

    python benchmarks/convert.py [--quick] [--parts convert,boxes] [--share 10]

A file of 118,000 images and 860,000 outlines is generated (``--quick``: a fiftieth). ``convert``: COCO to our records
(JSON lines) and back, against what one writes in an afternoon: ``json.load``, dictionaries, ``json.dumps`` a line, and
no check at all. ``boxes``: COCO to boxes and back, against globox too, which has no JSON lines and so goes the shorter
way. No image is opened, and none is there: the names are mapped, ours by the image root and theirs by a prefix. The
time is the processor's, of processes of their own, interleaved; the median of the rounds. ``memory_ratio`` is the most
memory that our ``convert`` takes, above that of the interpreter with its imports, over the size of the file.
"""

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.report import report

IMAGES, OBJECTS, CLASSES = 118_000, 860_000, 80
PARTS = ("convert", "boxes")
PREFIX, ROOT = "train2017/", "/data/train2017/"


def generate(file: Path, images: int, objects: int) -> None:
    """Write a COCO file; an outline has 26 points on average, and one in a hundred objects is a mask of a crowd."""
    draw = random.Random(0)
    with file.open("w") as out:
        out.write('{"info": {"year": 2017}, "licenses": [], "images": [')
        for i in range(1, images + 1):
            image = {"license": 3, "file_name": f"{PREFIX}{i:012}.jpg", "height": 480, "width": 640, "id": i}
            out.write((", " if i > 1 else "") + json.dumps(image))
        out.write('], "annotations": [')
        for i in range(1, objects + 1):
            x, y = draw.uniform(0, 500), draw.uniform(0, 350)
            w, h = draw.uniform(5, 140), draw.uniform(5, 130)
            if i % 100:
                points = draw.randint(4, 48)
                flat = [round(v, 2) for _ in range(points) for v in (x + w * draw.random(), y + h * draw.random())]
                shape: object = [flat]
                left, top = min(flat[::2]), min(flat[1::2])
                box = [left, top, round(max(flat[::2]) - left, 2), round(max(flat[1::2]) - top, 2)]
            else:
                shape = {"counts": [1000, 100, 480 * 640 - 1100], "size": [480, 640]}
                box = [2.0, 40.0, 1.0, 100.0]
            item = {
                "segmentation": shape,
                "area": round(w * h * 0.6, 4),
                "iscrowd": int(not i % 100),
                "image_id": draw.randint(1, images),
                "bbox": box,
                "category_id": draw.randint(1, CLASSES),
                "id": i,
            }
            out.write((", " if i > 1 else "") + json.dumps(item))
        categories = [{"supercategory": "thing", "id": i, "name": f"class {i}"} for i in range(1, CLASSES + 1)]
        out.write('], "categories": ' + json.dumps(categories) + "}")


def ours(file: Path, folder: Path, kind: str, back: bool = True) -> None:
    """Convert by the library, through records."""
    from automl_images.annotations import formats, read_records, record_file

    records = str(folder / "ours.jsonl")
    found = formats.read(str(file), "coco", f"{PREFIX}={ROOT}", label=kind)
    record_file.write(found, records)
    if back:
        formats.FORMATS["coco"].write(read_records(records, kind), str(folder / "ours.json"), formats.kind_of(kind))


def plain(file: Path, folder: Path, kind: str, back: bool = True) -> None:
    """Convert by the standard library."""
    content = json.loads(file.read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    by_image: dict[int, list[dict]] = {}
    for annotation in content["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    with (folder / "plain.jsonl").open("w") as out:
        for image in content["images"]:
            width, height, label = image["width"], image["height"], []
            for one in by_image.get(image["id"], []):
                x, y, w, h = one["bbox"]
                item = {"label": names[one["category_id"]], "isCrowd": one["iscrowd"], "area": one["area"]}
                if kind == "boxes":
                    corners = {"topX": x / width, "topY": y / height}
                    item |= {**corners, "bottomX": (x + w) / width, "bottomY": (y + h) / height}
                elif isinstance(one["segmentation"], dict):
                    item["rle"] = one["segmentation"]
                else:
                    item["polygon"] = [
                        [v / (height if i % 2 else width) for i, v in enumerate(part)] for part in one["segmentation"]
                    ]
                label.append(item)
            url = image["file_name"].replace(PREFIX, ROOT)
            row = {"image_url": url, "image_details": {"width": width, "height": height}, "label": label}
            out.write(json.dumps(row) + "\n")
    if not back:
        return
    del content, by_image
    images, annotations, classes = [], [], dict[str, int]()
    with (folder / "plain.jsonl").open() as lines:
        for line in lines:
            row = json.loads(line)
            width, height = row["image_details"]["width"], row["image_details"]["height"]
            image = {"id": len(images) + 1, "file_name": row["image_url"], "width": width, "height": height}
            images.append(image)
            for one in row["label"]:
                category = classes.setdefault(one["label"], len(classes) + 1)
                item = {"id": len(annotations) + 1, "image_id": image["id"], "category_id": category}
                item |= {"iscrowd": one["isCrowd"], "area": one["area"]}
                if kind == "boxes":
                    left, top = one["topX"] * width, one["topY"] * height
                    item["bbox"] = [left, top, one["bottomX"] * width - left, one["bottomY"] * height - top]
                elif "rle" in one:
                    item["segmentation"] = one["rle"]
                else:
                    item["segmentation"] = [
                        [v * (height if i % 2 else width) for i, v in enumerate(part)] for part in one["polygon"]
                    ]
                    x = [v for part in item["segmentation"] for v in part[::2]]
                    y = [v for part in item["segmentation"] for v in part[1::2]]
                    item["bbox"] = [min(x), min(y), max(x) - min(x), max(y) - min(y)]
                annotations.append(item)
    categories = [{"id": key, "name": name} for name, key in classes.items()]
    with (folder / "plain.json").open("w") as out:
        out.write(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def globox(file: Path, folder: Path, kind: str, back: bool = True) -> None:
    """Convert boxes by globox, which has no JSON lines."""
    import globox

    globox.AnnotationSet.from_coco(file).save_coco(folder / "globox.json", auto_ids=True)


WAYS: dict[str, Callable[[Path, Path, str, bool], None]] = {"ours": ours, "standard library": plain, "globox": globox}


def measured(way: str, file: Path, kind: str, back: bool = True) -> tuple[float, float]:
    """Return the processor's seconds and the most memory, in bytes, that a conversion takes in its own process."""
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        words = [sys.executable, __file__, "--way", way, str(file), folder, kind, str(int(back))]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
    seconds, memory = json.loads(done.stdout)
    return seconds, memory


def child(way: str, file: str, folder: str, kind: str, back: str) -> None:
    """Convert once, and print what it took as JSON."""
    import fsspec.implementations.local  # noqa: F401

    from automl_images.annotations import formats  # noqa: F401 (imports are nobody's conversion)

    if way == "globox":
        import globox  # noqa: F401
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    WAYS[way](Path(file), Path(folder), kind, back == "1")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps([time.process_time() - start, (most - before) * 1024]))


def main() -> None:
    """Measure the parts that are asked for."""
    parser = argparse.ArgumentParser(description="Conversion at COCO's size.")
    parser.add_argument("--quick", action="store_true", help="a fiftieth of COCO")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}; default all")
    parser.add_argument("--rounds", type=int, default=0, help="default 1; 5 with --quick")
    parser.add_argument("--share", type=int, default=1, help="generate one in so many images and objects")
    parser.add_argument("--way", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        return child(*given.way)
    parts = given.parts.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(unknown)}")
    share, rounds = (50, given.rounds or 5) if given.quick else (given.share, given.rounds or 1)
    rows: list[tuple[object, ...]] = []
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "instances_train2017.json")
        generate(file, IMAGES // share, OBJECTS // share)
        size = file.stat().st_size
        for part, kind, name in (("convert", "polygons", "convert_speedup"), ("boxes", "boxes", "boxes_speedup")):
            if part not in parts:
                continue
            ways = [way for way in WAYS if way != "globox" or kind == "boxes"]
            taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
            for _ in range(rounds):
                for way in ways:
                    taken[way].append(measured(way, file, kind))
            medians = {way: statistics.median(s for s, _ in found) for way, found in taken.items()}
            for way, found in taken.items():
                seconds = [s for s, _ in found]
                rows.append((part, way, medians[way], min(seconds), max(seconds), max(m for _, m in found) / size))
            if part == "convert":
                figures["memory_ratio"] = max(m for _, m in taken["ours"]) / size
            figures[name] = min(s for way, s in medians.items() if way != "ours") / medians["ours"]
    print(f"{OBJECTS // share} objects on {IMAGES // share} images, {size / 2**20:.0f} MiB of COCO, {rounds} rounds")
    report("convert", ("part", "way", "seconds", "least", "most", "memory x"), rows, figures)
    return None


if __name__ == "__main__":
    main()
