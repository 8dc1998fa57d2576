"""A lane as it is, but for its trials, which report and save as a training does, and train nothing.

``stand_in_trial.py LANE`` runs the lane; a trial of it is ``stand_in_trial.py LEDGER RUN TRIAL ATTEMPT``. It evaluates
after each of its ``number_of_epochs``, STAND_IN_PAUSE seconds apart, and adds a line ``trial attempt pid`` to the file
STAND_IN_PIDS, if one is named.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from automl_images import store
from automl_images.steps import train
from automl_images.steps.trial import EXIT_SUPERSEDED
from automl_images.sweep.journal import LedgerJournal
from automl_images.sweep.ledger import Ledger, TakenError
from automl_images.sweep.liveness import identity
from automl_images.sweep.proposal import proposed
from automl_images.sweep.score import Score
from automl_images.sweep.termination import Unstopped
from automl_images.sweep.trial import State


class Popen(subprocess.Popen):
    def __init__(self, command, **options):
        assert command[1:3] == ["-m", "automl_images.steps.trial"], command
        super().__init__([sys.executable, __file__, *command[3:]], **options)


def trial(url, run, index, attempt):
    ledger = Ledger(url)
    settings, sampled, _ = proposed(ledger, index)
    try:
        started = ledger.start_trial(index, settings, sampled, attempt=attempt, run=run, process=identity())
    except TakenError:
        return EXIT_SUPERSEDED
    if pids := os.environ.get("STAND_IN_PIDS"):
        with Path(pids).open("a") as file:
            file.write(f"{index} {started.attempt} {os.getpid()}\n")
    journal = LedgerJournal(ledger, started, 3600, Unstopped())
    with journal.beating():
        for epoch in range(1, started.epochs + 1):
            time.sleep(float(os.environ["STAND_IN_PAUSE"]))
            for kind in ("model", "checkpoint"):
                folder = Path(journal._outbox.name, kind)
                folder.mkdir()
                (folder / "metrics.json").write_text(json.dumps({"epoch": epoch}))
                journal.save_model(folder) if kind == "model" else journal.save_checkpoint(folder, epoch)
            if journal.evaluated(Score(epoch, epoch, epoch / 10, epoch / 10, epoch / 20)):
                return EXIT_SUPERSEDED
        journal.close()
    best = {"metric": "m", "value": started.epochs / 10, "epoch": started.epochs}
    model = journal.artifacts.model(started.attempt)
    ledger.end_trial(started, State.COMPLETED, journal.last, best=best, model=model)
    return 0


if __name__ == "__main__":
    with store.patience(store.LONG):
        if len(sys.argv) == 2:
            train.subprocess.Popen, train.POLL = Popen, 0.2
            print(train.train_lane(sys.argv[1]))
        else:
            sys.exit(trial(*sys.argv[1:3], *map(int, sys.argv[3:])))
