"""Where the images of a source lie. A path in an annotation file is not trusted: none leaves the image root."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import posixpath
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import PurePosixPath
from urllib.parse import unquote

from automl_images import storage
from automl_images.annotations.values import MISSING, FlawError
from automl_images.errors import UserError

_PLAIN = re.compile(r"\w[\w.-]*(?:/\w[\w.-]*)*", re.ASCII)  # a path without .. and what a store may take otherwise
IMAGE_SUFFIXES: tuple[str, ...] = (
    ".jpg",
    ".jpeg",
    ".png",
    ".jpe",
    ".jfif",
    ".bmp",
    ".tif",
    ".tiff",
    ".webp",
    ".gif",
    ".avif",
)
if importlib.util.find_spec("pillow_heif"):  # the extra heif
    IMAGE_SUFFIXES += (".heic", ".heif")
_STORES = {"s3", "s3a", "minio", "gs", "gcs", "az", "abfs", "abfss", "adl", "wasb", "wasbs"}
_STORES |= {"oci", "oss", "hdfs", "webhdfs", "http", "https", "hf", "memory"}


def check_name(path: str, what: str) -> None:
    """Refuse a path that cannot be written down: with a NUL, or a byte or half a character that is not Unicode.

    Raises:
        UserError: it is one; the line says ``what`` has it.
    """
    if path.isascii() and "\0" not in path:  # most are
        return
    with contextlib.suppress(UnicodeEncodeError):
        if b"\0" not in path.encode():
            return
    raise UserError(f"{what}: the path '{storage.redact(path)[:200]}' is not UTF-8 text without NUL; rename it")


@contextlib.contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn what a store's driver raises over an address that it cannot make sense of into a line.

    Raises:
        UserError: it raised so.
    """
    try:
        yield
    except (ValueError, NotImplementedError, TypeError, OSError) as error:
        raise UserError(f"{storage.redact(url)}: is no address to read from: {error}") from None


