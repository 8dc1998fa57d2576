"""Requests in, answers out: what the score file and the server share.

An image's bytes                                                  -> {...}
KServe V1  {"instances": [{"image": {"b64": "..."}}, ...]}        -> {"predictions": [{...}, ...]}
Azure v2   {"input_data": {"columns": ["image"], "data": [...]}}  -> [{...}, ...]

where {...} is one image's prediction in Azure's shape:

Detection       {"boxes": [{"box": {"topX", "topY", "bottomX", "bottomY"}, "label", "score"}, ...]}
Instances       detection's, in each box "polygon": [[x, y, ...], ...] too, or "mask": {"image_type", "image"}
Segmentation    {"classes": [all], "regions": [{"label", "rle"}, ...]}, or {"classes", "mask": {"image_type", "image"}}
Classification  {"probs": [one for each class], "labels": [the classes]}
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from automl_images.errors import UserError
from automl_images.faults import explained

if TYPE_CHECKING:
    from automl_images.prediction import ModelPredictor

_URL_SAFE = str.maketrans("-_", "+/")
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")  # others of Pillow's start programs, or are rare
MODELS = ("model.pt", "model.onnx")
_TOGETHER = 32, 16_000_000  # images, and pixels, that are decoded at a time


@dataclass(frozen=True)
class Limits:
    """What a request may hold: so many instances, and pixels an image, as its header says before it is decoded."""

    instances: int = 256
    pixels: int = 64_000_000


class LimitError(UserError):
    """A request that is well formed, and holds more than is taken."""


@dataclass(frozen=True)
class Asked:
    """A request's images, as bytes and the words for where each stands, and what makes its answer of predictions."""

    images: list[tuple[bytes, str]]
    shaped: Callable[[list[dict[str, Any]]], Any]


def answer(
    predictor: ModelPredictor,
    request: bytes | str | Mapping[str, Any],
    limits: Limits = Limits(),
    wanted: Callable[[], bool] = lambda: True,
) -> Any:
    """Return the predictions for a request, in the shape that its form asks for (see the top of this file).

    Args:
        predictor: what :func:`automl_images.prediction.load_model` returned.
        request: an image's bytes, or JSON as bytes, text or parsed. In both JSON forms an image is base64, as a bare
            string, ``{"b64": ...}`` or ``{"image": {"b64": ...}}``; in either alphabet, with or without padding, line
            ends, or ``data:image/png;base64,`` before it.
        limits: what it may hold.
        wanted: whether the answer still is; asked before each batch of images.

    Raises:
        UserError: the request is malformed or beyond a limit; the line says where.
        TimeoutError: the answer is no longer wanted.
    """
    asked = read(request, limits)
    return asked.shaped(_predict(predictor, asked.images, limits, wanted))


def read(request: bytes | str | Mapping[str, Any], limits: Limits = Limits()) -> Asked:
    """Return what a request asks for; the forms and what is raised are those of :func:`answer`."""
    if isinstance(request, bytes | bytearray | memoryview):
        request = bytes(request)
        if request.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] not in (b"{", b"["):
            return Asked([(request, "the request")], lambda found: found[0])
    if isinstance(request, bytes | str):
        request = parse(request)
    if isinstance(request, Mapping) and "instances" in request:
        return Asked(_images(request["instances"], "instances", limits), lambda found: {"predictions": found})
    if isinstance(request, Mapping) and "input_data" in request:
        return Asked(_images(_column(request["input_data"]), "input_data.data", limits), lambda found: found)
    raise UserError("the request has no 'instances' (KServe V1) and no 'input_data' (Azure)")


def find_model(root: str | Path) -> Path:
    """Return the one folder with a ``model.pt`` or ``model.onnx``: ``root`` itself, or one at most two levels below.

    Raises:
        UserError: there is none, or more than one.
    """
    root = Path(root)
    if any((root / name).exists() for name in MODELS):
        return root
    found = sorted({path.parent for name in MODELS for level in ("*", "*/*") for path in root.glob(f"{level}/{name}")})
    if len(found) != 1:
        few = "no model folder" if not found else f"{len(found)} model folders"
        raise UserError(f"{root}: has {few} there or at most two levels below; one is needed")
    return found[0]


