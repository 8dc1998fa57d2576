"""The gate before the server's application: what it lets through, what it refuses, and who hangs up."""

import asyncio
import json

import pytest

from automl_images.serving.gate import Gate, Queue, one_line

PREDICT = "/v1/models/cells:predict"


class Connection:
    """A client as ASGI sees it: it sends a body in parts, waits, and may hang up."""

    def __init__(self, body=b"{}", method="POST", path=PREDICT, length=None, parts=1, headers=()):
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


class Application:
    """Echoes bodies; holds them while it is told to."""

    def __init__(self):
        self.bodies, self.cancelled, self.free, self.seen = [], 0, asyncio.Event(), []
        self.free.set()

    async def __call__(self, scope, receive, send):
        self.seen.append((scope["method"], scope["path"], dict(scope["headers"])))
        if scope["method"] == "POST":
            self.bodies.append((await receive())["body"])
        try:
            await self.free.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


def run(play, queue=Queue()):
    async def main():
        application = Application()
        await play(application, Gate(application, queue))

    asyncio.run(asyncio.wait_for(main(), 20))


async def through(gate, connection):
    await gate(connection.scope, connection.receive, connection.send)
    return connection


def test_a_prediction_passes_whole():
    async def play(application, gate):
        done = await through(gate, Connection(b'{"instances": []}', parts=5, headers=[(b"ce-id", b"1"), (b"a", b"b")]))
        assert done.status == 200 and application.bodies == [b'{"instances": []}']
        assert b"ce-id" not in application.seen[0][2] and application.seen[0][2][b"a"] == b"b"
        assert (gate.requests, gate.bytes) == (0, 0)
        for path in ("/v1/models/cells", "/metrics", "/v2/health/ready"):
            assert (await through(gate, Connection(b"", "GET", path))).status == 200

    run(play)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/repository/models/cells/unload"),
        ("POST", "/v2/repository/models/cells/load"),
        ("POST", "/v2/models/cells/infer"),
        ("POST", "/v1/models/cells:explain"),
        ("POST", "/v1/models/a/b:predict"),
        ("DELETE", PREDICT),
        ("PUT", "/v1/models/cells"),
    ],
)
def test_nothing_else_passes(method, path, caplog):
    async def play(application, gate):
        done = await through(gate, Connection(b"{}", method, path))
        assert done.status == 403 and application.seen == []
        assert json.loads(done.sent[1]["body"]) == {"error": "nothing but POST /v1/models/NAME:predict is taken"}

    run(play)
    assert len(caplog.records) == 1 and path in caplog.records[0].getMessage()


@pytest.mark.parametrize(
    ("body", "length"),
    [(b"x" * 101, None), (b"x" * 101, ""), (b"x", "9" * 400), (b"x", "-1"), (b"x" * 101, 50)],
    ids=["said", "not said", "400 digits", "negative", "a lie"],
)
def test_a_body_is_limited(body, length, caplog):
    async def play(application, gate):
        done = await through(gate, Connection(body, length=length, parts=3))
        assert done.status == 413 and application.seen == []
        assert (gate.requests, gate.bytes) == (0, 0)

    run(play, Queue(body=100))
    assert len(caplog.records) == 1


def test_what_is_refused_has_sent_its_body_unless_it_asked_first():
    async def play(application, gate):
        sending = Connection(b"x" * 150, parts=9)
        assert (await through(gate, sending)).status == 413 and sending.parts == []
        asking = Connection(b"x" * 150, parts=9, headers=[(b"expect", b"100-continue")])
        assert (await through(gate, asking)).status == 413 and len(asking.parts) == 10

    run(play, Queue(body=100))


def test_a_body_that_does_not_arrive_is_given_up():
    async def play(application, gate):
        connection = Connection(b"abc", length=10)
        connection.parts = []
        assert (await through(gate, connection)).status == 408
        assert application.seen == [] and gate.requests == 0

    run(play, Queue(seconds=0.1))


@pytest.mark.parametrize("queue", [Queue(requests=2), Queue(body=4, bodies=8)], ids=["requests", "bytes"])
def test_what_would_wait_too_long_is_told_when_to_come_again(queue):
    async def play(application, gate):
        application.free.clear()
        waiting = [asyncio.create_task(through(gate, Connection(b"four"))) for _ in range(2)]
        while len(application.bodies) < 2:
            await asyncio.sleep(0.01)
        late = await through(gate, Connection(b"four"))
        assert (late.status, late.headers[b"retry-after"]) == (503, b"1")
        assert json.loads(late.sent[1]["body"])["error"] == "2 requests wait; come again"
        assert (await through(gate, Connection(b"five", path="/x"))).status == 403, "a refusal needs no place"
        application.free.set()
        assert [c.status for c in await asyncio.gather(*waiting)] == [200, 200]
        assert (await through(gate, Connection(b"four"))).status == 200

    run(play, queue)


def test_a_client_that_hangs_up_leaves_its_place_at_once():
    async def play(application, gate):
        application.free.clear()
        connection = Connection(b"four")
        task = asyncio.create_task(through(gate, connection))
        while not application.bodies:
            await asyncio.sleep(0.01)
        connection.gone.set()
        await task
        assert (application.cancelled, gate.requests, gate.bytes, connection.sent) == (1, 0, 0, [])
        early = Connection(b"four")
        early.parts = []
        early.gone.set()
        await through(gate, early)
        assert len(application.seen) == 1 and gate.requests == 0

    run(play)


def test_a_fault_of_the_application_is_not_hidden():
    async def failing(scope, receive, send):
        raise ZeroDivisionError

    async def main():
        gate = Gate(failing)
        with pytest.raises(ZeroDivisionError):
            await through(gate, Connection())
        assert gate.requests == 0

    asyncio.run(main())


def test_a_line_for_the_log_is_one_line():
    assert one_line("a\nerror: b\r\x1b[31m\u2028c" + "d" * 999) == ("a error: b [31m c" + "d" * 999)[:300]
