"""The page at ``/`` on which a person tries a model: one file that loads nothing from elsewhere."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any


@functools.cache
def page() -> tuple[bytes, str]:
    """Return the page, and the Content-Security-Policy that lets nothing run or be asked but what is in it."""
    text = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    parts = {name: re.search(f"<{name}>(.*?)</{name}>", text, re.S) for name in ("script", "style")}
    hashes = {name: _digest(found[1]) for name, found in parts.items() if found}
    rules = [f"{name}-src '{digest}'" for name, digest in hashes.items()]
    policy = ["default-src 'none'", *rules, "connect-src 'self' data:", "img-src data:", "base-uri 'none'"]
    return text.encode(), "; ".join([*policy, "form-action 'none'", "frame-ancestors 'none'"])


def wanted(scope: Mapping[str, Any]) -> bool:
    """Return whether a request (its ASGI scope) is a browser's for the page; to others ``/`` is KServe's liveness."""
    accepts = (value for name, value in scope["headers"] if name.lower() == b"accept")
    return scope["path"] == "/" and scope["method"] == "GET" and any(b"text/html" in value for value in accepts)


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
