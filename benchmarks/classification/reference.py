"""torchvision's classification reference, reduced to its recipe: PIL transforms, float32, NCHW, SGD."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T
from torchvision.models import mobilenet_v2

from automl_images.annotations import Record
from benchmarks.classification.stopwatch import DEVICE, ON_GPU, synchronize

RECIPE = T.Compose(
    [
        T.RandomResizedCrop(224),
        T.RandomHorizontalFlip(),
        T.PILToTensor(),
        T.ConvertImageDtype(torch.float),
        T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
)


class Pictures(Dataset):
    """Records as the recipe's tensors, decoded whenever they are asked for."""

    def __init__(self, records: Sequence[Record]):
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.records[i].image_url) as image:
            return RECIPE(image.convert("RGB")), int(self.records[i].label.name)


def batches(records: Sequence[Record], size: int, workers: int) -> DataLoader:
    """Return the recipe's loader."""
    return DataLoader(Pictures(records), size, shuffle=True, num_workers=workers, pin_memory=ON_GPU)


def train(records: Sequence[Record], epochs: int, size: int, workers: int) -> float:
    """Train a MobileNetV2 from fresh weights and return the seconds."""
    begun = time.perf_counter()
    model, loader = mobilenet_v2(num_classes=10).to(DEVICE).train(), batches(records, size, workers)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    for _ in range(epochs):
        for images, truth in loader:
            loss = F.cross_entropy(model(images.to(DEVICE)), truth.to(DEVICE))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    synchronize()
    return time.perf_counter() - begun