def command(init: Callable[[], None], run: Callable[[Any], Any], arguments: Sequence[str]) -> int:
    """Print as JSON what a score file answers to the request (an image or JSON) in a file; return the exit code."""
    try:
        if len(arguments) != 1:
            raise UserError("give one file: python score.py image.jpg")
        try:
            request = Path(arguments[0]).read_bytes()
        except OSError as error:
            raise UserError(f"{arguments[0]}: cannot be read: {error.strerror}") from None
        with explained():
            init()
            print(json.dumps(run(request)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def parse(text: bytes | str) -> Any:
    """Return what JSON holds; UserError if it is none."""
    try:
        return json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"the request is not JSON: {error}") from None


def _column(table: Any) -> list[Any]:
    if not isinstance(table, Mapping) or not isinstance(table.get("data"), list):
        raise UserError('input_data: write {"columns": ["image"], "data": [base64, ...]}')
    columns = table.get("columns")
    if not isinstance(columns, list) or "image" not in columns:
        raise UserError("input_data.columns: has no 'image'")
    place, cells = columns.index("image"), []
    for i, value in enumerate(table["data"]):
        row = value if isinstance(value, list) else [value]  # Azure writes a table of one column without inner lists
        if len(row) != len(columns):
            raise UserError(f"input_data.data[{i}]: is not a row of {len(columns)} values")
        cells.append(row[place])
    return cells


def _images(values: Any, where: str, limits: Limits) -> list[tuple[bytes, str]]:
    """Return each image's bytes, and where it stands."""
    if not isinstance(values, list) or not values:
        raise UserError(f"{where}: is not a list of at least one image")
    check_count(len(values), where, limits)
    return [(decode(value, f"{where}[{i}]"), f"{where}[{i}]") for i, value in enumerate(values)]


def check_count(count: int, where: str, limits: Limits) -> None:
    """Raise LimitError for more images than a request may have."""
    if count > limits.instances:
        raise LimitError(f"{where}: has {count} images; send at most {limits.instances} at a time")


def decode(value: Any, where: str) -> bytes:
    """Return an image's bytes from any form of base64 that :func:`answer` takes; UserError says where it is none."""
    for key in ("image", "b64"):
        if isinstance(value, Mapping) and key in value:
            value = value[key]
    if not isinstance(value, str):
        raise UserError(f'{where}: is not an image as base64, "..." or {{"image": {{"b64": "..."}}}}')
    if value[:5].lower() == "data:":
        form, _, value = value.partition(",")
        if not form.lower().endswith(";base64"):
            raise UserError(f"{where}: is a data: URL that is not ;base64")
    plain = "".join(value.split()).translate(_URL_SAFE).rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise UserError(f"{where}: is not base64") from None


def _predict(
    predictor: ModelPredictor, images: Sequence[tuple[bytes, str]], limits: Limits, wanted: Callable[[], bool]
) -> list[dict[str, Any]]:
    """Predict images, few of them decoded at a time; all headers are looked at before the first is."""
    waiting = opened(images, limits)
    found: list[dict[str, Any]] = []
    while waiting:
        if not wanted():
            raise TimeoutError("the answer is no longer wanted")
        batch: list[Image.Image] = []
        pixels = 0
        while waiting and len(batch) < _TOGETHER[0] and (not batch or pixels + size(waiting[0][0]) <= _TOGETHER[1]):
            image, where = waiting.pop(0)
            pixels += size(image)
            load(image, where)
            batch.append(image)
        found += predictor.predict(batch)
    return found


def opened(images: Sequence[tuple[bytes, str]], limits: Limits) -> list[tuple[Image.Image, str]]:
    """Return images of which the headers alone have been read, all of them, before any is decoded.

    Raises:
        UserError: one is not an image; LimitError: one has too many pixels.
    """
    return [(_opened(data, where, limits), where) for data, where in images]


def load(image: Image.Image, where: str) -> None:
    """Decode an image; UserError if it cannot be."""
    try:
        image.load()
    except Exception:  # Pillow's readers raise whatever their parsing meets
        raise UserError(f"{where}: is not an image that opens") from None


def size(image: Image.Image) -> int:
    """Return how many pixels an image has."""
    return image.width * image.height


def _opened(data: bytes, where: str, limits: Limits) -> Image.Image:
    """Return an image of which the header alone has been read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit is ours
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError:
        raise LimitError(f"{where}: has more pixels than the {limits.pixels} that are taken; make it smaller") from None
    except Exception:  # as above
        raise UserError(f"{where}: is not an image that opens ({len(data)} bytes)") from None
    if size(image) > limits.pixels:
        sides = " x ".join(map(str, image.size))
        raise LimitError(f"{where}: has {sides} pixels; at most {limits.pixels} are taken: make it smaller")
    return image
