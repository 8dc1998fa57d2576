"""torchvision's segmentation reference, reduced to its recipe: scaled, mirrored, cropped, SGD, poly, float32.

At the end it evaluates and writes a checkpoint, once, as we do; the recipe does so after each epoch.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Sequence

import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.functional import InterpolationMode, hflip, normalize, pad, pil_to_tensor, resize

from automl_images.annotations import Record
from benchmarks.classification.stopwatch import DEVICE, ON_GPU, synchronize

IGNORE, AUXILIARY = 255, 0.5
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Pictures(Dataset):
    """Records as the recipe's crops, decoded whenever they are asked for."""

    def __init__(self, records: Sequence[Record], base: int, side: int):
        self.records, self.base, self.side = records, base, side

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        with Image.open(self.records[i].image_url) as file:
            image = file.convert("RGB")
        with Image.open(self.records[i].label.mask_url) as file:
            mask = file.copy()
        shorter = random.randint(self.base // 2, self.base * 2)
        image = resize(image, [shorter], antialias=True)
        mask = resize(mask, [shorter], interpolation=InterpolationMode.NEAREST)
        if random.random() < 0.5:
            image, mask = hflip(image), hflip(mask)
        missing = [max(0, self.side - length) for length in image.size]
        image, mask = pad(image, [0, 0, *missing], fill=0), pad(mask, [0, 0, *missing], fill=IGNORE)
        left, top = (random.randint(0, length - self.side) for length in image.size)
        corners = left, top, left + self.side, top + self.side
        pixels = pil_to_tensor(image.crop(corners)).float() / 255
        pixels = normalize(pixels, mean=MEAN, std=DEVIATION)
        return pixels, pil_to_tensor(mask.crop(corners))[0].long()


@torch.inference_mode()
def evaluate(model: nn.Module, records: Sequence[Record], classes: int, base: int) -> float:
    """Return the mean IoU on whole images, their shorter side scaled to ``base``."""
    matrix = torch.zeros(classes**2, dtype=torch.int64)
    for record in records:
        with Image.open(record.image_url) as file, Image.open(record.label.mask_url) as mask:
            image = pil_to_tensor(resize(file.convert("RGB"), [base], antialias=True)).float() / 255
            truth = pil_to_tensor(resize(mask, [base], interpolation=InterpolationMode.NEAREST))[0].long()
        image = normalize(image, mean=MEAN, std=DEVIATION).to(DEVICE)
        found, counted = model(image[None])["out"].argmax(1)[0].cpu(), truth != IGNORE
        matrix += torch.bincount(truth[counted] * classes + found[counted], minlength=classes**2)
    matrix = matrix.view(classes, classes)
    right = matrix.diag()
    return float((right / (matrix.sum(0) + matrix.sum(1) - right)).nanmean())


def train(
    records: Sequence[Record],
    scored: Sequence[Record],
    classes: int,
    network: str,
    epochs: int,
    batch: int,
    workers: int,
    base: int,
    side: int,
) -> float:
    """Train a network of torchvision's from fresh weights, and return the seconds."""
    begun = time.perf_counter()
    make = getattr(torchvision.models.segmentation, network)
    model = make(weights=None, weights_backbone=None, num_classes=classes, aux_loss=True).to(DEVICE).train()
    loader = DataLoader(
        Pictures(records, base, side),
        batch_size=batch,
        shuffle=True,
        num_workers=workers,
        pin_memory=ON_GPU,
        drop_last=True,
    )
    auxiliary = {"params": list(model.aux_classifier.parameters()), "lr": 0.2}
    others = [*model.backbone.parameters(), *model.classifier.parameters()]
    optimizer = torch.optim.SGD([{"params": others}, auxiliary], lr=0.02, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=len(loader) * epochs, power=0.9)
    for _ in range(epochs):
        for images, truths in loader:
            found, targets = model(images.to(DEVICE)), truths.to(DEVICE)
            losses = {name: F.cross_entropy(scores, targets, ignore_index=IGNORE) for name, scores in found.items()}
            loss = losses["out"] + AUXILIARY * losses["aux"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    evaluate(model.eval(), scored, classes, base)
    with tempfile.TemporaryFile() as file:
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    synchronize()
    return time.perf_counter() - begun
