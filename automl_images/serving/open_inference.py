"""The Open Inference Protocol (KServe V2): requests in, answers out, over REST and gRPC alike.

One input, `image`: BYTES of shape [n] or [n, 1], an image file in each element. In JSON an element is base64; as binary
data (after the JSON, or in gRPC) it is the file's bytes, or base64 where the input's parameter `content_type` says so.
One output, `prediction`: BYTES of shape [n], each the JSON of an image's answer in Azure's shape.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from automl_images.errors import UserError
from automl_images.serving.requests import Limits, check_count, decode, parse

INPUT, OUTPUT = "image", "prediction"
LENGTH = "inference-header-content-length"  # of the JSON before binary data
INPUTS = [{"name": INPUT, "datatype": "BYTES", "shape": [-1]}]
OUTPUTS = [{"name": OUTPUT, "datatype": "BYTES", "shape": [-1]}]


@dataclass(frozen=True)
class Inference:
    """A request: its images as bytes and where each stands, its id (None: none) and whether binary data is wanted."""

    images: list[tuple[bytes, str]]
    id: str | None
    binary: bool


def read(body: bytes, json_length: str | None, model: str, limits: Limits = Limits()) -> Inference:
    """Return what a REST request asks for.

    Args:
        body: JSON, or JSON and binary data.
        json_length: the header `Inference-Header-Content-Length`, how many bytes the JSON has; None for all.
        model: the name of the path.
        limits: what the request may hold.

    Raises:
        UserError: it is malformed, asks for what is not known, or is beyond a limit; the line says where.
    """
    head, binary = body, b""
    if json_length is not None:
        if not json_length.isdecimal() or len(json_length) > 18 or int(json_length) > len(body):
            raise UserError(f"Inference-Header-Content-Length: is not a number from 0 to {len(body)}, the body's bytes")
        head, binary = body[: int(json_length)], body[int(json_length) :]
    request = parse(head)
    tensor = _tensor(request, {"model_name", "model_version"})
    for key, mine in (("model_name", (model, None)), ("model_version", ("", None))):
        if request.get(key) not in mine:
            raise UserError(f"{key}: is not that of the path")
    count, data, size = _count(tensor, limits), tensor.get("data"), _told(tensor).get("binary_data_size")
    if (data is None) == (size is None):
        raise UserError("inputs[0]: give its data or its binary_data_size, the one or the other")
    if size is not None:
        if type(size) is not int or size != len(binary):
            raise UserError(f"inputs[0]: its binary_data_size is not {len(binary)}, the bytes after the JSON")
        images = _wrapped(tensor, elements(binary, count, "inputs[0]"))
    else:
        if binary:
            raise UserError(f"the request has {len(binary)} bytes after the JSON that no input asks for")
        images = [(decode(v, w), w) for v, w in _placed(_flat(data, count))]
    return Inference(images, request.get("id"), _binary_output(request))


def read_message(message: Any, limits: Limits = Limits()) -> Inference:
    """Return what a gRPC `ModelInferRequest` asks for; its contents are bytes, raw or not.

    Raises:
        UserError: as for :func:`read`.
    """
    request: dict[str, Any] = {
        "id": message.id or None,
        "parameters": _parameters(message),
        "inputs": [
            {"name": t.name, "datatype": t.datatype, "shape": list(t.shape), "parameters": _parameters(t)}
            for t in message.inputs
        ],
        "outputs": [{"name": t.name, "parameters": _parameters(t)} for t in message.outputs],
    }
    tensor = _tensor(request, set())
    count, raw, plain = _count(tensor, limits), message.raw_input_contents, message.inputs[0].contents.bytes_contents
    if bool(raw) == bool(plain) or len(raw) > 1:
        raise UserError("inputs[0]: give its elements once, as bytes_contents or as raw_input_contents")
    values = elements(raw[0], count, "inputs[0]") if raw else list(plain)
    if len(values) != count:
        raise UserError(f"inputs[0]: has {len(values)} elements; its shape says {count}")
    _binary_output(request)  # an answer is raw in any case, which every client takes
    return Inference(_wrapped(tensor, values), request["id"], True)


def elements(data: bytes, count: int, where: str) -> list[bytes]:
    """Return the elements of a BYTES tensor, each of which stands after its length, 4 bytes little-endian.

    Raises:
        UserError: the data are not so many elements, neither more nor less.
    """
    found: list[bytes] = []
    at = 0
    while at + 4 <= len(data) and len(found) < count:
        start = at + 4
        at = start + int.from_bytes(data[at:start], "little")
        found.append(data[start:at])
    if at != len(data) or len(found) != count:
        raise UserError(f"{where}: its bytes are not {count} elements, each after its length in 4 bytes")
    return found


def packed(predictions: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the output's elements as binary data, the reverse of :func:`elements`."""
    texts = [json.dumps(p).encode() for p in predictions]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def answer(
    inference: Inference, predictions: Sequence[Mapping[str, Any]], model: str, version: str, request_id: str
) -> tuple[bytes, int | None]:
    """Return the body of a REST answer, and how many bytes its JSON has if there is binary data after it."""
    output: dict[str, Any] = {"name": OUTPUT, "datatype": "BYTES", "shape": [len(predictions)]}
    data = packed(predictions) if inference.binary else b""
    if inference.binary:
        output["parameters"] = {"binary_data_size": len(data)}
    else:
        output["data"] = [json.dumps(p) for p in predictions]
    told = {"model_name": model, "model_version": version, "id": inference.id or request_id, "outputs": [output]}
    head = json.dumps(told).encode()
    return head + data, len(head) if inference.binary else None


