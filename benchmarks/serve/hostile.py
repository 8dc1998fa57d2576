"""Requests that a client should not send: malformed, cut, lying about their length or size."""

from __future__ import annotations

import base64
import io
import json
import random
import struct
import zlib
from typing import Any

from PIL import Image

ODD: list[Any] = [
    *(None, 1e308, -1, "", "\ud800", "\x00", [], {}, [[]], True, "A" * 99999),
    *({"b64": None}, {"image": {"image": {}}}, "http://localhost/x.jpg", "file:///etc/passwd"),
]
Request = tuple[str, bytes, dict[str, str]]


def malformed(draw: random.Random, count: int) -> list[Request]:
    """Return malformed requests of KServe's V1 and Azure's form, each a path, a body and headers."""
    image, predict = png(32, 32), "/v1/models/m:predict"
    whole = json.dumps({"instances": [{"image": {"b64": b64(image)}}]}).encode()
    table = json.dumps({"input_data": {"columns": ["image"], "data": [b64(image)]}}).encode()
    found: list[tuple[str, bytes]] = []
    while len(found) < count:
        kind = draw.randrange(7)
        if kind == 0:
            spoilt = bytearray(draw.choice([whole, table, image]))
            for _ in range(draw.randint(1, 9)):
                spoilt[draw.randrange(len(spoilt))] = draw.randrange(256)
            found.append((predict, bytes(spoilt)))
        elif kind == 1:
            body = draw.choice([whole, table, image])
            found.append((predict, body[: draw.randrange(len(body))]))
        elif kind == 2:
            key = draw.choice(["instances", "input_data", "inputs", "\u0000"])
            found.append((predict, json.dumps({key: draw.choice(ODD)}).encode()))
        elif kind == 3:
            found.append((predict, json.dumps({"instances": draw.choices(ODD, k=draw.randint(1, 5))}).encode()))
        elif kind == 4:
            columns = draw.choice([["image"], ["a", "image"], "image", None, [], [["image"]]])
            rows = {"columns": columns, "data": draw.choices(ODD, k=3)}
            found.append((predict, json.dumps({"input_data": rows}).encode()))
        elif kind == 5:
            found.append((predict, draw.choice([b"[" * 99999, b'{"a":' * 9999, b"", b"\xff\xfe", b"NaN", b"9" * 400])))
        else:
            size = draw.choice([(65535, 65535), (1, 10**9), (10**9, 1), (0, 0), (20000, 20000)])
            cut = {"instances": [b64(claimed(*size))]}
            path = draw.choice([predict, "/v1/models/other:predict", "/v2/models/m/infer", "/v1/models/m:explain"])
            found.append((path, json.dumps(cut).encode()))
    return [(path, body, {}) for path, body in found]


def malformed_v2(draw: random.Random, count: int) -> list[Request]:
    """Return malformed requests of the Open Inference Protocol, JSON and binary."""
    image, path = png(32, 32), "/v2/models/m/infer"
    packed = struct.pack("<I", len(image)) + image
    found: list[Request] = []
    while len(found) < count:
        kind = draw.randrange(6)
        tensor: dict[str, Any] = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [b64(image)]}
        told: dict[str, Any] = {"inputs": [tensor]}
        if kind == 0:  # one of its values is another
            place = draw.choice([told, tensor])
            place[draw.choice(["name", "datatype", "shape", "data", "inputs", "id", "parameters", "outputs"])] = (
                draw.choice([value for value in ODD if value not in (None, {}, "", [])])
            )
            found.append((path, json.dumps(told).encode(), {}))
        elif kind == 1:  # bytes that are flipped or lacking
            body = bytearray(json.dumps(told).encode())
            body[: draw.randrange(9)] = bytes([draw.randrange(128, 256)])
            found.append((path, bytes(body), {}))
        elif kind == 2:  # shapes
            tensor["shape"] = draw.choice([[], [0], [-1], [2], [1, 2], [10**30], [1.5], "1", [[1]], [True], [1] * 999])
            found.append((path, json.dumps(told).encode(), {}))
        elif kind == 3:  # lengths of the JSON that are none
            length = draw.choice(["-1", "x", "", "9" * 30, "1e3", "0x10", "3", "0"])
            found.append((path, json.dumps(told).encode(), {"Inference-Header-Content-Length": length}))
        elif kind == 4:  # binary data that lie about their size
            del tensor["data"]
            data = draw.choice([packed[:-9], packed[4:], b"\xff" * 99, b"", bytes(4 * 4096), packed * 2])
            tensor["parameters"] = {"binary_data_size": draw.choice([len(data), len(data) + 1, -1, 10**12, "8", None])}
            head = json.dumps(told).encode()
            found.append((path, head + data, {"Inference-Header-Content-Length": str(len(head))}))
        else:
            size = draw.choice([(65535, 65535), (1, 10**9), (0, 0), (20000, 20000)])
            tensor["data"] = [b64(claimed(*size))]
            elsewhere = draw.choice([path, "/v2/models/other/infer", "/v2/models/m/versions/2/infer", "/v2/x"])
            found.append(
                (elsewhere, json.dumps(told).encode(), {"Content-Type": draw.choice(["image/png", "a\tb", ""])})
            )
    return found


def messages(draw: random.Random, count: int) -> list[bytes]:
    """Return bytes to send over gRPC as a `ModelInferRequest`: whole ones with wrong contents, and garbage."""
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as kserve

    image = png(32, 32)
    found: list[bytes] = []
    packed = struct.pack("<I", len(image)) + image
    while len(found) < count:
        kind = draw.randrange(4)
        raw = draw.choice([packed[:-9], b"\xff" * 99, bytes(4 * 4096), packed * 2])
        shape = draw.choice([[], [0], [-1], [2], [1, 2], [2**62]])
        tensor: dict[str, Any] = {"name": "image", "datatype": "BYTES", "shape": [1]}
        told: dict[str, Any] = {"model_name": "m", "inputs": [tensor], "raw_input_contents": [packed]}
        if kind == 0:
            told["raw_input_contents"] = [raw]
        elif kind == 1:
            tensor["shape"] = shape
        elif kind == 2:
            told |= draw.choice(
                [{"model_name": "other"}, {"model_version": "9"}, {"inputs": []}, {"inputs": [tensor] * 3}]
            )
        message = kserve.ModelInferRequest(**told).SerializeToString()
        found.append(message if kind < 3 else message[draw.randrange(1, 40) :] + draw.randbytes(9))
    return found


def b64(data: bytes) -> str:
    """Return base64."""
    return base64.b64encode(data).decode()


def png(width: int, height: int) -> bytes:
    """Return noise, as PNG."""
    file = io.BytesIO()
    Image.effect_noise((width, height), 60).convert("RGB").save(file, "PNG")
    return file.getvalue()


def jpeg(width: int, height: int) -> bytes:
    """Return noise, as JPEG."""
    file = io.BytesIO()
    Image.effect_noise((width, height), 60).convert("RGB").save(file, "JPEG", quality=60)
    return file.getvalue()


def bomb(width: int, height: int) -> bytes:
    """Return a whole PNG of zeros, of some hundred kilobytes."""
    packed, stream = [], zlib.compressobj(9)
    for _ in range(height):
        packed.append(stream.compress(bytes(1 + 3 * width)))
    return _chunks(width, height, b"".join(packed) + stream.flush())


def claimed(width: int, height: int) -> bytes:
    """Return a PNG whose header alone says that it is large."""
    return _chunks(width, height, b"x")


def _chunks(width: int, height: int, data: bytes) -> bytes:
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