def is_image(name: str) -> bool:
    """Return whether a file is taken for an image, by its suffix in any case."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def passed_over(names: Iterable[str]) -> str:
    """Return how many files are passed over, by their suffixes, as ``2 .heic, 1 .md``; nothing if there are none."""
    counts = Counter(posixpath.splitext(name)[1].lower() or "without a suffix" for name in names if not is_image(name))
    return ", ".join(f"{count} {suffix}" for suffix, count in sorted(counts.items()))


class ImageRoot:
    """The folder below which images lie, and how a path in an annotation file becomes an address.

    The root is ``folder``, unless ``images`` is another. ``images`` may be ``PREFIX=URL`` too: addresses that begin
    with PREFIX (``AmlDatastore://store/``, ``azureml://.../paths/``, ``/data/upload``) are read below URL. ``listing``
    returns what :func:`storage.files_below` says of ``folder``, if that is known. ``guessed`` is filled with the files
    that are taken for what is written: {file: what is written}.
    """

    def __init__(
        self,
        folder: str,
        images: str | None = None,
        listing: Callable[[], list[str]] | None = None,
        guessed: dict[str, str] | None = None,
    ):
        self.prefix, target = _mapping(images)
        self.given = bool(images) and not self.prefix
        self.root = storage.inside(storage.absolute(images if images and not self.prefix else folder))
        self._listing = listing if listing and not self.given else lambda: storage.files_below(self.root)
        self._below, self._mapped = Folder(self.root), Folder(target)
        self._schemes = (_STORES | {_scheme(self.root), _scheme(target)}) - {"zip"}
        self._guessed: dict[str, str] = {} if guessed is None else guessed

    def resolve(self, path: str) -> str:
        """Return the address of an image: a relative path is below the root, a URL on a store is taken as it is.

        Raises:
            UserError: the path leaves the root, chains file systems (``::``), or names an unknown kind of store.
        """
        if "::" in path:
            raise UserError(f"the image address '{storage.redact(path)}' is not plain: chained addresses are refused")
        check_name(path, "the image")
        if self.prefix and _is_below(path, self.prefix):
            return self._mapped.join(path[len(self.prefix) :].lstrip("/"))
        scheme, found, rest = path.partition("://")
        if scheme == "zip" and found:
            return self._zipped(path, rest)
        if found and scheme.lower() in ("file", "local"):
            return self._absolute("/" + rest.lstrip("/"))
        if found:
            if scheme not in self._schemes:
                how = f"map it with images: '{scheme}://...=URL'"
                raise UserError(f"the image address '{storage.redact(path)}' is of no known store; {how}")
            return path
        return self._absolute(path) if path.startswith("/") else self._below.join(path)

    def find(self, path: str, folders: Sequence[str]) -> str:
        """Return the address of an image that lies in one of ``folders`` or, if its name is unique, anywhere.

        Where the name as it is written is not there, it is taken as percent-encoded, in another form of Unicode, in
        another case, and at last without its folders.

        Args:
            path: what the annotation file says, with or without a suffix.
            folders: relative to the root, in the order of preference.

        Raises:
            UserError: the path leaves the root, several images have its name, or none.
        """
        if path.startswith(storage.INLINE):
            return path
        plain = path.replace("\\", "/")
        mapped = bool(self.prefix) and _is_below(plain, self.prefix)
        if mapped or "://" in plain or "::" in plain or (plain.startswith("/") and not self.given):
            return self.resolve(plain)
        check_name(path, "the image")
        if plain.startswith("/"):
            try:
                return self._absolute(plain)
            except UserError:
                places = []
        else:
            places = [posixpath.normpath(posixpath.join(folder, plain)) for folder in folders]
        inside = [place for place in places if not place.startswith("../")]
        if not inside and not self.given:
            return self._below.join(places[0])
        found = next(filter(self._is_there, inside), None) or next(filter(self._is_there, _forms(inside)), None)
        return self._below.join(found or self._like(path, plain, inside))

    def _is_there(self, place: str) -> bool:
        if storage.is_local(self.root):  # without a listing, which a folder of a million files takes seconds for
            return os.path.isfile(storage.join(self.root, place))  # noqa: PTH113
        return place in self._files

    def _like(self, path: str, plain: str, places: Sequence[str]) -> str:
        """Return the one file whose path ends so or, as a last resort, whose path or name is like what is written."""
        forms = [posixpath.normpath(form).lstrip("/") for form in _forms([plain])]
        like = [f for name in sorted({_key(posixpath.basename(f)) for f in forms}) for f in self._by_name.get(name, ())]
        wanted, ends = {_key(form) for form in _forms(places)}, tuple(f"/{form}" for form in forms)
        fitting = (
            [f for f in like if _key(f) in wanted],
            [f for f in like if f"/{f}".endswith(ends)],
            [f for f in like if f"/{_key(f)}".endswith(tuple(map(_key, ends)))],
            like,
        )
        for found in fitting:
            if len(found) > 1:
                where = storage.redact(self.root)
                raise UserError(f"the image '{path}' may be {found[0]} or {found[1]} below {where}")
            if found:
                return found[0] if found is fitting[1] else self._guess(path, found[0])
        if places and not storage.is_local(self.root) and storage.exists(self._below.join(places[0])):  # if hidden
            return places[0]
        raise FlawError(
            f"the image '{path}' is not there: below {storage.redact(self.root)} no image has this name, nor does one "
            "when it is percent-decoded, in another Unicode form or case, or without its folders; name the folder with "
            "images: FOLDER, or what begins such paths with images: 'PREFIX=FOLDER'",
            MISSING,
        )

    def _guess(self, path: str, file: str) -> str:
        """Return a file that is taken for what is written; say the first, and refuse that two names lead to one."""
        if not self._guessed:
            print(f"images are found by names that are like those written: {path!a} is {file!a}", file=sys.stderr)
        other = self._guessed.setdefault(file, path)
        if other != path:
            raise UserError(f"the image '{path}' may be {file} by its name, and so may '{other}'")
        return file

    @cached_property
    def _files(self) -> frozenset[str]:
        with explained(self.root):
            return frozenset(self._listing())

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for file in sorted(self._files):
            if is_image(file):
                found.setdefault(_key(posixpath.basename(file)), []).append(file)
        return found

    def _zipped(self, path: str, plain: str) -> str:
        """Return an address in an archive, ``plain`` without its scheme, if it or the archive is below the root."""
        root = self.root.removeprefix("zip://")
        local = storage.is_local(root) and storage.is_local(plain)
        known, folder = (os.path.realpath(plain), os.path.realpath(root)) if local else (plain, root)
        if ".." in plain.split("/") or not _is_below(known, folder):
            raise UserError(f"the image '{storage.redact(path)}' lies outside {storage.redact(self.root)}")
        return path

    def _absolute(self, path: str) -> str:
        if storage.is_local(self.root):
            target, root = str(storage.local_path(path)), str(storage.local_path(self.root))
            for known, folder in ((target, root), (os.path.realpath(target), os.path.realpath(root))):
                if _is_below(known, folder):
                    return self._below.join(known[len(folder) :].lstrip("/"))
        raise UserError(
            f"the image '{path}' lies outside {storage.redact(self.root)}; name a folder above it with images: FOLDER, "
            "or what begins such paths with images: 'PREFIX=FOLDER'"
        )


class Folder:
    """A folder that no path below it leaves; where its links lead is found out once."""

    def __init__(self, url: str):
        self.url = url
        self._real = os.path.realpath(storage.local_path(url)) if storage.is_local(url) else None
        self._stays: dict[str, bool] = {}

    def join(self, relative: str) -> str:
        """Return the address of what ``relative`` names below the folder.

        Raises:
            UserError: ``relative`` is absolute, climbs out with ``..``, or is reached through a link that leaves the
                folder.
        """
        if _PLAIN.fullmatch(relative):  # most are: in a tenth of the time
            joined = f"{self.url.rstrip('/')}/{relative}"
            if self._real is None or self._holds(joined):
                return joined
        path = PurePosixPath(relative.replace("\\", "/"))
        depths = itertools.accumulate(-1 if part == ".." else 1 for part in path.parts)
        if path.is_absolute() or min(depths, default=0) < 0 or "://" in relative:
            raise UserError(f"the path '{relative}' leaves the image root {storage.redact(self.url)}")
        joined = storage.join(self.url, str(path))
        if self._real is not None and not self._holds(joined):
            raise UserError(f"the path '{relative}' leaves the image root {storage.redact(self.url)} through a link")
        return joined

    def _holds(self, address: str) -> bool:
        local = str(storage.local_path(address)) if ".." in address else address
        if os.path.islink(local):  # noqa: PTH114 (an image each: this is a quarter of Path's time)
            return _is_below(os.path.realpath(local), str(self._real))
        parent = local.rpartition("/")[0]
        if parent not in self._stays:
            self._stays[parent] = _is_below(os.path.realpath(parent or "/"), str(self._real))
        return self._stays[parent]


def _mapping(images: str | None) -> tuple[str, str]:
    prefix, equals, target = (images or "").partition("=")
    scheme = _scheme(prefix)
    if not images or not equals or (not scheme and storage.is_local(images) and storage.is_dir(images)):
        return "", ""
    if scheme in _STORES and not ("://" in target or target.startswith("/")):
        return "", ""
    if not prefix or not target:
        raise UserError(f"images: '{images}' maps to nothing; write PREFIX=URL")
    return prefix if scheme else prefix.replace("\\", "/"), storage.inside(storage.absolute(target))


def _forms(places: Sequence[str]) -> list[str]:
    """Return names as written, percent-decoded, in NFC and in NFD; then each with the suffixes that it may lack."""
    decoded = [place for place in map(unquote, places) if ".." not in place.split("/")]
    forms = [*places, *decoded, *(unicodedata.normalize(form, place) for form in ("NFC", "NFD") for place in places)]
    forms = list(dict.fromkeys(forms))
    return [*forms, *(form + suffix for suffix in IMAGE_SUFFIXES for form in forms if not is_image(form))]


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _is_below(path: str, prefix: str) -> bool:
    return path.startswith(prefix) and (prefix.endswith("/") or path[len(prefix) :][:1] in ("", "/"))


def _scheme(url: str) -> str:
    return url.partition("://")[0] if "://" in url else ""


def folder_of(url: str) -> str:
    """Return the folder of a file."""
    return os.path.dirname(storage.absolute(url))  # noqa: PTH120 (a URL is no Path)


def written_name(url: str, folder: str) -> str:
    """Return how a file in ``folder`` names another: relative where both are local and it lies below, else whole."""
    local = storage.is_local(url) and storage.is_local(folder)
    return url.removeprefix(f"{folder.rstrip('/')}/") if local else url
