"""The Open Inference Protocol: tensors of images in, JSON or binary data out, and what is refused."""

import base64
import json
from types import SimpleNamespace

import pytest

from automl_images.errors import UserError
from automl_images.serving import open_inference
from automl_images.serving.open_inference import elements, packed, read, read_message
from automl_images.serving.requests import LimitError, Limits

A, B = b"\x89PNG one", b"\xff\xd8 two"
TEXTS = [base64.b64encode(data).decode() for data in (A, B)]


def request(shape=(2,), data=None, parameters=None, **more):
    tensor = {"name": "image", "datatype": "BYTES", "shape": list(shape), "parameters": parameters, "data": data}
    return {"inputs": [{k: v for k, v in tensor.items() if v is not None}], **more}


def raw(*values):
    return b"".join(len(v).to_bytes(4, "little") + v for v in values)


def body(told, binary=b""):
    head = json.dumps(told).encode()
    return head + binary, str(len(head)) if binary else None


@pytest.mark.parametrize(
    "sent",
    [
        body(request(data=TEXTS)),
        body(request((2, 1), [[TEXTS[0]], [TEXTS[1]]])),
        body(request(data=TEXTS, parameters={"content_type": "base64"})),
        body(request(data=[f"data:image/png;base64,{t}" for t in TEXTS])),
        body(request(parameters={"binary_data_size": len(raw(A, B))}), raw(A, B)),
        body(
            request(parameters={"binary_data_size": 28, "content_type": "base64"}),
            raw(*(t.encode() for t in TEXTS)),
        ),
    ],
    ids=["json", "column", "content-type", "data-url", "binary", "binary-base64"],
)
def test_images_come_as_base64_or_as_they_are(sent):
    found = read(*sent, "cells")
    assert [data for data, _ in found.images] == [A, B]
    assert [where for _, where in found.images] == ["inputs[0].data[0]", "inputs[0].data[1]"]
    assert (found.id, found.binary) == (None, False)


def parameter(value):
    kind = {str: "string_param", bool: "bool_param", int: "int64_param"}[type(value)]
    return SimpleNamespace(WhichOneof=lambda _: kind, **{kind: value})


def message(shape=(2,), contents=(), raws=(), **told):
    tensor = SimpleNamespace(
        name="image",
        datatype="BYTES",
        shape=shape,
        contents=SimpleNamespace(bytes_contents=contents),
        parameters={k: parameter(v) for k, v in told.items()},
    )
    return SimpleNamespace(id="7", parameters={}, inputs=[tensor], outputs=[], raw_input_contents=raws)


@pytest.mark.parametrize(
    "sent",
    [
        message(contents=[A, B]),
        message(raws=[raw(A, B)], binary_data_size=len(raw(A, B))),
        message(contents=[t.encode() for t in TEXTS], content_type="base64"),
    ],
    ids=["contents", "raw", "base64"],
)
def test_messages_of_grpc_are_read_alike(sent):
    found = read_message(sent)
    assert [data for data, _ in found.images] == [A, B] and found.id == "7"


@pytest.mark.parametrize(
    ("sent", "line"),
    [
        (message(), "give its elements once"),
        (message(contents=[A], raws=[raw(A)]), "give its elements once"),
        (message(contents=[A]), "has 1 elements; its shape says 2"),
        (message(raws=[raw(A)]), "its bytes are not 2 elements"),
        (message(contents=[A, B], threshold=1), "has 'threshold', which is not known"),
    ],
)
def test_messages_that_do_not_fit_are_refused(sent, line):
    with pytest.raises(UserError, match=line):
        read_message(sent)


