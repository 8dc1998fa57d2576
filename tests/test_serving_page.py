"""The page to try a model on: who gets it, and that it can load and run nothing but itself."""

import asyncio
import base64
import hashlib
import re

import pytest

from automl_images.serving.gate import Gate
from automl_images.serving.page import page

HTML = (b"accept", b"text/html,application/xhtml+xml,*/*;q=0.8")


def asked(path="/", method="GET", headers=(HTML,)):
    """Return what a gate sends, and what it passes on."""
    sent, passed = [], []

    async def application(scope, receive, send):
        passed.append(scope["path"])

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
    asyncio.run(Gate(application, type("Service", (), {"queue": None})())(scope, None, send))
    return sent, passed


def test_a_browser_gets_the_page():
    (start, body), passed = asked()
    assert not passed and start["status"] == 200 and body["body"] == page()[0]
    headers = dict(start["headers"])
    assert headers[b"content-type"] == b"text/html; charset=utf-8"
    assert headers[b"content-security-policy"].decode() == page()[1]


@pytest.mark.parametrize(
    ("path", "headers"), [("/", ()), ("/", [(b"accept", b"*/*")]), ("/metrics", [HTML]), ("/v1/models", [HTML])]
)
def test_others_get_what_kserve_has_there(path, headers):
    assert asked(path, headers=headers) == ([], [path])


def test_the_policy_names_all_that_the_page_may_run_and_ask():
    text, policy = page()[0].decode(), page()[1]
    for name in ("script", "style"):
        (content,) = re.findall(f"<{name}>(.*?)</{name}>", text, re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy
    assert not re.search(r"\b(src|href|style|on\w+)=", text), "nothing beside the two blocks"
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|https?://", text), "labels are text"
