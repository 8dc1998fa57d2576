"""Anchors: how many of the training boxes they can match, and others, fitted to the boxes, where those are too few."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from automl_images.models.yolov5_loss import fits
from automl_images.models.yolov5_network import STRIDES, Outputs

ENOUGH = 0.98  # of the training boxes: the usual anchors are kept where they can match so many
MOST = 5000  # boxes that anchors are fitted to, drawn from all
GENERATIONS, SPREAD, CHANCE = 300, 0.1, 0.9  # of the evolution: attempts; of a side's factor; of a side's change
SEED = 0


class Fitted(NamedTuple):
    """Anchors [n, 2], widths and heights in pixels by rising area, and the share of the boxes that they can match."""

    anchors: np.ndarray
    recall: float


def recall(shapes: np.ndarray, anchors: np.ndarray, anchor_t: float, iou_t: float) -> float:
    """Return the best possible recall: the share of shapes [n, 2] that at least one anchor [a, 2] can match."""
    found = sum(int(_fits(part, anchors, anchor_t, iou_t).any(1).sum()) for part in _parts(shapes))
    return found / len(shapes)


def fit(shapes: np.ndarray, count: int, anchor_t: float, iou_t: float) -> Fitted:
    """Return ``count`` anchors for shapes [n, 2], n at least 1, widths and heights in pixels: k-means, then evolution.

    The same shapes give the same anchors. Evolution changes sides at random and keeps what raises the fitness: the mean
    over the shapes of how near the best anchor is, 1 where it is equal, 0 where none can match.
    """
    rng = np.random.default_rng(SEED)
    drawn = rng.choice(shapes, MOST, replace=False) if len(shapes) > MOST else shapes
    best = _means(drawn, count)
    fitness = _fitness(drawn, best, anchor_t, iou_t)
    for _ in range(GENERATIONS):
        change = rng.random(best.shape) < CHANCE
        factor = np.exp(np.where(change, rng.normal(0, SPREAD * rng.random(), best.shape), 0))
        other = np.maximum(best * factor, 2)
        better = _fitness(drawn, other, anchor_t, iou_t)
        if better > fitness:
            best, fitness = other, better
    best = best[best.prod(1).argsort(kind="stable")]
    return Fitted(best, recall(shapes, best, anchor_t, iou_t))


def fitted(head: Outputs, shapes: np.ndarray, settings: Mapping[str, Any]) -> tuple[Tensor, str]:
    """Return a head's anchors for training objects, [3, anchors of a grid, 2] in strides, and what to say of them.

    With ``anchors`` in the settings they are fitted. Else those that the head has are kept where they can match
    `ENOUGH` of the objects, or where fitted ones could not match more.

    Args:
        head: of the network; its anchors are the usual ones, or those of the weights that training starts from.
        shapes: [n, 2], widths and heights in the input's pixels; without an object nothing is fitted.
        settings: ``anchors``, ``anchor_t`` and ``iou_t``.
    """
    strides = torch.tensor(STRIDES, dtype=torch.float32)[:, None, None]
    limits = float(settings["anchor_t"]), float(settings["iou_t"])
    own = (head.anchors.cpu() * strides).reshape(-1, 2).double().numpy()
    shapes = shapes[(shapes > 0).all(1)].astype(np.float64)
    if not len(shapes):
        return head.anchors, "; anchors kept, for there is no object"
    before = recall(shapes, own, *limits)
    if not settings["anchors"] and before >= ENOUGH:
        return head.anchors, f"; anchors kept: they can match {before:.3f} of the objects"
    found = fit(shapes, len(own), *limits)
    if not settings["anchors"] and found.recall <= before:
        less = f"fitted ones {found.recall:.3f}"
        return head.anchors, f"; anchors kept: they can match {before:.3f} of the objects, {less}"
    sizes = " ".join(f"{w:.0f}x{h:.0f}" for w, h in found.anchors)
    anchors = torch.from_numpy(found.anchors).float().reshape(head.anchors.shape) / strides
    said = f"they can match {found.recall:.3f} of them, those before {before:.3f}"
    return anchors, f"; anchors fitted to {len(shapes)} objects ({sizes}): {said}"


def _means(shapes: np.ndarray, count: int) -> np.ndarray:
    from scipy.cluster.vq import kmeans2

    distinct = np.unique(shapes, axis=0)
    if len(distinct) <= count:
        return np.maximum(np.resize(distinct, (count, 2)), 2)
    spread = np.maximum(shapes.std(0), 1e-9)
    # from shapes that are evenly spaced by area: no mean is left without a shape
    order = distinct[distinct.prod(1).argsort(kind="stable")]
    start = order[np.linspace(0, len(order) - 1, count).round().astype(int)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a mean without a shape stays where it was
        means, _ = kmeans2(shapes / spread, start / spread, iter=30, minit="matrix")
    return np.maximum(means * spread, 2)


def _fitness(shapes: np.ndarray, anchors: np.ndarray, anchor_t: float, iou_t: float) -> float:
    ratio = shapes[:, None] / anchors[None]
    near = np.minimum(ratio, 1 / ratio).min(2)
    return float((near * _fits(shapes, anchors, anchor_t, iou_t)).max(1).mean())


def _fits(shapes: np.ndarray, anchors: np.ndarray, anchor_t: float, iou_t: float) -> Any:
    return fits(torch.from_numpy(shapes), torch.from_numpy(anchors), anchor_t, iou_t).numpy()


def _parts(shapes: np.ndarray) -> list[np.ndarray]:
    """Return shapes in parts that do not fill the memory."""
    return [shapes[i : i + 100_000] for i in range(0, len(shapes), 100_000)]
