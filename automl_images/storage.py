"""Files anywhere fsspec reaches: local folders, ``s3://``, ``gs://``, ``memory://`` and the rest.

Listings are never cached. A write replaces an object whole or not at all, and ``create`` writes only what is not there
yet. Kubeflow's ``minio://`` addresses are read as S3 at the endpoint that ``AWS_ENDPOINT_URL`` names. A store that
gives no answer is asked again, for as long as :func:`patience` says.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from automl_images.archive import SCHEME
from automl_images.errors import UserError, http_status, redact
from automl_images.store import PATIENCE, T, ask, patience

INLINE = "data:image/"  # how an address begins that holds the file itself
_TRANSFERS = 16
_CREATING = threading.Lock()  # fsspec's memory looks, then writes; only threads share it


def is_local(url: str) -> bool:
    """Return whether ``url`` is a path on this machine."""
    return ("://" not in url and not url.startswith(INLINE)) or url.startswith(("file://", "local://"))


def on_machine(url: str) -> bool:
    """Return whether ``url`` is a path on this machine, or in an archive on it."""
    return is_local(url.removeprefix(SCHEME))


def inside(url: str) -> str:
    """Return the address of what a ``.zip`` file holds, or of the only folder in it, if that holds folders.

    Any other address stays as it is.
    """
    if not url.lower().endswith(".zip") or url.startswith(SCHEME) or (_info(url) or {}).get("type") != "file":
        return url
    root = SCHEME + url
    while len(held := [name for name in names(root) if name != "__MACOSX"]) == 1:
        only = join(root, *held)
        if not any(is_dir(join(only, name)) for name in names(only)):
            break
        root = only
    return root


def local_path(url: str) -> Path:
    """Return the path of a local ``url``, absolute; ``~`` is the home folder."""
    plain = os.path.expanduser(re.sub(r"^(file|local)://", "", url))  # noqa: PTH111
    return Path(os.path.abspath(plain))  # noqa: PTH100 (resolve() would follow links)


def at_home(argument: str) -> str:
    """Return a command's argument with ``~/`` at its beginning, or after its first ``=``, as the home folder."""
    return re.sub(r"^([^=]*=)?~(?=/)", lambda m: (m[1] or "") + os.path.expanduser("~"), argument)  # noqa: PTH111


def absolute(url: str) -> str:
    """Return ``url`` in the one form that is written down: an absolute path, or the remote URL without a last slash."""
    return str(local_path(url)) if is_local(url) else url.rstrip("/")


def join(root: str, *parts: str) -> str:
    """Return ``root`` with ``parts`` below it."""
    return "/".join([root.rstrip("/") or "/", *(p.strip("/") for p in parts)])


def exists(url: str) -> bool:
    """Return whether a file or folder is there."""
    return _info(url) is not None


def is_dir(url: str) -> bool:
    """Return whether a folder is there."""
    return (_info(url) or {}).get("type") == "directory"


def _info(url: str) -> dict[str, Any] | None:
    try:
        return ask(url, lambda fs, path: fs.info(path))  # fsspec's exists() is False for any error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG) or isinstance(
            error, FileNotFoundError | NotADirectoryError
        ):
            return None
        raise


def modified(url: str) -> float | None:
    """Return when a file was written, by its store's clock, in seconds since 1970; None: the store does not tell."""
    try:
        return ask(url, lambda fs, path: fs.modified(path)).timestamp()
    except NotImplementedError:
        return None


def check_regular(url: str) -> None:
    """Refuse a local pipe, socket or device, which reading would wait for.

    Raises:
        UserError: it is one.
    """
    if is_local(url) and (path := local_path(url)).exists() and not (path.is_file() or path.is_dir()):
        raise UserError(f"{redact(url)}: is no regular file")


def read_bytes(url: str, most: int | None = None) -> bytes:
    """Return a file's bytes, or the first ``most``.

    Raises:
        FileNotFoundError: there is none.
        UserError: as :func:`check_regular`.
    """
    check_regular(url)
    return ask(url, lambda fs, path: fs.cat_file(path, start=None if most is None else 0, end=most))


def read_text(url: str) -> str:
    """Return a file's text, UTF-8, with or without a byte-order mark."""
    return read_bytes(url).decode("utf-8-sig")


def open_text(url: str, mode: str = "r") -> Any:
    """Open a text file, UTF-8, to read or write line by line; the folders above a file to write are made."""

    def opened(fs: Any, path: str) -> Any:
        if "w" in mode:
            fs.makedirs(fs._parent(path), exist_ok=True)
        return fs.open(path, mode, encoding="utf-8-sig" if mode == "r" else "utf-8", newline="")

    check_regular(url)
    return ask(url, opened)


def write(url: str, data: bytes | str) -> None:
    """Write a file, replacing it whole: a reader sees the old content or the new, never a part."""
    content = data.encode() if isinstance(data, str) else data

    def put(fs: Any, path: str) -> None:
        if not isinstance(fs, LocalFileSystem):
            fs.pipe_file(path, content)
            return
        with _beside(Path(path), content) as temporary:
            temporary.replace(path)

    ask(url, put)


