"""Times inside fit(): the network's passes and the optimiser's steps, and a bare loop in turns with its epochs."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback

from automl_images.training.optimization import build_optimizer

ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
_DTYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class Stopwatch(Callback):
    """Times fit()'s steps and what is inside them; runs an epoch of a bare loop after each of its own.

    Attributes:
        shares: of each epoch's seconds, from its start to its last step's end, that are forward, backward, optimiser.
        ours, bare: seconds of each epoch of the two loops.
        chosen: the layout and precision.
    """

    def __init__(self) -> None:
        self.shares: list[float] = []
        self.ours: list[float] = []
        self.bare: list[float] = []
        self.chosen = ""
        self.inside = self.begun = self.epoch = self.passes = self.whole = 0.0

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Wrap the network and the optimiser, and set the bare loop up."""
        self.twin = copy.deepcopy(module.model).train()
        self.theirs = build_optimizer(self.twin, module.settings)
        self.chosen = f"{trainer.precision} {'channels_last' if module.channels_last else 'NCHW'}"
        network = module.model.network
        network.register_forward_pre_hook(lambda *_: self.start())
        network.register_forward_hook(lambda *_: self.stop())
        optimizer = trainer.optimizers[0]
        step = optimizer.step

        def timed(closure: Callable[[], Any]) -> Any:
            def aside() -> Any:  # Lightning's closure is the augmentation, forward and backward
                self.stop()
                result = closure()
                self.start()
                return result

            self.start()
            result = step(closure=aside)
            self.stop()
            return result

        optimizer.step = timed

    def start(self) -> None:
        """Begin a part that is the network's or the optimiser's."""
        self.begun = time.perf_counter()

    def stop(self) -> None:
        """End it."""
        self.inside += time.perf_counter() - self.begun

    def on_before_backward(self, *_: Any) -> None:
        """Begin a backward pass."""
        self.start()

    def on_after_backward(self, *_: Any) -> None:
        """End it."""
        self.stop()

    def on_train_epoch_start(self, *_: Any) -> None:
        """Begin an epoch."""
        synchronize()
        self.inside, self.epoch = 0.0, time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        """Take the inside and the whole up to here."""
        self.passes, self.whole = self.inside, time.perf_counter() - self.epoch

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """Keep the epoch's times, then run the bare loop's."""
        synchronize()
        self.ours.append(time.perf_counter() - self.epoch if ON_GPU else self.whole)
        self.shares.append(self.passes / self.whole)
        self.bare.append(self.bare_epoch(trainer, module))

    def bare_epoch(self, trainer: Any, module: Any) -> float:
        """Return the seconds of an epoch of batches that are normalised and on the device."""
        settings, dtype = module.settings, _DTYPES.get(trainer.precision)
        size, side = settings["training_batch_size"], settings["train_crop_size"]
        memory = torch.channels_last if module.channels_last else torch.contiguous_format
        images = torch.randn(size, 3, side, side, device=DEVICE).contiguous(memory_format=memory)
        truth = torch.zeros(size, dtype=torch.int64, device=DEVICE)
        synchronize()
        begun = time.perf_counter()
        for _ in range(trainer.num_training_batches):
            self.theirs.zero_grad()
            with torch.autocast(DEVICE.type, dtype, enabled=dtype is not None), torch.enable_grad():
                loss = F.cross_entropy(self.twin.network(images).float(), truth)
            loss.backward()
            self.theirs.step()
        synchronize()
        return time.perf_counter() - begun


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if ON_GPU:
        torch.cuda.synchronize()
