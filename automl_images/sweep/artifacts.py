"""What the attempts at a trial leave in its folder: models, checkpoints, and a log.

    log                     what all attempts printed
    checkpoint-2-<epoch>/   attempt 2's last checkpoint; the pointer `checkpoint.2` is written after it
    model-2/                the model folder of attempt 2's best epoch so far
    epochs/0007.2/          that of its seventh epoch, if epochs are kept

Each attempt writes objects of its own, so one that wakes late does no harm.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from automl_images import storage

WRITTEN_LAST = "metrics.json"  # of a model folder on a store: where it is, the rest is


class Artifacts:
    """One trial's folder; ``url`` is its address in the ledger."""

    def __init__(self, url: str):
        self.url = url

    def log(self) -> str:
        """Return the address of the log."""
        return storage.join(self.url, "log")

    def model(self, attempt: int) -> str:
        """Return the address of an attempt's model folder."""
        return storage.join(self.url, f"model-{attempt}")

    def epoch(self, attempt: int, epoch: int) -> str:
        """Return the address of the model folder that an attempt keeps of an epoch."""
        return storage.join(self.url, "epochs", f"{epoch:04d}" + (f".{attempt}" if attempt > 1 else ""))

    def write_model(self, attempt: int, local: Path) -> None:
        """Copy a model folder in place of the attempt's; one that is cut short has no metrics."""
        storage.put_folder(local, self.model(attempt), last=WRITTEN_LAST)

    def metrics(self, attempt: int) -> bytes | None:
        """Return the metrics of an attempt's model, JSON; None: it has no whole one."""
        with contextlib.suppress(FileNotFoundError):
            return storage.read_bytes(storage.join(self.model(attempt), WRITTEN_LAST))
        return None

    def write_checkpoint(self, attempt: int, epoch: int, local: Path) -> None:
        """Copy an attempt's checkpoint folder, then point at it, then remove the one before."""
        name = f"checkpoint-{attempt}-{epoch}"
        storage.put_folder(local, storage.join(self.url, name))
        storage.write(storage.join(self.url, f"checkpoint.{attempt}"), name)
        for other in storage.names(self.url):
            if other.startswith(f"checkpoint-{attempt}-") and other != name:
                storage.remove(storage.join(self.url, other))

    def checkpoint(self) -> str | None:
        """Return the name of the last whole checkpoint of the last attempt that has one, or None."""
        pointers = [n for n in storage.names(self.url) if re.fullmatch(r"checkpoint(\.\d+)?", n)]
        for pointer in sorted(pointers, key=lambda n: int(n.partition(".")[2] or 0), reverse=True):
            with contextlib.suppress(FileNotFoundError, UnicodeDecodeError):
                name = storage.read_text(storage.join(self.url, pointer))
                if re.fullmatch(r"checkpoint(-\d+){1,2}", name):
                    return name
        return None

    def adopt_model(self, attempt: int, checkpoint: str) -> bool:
        """Copy the best model of the attempt that wrote a checkpoint to a later attempt's; return whether it is whole.

        That attempt may wake and write on: what changed meanwhile is not taken.
        """
        earlier = checkpoint.split("-")[1] if checkpoint.count("-") == 2 else None
        source = storage.join(self.url, f"model-{earlier}" if earlier else "model")
        metrics = storage.join(source, WRITTEN_LAST)
        with contextlib.suppress(FileNotFoundError):
            before = storage.read_bytes(metrics)
            storage.copy_folder(source, self.model(attempt))
            return before == storage.read_bytes(metrics)
        return False

    def clear(self, attempt: int) -> None:
        """Remove what a trial that has ended no longer needs: checkpoints, and the models of other attempts."""
        for name in storage.names(self.url):
            other = name.startswith("model") and name != f"model-{attempt}"
            if name.startswith("checkpoint") or other:
                storage.remove(storage.join(self.url, name))


def epoch_of(checkpoint: str) -> int:
    """Return after which epoch a checkpoint was written, by its name."""
    return int(checkpoint.rpartition("-")[2])
