"""Damaged annotation files of every format, converted: each ends well, or in one line that says what is wrong.

    python benchmarks/fuzz.py [--annotations 10000] [--seed 0]

Each input is a good source of one format and kind of label with one to three changes: of bytes, of values, of keys, of
names in the folder, of the image root. Counted are ``tracebacks`` (anything raised but a UserError of one line),
``hangs`` (more than 30 seconds), ``partial_outputs`` (a refusal that has touched the file of before or left another
beside it, or an output that is not read back) and ``escapes`` (a record whose image lies outside the image root).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from automl_images.annotations import read_records
from automl_images.annotations.labels import kind_of
from automl_images.errors import UserError
from automl_images.steps.convert import convert
from benchmarks.fuzz_experiments import experiments
from benchmarks.report import report

COUNTS = ("tracebacks", "hangs", "partial_outputs", "escapes")
SECONDS, SHOWN = 30, 3
IMAGES = [f"{name}.png" for name in "abcdef"]
BOX = {"label": "cat", "topX": 0.25, "topY": 0.5, "bottomX": 0.75, "bottomY": 1.0, "isCrowd": 0}
# what people, tools and attackers write where a name, a number or an address belongs
EVIL: list[Any] = [
    *(None, True, -1, 0, 1e308, 1e-308, 10**400, 9**4000, 0.5, 2**31, 2**63, float("nan"), float("inf")),
    *("", " ", "\0", "a\0b", "\ud800", "a\udcff.png", "\u200b", "cat\u200d", "\u202ecat", "\ufeff", "cat\nerror: x"),
    *("..", "../outside.png", "a/../../outside.png", "out/outside.png", "loop/a.png", "loop", "/etc/passwd", "./a.png"),
    *("file:///etc/passwd", "file://../x", "simplecache::a.png", "http://[", "hf://", "memory://x/a.png"),
    *("..%2foutside.png", "%00", "%", "C:\\a.png", "\\\\host\\a", "~", "A.PNG", "a", "x" * 300, "y/" * 3000, "a.png/b"),
    *("cat|dog", "cat dog", "['cat', 'dog']", "[" * 5000, "[1, 0, 1]", "1.0", "01", "0x1", "1e3", "NaN", "\u0661"),
    *([], [[]], {}, {"a": {}}, [None], ["cat", "cat"], [1, 0], [0.1, 0.2, 0.3, 0.4], {"annotations": []}, "=", "a=b"),
]


def nested(depth: int) -> list:
    """Return lists in lists."""
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


def lines(items: list) -> str:
    """Return JSON lines."""
    return "".join(json.dumps(item) + "\n" for item in items)


def xml(image: str) -> str:
    """Return a Pascal VOC annotation of an image."""
    corners = "".join(f"<{side}>{v}</{side}>" for side, v in (("xmin", 3), ("ymin", 4), ("xmax", 9), ("ymax", 8)))
    found = f"<object><name>cat</name><difficult>0</difficult><bndbox>{corners}</bndbox></object>"
    size = "<size><width>12</width><height>8</height></size>"
    return f"<annotation><filename>{image}</filename>{size}{found * 2}</annotation>"


def coco() -> str:
    """Return a COCO file."""
    content = {
        "images": [{"id": i, "file_name": name, "width": 12, "height": 8} for i, name in enumerate(IMAGES)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": i % 2, "bbox": [3, 4, 6, 4], "area": 9, "iscrowd": 0}
            for i in range(6)
        ],
        "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
    }
    return json.dumps(content)


def manifest(label: Any) -> str:
    """Return an augmented manifest whose class attribute has such labels."""
    metadata = {"class-map": {"0": "cat", "1": "dog"}, "type": "groundtruth/image-classification"}
    return lines([{"source-ref": name, "animal": label, "animal-metadata": metadata} for name in IMAGES])


NAMES = ["cat", "dog"]
TEXTS = (".jsonl", ".json", ".manifest", ".lst", ".csv", ".xml", ".txt", ".yaml", ".html")
SOURCES: dict[tuple[str, str], dict[str, Any]] = {
    ("jsonl", "class"): {"x.jsonl": lines([{"image_url": n, "label": NAMES[i % 2]} for i, n in enumerate(IMAGES)])},
    ("jsonl", "classes"): {"x.jsonl": lines([{"image_url": n, "label": NAMES} for n in IMAGES])},
    ("jsonl", "boxes"): {
        "x.jsonl": lines(
            [{"image_url": n, "image_details": {"width": "12px", "height": 8}, "label": [BOX]} for n in IMAGES]
        )
    },
    ("coco", "boxes"): {"x_train.json": coco()},
    ("voc", "boxes"): {f"{name[0]}.xml": xml(name) for name in IMAGES},
    ("manifest", "class"): {"x.manifest": manifest(1)},
    ("manifest", "classes"): {"x.manifest": manifest([0, 1])},
    ("lst", "class"): {
        "x.lst": "".join(f"{i}\t{i % 2}\t{n}\n" for i, n in enumerate(IMAGES)),
        "classes.txt": "cat\ndog\n",
    },
    ("lst", "classes"): {
        "x.lst": "".join(f"{i}\t1\t0\t{n}\n" for i, n in enumerate(IMAGES)),
        "classes.txt": "cat\ndog\n",
    },
    ("csv", "class"): {"x.csv": "image,label\n" + "".join(f"{n},{NAMES[i % 2]}\n" for i, n in enumerate(IMAGES))},
    ("csv", "classes"): {"x.csv": "image,labels\n" + "".join(f"{n},cat|dog\n" for n in IMAGES)},
    ("folder", "class"): {},
}


def sources() -> dict[tuple[str, str], dict[str, Any]]:
    """Return good sources by format and kind of label: those here, and the tests' samples, which have every format.

    A file's content is text or bytes, or None for an image.
    """
    from tests.test_formats import SAMPLES

    return SOURCES | {pair: {"a.png": None} | files for pair, files in SAMPLES.items() if pair not in SOURCES}


def as_text(value: Any) -> str:
    """Return a value as a field of text has it."""
    return value if isinstance(value, str) else json.dumps(value)


def damaged_bytes(data: bytes, rng: random.Random) -> bytes:
    """Return bytes with one change: some flipped, cut, doubled, moved or put in."""
    at, length = rng.randrange(len(data) + 1), rng.choice([1, 2, 8, 64])
    part = data[at : at + length]
    rest, put_in = (
        data[at + length :],
        [b"\0", b"\xff", b"\xef\xbb\xbf", *(bytes([c]) for c in b'{"<,\t\r'), b"&x;", b"\\u0000"],
    )
    changes = [
        bytes(rng.randrange(256) for _ in part) + rest,
        b"",
        part * rng.choice([2, 2000]) + rest,
        rest + part,
        rng.choice(put_in) + part + rest,
        b"[" * 5000 + part + rest,
    ]
    return data[:at] + rng.choice(changes)


def damaged_json(value: Any, rng: random.Random) -> Any:
    """Return a JSON value with one change somewhere in it."""
    if isinstance(value, dict | list) and value and rng.random() < 0.85:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = rng.choice(keys)
        copy = dict(value) if isinstance(value, dict) else list(value)
        how = rng.random()
        if how < 0.1:
            del copy[key]
        elif how < 0.15 and isinstance(copy, list):
            copy.insert(0, copy[key])
        else:
            copy[key] = damaged_json(value[key], rng)
        return copy
    return nested(rng.choice([50, 900])) if rng.random() < 0.05 else rng.choice(EVIL)


def damaged(text: str, name: str, rng: random.Random) -> bytes:
    """Return a file with one change that suits its format, or one of its bytes."""
    data = text.encode(errors="surrogatepass")
    if rng.random() < 0.35:
        return damaged_bytes(data, rng)
    try:
        if name.endswith((".jsonl", ".manifest")):
            rows = text.splitlines()
            i = rng.randrange(len(rows))
            rows[i] = json.dumps(damaged_json(json.loads(rows[i]), rng))
            if rng.random() < 0.1:
                rows[i] = rows[i].replace("{", '{"label": "emu", ', 1)
            return ("\n".join(rows) + "\n").encode(errors="surrogatepass")
        if name.endswith(".json"):
            return json.dumps(damaged_json(json.loads(text), rng)).encode(errors="surrogatepass")
    except (ValueError, RecursionError):  # an earlier change left no JSON
        return damaged_bytes(data, rng)
    mark = rng.choice([">", "\t", ",", "\n"])
    parts = text.split(mark)
    i = rng.randrange(len(parts))
    rest = parts[i][parts[i].find("<") :] if mark == ">" and "<" in parts[i] else ""
    parts[i] = rng.choice(
        ["", parts[i] * 2, as_text(rng.choice(EVIL)) + rest, '<!DOCTYPE a [<!ENTITY x "y">]>' + parts[i]]
    )
    return mark.join(parts).encode(errors="surrogatepass")


def lay(root: Path, format: str, kind: str, rng: random.Random, given: dict[str, Any]) -> None:
    """Write a damaged source of a format: its images, and files whose names or content are changed."""
    (root.parent / "outside.png").write_bytes(PICTURE)
    (root / "out").symlink_to(root.parent)
    (root / "loop").symlink_to(root / "loop")
    images = IMAGES if (format, kind) in SOURCES else [name for name, content in given.items() if content is None]
    for i, name in enumerate(images):
        place = root / NAMES[i % 2] / name if format == "folder" else root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(damaged_bytes(PICTURE, rng) if rng.random() < 0.03 else PICTURE)
    texts = {name: content for name, content in given.items() if content is not None}
    files = {name: text if isinstance(text, bytes) else text.encode() for name, text in texts.items()}
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if files:
            name = rng.choice(list(files))
            content = files[name]
            if name.endswith(TEXTS):
                files[name] = damaged(content.decode(errors="surrogateescape"), name, rng)
            else:
                files[name] = damaged_bytes(content, rng)
        if not files or rng.random() < 0.1:
            name = as_text(rng.choice(EVIL))[:200]
            with contextlib.suppress(OSError, ValueError):  # not all of them are names of files
                place = root / rng.choice(["", *NAMES]) / name.replace("/", "_")
                rng.choice([lambda p: p.mkdir(), lambda p: p.write_bytes(PICTURE), lambda p: p.symlink_to("/etc")])(
                    place
                )
                (place / "a.png").write_bytes(PICTURE)
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def one(root: Path, out: Path, format: str, kind: str, rng: random.Random, given: dict[str, Any]) -> str | None:
    """Convert a damaged source, of such files; return what went wrong, if anything."""
    lay(root, format, kind, rng, given)
    files = [name for name, content in given.items() if content is not None]
    source = root if rng.random() < 0.5 or not files else root / files[0]
    source = source if format not in ("voc", "masks") else root
    images = as_text(rng.choice(EVIL)) if rng.random() < 0.05 else None
    images = str(root / "images") if format == "recordio" else images  # where its images are written
    out.write_text("before")
    try:
        convert(
            str(source),
            str(out),
            kind_of(kind).task(),
            format=rng.choice([format, "auto"]),
            images=images,
            on_error=rng.choice(["fail", "skip", "fix"]),
        )
    except UserError as error:
        if len(str(error).splitlines()) != 1:
            return "tracebacks"
        return (
            None
            if [p.name for p in out.parent.iterdir()] == [out.name] and out.read_text() == "before"
            else "partial_outputs"
        )
    try:
        found = list(read_records(str(out), kind))
    except UserError:
        return "partial_outputs"
    if not found or [p.name for p in out.parent.iterdir()] != [out.name]:
        return "partial_outputs"
    inside = os.path.realpath(root)
    outside = [r for r in found if not os.path.realpath(r.image_url).startswith(f"{inside}/") and not images]
    return "escapes" if outside else None


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in a block that takes longer."""

    def late(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def annotations(count: int, seed: int, show: Callable[[str], object] = lambda _: None) -> dict[str, int]:
    """Return how often each of ``COUNTS`` happened in so many damaged sources; ``show`` is told of the first few."""
    counts = Counter(dict.fromkeys(COUNTS, 0))
    given = sources()
    pairs = list(given)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "written", "out.jsonl")
        out.parent.mkdir()
        for i in range(count):
            root, rng = Path(folder, "source", str(i)), random.Random(f"{seed}:{i}")
            root.mkdir(parents=True)
            said, why = io.StringIO(), ""
            try:
                with at_most(SECONDS), contextlib.redirect_stderr(said):
                    wrong = one(root, out, *pairs[i % len(pairs)], rng, given[pairs[i % len(pairs)]])
            except TimeoutError:
                wrong, why = "hangs", traceback.format_exc()
            except Exception:
                wrong, why = "tracebacks", traceback.format_exc()
            if wrong:
                counts[wrong] += 1
                if counts[wrong] <= SHOWN:
                    show(f"input {i} of seed {seed}, {'-'.join(pairs[i % len(pairs)])}: {wrong}\n{why}")
            shutil.rmtree(root)
            for left in set(out.parent.iterdir()) - {out}:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    return dict(counts)


_file = io.BytesIO()
Image.new("RGB", (12, 8), (200, 60, 40)).save(_file, "PNG")
PICTURE = _file.getvalue()


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=int, default=10_000)
    parser.add_argument("--experiments", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = annotations(options.annotations, options.seed, lambda text: print(text, file=sys.stderr))
    tried = experiments(options.experiments, options.seed)
    report(
        "fuzz",
        ["inputs", "number", *COUNTS],
        [
            ["annotations", options.annotations, *found.values()],
            ["experiments", options.experiments, *(tried[name] for name in COUNTS)],
        ],
        {f"annotations_{name}": count for name, count in found.items()}
        | {f"experiments_{name}": tried[name] for name in COUNTS},
    )


if __name__ == "__main__":
    main()