def _tensor(request: Any, more: set[str]) -> Mapping[str, Any]:
    """Return a request's one input; all that the request says is known then."""
    _known(request, {"id", "parameters", "inputs", "outputs", *more}, "the request")
    if not isinstance(request.get("id"), str | None) or len(request.get("id") or "") > 128:
        raise UserError("id: is not a text of at most 128 characters")
    _known(_told(request), {"binary_data_output"}, "parameters")
    inputs = request.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1:
        raise UserError(f"inputs: is not a list of one tensor, '{INPUT}'")
    tensor = inputs[0]
    _known(tensor, {"name", "datatype", "shape", "parameters", "data"}, "inputs[0]")
    if tensor.get("name") != INPUT or tensor.get("datatype") != "BYTES":
        raise UserError(f"inputs[0]: is not '{INPUT}' of datatype BYTES")
    told = _told(tensor)
    _known(told, {"binary_data_size", "content_type"}, "inputs[0].parameters")
    if told.get("content_type") not in (None, "base64"):
        raise UserError("inputs[0].parameters: content_type is base64, or left out for the files' own bytes")
    return tensor


def _told(mapping: Mapping[str, Any]) -> Any:
    """Return the parameters of a part of a request; null is none."""
    told = mapping.get("parameters")
    return {} if told is None else told


def _known(mapping: Any, names: set[str], where: str) -> None:
    if not isinstance(mapping, Mapping):
        raise UserError(f"{where}: is not an object")
    if unknown := sorted(set(mapping) - names):
        raise UserError(f"{where}: has {unknown[0]!r:.50}, which is not known; known are {', '.join(sorted(names))}")


def _count(tensor: Mapping[str, Any], limits: Limits) -> int:
    shape = tensor.get("shape")
    if not isinstance(shape, list) or any(type(n) is not int for n in shape) or shape[1:] not in ([], [1]):
        raise UserError("inputs[0].shape: is not [n] or [n, 1]")
    if not shape or shape[0] < 1:
        raise UserError("inputs[0].shape: is not of at least one image")
    check_count(shape[0], "inputs[0]", limits)
    return int(shape[0])


def _flat(data: Any, count: int) -> list[Any]:
    if not isinstance(data, list):
        raise UserError("inputs[0].data: is not a list")
    values = [v[0] if isinstance(v, list) and len(v) == 1 else v for v in data]
    if len(values) != count:
        raise UserError(f"inputs[0].data: has {len(values)} elements; its shape says {count}")
    return values


def _placed(values: Sequence[Any]) -> list[tuple[Any, str]]:
    return [(value, f"inputs[0].data[{i}]") for i, value in enumerate(values)]


def _wrapped(tensor: Mapping[str, Any], values: Sequence[bytes]) -> list[tuple[bytes, str]]:
    """Return binary elements as images' bytes."""
    if _told(tensor).get("content_type") != "base64":
        return _placed(values)
    return [(decode(value.decode("latin-1"), where), where) for value, where in _placed(values)]


def _binary_output(request: Mapping[str, Any]) -> bool:
    """Return whether the output is wanted as binary data; what is asked of no other output."""
    wanted = _told(request).get("binary_data_output", False)
    outputs = request.get("outputs") or []
    if not isinstance(outputs, list) or len(outputs) > 1:
        raise UserError(f"outputs: is not a list of '{OUTPUT}' alone")
    for output in outputs:
        _known(output, {"name", "parameters"}, "outputs[0]")
        if output.get("name") != OUTPUT:
            raise UserError(f"outputs[0]: is not '{OUTPUT}', the only output")
        _known(_told(output), {"binary_data"}, "outputs[0].parameters")
        wanted = _told(output).get("binary_data", wanted)
    if not isinstance(wanted, bool):
        raise UserError("binary_data: is neither true nor false")
    return wanted


def _parameters(message: Any) -> dict[str, Any]:
    return {k: getattr(v, v.WhichOneof("parameter_choice") or "", None) for k, v in message.parameters.items()}
