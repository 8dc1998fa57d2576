"""The gate before the server's application: what it lets through, what it refuses, and who hangs up."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from automl_images.serving.gate import Gate
from automl_images.serving.requests import Limits
from automl_images.serving.service import Queue, one_line, request_id
from tests.helpers.serving import Sizes, png, service

PREDICT, INFER = "/v1/models/cells:predict", "/v2/models/cells/infer"
FOUND = {"size": [8, 8]}


class Connection:
    """A client as ASGI sees it: it sends a body in parts, waits, and may hang up."""

    def __init__(self, body=None, method="POST", path=PREDICT, length=None, parts=1, headers=()):
        body = png() if body is None else body
        size = max(1, len(body) // parts)
        self.parts = [body[i : i + size] for i in range(0, len(body), size)] or [b""]
        length = len(body) if length is None else length
        given = [(b"content-length", str(length).encode())] if length != "" else []
        self.scope = {"type": "http", "method": method, "path": path, "headers": [*given, *headers]}
        self.gone, self.sent = asyncio.Event(), []

    async def receive(self):
        if self.parts:
            body = self.parts.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(self.parts)}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.sent.append(message)

    @property
    def status(self):
        return self.sent[0]["status"]

    @property
    def headers(self):
        return dict(self.sent[0]["headers"])

    @property
    def answer(self):
        return json.loads(self.sent[1]["body"])


class Model(Sizes):
    """Is busy while it is told to be."""

    def __init__(self):
        super().__init__()
        self.free, self.fault = threading.Event(), None
        self.free.set()

    def predict(self, images):
        assert self.free.wait(10)
        if self.fault:
            raise self.fault
        return super().predict(images)


def run(play, queue=Queue(), limits=Limits()):
    """Play a scene with a gate, whose service has one model, before an application that answers 200."""
    passed, model = [], Model()

    async def application(scope, receive, send):
        passed.append(scope.get("path", scope["type"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def main():
        with ThreadPoolExecutor(2) as decoders:
            shared, metrics = service(model, decoders, queue=queue, limits=limits)
            gate = Gate(application, shared)
            try:
                await asyncio.wait_for(play(gate, model), 20)
            finally:
                model.free.set()
                shared.models["cells"].version.batcher.close()
            assert (shared.waiting["cells"], shared.bytes) == (0, 0)
            return metrics.all

    return asyncio.run(main()), passed


async def through(gate, connection):
    await gate(connection.scope, connection.receive, connection.send)
    return connection


async def until(condition):
    while not condition():
        await asyncio.sleep(0.005)


def test_predictions_are_answered_and_what_reads_passes():
    async def play(gate, model):
        done = await through(gate, Connection(parts=5, headers=[(b"x-request-id", b"mine-7")]))
        assert (done.status, done.answer) == (200, FOUND)
        assert done.headers[b"x-request-id"] == b"mine-7" and done.headers[b"x-model-version"] == b"v1"
        tensor = {
            "name": "image",
            "datatype": "BYTES",
            "shape": [1],
            "parameters": {"binary_data_size": len(png()) + 4},
        }
        head = json.dumps({"inputs": [tensor]}).encode()
        body = head + len(png()).to_bytes(4, "little") + png()
        length = (b"Inference-Header-Content-Length", str(len(head)).encode())
        done = await through(gate, Connection(body, path=INFER, headers=[length]))
        assert done.status == 200 and done.answer["outputs"][0]["data"] == [json.dumps(FOUND)]
        assert done.answer["id"].encode() == done.headers[b"x-request-id"], "one is made"
        for path in ("/v1/models/cells", "/metrics", "/v2/health/ready"):
            assert (await through(gate, Connection(b"", "GET", path))).status == 200

    counted, passed = run(play)
    assert passed == ["/v1/models/cells", "/metrics", "/v2/health/ready"]
    assert counted["requests", "cells", "v1", 200] == counted["requests", "cells", "v2", 200] == 1
    assert counted["seconds", "cells", "v1"] == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v2/repository/models/cells/unload", 403),
        ("POST", "/v2/repository/models/cells/load", 403),
        ("POST", "/v1/models/cells:explain", 403),
        ("POST", "/v1/models/a/b:predict", 403),
        ("DELETE", PREDICT, 403),
        ("PUT", "/v1/models/cells", 403),
        ("POST", "/v2/models/cells/versions/1/infer", 404),
        ("GET", "/v2/models/cells/versions/1", 404),
        ("POST", "/v1/models/others:predict", 404),
    ],
)
def test_nothing_else_passes(method, path, status, caplog):
    async def play(gate, model):
        done = await through(gate, Connection(b"{}", method, path, headers=[(b"x-request-id", b"a b")]))
        assert done.status == status and list(done.answer) == ["error"]
        assert done.headers[b"x-request-id"] != b"a b", "not plain characters"

    counted, passed = run(play)
    assert passed == [] and sum(n for (what, *_), n in counted.items() if what == "refused") == 1
    assert len(caplog.records) == 1 and (path in caplog.text or "others" in caplog.text)


@pytest.mark.parametrize(
    ("body", "length"),
    [(b"x" * 101, None), (b"x" * 101, ""), (b"x", "9" * 400), (b"x", "-1"), (b"x" * 101, 50)],
    ids=["said", "not said", "400 digits", "negative", "a lie"],
)
def test_a_body_is_limited(body, length, caplog):
    async def play(gate, model):
        done = await through(gate, Connection(body, length=length, parts=3))
        assert (done.status, done.answer) == (413, {"error": "the body is larger than 100 bytes"})

    counted, _ = run(play, Queue(body=100))
    assert counted["refused", "body"] == len(caplog.records) == 1


def test_what_a_request_may_hold_is_said_by_the_answer_that_refuses_it():
    async def play(gate, model):
        done = await through(gate, Connection(json.dumps({"instances": ["a"] * 3}).encode()))
        assert (done.status, done.answer["error"]) == (400, "instances: has 3 images; send at most 2 at a time")
        done = await through(gate, Connection(png(11, 10)))
        assert done.status == 400 and "11 x 10 pixels; at most 100 are taken" in done.answer["error"]
        done = await through(gate, Connection(b"text"))
        assert done.status == 400 and model.batches == []

    counted, _ = run(play, limits=Limits(2, 100))
    assert (counted["refused", "limit"], counted["refused", "malformed"]) == (2, 1)


def test_what_is_refused_has_sent_its_body_unless_it_asked_first():
    async def play(gate, model):
        sending = Connection(b"x" * 150, parts=9)
        assert (await through(gate, sending)).status == 413 and sending.parts == []
        asking = Connection(b"x" * 150, parts=9, headers=[(b"expect", b"100-continue")])
        assert (await through(gate, asking)).status == 413 and len(asking.parts) == 10

    run(play, Queue(body=100))


def test_a_body_that_does_not_arrive_is_given_up():
    async def play(gate, model):
        connection = Connection(b"abc", length=10)
        connection.parts = []
        assert (await through(gate, connection)).status == 408
        assert gate.service.waiting["cells"] == 0

    counted, _ = run(play, Queue(seconds=0.1))
    assert counted["refused", "slow"] == 1


@pytest.mark.parametrize(
    ("queue", "line"),
    [
        (Queue(requests=2), "2 requests wait, which is the limit; come again"),
        (Queue(body=2 * len(png()), bodies=2 * len(png())), f"bodies of {2 * len(png())} bytes wait"),
    ],
    ids=["requests", "bytes"],
)
def test_what_would_wait_too_long_is_told_when_to_come_again(queue, line):
    async def play(gate, model):
        model.free.clear()
        waiting = [asyncio.create_task(through(gate, Connection())) for _ in range(2)]
        await until(lambda: gate.service.waiting["cells"] == 2)
        late = await through(gate, Connection())
        assert (late.status, late.headers[b"retry-after"]) == (503, b"1")
        assert late.answer["error"].startswith(line)
        assert (await through(gate, Connection(path="/x"))).status == 403, "a refusal needs no place"
        model.free.set()
        assert [c.status for c in await asyncio.gather(*waiting)] == [200, 200]
        assert (await through(gate, Connection())).status == 200

    counted, _ = run(play, queue)
    assert counted["refused", "busy"] == 1


def test_a_client_that_hangs_up_leaves_its_place_at_once():
    async def play(gate, model):
        model.free.clear()
        connection = Connection()
        task = asyncio.create_task(through(gate, connection))
        await until(lambda: gate.service.waiting["cells"] == 1)
        connection.gone.set()
        await task
        assert (gate.service.waiting["cells"], gate.service.bytes, connection.sent) == (0, 0, [])
        early = Connection()
        early.parts = []
        early.gone.set()
        await through(gate, early)
        assert early.sent == []

    counted, _ = run(play)
    assert counted["requests", "cells", "v1", 499] == 2


def test_a_fault_of_the_model_is_500_in_a_line_and_whole_in_the_log(caplog):
    async def play(gate, model):
        model.fault = IndexError("list index out of range")
        done = await through(gate, Connection(headers=[(b"x-request-id", b"r1")]))
        assert (done.status, done.answer) == (500, {"error": "the server failed; its log says why under the id r1"})

    counted, _ = run(play)
    assert counted["requests", "cells", "v1", 500] == 1 and "IndexError" in caplog.text and "r1" in caplog.text


def test_a_line_for_the_log_is_one_line():
    assert one_line("a\nerror: b\r\x1b[31m\u2028c" + "d" * 999) == ("a error: b [31m c" + "d" * 999)[:300]


def test_an_id_is_taken_if_it_is_plain():
    assert request_id("0af7651916cd43dd-8448:eb/2") == "0af7651916cd43dd-8448:eb/2"
    for given in (None, "", "a b", "a\n", "é", "x" * 129):
        made = request_id(given)
        assert made != given and len(made) == 32
