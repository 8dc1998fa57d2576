"""What a command ends by and is not ours: permissions, names, disks, stores and the network. One line for each."""

from __future__ import annotations

import contextlib
import errno
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from automl_images.errors import UserError, explain_full_disk, first_line, redact, refusal

_MENDS = {
    errno.EACCES: "permission denied: give this user the right, or name another place",
    errno.EPERM: "not permitted: give this user the right, or name another place",
    errno.EROFS: "is on a file system that can only be read: name another place",
    errno.ENAMETOOLONG: "the name is too long: at most 255 bytes a part, 4095 in all",
    errno.ELOOP: "its links lead round in a circle",
    errno.ENOENT: "no such file or folder",
    errno.ENOTDIR: "a part of this path is a file, not a folder",
    errno.EISDIR: "is a folder; a file is needed",
    errno.EEXIST: "is in the way: there is a file already",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
    errno.EIO: "the disk or the store failed to read or write",
    errno.ESTALE: "the network's file system has lost it: mount it again",
}
# what an extra of the package brings, by the names that are imported
_EXTRAS = {
    **dict.fromkeys(("cv2", "joblib", "lightning", "psutil", "safetensors", "sklearn", "timm"), "train"),
    **dict.fromkeys(("torch", "torchvision"), "train"),
    **dict.fromkeys(("docker", "docstring_parser", "kfp", "kfp_server_api"), "pipelines"),
}
# ultralytics asks for the OpenCV with windows, which lies over the headless one and needs libraries of X
_WITHOUT_WINDOWS = "; pip uninstall opencv-python; pip install --force-reinstall --no-deps opencv-python-headless"
# drivers of stores and what they are made of; they are told by name, because none need be installed
_DRIVERS = re.compile(r"(s3fs|gcsfs|adlfs|fsspec|botocore|aiobotocore|aiohttp|google|azure|requests|urllib3|httpx)\b")
_TEMPORARY = re.compile(r"\.([^/]+)\.[0-9a-f]{32}$")  # storage writes beside a file, then renames
_OURS = tuple(str(p) for p in (Path(__file__).parent, Path(sys.prefix)))


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Make one line of what the machine, a store or the network refused; what else is raised goes on as it is.

    Raises:
        UserError: something was refused that is the caller's to mend; a full disk is a DiskFullError.
    """
    try:
        with explain_full_disk():
            yield
    except UserError:
        raise
    except Exception as error:
        line = _line(error)
        if line is None:
            raise
        raise UserError(redact(" ".join(line.split()))[:600]) from None


def _not_imported(error: ImportError) -> str | None:
    """Return what mends an import that failed; None: of a module of ours, or of one that no extra is known for."""
    missing = _top(error.name or "") if isinstance(error, ModuleNotFoundError) else ""
    if extra := _EXTRAS.get(missing):
        return f"there is no {missing}, which the extra {extra} brings: pip install 'automl-images[{extra}]'"
    frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    wants = next((name for name in map(_top, reversed(frames)) if name in _EXTRAS), None)
    if wants is None or _top(error.name or "") == _top(__name__):
        return None
    if not isinstance(error, ModuleNotFoundError):
        return f"{wants} does not load here: {error}" + (_WITHOUT_WINDOWS if wants == "cv2" else "")
    extra = _EXTRAS[wants]
    return f"{wants} is there without what it needs ({error}): pip install 'automl-images[{extra}]' brings it"


def _top(name: str) -> str:
    return name.partition(".")[0]


def _line(error: Exception) -> str | None:
    """Return what a person can do about an error; None: it is a fault of ours."""
    text = str(error) or type(error).__name__
    if isinstance(error, ImportError) and (line := _not_imported(error)):
        return line
    if isinstance(error, MemoryError):
        return "out of memory: give this machine or container more, or ask for less at a time"
    if isinstance(error, UnicodeEncodeError) and "surrogates" in text:
        return f"{error.object[:200]!r}: is not text: a name has bytes that are not UTF-8; rename it"
    if isinstance(error, ValueError) and "null byte" in text:
        return "a path has a NUL character: leave it out"
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    driver = next((e for e in chain if _DRIVERS.match(type(e).__module__)), None)
    if isinstance(error, OSError) and error.filename is not None and driver is None:
        name = _TEMPORARY.sub(r"\1", str(error.filename))
        if name.startswith(_OURS):
            return None
        return f"{name}: {_MENDS.get(error.errno or 0, error.strerror or text)}"
    away = isinstance(error, ConnectionError | TimeoutError) and not isinstance(error, BrokenPipeError)
    if driver is None and not away:
        return _MENDS.get(error.errno or 0) if isinstance(error, OSError) else None
    if isinstance(error, FileNotFoundError):
        return f"{text}: is not there"
    if isinstance(driver, Exception) and (refused := refusal(driver)):
        return refused.replace(first_line(driver), text)  # all of it: botocore's first line may say nothing
    return f"the store or the network: {text}; try again, or check its address and AWS_ENDPOINT_URL"
