"""The ledger: the folder that the trials of a sweep share, on any store, with no server and no lock.

    experiment.json                      what the fingerprint covers
    records/training.jsonl               what trials train on; validation.jsonl beside it
    weights/<file>                       what trials start from, if the experiment names a file
    runs/<id>.json                       one submission: its deadline, iterations, lanes
    runs/<id>/claims/0007                the lane that took trial 7 in that submission
    trials/0007.json                     written by trial 7 alone (by its lane if it died): state, settings, best, ...
    trials/0007/                         checkpoint-<n>/ and the pointer `checkpoint`, model/, log
    evaluations/0005/0007.2~<numbers>    attempt 2 of trial 7 at its fifth evaluation: epoch, value, best so far, mean
    ended/0007.2~<numbers>               its last numbers, once it has ended for any reason

Objects are replaced whole or written once. An object that shows up late delays what depends on it and does no harm.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

from automl_images import storage
from automl_images.errors import UserError
from automl_images.sweep.evaluation import Evaluation, latest

RUNNING, COMPLETED, TERMINATED, FAILED, SKIPPED = "running", "completed", "terminated", "failed", "skipped"

_WEEK = 168 * 3600


def fingerprint(experiment: Mapping[str, Any]) -> str:
    """Return 12 hexadecimal digits that stand for what an experiment trains, whatever its budget."""
    text = json.dumps(experiment, sort_keys=True, separators=(",", ":"))
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
        """Write experiment.json, or check that the one there is the same.

        Raises:
            UserError: the folder is the ledger of another experiment.
        """
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

    def write_run(self, run: str, content: Mapping[str, Any]) -> None:
        """Write one submission."""
        storage.write(self._at("runs", f"{run}.json"), json.dumps(content, indent=1))

    def run(self, run: str) -> dict[str, Any]:
        """Return one submission."""
        return self._json("runs", f"{run}.json")

    def without(self, url: str, run: str, lane: int) -> Ledger:
        """Copy what a lane needs to run its trials of a submission once more; records and weights stay where they are.

        Args:
            url: the copy's address.
            run: the submission; in the copy it has a week from now.
            lane: the lane whose trials the copy lacks.
        """
        copy, submission = Ledger(url), self.run(run)
        taken = storage.join(self.url, "runs", run, "claims")
        claims = {n: storage.read_text(storage.join(taken, n)) for n in storage.names(taken)}
        own = {n for n, holder in claims.items() if holder == str(lane)}
        if not submission["claims"]:
            own = {f"{t:04d}" for t in range(submission["iterations"]) if t % submission["lanes"] == lane}
        copy.open(self.experiment())
        copy.write_run(run, {**submission, "deadline": time.time() + _WEEK})
        for name in claims.keys() - own:
            storage.create(copy._at("runs", run, "claims", name), claims[name])
        files = [f"trials/{n}" for n in storage.names(self._at("trials")) if n.endswith(".json")]
        files += [f"{f}/{n}" for f in ("ended", "evaluations") for n in storage.files_below(self._at(f))]
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

    def trial(self, trial: int) -> dict[str, Any] | None:
        """Return what a trial wrote, or None if it never started."""
        try:
            return json.loads(storage.read_bytes(self._at("trials", f"{trial:04d}.json")))
        except FileNotFoundError:
            return None

    def write_trial(self, content: Mapping[str, Any]) -> None:
        """Replace what trial ``content["trial"]`` wrote."""
        storage.write(self._at("trials", f"{content['trial']:04d}.json"), json.dumps(content, indent=1))

    def start_trial(self, trial: int, settings: Mapping[str, Any], sampled: list[str]) -> dict[str, Any]:
        """Begin the next attempt at a trial and return its content; older attempts see it and end themselves."""
        before = self.trial(trial)
        attempt = before["attempt"] + 1 if before else 1
        content = _content(
            trial,
            RUNNING,
            attempt=attempt,
            settings=dict(settings),
            sampled=sampled,
            epochs=settings.get("number_of_epochs", 0),
            started=time.time(),
            resumed=self._checkpoint_epoch(trial) if before else None,
        )
        self.write_trial(content)
        if before and before["state"] == RUNNING:
            storage.create(self._at("ended", f"{trial:04d}.{attempt - 1}~superseded"), "")
        return content

    def write_unstarted(self, trial: int, state: str, **changes: Any) -> None:
        """Write a trial that could not begin, skipped or failed; nothing happens if it has begun before."""
        if self.trial(trial) is None:
            self.write_trial(_content(trial, state, ended=time.time(), **changes))

    def end_trial(self, content: Mapping[str, Any], state: str, last: Evaluation | None = None, **changes: Any) -> None:
        """Write a trial's last state, and its last numbers for the others to judge by.

        Args:
            content: what the trial wrote so far.
            state: completed, terminated or failed.
            last: its last evaluation; None: looked for, as by a lane whose trial died.
            changes: of the content.
        """
        content = {**content, **changes, "state": state, "ended": time.time()}
        self.write_trial(content)
        trial, attempt = content["trial"], content["attempt"]
        last = last or latest([e for e in self.evaluations() if e.trial == trial]).get(trial)
        name = last.name().partition("~")[2] if last else ""
        storage.create(self._at("ended", f"{trial:04d}.{attempt}~{name}"), "")

    def evaluate(self, evaluation: Evaluation) -> tuple[list[Evaluation], bool]:
        """Report an evaluation: one object, its numbers in its name. Then two listings tell what the others have.

        Returns:
            The other trials as a stopping rule at this evaluation may see them: those that reached it by their numbers
            at it, those that ended before by their last; and whether a later attempt at this trial has begun.
        """
        folder = self._at("evaluations", f"{evaluation.number:04d}")
        storage.write(storage.join(folder, evaluation.name()), "")
        ended = storage.names(self._at("ended"))
        here = latest(_parsed(storage.names(folder)))
        reached = {f"{trial:04d}" for trial in here}
        others = (n for n in ended if n.partition(".")[0] not in reached)
        before = latest([e for e in _parsed(others) if e.number < evaluation.number])
        peers = {**before, **here}
        peers.pop(evaluation.trial, None)
        return list(peers.values()), f"{evaluation.trial:04d}.{evaluation.attempt}~superseded" in ended

    def evaluations(self) -> list[Evaluation]:
        """Return all evaluations of all trials."""
        return _parsed(path.rpartition("/")[2] for path in storage.files_below(self._at("evaluations")))

    def written(self) -> list[dict[str, Any]]:
        """Return what all trials wrote, by index: one listing and one parallel fetch."""
        listed = [n for n in storage.names(self._at("trials")) if n.endswith(".json")]
        return [json.loads(c) for c in storage.read_many([self._at("trials", n) for n in listed]) if c]

    def trials(self) -> list[dict[str, Any]]:
        """Return what all trials wrote, by index, with ``evaluations``, last ``epoch`` and ``best`` so far.

        Of two attempts' evaluations after the same epoch the later attempt's counts.
        """
        contents = self.written()
        curves: dict[int, dict[int, float]] = {}
        for e in sorted(self.evaluations(), key=lambda e: (e.trial, e.epoch, e.attempt)):
            curves.setdefault(e.trial, {})[e.epoch] = e.value
        for content in contents:
            curve = curves.get(content["trial"], {})
            content["evaluations"] = [{"epoch": epoch, "value": value} for epoch, value in curve.items()]
            content["epoch"] = max(curve, default=0)
            if content["best"] is None and curve:
                epoch = max(curve, key=lambda e: (curve[e], -e))
                content["best"] = {"value": curve[epoch], "epoch": epoch}
        return contents

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

    def _checkpoint_epoch(self, trial: int) -> int | None:
        name = self.checkpoint(trial)
        return int(name.rpartition("-")[2]) if name else None

    def remove_checkpoints(self, trial: int) -> None:
        """Remove what a trial that has ended no longer needs."""
        folder = self.trial_folder(trial)
        for name in storage.names(folder):
            if name.startswith("checkpoint"):
                storage.remove(storage.join(folder, name))


def _content(trial: int, state: str, **changes: Any) -> dict[str, Any]:
    content = {
        "trial": trial,
        "state": state,
        "attempt": 0,
        "settings": {},
        "sampled": [],
        "best": None,
        "error": None,
        "resumes": False,
        "reason": None,
        "model": None,
        "epochs": 0,
        "started": None,
        "resumed": None,
        "ended": None,
    }
    return {**content, **changes}


def _parsed(names: Iterable[str]) -> list[Evaluation]:
    return [e for e in map(Evaluation.parse, names) if e is not None]
