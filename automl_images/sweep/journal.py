"""How a trial reports to its ledger, while training goes on."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from automl_images import storage, store
from automl_images.errors import StoreError, UserError, first_line, say
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.liveness import BEAT
from automl_images.sweep.pace import Pace
from automl_images.sweep.score import Evaluation, Score
from automl_images.sweep.termination import Rule
from automl_images.sweep.trial import Trial

_BETWEEN_BEATS = 1.0  # seconds at the least
_AT_AN_EVALUATION = 3.0  # seconds that an evaluation waits for a store


class LedgerJournal:
    """Reports a trial to its ledger. Folders are moved away at once, and copied to the store while training goes on.

    Args:
        ledger, trial: the ledger, and what its ``start_trial`` returned.
        left: the seconds that the submission has left.
        rule: the sweep's early termination.
    """

    def __init__(self, ledger: Ledger, trial: Trial, left: float, rule: Rule):
        self.ledger, self.trial, self.rule = ledger, trial, rule
        self.artifacts = ledger.artifacts(trial.index)
        self.deadline = time.monotonic() + left
        self.superseded = False
        self.last: Score | None = None
        self._pace: tuple[Pace, float] | None = None  # of the last epoch, and when it ended
        self._news = threading.Event()
        self._waiting: dict[str, tuple[Callable[[], None], Path | None]] = {}  # in order; a newer model replaces one
        self._changed, self._numbers, self._beats = threading.Condition(), itertools.count(), itertools.count()
        self._worker: threading.Thread | None = None
        self._error: Exception | None = None
        self._outbox = tempfile.TemporaryDirectory(prefix="automl-images-outbox-", ignore_cleanup_errors=True)

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Write now and then that the trial is alive, so that no other submission takes it, while the block runs.

        A beat tells the pace of the last epoch too, and does not wait for long when an epoch has ended.
        """
        over = threading.Event()

        def beat() -> None:
            while True:
                self._news.clear()
                self._beat()
                if over.wait(_BETWEEN_BEATS):
                    return
                self._news.wait(BEAT - _BETWEEN_BEATS)
                if over.is_set():
                    return

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            self._news.set()
            thread.join()

    def _beat(self) -> None:
        with contextlib.suppress(UserError, OSError), store.patience(0):
            self.ledger.beat(self.trial, next(self._beats), self._paced())

    def progressed(self, pace: Pace) -> None:
        """Have the pace of an epoch that has just ended written with the next beat."""
        self._pace = pace, time.monotonic()
        self._news.set()

    def _paced(self) -> Pace | None:
        if self._pace is None:
            return None
        pace, since = self._pace
        return pace._replace(left=max(0.0, pace.left - (time.monotonic() - since)))

    def evaluated(self, score: Score) -> str | None:
        """Write the score and judge it; a store that cannot be read or written never stops a training.

        Returns:
            Why the trial stops now; None: it goes on, as it does after its last epoch in any case.
        """
        self.last = score
        if self._pace:
            self._beat()  # who sees the evaluation finds its pace
        peers: dict[int, Score] = {}
        mine = Evaluation(self.trial.index, self.trial.attempt, score)
        try:
            with store.patience(_AT_AN_EVALUATION):
                peers, self.superseded = self.ledger.evaluate(mine)
        except (OSError, UserError) as error:
            say(f"ledger: {first_line(error)}; going on")
            self._send(f"evaluation {score.number}", lambda: self.ledger.report(mine))
        if self.superseded:
            return "superseded: a later attempt at this trial is running"
        if score.epoch >= self.trial.epochs > 0:
            return None
        if time.monotonic() > self.deadline:
            return "timeout_hours: the time of the sweep is over"
        return self.rule.stop(score, peers)

    def save_model(self, folder: Path) -> None:
        """Replace the attempt's model folder."""
        self._send("model", lambda moved: self.artifacts.write_model(self.trial.attempt, moved), folder)

    def save_epoch(self, folder: Path, epoch: int) -> None:
        """Keep the model folder of an epoch."""
        url = self.artifacts.epoch(self.trial.attempt, epoch)
        self._send(f"epoch {epoch}", lambda moved: storage.put_folder(moved, url), folder)

    def save_checkpoint(self, folder: Path, epoch: int) -> None:
        """Replace the attempt's checkpoint; an attempt that was superseded leaves its last one to the next."""

        def put(moved: Path) -> None:
            if not self.ledger.superseded(self.trial):
                self.artifacts.write_checkpoint(self.trial.attempt, epoch, moved)

        self._send("checkpoint", put, folder)

    def close(self) -> None:
        """Wait until the store has all.

        Raises:
            StoreError: it has not, for as long as it was asked.
        """
        until = time.monotonic() + store.LONG
        with self._changed:
            while self._waiting and time.monotonic() < until:
                self._changed.wait(0.2)
            left = list(self._waiting)
        if left:
            why = first_line(self._error) if self._error else "the store is too slow"
            raise StoreError(f"{', '.join(left)}: could not be written ({why}); submit again")
        self._outbox.cleanup()

    def _send(self, name: str, work: Callable[..., None], folder: Path | None = None) -> None:
        moved = Path(self._outbox.name, str(next(self._numbers))) if folder else None
        if folder and moved:
            shutil.move(folder, moved)
        with self._changed:
            _, replaced = self._waiting.get(name, (None, None))
            self._waiting[name] = (lambda: work(moved) if moved else work()), moved
            self._changed.notify_all()
        if replaced:
            shutil.rmtree(replaced, ignore_errors=True)
        if not self._worker:
            self._worker = threading.Thread(target=self._work, daemon=True)
            self._worker.start()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                name, (work, moved) = next(iter(self._waiting.items()))
            try:
                with store.patience(store.LONG):
                    work()
            except Exception as error:
                self._error = error
                if self._waiting[name][1] == moved:
                    say(f"ledger: {name}: {first_line(error)}; trying again")
                    time.sleep(1)
                continue
            with self._changed:
                if self._waiting[name][1] == moved:
                    del self._waiting[name]
                self._changed.notify_all()
            if moved:
                shutil.rmtree(moved, ignore_errors=True)
