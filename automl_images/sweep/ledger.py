"""The ledger: the folder that the trials of a sweep share, on any store, with no server and no lock.

    experiment.json                      what the fingerprint covers
    records/training.jsonl               what trials train on; validation.jsonl beside it
    weights/<file>                       what trials start from, if the experiment names a file
    runs/<id>.json                       one submission: its deadline, iterations, lanes
    runs/<id>/claims/0007                the lane that took trial 7 in that submission
    trials/0007.json                     written by trial 7 alone (by its lane if it died): state, settings, best, ...
    trials/0007/                         checkpoint-<n>/ and the pointer `checkpoint`, model/, log
    compute/<machine>.json               what trials compute with on a kind of machine, chosen by the first of them
    evaluations/0005/0007.2~<numbers>    attempt 2 of trial 7 at its fifth evaluation: epoch, value, best so far, mean
    ended/0007.2~<numbers>               its last numbers, once it has ended for any reason

Objects are replaced whole or written once. An object that shows up late delays what depends on it and does no harm.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from automl_images import storage
from automl_images.errors import UserError
from automl_images.sweep.score import Evaluation, Score, latest
from automl_images.sweep.submission import Submission
from automl_images.sweep.trial import State, Trial

_WEEK = 168 * 3600


def fingerprint(experiment: Mapping[str, Any]) -> str:
    """Return 12 hexadecimal digits that stand for what an experiment trains, whatever its budget; 1.0 is 1."""
    text = json.dumps(_whole(experiment), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Ledger:
    """One sweep's folder. Every method reads or writes the store; nothing is kept in memory.

    Args:
        url: the folder, local or on any fsspec store.
    """

    def __init__(self, url: str):
        self.url = storage.absolute(url)

    def _at(self, *parts: str) -> str:
        return storage.join(self.url, *parts)

    def _json(self, *parts: str) -> dict[str, Any]:
        url = self._at(*parts)
        try:
            return json.loads(storage.read_bytes(url))
        except FileNotFoundError:
            raise UserError(f"{storage.redact(url)}: not found; is this a ledger, and of this sweep?") from None

    def open(self, experiment: Mapping[str, Any]) -> None:
        """Write experiment.json; raises UserError if one is there that is another experiment's."""
        text = json.dumps(experiment, indent=1, sort_keys=True)
        if storage.create(self._at("experiment.json"), text):
            storage.write(self._at("ended", ".keep"), "")  # S3 drivers list an empty folder's parent too
        elif self.experiment() != json.loads(text):
            raise UserError(
                f"{storage.redact(self.url)}: is the ledger of another experiment; use another name or --fresh"
            )

    def experiment(self) -> dict[str, Any]:
        """Return what the fingerprint covers."""
        return self._json("experiment.json")

    def write_run(self, submission: Submission) -> None:
        """Write one submission."""
        storage.write(self._at("runs", f"{submission.run}.json"), json.dumps(submission.to_json(), indent=1))

    def run(self, run: str) -> Submission:
        """Return one submission; raises UserError if there is none of that name."""
        return Submission.of_json({"run": run, **self._json("runs", f"{run}.json")})

    def copy_without(self, url: str, run: str, lane: int) -> Ledger:
        """Copy to ``url`` what a lane needs to run its trials of a submission once more, with a week to do it in.

        The copy lacks the lane's trials; records and weights stay where they are.
        """
        copy, submission = Ledger(url), self.run(run)
        taken = storage.join(self.url, "runs", run, "claims")
        claims = {n: storage.read_text(storage.join(taken, n)) for n in storage.names(taken)}
        own = {n for n, holder in claims.items() if holder == str(lane)}
        if not submission.claims:
            own = {f"{t:04d}" for t in range(lane, submission.iterations, submission.lanes)}
        copy.open(self.experiment())
        copy.write_run(dataclasses.replace(submission, deadline=time.time() + _WEEK))
        for name in claims.keys() - own:
            storage.create(copy._at("runs", run, "claims", name), claims[name])
        files = [f"trials/{n}" for n in storage.names(self._at("trials")) if n.endswith(".json")]
        files += [f"{f}/{n}" for f in ("ended", "evaluations", "compute") for n in storage.files_below(self._at(f))]
        for file in files:
            if file.rpartition("/")[2].partition(".")[0] not in own:
                storage.write(copy._at(file), storage.read_bytes(self._at(file)))
        return copy

    def can_claim(self, run: str) -> bool:
        """Return whether the store refuses to create an object twice, so that claims are exclusive."""
        return storage.creates_once(self._at("runs", run, "probe"))

    def claim(self, run: str, trial: int, lane: int) -> bool:
        """Take a trial for a lane; return whether it is this lane's, now or from before the lane was restarted."""
        url = self._at("runs", run, "claims", f"{trial:04d}")
        return storage.create(url, str(lane)) or storage.read_text(url) == str(lane)

    def trial_folder(self, trial: int) -> str:
        """Return the address of the trial's folder."""
        return self._at("trials", f"{trial:04d}")

    def trial(self, index: int) -> Trial | None:
        """Return what a trial wrote, or None if it never started."""
        try:
            return Trial.of_json(json.loads(storage.read_bytes(self._at("trials", f"{index:04d}.json"))))
        except FileNotFoundError:
            return None

    def _write(self, trial: Trial) -> Trial:
        storage.write(self._at("trials", f"{trial.index:04d}.json"), json.dumps(trial.to_json(), indent=1))
        return trial

    def start_trial(self, index: int, settings: Mapping[str, Any], sampled: Sequence[str]) -> Trial:
        """Begin the next attempt at a trial and return it; older attempts see it and end themselves."""
        before = self.trial(index)
        checkpoint = self.checkpoint(index) if before else None
        trial = Trial(
            index,
            State.RUNNING,
            attempt=before.attempt + 1 if before else 1,
            settings=dict(settings),
            sampled=tuple(sampled),
            epochs=settings.get("number_of_epochs", 0),
            started=time.time(),
            resumed=int(checkpoint.rpartition("-")[2]) if checkpoint else None,
        )
        self._write(trial)
        if before and before.state is State.RUNNING:
            storage.create(self._at("ended", f"{index:04d}.{before.attempt}~superseded"), "")
        return trial

    def write_unstarted(self, index: int, state: State, **changes: Any) -> Trial:
        """Write a trial that could not begin, skipped or failed, and return it; one that has begun stays as it is."""
        return self.trial(index) or self._write(Trial(index, state, ended=time.time(), **changes))

    def end_trial(self, trial: Trial, state: State, last: Score | None = None, **changes: Any) -> Trial:
        """Write a trial's last state, with changes to its attributes, and its last score for the others to judge by.

        ``last`` is that score; None: it is looked for, as by a lane whose trial died.
        """
        trial = self._write(dataclasses.replace(trial, **changes, state=state, ended=time.time(), evaluations=None))
        last = last or latest(e for e in self.evaluations() if e.trial == trial.index).get(trial.index)
        name = Evaluation(trial.index, trial.attempt, last).name() if last else f"{trial.index:04d}.{trial.attempt}~"
        storage.create(self._at("ended", name), "")
        return trial

    def evaluate(self, mine: Evaluation) -> tuple[dict[int, Score], bool]:
        """Report an evaluation, one object with its numbers in its name, and look what the others have: two listings.

        Returns:
            The other trials' scores by index as a stopping rule may see them (of those that reached this evaluation,
            their numbers at it; of those that ended before, their last), and whether a later attempt has begun.
        """
        folder = self._at("evaluations", f"{mine.score.number:04d}")
        storage.write(storage.join(folder, mine.name()), "")
        ended = storage.names(self._at("ended"))
        here = latest(_parsed(storage.names(folder)))
        reached = {f"{trial:04d}" for trial in here}
        others = _parsed(n for n in ended if n.partition(".")[0] not in reached)
        peers = {**latest(e for e in others if e.score.number < mine.score.number), **here}
        peers.pop(mine.trial, None)
        return peers, f"{mine.trial:04d}.{mine.attempt}~superseded" in ended

    def evaluations(self) -> list[Evaluation]:
        """Return all evaluations of all trials."""
        return _parsed(path.rpartition("/")[2] for path in storage.files_below(self._at("evaluations")))

    def written(self) -> list[Trial]:
        """Return what all trials wrote, by index: one listing and one parallel fetch."""
        listed = [n for n in storage.names(self._at("trials")) if n.endswith(".json")]
        return [Trial.of_json(json.loads(c)) for c in storage.read_many([self._at("trials", n) for n in listed]) if c]

    def trials(self) -> list[Trial]:
        """Return what all trials wrote, by index, with their evaluations, and the best so far of those that run.

        Of two attempts' evaluations after the same epoch the later attempt's counts.
        """
        trials = self.written()
        curves: dict[int, dict[int, float]] = {}
        for e in sorted(self.evaluations(), key=lambda e: (e.trial, e.score.epoch, e.attempt)):
            curves.setdefault(e.trial, {})[e.score.epoch] = e.score.value
        return [t.with_curve(curves.get(t.index, {})) for t in trials]

    def model_url(self, trial: int) -> str:
        """Return the address of the trial's model folder."""
        return storage.join(self.trial_folder(trial), "model")

    def write_checkpoint(self, trial: int, name: str, local: Any) -> None:
        """Copy a checkpoint folder, then point at it, then remove the one before."""
        folder = self.trial_folder(trial)
        before = self.checkpoint(trial)
        storage.put_folder(local, storage.join(folder, name))
        storage.write(storage.join(folder, "checkpoint"), name)
        if before and before != name:
            storage.remove(storage.join(folder, before))

    def checkpoint(self, trial: int) -> str | None:
        """Return the name of the trial's last whole checkpoint, or None."""
        try:
            return storage.read_text(storage.join(self.trial_folder(trial), "checkpoint"))
        except FileNotFoundError:
            return None

    def remove_checkpoints(self, trial: int) -> None:
        """Remove what a trial that has ended no longer needs."""
        folder = self.trial_folder(trial)
        for name in storage.names(folder):
            if name.startswith("checkpoint"):
                storage.remove(storage.join(folder, name))


def _whole(value: Any) -> Any:
    """Return JSON with whole numbers written without a point, as they are where a person wrote none."""
    if isinstance(value, Mapping):
        return {k: _whole(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _parsed(names: Iterable[str]) -> list[Evaluation]:
    return [e for e in map(Evaluation.parse, names) if e is not None]
