"""torchvision's detection reference, reduced to its recipe: mirrored images, batches of like shapes, SGD, float32."""

from __future__ import annotations

import bisect
import random
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops.misc import FrozenBatchNorm2d
from torchvision.transforms.functional import hflip, pil_to_tensor

from automl_images.annotations import Record
from benchmarks.classification.stopwatch import DEVICE, ON_GPU, synchronize

_BINS = 3  # of aspect ratios on either side of a square, as the reference's own --aspect-ratio-group-factor


class Pictures(Dataset):
    """Records as the recipe's images and targets, decoded whenever they are asked for."""

    def __init__(self, records: Sequence[Record], classes: Sequence[str]):
        self.records, self.classes = records, list(classes)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, i: int) -> tuple[Tensor, dict[str, Tensor]]:
        record = self.records[i]
        with Image.open(record.image_url) as file:
            image = pil_to_tensor(file.convert("RGB"))
        height, width = image.shape[1:]
        corners = [(b.topX * width, b.topY * height, b.bottomX * width, b.bottomY * height) for b in record.label.boxes]
        boxes = torch.tensor(corners).reshape(-1, 4)
        if random.random() < 0.5:
            image, boxes = hflip(image), boxes[:, [2, 1, 0, 3]]
            boxes[:, [0, 2]] = width - boxes[:, [0, 2]]
        labels = torch.tensor([self.classes.index(b.label) + 1 for b in record.label.boxes], dtype=torch.int64)
        return image.float() / 255, {"boxes": boxes, "labels": labels}


class LikeShapes(BatchSampler):
    """Batches of images whose aspect ratios are of one bin."""

    def __init__(self, records: Sequence[Record], size: int):
        edges = sorted(2 ** (k / _BINS) for k in range(-_BINS, _BINS + 1))
        self.bins = [bisect.bisect_right(edges, (r.width or 1) / (r.height or 1)) for r in records]
        super().__init__(RandomSampler(records), size, drop_last=False)

    def __iter__(self) -> Iterator[list[int]]:
        waiting = defaultdict(list)
        for i in self.sampler:
            waiting[self.bins[i]].append(i)
            if len(waiting[self.bins[i]]) == self.batch_size:
                yield waiting.pop(self.bins[i])
        yield from waiting.values()


def train(
    records: Sequence[Record],
    classes: Sequence[str],
    state: Mapping[str, Tensor],
    epochs: int,
    batch: int,
    workers: int,
    network: str,
    sizes: tuple[int, int],
) -> float:
    """Train a Faster R-CNN from a backbone's weights, its norms frozen, and return the seconds."""
    begun = time.perf_counter()
    backbone = resnet_fpn_backbone(
        backbone_name=network, weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=5
    )
    backbone.body.load_state_dict(state, strict=False)
    model = FasterRCNN(backbone, num_classes=len(classes) + 1, min_size=sizes[0], max_size=sizes[1]).to(DEVICE).train()
    loader = DataLoader(
        Pictures(records, classes),
        batch_sampler=LikeShapes(records, batch),
        num_workers=workers,
        pin_memory=ON_GPU,
        collate_fn=lambda rows: tuple(zip(*rows, strict=True)),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0025, momentum=0.9, weight_decay=1e-4)
    for _ in range(epochs):
        for images, targets in loader:
            losses = model(
                [image.to(DEVICE) for image in images], [{k: v.to(DEVICE) for k, v in t.items()} for t in targets]
            )
            loss = sum(losses.values())
            if not torch.isfinite(loss):
                raise ValueError(f"the reference diverged: {losses}")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    synchronize()
    return time.perf_counter() - begun
