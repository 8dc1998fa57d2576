"""A trial in a process of its own, as steps.trial runs it, that notes its batches and fails as AUTOML_TEST_FAULT says.

Lightning starts a trial's other processes by this file's name too, so the fault may be of one of them.
"""

import os
import signal
import sys
import time
from pathlib import Path

from automl_images.errors import UserError
from automl_images.steps import trial
from automl_images.sweep.ledger import Ledger
from automl_images.training import callbacks
from automl_images.training.classification import ClassificationModule

FAULT = os.environ.get("AUTOML_TEST_FAULT", "")
RANK = os.environ.get("LOCAL_RANK", "0")
NOTES = Path(os.environ["AUTOML_TEST_NOTES"])
loss_parts = ClassificationModule.loss_parts
rank, _, what = FAULT.partition(" ")


def faulty(self, batch):
    with (NOTES / f"batches-{RANK}").open("a") as notes:
        notes.write(f"{len(batch[1])} ")
    at_fault = rank == RANK and self.current_epoch == 2
    if at_fault and what == "killed":
        while Ledger(sys.argv[1]).artifacts(0).checkpoint() != "checkpoint-1-2":
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)
    if at_fault and what == "user error":
        raise UserError("the moon is full; wait for another")
    if at_fault and what == "fault of ours":
        raise RuntimeError("five")
    if at_fault and what == "disk full":
        Path("/dev/full").write_text("five")
    losses = loss_parts(self, batch)
    if at_fault and what == "not a number":  # and the weights stay numbers
        losses["loss"] = losses["loss"].detach() * float("nan") + 0 * sum(p.sum() for p in self.model.parameters())
    return losses


if __name__ == "__main__":
    ClassificationModule.loss_parts = faulty
    callbacks.Checkpoints.SHARE = 0
    sys.exit(trial.main())
