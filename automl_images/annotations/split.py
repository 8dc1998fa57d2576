"""Training, validation and test from one set of records, the same on every machine."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from automl_images import storage
from automl_images.annotations.imaging import digest_of
from automl_images.annotations.records import Record
from automl_images.errors import UserError

Pair = tuple[list[Record], list[Record]]


def split_random(records: Sequence[Record], ratio: float, seed: int, together: Sequence[int] | None = None) -> Pair:
    """Return (the rest, those split off), each in the records' order.

    A record's place depends on the seed and its position alone, through SHA-256, so that neither the machine nor the
    library's version has a say. At least one record is split off and one is not, a record that alone has a class
    stays, as a model cannot be scored on what it never saw, and records of one number in ``together`` stay together.

    Args:
        records: at least two.
        ratio: in (0, 1), the share that is split off.
        seed: another seed, another split.
        together: a number for each record; None: by its image, as :func:`same_images`.

    Raises:
        UserError: no record can be split off.
    """
    count, order, groups = _drawn(records, ratio, seed, together)
    waiting = {i: group for group in groups for i in group}
    left = _classes(records, range(len(records)))
    chosen: set[int] = set()
    for most in (count, len(records) - 1):  # the second where every group is larger than what may be split off
        for i in order:
            group = waiting[i]
            classes = _classes(records, group)
            if i not in chosen and len(chosen) + len(group) <= most and all(left[n] > classes[n] for n in classes):
                left.subtract(classes)
                chosen.update(group)
            if len(chosen) >= count:
                break
        if chosen:
            break
    return _parted(records, chosen)


def split_stratified(records: Sequence[Record], ratio: float, seed: int, together: Sequence[int] | None = None) -> Pair:
    """Return (the rest, those split off), so that each class is split in the same ratio.

    For the arguments, what stays together and what is refused see :func:`split_random`. An image counts for each class
    that it has something of: this is iterative stratification (Sechidis, Tsoumakas, Vlahavas 2011), which takes the
    class with the fewest images first, and for images of one class each is stratified splitting.
    """
    count, order, groups = _drawn(records, ratio, seed, together)
    place = {i: k for k, i in enumerate(order)}
    groups.sort(key=lambda group: min(place[i] for i in group))
    classes = [_classes(records, group) for group in groups]
    holders: defaultdict[str, set[int]] = defaultdict(set)
    for k, found in enumerate(classes):
        for name in found:
            holders[name].add(k)
    total = sum(classes, Counter())
    wanted = [{name: n * (len(records) - count) / len(records) for name, n in total.items()}]
    wanted.append({name: n - wanted[0][name] for name, n in total.items()})
    room, off = [float(len(records) - count), float(count)], set[int]()
    trained: Counter[str] = Counter()

    def assign(k: int, name: str | None) -> None:
        need = [(wanted[side][name] if name else 0.0, room[side]) for side in (0, 1)]
        stays = len(groups[k]) > count or not all(trained[n] for n in classes[k])
        side = 0 if stays or need[0] >= need[1] else 1
        room[side] -= len(groups[k])
        for n, many in classes[k].items():
            wanted[side][n] -= many
            holders[n].discard(k)
        if side:
            off.add(k)
        else:
            trained.update(classes[k])

    while waiting := [name for name in holders if holders[name]]:
        name = min(waiting, key=lambda name: (sum(classes[k][name] for k in holders[name]), name))
        for k in sorted(holders[name]):
            assign(k, name)
    for k, found in enumerate(classes):
        if not found:
            assign(k, None)
    # rare classes stay, each for itself: what is split off is made up from the classes that can best spare it
    lacking = count - sum(len(groups[k]) for k in off)
    spare = [min((trained[n] / total[n] for n in found), default=1.0) for found in classes]
    for k in sorted(set(range(len(groups))) - off, key=lambda k: (-spare[k], k)):
        if len(groups[k]) <= lacking and all(trained[n] > many for n, many in classes[k].items()):
            lacking -= len(groups[k])
            off.add(k)
            trained.subtract(classes[k])
    return _parted(records, {i for k in off for i in groups[k]})


def split_listed(records: Sequence[Record], lists: Mapping[str, Sequence[str]]) -> dict[str, list[Record]]:
    """Return the records that each list names, and under the empty name those that none does.

    A line names an image by its address, the end of its path, or its file's name with or without the suffix.

    Raises:
        UserError: a line names no image, or several, or one that another list has.
    """
    named: defaultdict[str, set[int]] = defaultdict(set)
    for i, record in enumerate(records):
        parts = record.image_url.split("/")
        for k in range(len(parts)):
            path = "/".join(parts[k:])
            named[path].add(i)
            named[posixpath.splitext(path)[0]].add(i)
    by_image = same_images(records, contents=False)
    owner: dict[int, str] = {}
    for part, lines in lists.items():
        for count, line in enumerate(lines, 1):
            if not (name := line.strip().removeprefix("./")):
                continue
            found = named.get(name, set())
            if len({by_image[i] for i in found}) != 1:
                what = (
                    "no image has this name" if not found else "several images have this name; write more of the path"
                )
                raise UserError(f"the list of {part}, line {count}: '{name[:200]}': {what}")
            for i in found:
                if owner.setdefault(i, part) != part:
                    raise UserError(f"the list of {part}, line {count}: '{name[:200]}' is in that of {owner[i]} too")
    parts_of: dict[str, list[Record]] = {name: [] for name in ("", *lists)}
    for i, record in enumerate(records):
        parts_of[owner.get(i, "")].append(record)
    return parts_of


def by_pattern(records: Sequence[Record], pattern: str) -> list[str]:
    """Return the group of each record: what the pattern's first group, or all of it, matches in the image's address.

    Raises:
        UserError: the pattern is no regular expression, or is not found in an address.
    """
    try:
        expression = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(f"split.pattern: '{pattern[:100]}' is no regular expression: {error}") from None
    groups = []
    for record in records:
        match = expression.search(record.image_url.rpartition("/")[2]) or expression.search(record.image_url)
        found = match and (match[1] if expression.groups else match[0])
        if found is None:
            url = storage.redact(record.image_url)
            raise UserError(f"split.pattern: '{pattern[:100]}' is not found in {url}, which is then of no group")
        groups.append(found)
    return groups


def by_metadata(records: Sequence[Record], key: str) -> list[str]:
    """Return the group of each record: what its metadata has at a key. The number 7 is of one group with the text 7.

    Raises:
        UserError: a record has none.
    """
    found = [(record.metadata or {}).get(key) for record in records]
    if lacking := [record for record, value in zip(records, found, strict=True) if value in (None, "")]:
        url = storage.redact(lacking[0].image_url)
        raise UserError(f"split.metadata: {len(lacking)} images have no '{key[:100]}', the first {url}; add it")
    return [str(int(value) if isinstance(value, float) and value.is_integer() else value) for value in found]


def joined(*partitions: Sequence[object]) -> list[int]:
    """Return a number for each thing, equal where any of the partitions has it together with another, however far."""
    parents = list(range(len(partitions[0])))

    def root(i: int) -> int:
        while parents[i] != i:
            parents[i] = i = parents[parents[i]]
        return i

    for partition in partitions:
        first: dict[object, int] = {}
        for i, group in enumerate(partition):
            one, other = root(first.setdefault(group, i)), root(i)
            parents[max(one, other)] = min(one, other)
    return [root(i) for i in range(len(parents))]


def same_images(records: Iterable[Record], contents: bool = True) -> list[int]:
    """Return a number for each record, equal where the image has the same address or, with ``contents``, bytes."""
    known: dict[str, int] = {}
    numbers = []
    for record in records:
        keys = [record.image_url]
        if contents and (digest := record.digest or _digest(record.image_url)):
            keys.append(digest)
        number = next((known[key] for key in keys if key in known), len(known))
        known.update(dict.fromkeys(keys, number))
        numbers.append(number)
    return numbers


def _drawn(
    records: Sequence[Record], ratio: float, seed: int, together: Sequence[int] | None
) -> tuple[int, list[int], list[list[int]]]:
    """Return how many are split off, the order in which they are drawn, and what stays together."""
    count = min(max(1, round(len(records) * ratio)), len(records) - 1)
    order = sorted(range(len(records)), key=lambda i: hashlib.sha256(f"{seed}:{i}".encode()).digest())
    groups: dict[int, list[int]] = {}
    for i, number in enumerate(same_images(records) if together is None else together):
        groups.setdefault(number, []).append(i)
    return count, order, list(groups.values())


def _classes(records: Sequence[Record], chosen: Iterable[int]) -> Counter[str]:
    """Return how many of the records have each class."""
    return Counter(name for i in chosen for name in set(records[i].label.names()))


def _parted(records: Sequence[Record], chosen: set[int]) -> Pair:
    if not chosen:
        raise UserError(
            "no image can validate: each is the only one of a class, or all are the same; add images, or give "
            "data.validation"
        )
    return [r for i, r in enumerate(records) if i not in chosen], [r for i, r in enumerate(records) if i in chosen]


def _digest(url: str) -> str | None:
    """Return the digest of a local image, for records of before they had it; None where it cannot be read."""
    try:
        return digest_of(storage.read_bytes(url)) if storage.is_local(url) else None
    except OSError:
        return None
