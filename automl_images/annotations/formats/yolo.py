"""YOLO's text files, one an image, a line an object: a class id, and a box or a polygon as fractions of the image.

The file of ``images/a.jpg`` is ``labels/a.txt``, or ``a.txt`` beside it; an image without one, or with an empty one,
has nothing on it, and how many lack one is said. Names of the classes are those of a ``data.yaml`` (any YAML with
``names``), ``classes.txt``, ``obj.names`` or ``_darknet.labels``, in the folder or up to three above it; without any a
class is named by its id, and that is said.
"""

from __future__ import annotations

import posixpath
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from automl_images import storage
from automl_images.annotations.formats.base import Format, Written
from automl_images.annotations.imageroot import Folder, is_image
from automl_images.annotations.labels import Box, Boxes, Instance, Label, Polygons
from automl_images.annotations.lines import first_line
from automl_images.annotations.records import Record, labelling, records_of
from automl_images.annotations.source import Source
from automl_images.annotations.tracing import traced
from automl_images.annotations.values import Broken, number, shown
from automl_images.annotations.yolo_names import is_data_yaml, names_of, sets_of
from automl_images.errors import UserError

_LOOKED_AT, _AT_ONCE = 8, 256


def candidates(source: Source) -> list[str]:
    """Return the text files of labels below a folder, or the list of images or ``data.yaml`` that the source is."""
    if not source.is_folder:
        return [source.url] if _is_list(source.url) or is_data_yaml(source.url) else []
    if source.images and not any(_is_label(first_line(file)) for file in source.files(".txt")[:_LOOKED_AT]):
        return []
    pairs = _pairs(source)
    files = [label for label in pairs.values() if label is not None]
    return files if any(_is_label(first_line(file)) for file in files[:_LOOKED_AT]) else []


def _is_list(url: str) -> bool:
    return url.lower().endswith(".txt") and is_image(first_line(url).strip())


def _is_label(line: str) -> bool:
    words = line.split()
    try:
        return len(words) >= 5 and words[0].isdecimal() and all(-1 < float(word) < 2 for word in words[1:5])
    except ValueError:
        return False


def read(source: Source, kind: type[Label], broken: Broken) -> Iterator[Record]:
    """Yield one record an image, in the order of their paths.

    The source is a folder of images, a list of them, or a ``data.yaml`` of one set. A polygon serves as the box around
    it where boxes are needed, and that is said; a box is refused where polygons are.
    """
    for one in _parts(source):
        yield from _read(one, kind, broken)


def _parts(source: Source) -> list[Source]:
    """Return the sources that a ``data.yaml`` names, or the source itself.

    Raises:
        UserError: it names several sets.
    """
    if source.is_folder or not is_data_yaml(source.url):
        return [source]
    sets = sets_of(source.url)
    if len(sets) > 1:
        named = " and ".join(", ".join(map(storage.redact, places)) for places in sets.values())
        raise UserError(
            f"{source.shown}: names the sets {', '.join(sets)}, at {named}; name one of them, or give the file as "
            "data.training of an experiment without data.validation, which takes all"
        )
    return [Source(place, source.images) for places in sets.values() for place in places]


def _read(source: Source, kind: type[Label], broken: Broken) -> Iterator[Record]:
    pairs = _pairs(source) if source.is_folder else _listed(source)
    if not pairs:
        raise UserError(f"{source.shown}: holds no image")
    names, keypoints = names_of(source)
    source.named.update(names.values())
    counts: Counter[str] = Counter()

    def record(item: tuple[str, str | None, bytes | None], where: str) -> Record:
        image, _, text = item
        with labelling(image):
            objects = _objects(text or b"", kind, names, keypoints, counts)
            return Record(image, kind(objects), None, None, None, where)  # type: ignore[call-arg]

    items = list(pairs.items())
    for start in range(0, len(items), _AT_ONCE):
        some = items[start : start + _AT_ONCE]
        files = [file for _, file in some if file]
        texts = dict(zip(files, storage.read_many(files), strict=True))
        counts["lacking"] += sum(not file or texts[file] is None for _, file in some)
        found = ((storage.redact(file or image), (image, file, texts.get(file or ""))) for image, file in some)
        yield from records_of(found, record, broken)
    if counts["lacking"] == len(items):
        raise UserError(f"{source.shown}: no image has a file of labels, in labels/ or beside it")
    for what, text in (
        ("lacking", "images have no file of labels: they have nothing on them"),
        ("outlines", "polygons are read as the boxes around them"),
        ("unnamed", "objects have classes that nothing names: each is called by its id"),
        ("keypoints", "objects have key points, which are passed over: their boxes are read"),
    ):
        if counts[what]:
            print(f"{source.shown}: {counts[what]} {text}", file=sys.stderr)


def _pairs(source: Source) -> dict[str, str | None]:
    """Return the images below a folder, each with its file of labels or None, by their addresses."""
    images = [file for file in source.listed if is_image(file)]
    if source.images:
        root = source.root.root
        images, texts, at = [f for f in storage.files_below(root) if is_image(f)], set(source.listed), root
    else:
        root, texts, at = source.url, set(source.listed), source.url
    outside, below = _labels_beside(source.url) if not source.images else (None, set())
    pairs: dict[str, str | None] = {}
    for image in images:
        text = posixpath.splitext(image)[0] + ".txt"
        inside = [text, _of_labels(text)] if not source.images else [text, _of_labels(text), f"labels/{text}"]
        found = next((storage.join(source.url, one) for one in inside if one in texts), None)
        if found is None and outside and text in below:
            found = storage.join(outside, text)
        pairs[storage.join(at, image)] = found
    return pairs


