"""How fast the sizes of local images are checked by their headers, against Pillow opening each in a loop.

Run ``python -m benchmarks.convert_headers [--images N]``. The images are JPEG and PNG files of photographs' sizes, some
with EXIF, written to a temporary folder and read once before, so that both find them in the system's memory.
``headers_speedup`` is of the reading of sizes, as the check does it; ``check_speedup`` of the check of records as a
whole. Both are of the medians of three rounds, in turn.
"""

import argparse
import io
import statistics
import tempfile
import time
from pathlib import Path

from PIL import Image

from automl_images.annotations import OneClass, Record
from automl_images.annotations.checks import Checker, open_images
from benchmarks.report import report

ROUNDS, LABEL = 3, OneClass("a")


def write_images(folder: Path, count: int) -> list[str]:
    """Write so many images, of eight kinds, and return their paths."""
    kinds = []
    for i in range(8):
        image = Image.effect_noise((64, 48), 40).resize((640, 480) if i % 2 else (480, 640)).convert("RGB")
        exif, file = Image.Exif(), io.BytesIO()
        exif[0x0112], exif[0x010F] = (6 if i == 3 else 1), "Camera"
        image.save(file, "png" if i == 0 else "jpeg", **({"exif": exif} if i in (3, 6) else {}))
        kinds.append((".png" if i == 0 else ".jpg", file.getvalue()))
    paths = []
    for i in range(count):
        suffix, data = kinds[i % len(kinds)]
        path = folder / f"{i // 1000}" / f"{i}{suffix}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        paths.append(str(path))
    return paths


def by_pillow(paths: list[str]) -> list[tuple[int, int]]:
    """Return the sizes as stored, by opening each image."""
    sizes = []
    for path in paths:
        with Image.open(path) as image:
            sizes.append(image.size)
    return sizes


def by_checker(paths: list[str]) -> list[tuple[int, int]]:
    """Return the sizes as shown, by the whole check of records of one class."""
    checker = Checker(label="class", decode=False)
    return [(r.width, r.height) for r in checker.check(Record(p, LABEL, where=p) for p in paths)]


def by_headers(paths: list[str]) -> list[tuple[int, int]]:
    """Return the sizes as shown, as the check reads them: in several threads."""
    return [opened.shown for _, opened, _ in open_images([Record(path, LABEL) for path in paths], decode=False)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    count = parser.parse_args().images
    ways = {"Pillow's open in a loop": by_pillow, "header check": by_headers, "whole check of records": by_checker}
    times: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        paths = write_images(Path(folder), count)
        for _ in range(ROUNDS):
            found = []
            for name, way in ways.items():
                start = time.perf_counter()
                found.append([sorted(size) for size in way(paths)])
                times[name].append(time.perf_counter() - start)
            if not found[0] == found[1] == found[2]:
                raise SystemExit("the sizes differ")
    seconds = {name: statistics.median(values) for name, values in times.items()}
    rows = [(name, value, 1e6 * value / count) for name, value in seconds.items()]
    pillow, headers, whole = seconds.values()
    figures = {"headers_speedup": pillow / headers, "check_speedup": pillow / whole}
    report("convert_headers", ("way", "seconds", "microseconds an image"), rows, figures)


if __name__ == "__main__":
    main()
