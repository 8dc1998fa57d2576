"""A box checked against its image's size."""

from __future__ import annotations

import dataclasses
from collections import Counter

from automl_images.annotations.records import Box
from automl_images.errors import UserError


def checked_box(box: Box, index: int, size: tuple[int, int], fix: bool, found: Counter[str]) -> Box | None:
    """Return the box as it is kept, or None; :mod:`automl_images.annotations.checks` has the rules.

    Args:
        box: the box.
        index: its place in the record, from 1, for the error line.
        size: the width and height that its corners are fractions of.
        fix: mend what would be refused.
        found: how often each flaw was met; counted up here.

    Raises:
        UserError: a flaw is refused.
    """
    left, top, right, bottom = box.topX, box.topY, box.bottomX, box.bottomY
    pixels = [v * s for v, s in zip((left, top, right, bottom), (*size, *size), strict=True)]
    said = f"box {index} ({box.label}) from ({pixels[0]:g}, {pixels[1]:g}) to ({pixels[2]:g}, {pixels[3]:g})"
    if right < left or bottom < top:
        if not fix:
            raise UserError(f"{said} ends before it begins")
        found["fixed_boxes"] += 1
        left, right, top, bottom = *sorted((left, right)), *sorted((top, bottom))
    if left == right or top == bottom:
        found["dropped_boxes"] += 1
        return None
    inside = [min(max(v, 0.0), 1.0) for v in (left, top, right, bottom)]
    if inside != [left, top, right, bottom]:
        beyond = max(-left * size[0], -top * size[1], (right - 1) * size[0], (bottom - 1) * size[1])
        if beyond > 1 + 1e-6:
            if not fix:
                raise UserError(f"{said} lies outside its image of {size[0]} x {size[1]} pixels by {beyond:.4g} pixels")
            found["fixed_boxes"] += 1
        else:
            found["clipped_boxes"] += 1
        if inside[0] >= inside[2] or inside[1] >= inside[3]:
            found["dropped_boxes"] += 1
            return None
    return dataclasses.replace(box, topX=inside[0], topY=inside[1], bottomX=inside[2], bottomY=inside[3])