def create(url: str, data: bytes | str) -> bool:
    """Write a file if none is there; return whether this call wrote it.

    Exclusive between processes and machines where :func:`creates_once` says so; elsewhere it looks, then writes.
    """
    content, asked = data.encode() if isinstance(data, str) else data, 0

    def put(fs: Any, path: str) -> bool:
        nonlocal asked
        asked += 1
        try:
            if isinstance(fs, LocalFileSystem):
                with _beside(Path(path), content) as temporary:
                    os.link(temporary, path)  # atomic, and unlike O_EXCL never shows an empty file
            else:
                with _CREATING if isinstance(fs, MemoryFileSystem) else contextlib.nullcontext():
                    fs.pipe_file(path, content, mode="create")
            return True
        except FileExistsError:
            return False
        except OSError as error:
            status = http_status(error)
            if status == 412:  # s3fs makes a FileExistsError only of AWS's own wording
                return False
            if status != 501:
                raise
            if fs.exists(path):  # a store without conditional writes
                return False
            fs.pipe_file(path, content)
            return True

    # the answer to a write that was made may be lost, and the next one finds what this call wrote
    return ask(url, put) or (asked > 1 and read_bytes(url) == content)


def creates_once(url: str) -> bool:
    """Return whether the store of ``url`` itself refuses to create an object twice; ``url`` is there afterwards."""
    write(url, "")

    def refuses(fs: Any, path: str) -> bool:
        if isinstance(fs, LocalFileSystem):
            return not create(url, "")
        if not fs.async_impl and type(fs).pipe_file is fsspec.AbstractFileSystem.pipe_file:
            return False  # fsspec's own looks, then writes
        try:
            fs.pipe_file(path, b"", mode="create")
        except FileExistsError:
            return True
        except OSError as error:
            if http_status(error) in (412, 501):
                return http_status(error) == 412
            raise
        return False

    return ask(url, refuses)


@contextlib.contextmanager
def _beside(path: Path, data: bytes):
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    try:
        temporary.write_bytes(data)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def names(url: str) -> list[str]:
    """Return the sorted names in a folder, without hidden ones; an absent folder has none."""

    def listed(fs: Any, path: str) -> list[str]:
        if isinstance(fs, LocalFileSystem):  # in a fifth of the time that fsspec's listing takes
            return os.listdir(path)  # noqa: PTH208
        return [str(p).rstrip("/").rsplit("/", 1)[-1] for p in fs.ls(path, detail=False)]

    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(n for n in ask(url, listed) if n and not n.startswith("."))
    return []


def listed(url: str) -> dict[str, dict[str, Any]]:
    """Return what a store says of a file, or of those in a folder, by name."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return {str(i["name"]).rpartition("/")[2]: i for i in ask(url, lambda fs, path: fs.ls(path, detail=True))}
    return {}


def files_below(url: str) -> list[str]:
    """Return the sorted paths, relative to ``url``, of all files below it; hidden ones are left out.

    Raises:
        UserError: it is the root of this machine's file system, which has no end.
    """
    if is_local(url) and str(local_path(url)) == "/":
        raise UserError("/: is the whole machine, which is not searched; name a folder in it")

    def found(fs: Any, path: str) -> list[str]:
        root = path.rstrip("/") + "/" if path else ""  # of an archive
        return [str(p)[len(root) :] for p in fs.find(path)]

    return sorted(p for p in ask(url, found) if p and not any(part.startswith(".") for part in p.split("/")))


def read_many(urls: list[str]) -> list[bytes | None]:
    """Return the bytes of many files, fetched in parallel; None for those that are not there."""

    def read(url: str) -> bytes | None:
        try:
            return read_bytes(url)
        except FileNotFoundError:
            return None

    return [read(u) for u in urls] if all(map(is_local, urls)) else _parallel(read, urls)


def _parallel(work: Callable[[str], T], items: list[str]) -> list[T]:
    seconds = PATIENCE.get()  # which threads do not inherit

    def patiently(item: str) -> T:
        with patience(seconds):
            return work(item)

    with ThreadPoolExecutor(_TRANSFERS) as pool:
        return list(pool.map(patiently, items))


def put_folder(local: Path, url: str, last: str | None = None) -> None:
    """Copy a local folder to ``url``, replacing what is there. On this machine the change is one rename.

    On a store the file named ``last``, if there is one, is written when all others are there.
    """
    if is_local(url):
        target = local_path(url)
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.parent / f".{target.name}.{uuid.uuid4().hex}"
        shutil.copytree(local, fresh)
        remove(url)
        fresh.rename(target)
        return

    def put(name: str) -> None:
        ask(join(url, name), lambda fs, path: fs.put_file(str(local / name), path))

    remove(url)
    files = [str(f.relative_to(local)) for f in sorted(local.rglob("*")) if f.is_file()]
    _parallel(put, [f for f in files if f != last])
    _parallel(put, [f for f in files if f == last])


def get_folder(url: str, local: Path) -> Path:
    """Return a local folder with what lies below ``url``, itself or a copy in ``local``; UserError: there is none."""
    if not is_dir(url):
        raise UserError(f"{redact(url)}: no such folder")
    if is_local(url):
        return local_path(url)

    def get(name: str) -> None:
        (local / name).parent.mkdir(parents=True, exist_ok=True)
        ask(join(url, name), lambda fs, path: fs.get_file(path, str(local / name)))

    _parallel(get, files_below(url))
    return local


def copy_folder(source: str, target: str) -> None:
    """Copy all files below ``source`` to below ``target``, on any two stores."""

    def copy(name: str) -> None:
        write(join(target, name), read_bytes(join(source, name)))

    _parallel(copy, files_below(source))


def remove(url: str) -> None:
    """Remove a file or folder; nothing happens if it is not there."""
    with contextlib.suppress(FileNotFoundError):
        ask(url, lambda fs, path: fs.rm(path, recursive=True))
