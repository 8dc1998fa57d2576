"""Class names that may be meant as one."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable

_SHORT = 4  # letters below which another letter makes another word: cat and car


def nearly_equal(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the pairs of names, sorted, that differ in case, blanks or punctuation, or by one letter.

    One letter is one too many, another, or exchanged with its neighbour, as in RBC and RCB. Names of fewer than four
    letters count as different where a letter is another or missing, and all where it is a digit: a1 and a2.
    """
    plain = {name: re.sub(r"[\W_]+", "", name.casefold()) or name for name in sorted(set(names))}
    like: defaultdict[str, set[str]] = defaultdict(set)
    for name, letters in plain.items():
        for key in {letters, *(letters[:i] + letters[i + 1 :] for i in range(len(letters)))}:
            like[key].add(name)
    pairs = {pair for group in like.values() for pair in itertools.combinations(sorted(group), 2)}
    return sorted(pair for pair in pairs if _are_close(plain[pair[0]], plain[pair[1]]))


def _are_close(one: str, other: str) -> bool:
    start = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    one, other, length = one[start:], other[start:], max(len(one), len(other))
    if one == other:
        return True
    if any(letter.isdigit() for letter in one[:2] + other[:2]):
        return False
    if len(one) == len(other) > 1 and one[:2] == other[1::-1] and one[2:] == other[2:]:
        return True
    longest = one[1:] == other or one == other[1:] or one[1:] == other[1:]
    return length >= _SHORT and longest
