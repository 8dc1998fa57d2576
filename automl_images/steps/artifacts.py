"""Where the artifacts of KFP lie, and what lies beside them."""

from __future__ import annotations

import os
from typing import Any

from automl_images import storage


def address(artifact: Any) -> str:
    """Return where a KFP artifact lies: its path here, or on a cluster its URI, as the path is its pod's alone."""
    return artifact.path if storage.is_local(artifact.uri) else artifact.uri


def neighbour(artifact: Any, name: str) -> str:
    """Return the address of a file or folder beside a KFP artifact."""
    return f"{address(artifact).rpartition('/')[0]}/{name}"


def bucket_root(uri: str) -> str:
    """Return where ledgers and models lie when no storage is named: the bucket (or folder) that an artifact is in."""
    scheme, found, rest = uri.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/automl-images" if found else os.path.dirname(uri)  # noqa: PTH120
