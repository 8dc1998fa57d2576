"""A small server that speaks the REST protocol of Kubeflow's Model Registry, as far as its client asks."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

ROOT = "/api/model_registry/"


class FakeModelRegistry:
    """What the service holds, and the requests that it had; ``refuse`` gives a status to answer with, or None."""

    def __init__(self):
        self.models, self.versions, self.artifacts = {}, {}, {}
        self.requests, self.refuse, self.lock = [], lambda method, path: None, threading.Lock()

    def answer(self, method, path, query, body):
        self.requests.append((method, path))
        if status := self.refuse(method, path):
            return status, {"code": str(status), "message": "refused"}
        parts = path.removeprefix(ROOT).split("/")[1:]
        with self.lock:
            match (method, *parts):
                case ("GET", "registered_models"):
                    return self._page(self.models.values())
                case ("GET", "registered_model"):
                    return self._one(self.models, name=query["name"])
                case ("POST", "registered_models"):
                    return self._add(self.models, body, ("name",))
                case ("PATCH", "registered_models", number):
                    self.models[number] |= body
                    return 200, self.models[number]
                case ("GET", "registered_models", number, "versions"):
                    return self._page(v for v in self.versions.values() if v["registeredModelId"] == number)
                case ("GET", "model_version"):
                    return self._one(self.versions, name=query["name"], registeredModelId=query["parentResourceId"])
                case ("POST", "model_versions"):
                    return self._add(self.versions, body, ("name", "registeredModelId"))
                case ("POST", "model_versions", number, "artifacts"):
                    return self._add(self.artifacts, {**body, "of": number}, ("name", "of"))
                case ("GET", "model_artifact"):
                    return self._one(self.artifacts, name=query["name"], of=query["parentResourceId"])
        return 404, {"code": "404", "message": f"no such route: {method} {path}"}

    def _page(self, items):
        found = list(items)
        return 200, {"items": found, "nextPageToken": "", "pageSize": len(found), "size": len(found)}

    def _one(self, kind, **wanted):
        found = [one for one in kind.values() if wanted.items() <= one.items()]
        return (200, found[0]) if found else (404, {"code": "404", "message": "not found"})

    def _add(self, kind, body, unique):
        if any(all(one[key] == body[key] for key in unique) for one in kind.values()):
            return 409, {"code": "409", "message": "already exists"}
        number = str(len(kind) + 1)
        kind[number] = {**body, "id": number, "state": body.get("state") or "LIVE"}
        return 201, kind[number]


@contextlib.contextmanager
def model_registry():
    """Run the server and give (what it holds, its ``kubeflow://`` address)."""
    held = FakeModelRegistry()

    class Handler(BaseHTTPRequestHandler):
        def _any(self):
            split = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            content = json.loads(body) if body else {}
            status, told = held.answer(self.command, split.path, dict(parse_qsl(split.query)), content)
            data = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = _any

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield held, f"kubeflow://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
