"""Images that look alike: photographs of one scene, one image in two sizes or qualities."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from automl_images.annotations.imaging import opened, upright

_BITS, _NEAR, _THREADS = 64, 4, 16
_BANDS = _NEAR + 1  # two hashes that differ in so few bits are equal in one band at least


def perceptual_hash(url: str) -> int:
    """Return the 64 bits of an image's perceptual hash (pHash), of the image as it is shown.

    They say which of the 8 x 8 lowest frequencies of its 32 x 32 greys (a cosine transform) are above their median; see
    https://www.phash.org and the package imagehash, whose bits these are.

    Raises:
        UserError: it is missing, or does not open.
    """
    from scipy.fft import dct

    with opened(url) as (image, _):
        image.draft("L", (128, 128))
        greys = upright(image).convert("L").resize((32, 32), Image.Resampling.LANCZOS)
    low = dct(dct(np.asarray(greys), axis=0), axis=1)[:8, :8]
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def alike(urls: Sequence[str]) -> list[int]:
    """Return a number for each image, equal where the perceptual hashes differ in at most 4 of 64 bits, however far.

    Every image is opened, in parallel. Images of one plain colour all look alike.

    Raises:
        UserError: as :func:`perceptual_hash`.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        hashes = list(pool.map(perceptual_hash, urls))
    numbers = {value: i for i, value in reversed(list(enumerate(hashes)))}
    roots = {value: value for value in numbers}

    def root(value: int) -> int:
        while roots[value] != value:
            roots[value] = value = roots[roots[value]]
        return value

    for band in range(_BANDS):
        low, high = band * _BITS // _BANDS, (band + 1) * _BITS // _BANDS
        equal: defaultdict[int, list[int]] = defaultdict(list)
        for value in numbers:
            equal[value >> low & (1 << high - low) - 1].append(value)
        for group in equal.values():
            for i, one in enumerate(group):
                for other in group[i + 1 :]:
                    if (one ^ other).bit_count() <= _NEAR:
                        roots[root(one)] = root(other)
    return [numbers[root(value)] for value in hashes]