WRONG = {
    "not-json": (b"{", None, "is not JSON"),
    "a-list": (b"[]", None, "the request: is not an object"),
    "length-beyond": (b"{}", "3", "Inference-Header-Content-Length: is not a number from 0 to 2"),
    "length-negative": (b"{}", "-1", "Inference-Header-Content-Length"),
    "length-text": (b"{}", "x", "Inference-Header-Content-Length"),
    "no-inputs": (*body({}), "inputs: is not a list of one tensor"),
    "two-inputs": (*body({"inputs": [1, 2]}), "inputs: is not a list of one tensor"),
    "input-number": (*body({"inputs": [1]}), r"inputs\[0\]: is not an object"),
    "another-name": (*body({"inputs": [{"name": "x", "datatype": "BYTES"}]}), "is not 'image' of datatype BYTES"),
    "pixels": (*body({"inputs": [{"name": "image", "datatype": "UINT8"}]}), "is not 'image' of datatype BYTES"),
    "shape-text": (*body({"inputs": [{"name": "image", "datatype": "BYTES", "shape": "2"}]}), "shape: is not"),
    "shape-true": (*body(request((True,), TEXTS)), "shape: is not"),
    "shape-minus": (*body(request((-1,), TEXTS)), "at least one image"),
    "shape-none": (*body(request((), TEXTS)), "at least one image"),
    "shape-square": (*body(request((1, 2), TEXTS)), "shape: is not"),
    "shape-other": (*body(request((3,), TEXTS)), "has 2 elements; its shape says 3"),
    "data-number": (*body(request(data=3)), "data: is not a list"),
    "element-number": (*body(request(data=[1, 2])), r"inputs\[0\].data\[0\]: is not an image as base64"),
    "url": (*body(request((1,), ["https://x/y.jpg"])), r"inputs\[0\].data\[0\]: is not base64"),
    "no-data": (*body(request()), "its data or its binary_data_size"),
    "both": (*body(request(data=TEXTS, parameters={"binary_data_size": 4}), b"1234"), "the one or the other"),
    "bytes-over": (*body(request(data=TEXTS), b"1234"), "4 bytes after the JSON that no input asks for"),
    "bytes-lacking": (*body(request(parameters={"binary_data_size": 9}), b"1234"), "is not 4, the bytes after"),
    "bytes-true": (*body(request(parameters={"binary_data_size": True}), b"1"), "is not 1, the bytes after"),
    "length-lies": (*body(request(parameters={"binary_data_size": 8}), b"\xff" * 8), "are not 2 elements"),
    "content-type": (*body(request(data=TEXTS, parameters={"content_type": "jpg"})), "content_type is base64"),
    "parameter": (*body(request(data=TEXTS, parameters={"size": 1})), r"inputs\[0\].parameters: has 'size'"),
    "parameters-list": (*body(request(data=TEXTS, parameters=[])), "parameters: is not an object"),
    "threshold": (*body({**request(data=TEXTS), "parameters": {"threshold": 0.5}}), "parameters: has 'threshold'"),
    "field": (*body(request(data=TEXTS, timeout=3)), "the request: has 'timeout', which is not known"),
    "id-number": (*body(request(data=TEXTS, id=7)), "id: is not a text"),
    "id-long": (*body(request(data=TEXTS, id="x" * 129)), "id: is not a text"),
    "model": (*body(request(data=TEXTS, model_name="other")), "model_name: is not that of the path"),
    "outputs": (*body(request(data=TEXTS, outputs=[{"name": "boxes"}])), "is not 'prediction', the only output"),
    "outputs-text": (*body(request(data=TEXTS, outputs="prediction")), "outputs: is not a list"),
    "binary-text": (
        *body(request(data=TEXTS, outputs=[{"name": "prediction", "parameters": {"binary_data": "yes"}}])),
        "binary_data: is neither true nor false",
    ),
}


@pytest.mark.parametrize(("sent", "length", "line"), WRONG.values(), ids=WRONG.keys())
def test_what_is_not_understood_is_refused_by_name(sent, length, line):
    with pytest.raises(UserError, match=line) as refused:
        read(sent, length, "cells")
    assert "\n" not in str(refused.value)


def test_a_shape_is_limited_before_its_elements_are_read():
    with pytest.raises(LimitError, match="has 16777216 images; send at most 256 at a time"):
        read(*body(request((1 << 24,), parameters={"binary_data_size": 4}), bytes(4)), "cells", Limits())


def test_an_answer_is_json_or_binary_data():
    found = [{"label": "é", "score": 0.5}, {"boxes": []}]
    told = open_inference.Inference([], "7", False)
    data, length = open_inference.answer(told, found, "cells", "v1", "r")
    assert length is None
    answered = json.loads(data)
    assert [answered[k] for k in ("model_name", "model_version", "id")] == ["cells", "v1", "7"]
    (output,) = answered["outputs"]
    assert [json.loads(t) for t in output["data"]] == found and output["shape"] == [2]
    told = read(
        *body(request(data=TEXTS, parameters=None, outputs=None) | {"parameters": {"binary_data_output": True}}), ""
    )
    data, length = open_inference.answer(told, found, "cells", "v1", "r")
    answered = json.loads(data[:length])
    assert answered["id"] == "r" and "data" not in answered["outputs"][0]
    assert answered["outputs"][0]["parameters"] == {"binary_data_size": len(data) - length}
    assert [json.loads(t) for t in elements(data[length:], 2, "")] == found
    assert elements(packed(found), 2, "") == [json.dumps(f).encode() for f in found]