def _of_labels(path: str) -> str:
    """Return a path with its last folder ``images`` named ``labels``."""
    parts = path.split("/")
    for i in range(len(parts) - 2, -1, -1):
        if parts[i].lower() == "images":
            return "/".join([*parts[:i], "labels", *parts[i + 1 :]])
    return path


def _labels_beside(url: str) -> tuple[str | None, set[str]]:
    """Return the folder of labels of one that is, or lies in, ``images``, and the files in it."""
    folder = _of_labels(f"{url.rstrip('/')}/x").removesuffix("/x")
    if folder == url.rstrip("/") or not storage.is_dir(folder):
        return None, set()
    return folder, set(storage.files_below(folder))


def _listed(source: Source) -> dict[str, str | None]:
    """Return the images of a list, each with where its file of labels would be."""
    lines = storage.read_bytes(source.url).decode("utf-8-sig", errors="replace").splitlines()
    names = [line.strip() for line in lines if line.strip()]
    images = [source.image(name.removeprefix("./"), "image", ["", "images"]) for name in names]
    return {image: _of_labels(posixpath.splitext(image)[0] + ".txt") for image in images}


def _objects(
    text: bytes, kind: type[Label], names: Mapping[int, str], keypoints: bool, counts: Counter[str]
) -> tuple[Any, ...]:
    try:
        lines = text.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"is not UTF-8 text: {error}") from None
    made = partial(_object, kind=kind, names=names, keypoints=keypoints, counts=counts)
    found = []
    for i, line in enumerate(lines, 1):
        if words := line.split():
            try:
                found.append(made(words))
            except UserError as error:
                raise UserError(f"line {i}: {error}") from None
    return tuple(found)


def _object(
    words: list[str], kind: type[Label], names: Mapping[int, str], keypoints: bool, counts: Counter[str]
) -> Box | Instance:
    if not words[0].isdecimal() or len(words[0]) > 9:
        raise UserError(f"the class id is {shown(words[0])}, not a whole number")
    key = int(words[0])
    if names and key not in names:
        raise UserError(f"the class id {key} has no name; known are {', '.join(map(str, list(names)[:8]))}")
    counts["unnamed"] += not names
    name = names.get(key, str(key))
    values = [number(word, "a coordinate") for word in words[1:]]
    if any(abs(value) > 2 for value in values[: 4 if keypoints else None]):
        raise UserError(f"has the coordinate {max(values, key=abs):g}: YOLO's are fractions of the image, not pixels")
    if keypoints and len(values) > 4:
        counts["keypoints"] += 1
        values = values[:4]
    if len(values) == 4:
        if kind is Polygons:
            raise UserError(f"is a box, and {kind.task()} needs polygons")
        x, y, width, height = values
        return Box(name, x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    if len(values) < 6 or len(values) % 2:
        more = " (the last may be a confidence: these are predictions)" if len(values) == 5 else ""
        raise UserError(
            f"has {len(values)} numbers after the class, neither a box of 4 nor the points of a polygon{more}"
        )
    if kind is Polygons:
        return Instance(name, (tuple(values),))
    counts["outlines"] += 1
    return Box(name, min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))


def write(records: Iterable[Record], out: str, kind: type[Label]) -> Written:
    """Write ``labels/`` and ``data.yaml`` into a folder; images outside its ``images/`` lose their places."""
    import yaml

    ids: dict[str, int] = {}
    lost: Counter[str] = Counter()
    images = 0
    stems: set[str] = set()
    root = Folder(storage.join(out, "images"))
    for record in records:
        inside = record.image_url.startswith(f"{root.url}/")
        path = record.image_url.removeprefix(f"{root.url}/") if inside else posixpath.basename(record.image_url)
        stem = posixpath.splitext(path)[0]
        if stem in stems:
            raise UserError(f"{record.where}: two images are called {stem}; write with links or copies of the images")
        stems.add(stem)
        lost["places of images"] += not inside
        lines = []
        for one in _drawn(record.label):
            key = ids.setdefault(one.label, len(ids))
            lost["isCrowd"] += one.isCrowd
            lost["area"] += one.area is not None
            lines += [f"{key} {numbers}\n" for numbers in _written(one, lost)]
        storage.write(storage.join(out, "labels", f"{stem}.txt"), "".join(lines))
        images += 1
    content = {"path": ".", "train": "images", "val": "images", "names": {i: name for name, i in ids.items()}}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    storage.write(storage.join(out, "data.yaml"), text)
    return Written(images, {name: count for name, count in lost.items() if count})


def _drawn(label: Label) -> Sequence[Any]:
    return label.boxes if isinstance(label, Boxes) else label.instances if isinstance(label, Polygons) else ()


def _written(one: Box | Instance, lost: Counter[str]) -> list[str]:
    """Return the numbers of an object's lines: YOLO has no object of several parts; a mask is traced."""
    if isinstance(one, Box):
        width, height = one.bottomX - one.topX, one.bottomY - one.topY
        return [f"{one.topX + width / 2!r} {one.topY + height / 2!r} {width!r} {height!r}"]
    parts, holes = traced(one.rle) if one.rle is not None else (one.polygon, 0)
    lost["holes"] += holes
    lost["objects without a pixel"] += not parts
    lost["parts (each is an object)"] += max(0, len(parts) - 1)
    return [" ".join(map(repr, part)) for part in parts]


FORMAT = Format("yolo", "YOLO (.txt)", (Boxes, Polygons), candidates, read, write, folder=True)
