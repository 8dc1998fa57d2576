"""The anchor-based YOLOv5's loss: which anchors learn which objects, and what they should say of them.

From the descriptions of YOLOv3 to v5 and the papers on complete IoU (Zheng et al. 2020) and focal loss (Lin et al.
2017). Boxes are in strides of their grid, each as centre x and y, width and height.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from automl_images.models.yolov5_network import centres, sizes

BALANCE = (4.0, 1.0, 0.4)  # of the three grids' objectness: the finest has most places, and its mean is smallest
PARTS = ("box_loss", "obj_loss", "cls_loss")


class Matches(NamedTuple):
    """What one grid learns: m pairs of a place and an object.

    ``image``, ``anchor``, ``row``, ``column`` [m] name the places, ``box`` [m, 4] is relative to the cell's corner,
    ``label`` [m].
    """

    image: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    box: Tensor
    label: Tensor


class AnchorLoss:
    """The loss by the settings ``box, cls, cls_pw, obj, obj_pw, iou_t, anchor_t, fl_gamma`` at an input of ``size``.

    The losses of boxes and classes are means over the pairs of all grids together, times the number of grids. A mean of
    each grid by itself, as in descriptions of YOLOv5, gives the few pairs of a coarse grid a third of the gradient:
    where objects are small against the input, that is a batch's one or two, and the network learns from their noise.
    """

    def __init__(self, settings: Mapping[str, Any], size: int):
        names = ("box", "cls", "obj", "cls_pw", "obj_pw", "iou_t", "anchor_t", "fl_gamma")
        self.box, self.cls, self.obj, self.cls_pw, self.obj_pw, self.iou_t, self.anchor_t, self.gamma = (
            float(settings[name]) for name in names
        )
        self.size = size

    def __call__(
        self, network: Any, levels: Sequence[Tensor], image: Tensor, labels: Tensor, boxes: Tensor
    ) -> dict[str, Tensor]:
        """Return the parts, each times the images of the batch.

        Args:
            network: the `AnchorNetwork` whose outputs the levels are.
            levels: its outputs in training mode.
            image, labels: of each object, int64 [n].
            boxes: [n, 4] centre x and y, width and height as shares of the input's sides.
        """
        anchors, classes = network.head.anchors, network.head.classes
        objectness = levels[0].new_zeros(())
        misses, errors = [], []  # of each pair
        for level, own, balance in zip(levels, anchors, BALANCE, strict=True):
            height, width = level.shape[2:4]
            scaled = boxes * boxes.new_tensor([width, height, width, height])
            found = match(scaled, image, labels, own, (height, width), self.anchor_t, self.iou_t)
            wanted = torch.zeros_like(level[..., 4])
            if len(found.label):
                place = (found.image, found.anchor, found.row, found.column)
                output = level[place]
                values = output[:, :4].sigmoid()
                predicted = torch.cat([centres(values[:, :2]), sizes(values[:, 2:], own[found.anchor])], 1)
                iou = complete_iou(predicted, found.box)
                misses.append(1 - iou)
                flat = wanted.view(-1)
                # of several objects at one place, the one that is found best says what it should
                flat.scatter_reduce_(0, _flat(place, wanted.shape), iou.detach().clamp(0, 1), "amax")
                one = F.one_hot(found.label, classes).to(output.dtype)
                errors.append(self._cross_entropy(output[:, 5:], one, self.cls_pw).mean(1))
            objectness = objectness + balance * self._cross_entropy(level[..., 4], wanted, self.obj_pw).mean()
        box, right = (
            len(levels) * torch.cat(of_pairs).mean() if of_pairs else objectness.new_zeros(())
            for of_pairs in (misses, errors)
        )
        images = len(levels[0])
        gains = self.box, self.obj * (self.size / 640) ** 2, self.cls * classes / 80
        return {n: g * v * images for n, g, v in zip(PARTS, gains, (box, objectness, right), strict=True)}

    def _cross_entropy(self, logits: Tensor, wanted: Tensor, positive: float) -> Tensor:
        """Return the binary cross-entropy of each output; with ``fl_gamma`` what is nearly right already weighs less.

        The focal factor is ``|wanted - predicted| ** gamma``, Lin's for hard targets. Its balance alpha is left out:
        that is what the weight of positives is for.
        """
        each = F.binary_cross_entropy_with_logits(
            logits, wanted, pos_weight=logits.new_tensor(positive), reduction="none"
        )
        if self.gamma:
            each = each * (wanted - logits.sigmoid()).abs() ** self.gamma
        return each


def match(
    boxes: Tensor,
    image: Tensor,
    labels: Tensor,
    anchors: Tensor,
    grid: tuple[int, int],
    anchor_t: float,
    iou_t: float,
) -> Matches:
    """Return which places of one grid learn which objects.

    An anchor learns an object if it fits it by :func:`fits`, in the cell where the object's centre is and in the two
    next to it that are nearest to the centre, if they are within the grid.

    Args:
        boxes: [n, 4] in strides of the grid.
        image, labels: [n], int64.
        anchors: [a, 2], widths and heights in strides.
        grid: its height and width in cells.
        anchor_t, iou_t: see :func:`fits`.
    """
    anchor, which = fits(boxes[:, 2:], anchors, anchor_t, iou_t).T.nonzero(as_tuple=True)
    centre = boxes[which, :2]
    height, width = grid
    limit = torch.tensor([width, height], device=boxes.device)
    cell = centre.floor().long().minimum(limit - 1).clamp(min=0)
    nearer = torch.where(centre - cell < 0.5, -1, 1)  # towards which neighbour, along x and y
    steps = torch.zeros(3, len(which), 2, dtype=torch.long, device=boxes.device)
    steps[1, :, 0], steps[2, :, 1] = nearer[:, 0], nearer[:, 1]
    cells = cell + steps
    inside = ((cells >= 0) & (cells < limit)).all(2)
    _, pair = inside.nonzero(as_tuple=True)
    cells = cells[inside]
    which, anchor = which[pair], anchor[pair]
    relative = torch.cat([boxes[which, :2] - cells, boxes[which, 2:]], 1)
    return Matches(image[which], anchor, cells[:, 1], cells[:, 0], relative, labels[which])


def fits(shapes: Tensor, anchors: Tensor, anchor_t: float, iou_t: float) -> Tensor:
    """Return bool [n, a]: whether each anchor [a, 2] can learn an object of each shape [n, 2], widths and heights.

    It can if neither has a side more than ``anchor_t`` times the other's and, on one centre, they overlap (IoU) by more
    than ``iou_t``; 0 asks for no overlap.
    """
    ratio = shapes[:, None] / anchors[None].clamp(min=1e-9)
    within = torch.maximum(ratio, 1 / ratio.clamp(min=1e-9)).amax(2) <= anchor_t
    shared = torch.minimum(shapes[:, None], anchors[None]).prod(2)
    iou = shared / (shapes.prod(1)[:, None] + anchors.prod(1)[None] - shared).clamp(min=1e-9)
    return within & (iou > iou_t)


def complete_iou(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Return the complete IoU [n] of boxes [n, 4]: IoU less how far centres and proportions are apart; at most 1."""
    low = torch.maximum(predicted[:, :2] - predicted[:, 2:] / 2, wanted[:, :2] - wanted[:, 2:] / 2)
    high = torch.minimum(predicted[:, :2] + predicted[:, 2:] / 2, wanted[:, :2] + wanted[:, 2:] / 2)
    shared = (high - low).clamp(min=0).prod(1)
    iou = shared / (predicted[:, 2:].prod(1) + wanted[:, 2:].prod(1) - shared + 1e-7)
    outer = (
        (
            torch.maximum(predicted[:, :2] + predicted[:, 2:] / 2, wanted[:, :2] + wanted[:, 2:] / 2)
            - torch.minimum(predicted[:, :2] - predicted[:, 2:] / 2, wanted[:, :2] - wanted[:, 2:] / 2)
        )
        .square()
        .sum(1)
    )
    apart = (predicted[:, :2] - wanted[:, :2]).square().sum(1) / (outer + 1e-7)
    angles = [torch.atan2(one[:, 2], one[:, 3]) for one in (predicted, wanted)]
    shape = 4 / math.pi**2 * (angles[0] - angles[1]).square()
    with torch.no_grad():
        weight = shape / (1 - iou + shape + 1e-7)
    return iou - apart - weight * shape


def _flat(place: Sequence[Tensor], shape: torch.Size) -> Tensor:
    """Return the flat index of places [m] in a tensor of a shape."""
    flat = place[0]
    for index, side in zip(place[1:], shape[1:], strict=True):
        flat = flat * side + index
    return flat
