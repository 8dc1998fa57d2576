"""The ledger: the folder that the trials of a sweep share, on any store, with no server and no lock.

    experiment.json                      what the fingerprint covers, and what `head` is where no setting says
    records/training.jsonl               what trials train on; validation.jsonl beside it
    weights/<file>                       what trials start from, if the experiment names a file
    runs/<id>.json                       one submission: its deadline, iterations, lanes
    runs/<id>/claims/0007                the lane that took trial 7 in that submission
    runs/<id>/stop                       the submission that has ended this one: its lanes start no further trial
    runs/<id>/confirm                    of an evolution that confirms: the trials that train its best again
    trials/0007.json                     written by trial 7 alone (by its lane if it died): state, settings, best, ...
    trials/0007.2.json                   the same of its second attempt, created once; of several the last one counts
    trials/2007.json                     written by the trial that trains trial 7 again, with the second seed
    trials/0007/                         models, checkpoints, a log; see `automl_images.sweep.artifacts`
    alive/0007.2                         beats of attempt 2, while it trains
    compute/<machine>.json               what trials compute with on a kind of machine, chosen by the first of them
    evaluations/0005/0007.2~<numbers>    attempt 2 of trial 7 at its fifth evaluation: epoch, value, best so far, mean
    ended/0007.2~<numbers>               its last numbers, once it has ended for any reason
    ended/0007.1~superseded~5            attempt 2 has begun, after epoch 5 of attempt 1

Objects are replaced whole or written once. An object that shows up late delays what depends on it and does no harm, and
so does an attempt that wakes late: what it writes is its own, and the record of the attempt that counts names another.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from automl_images import storage
from automl_images.errors import UserError, say
from automl_images.hyperparameters.catalogue import CATALOGUE
from automl_images.hyperparameters.yolov5 import ANCHOR_FREE
from automl_images.sweep.artifacts import Artifacts
from automl_images.sweep.fingerprint import difference, without_contents
from automl_images.sweep.pace import Pace
from automl_images.sweep.score import Evaluation, Score, counted, latest, superseded
from automl_images.sweep.submission import Submission
from automl_images.sweep.trial import MOST, State, Trial

_DAMAGED: set[str] = set()  # records that were named as damaged


class TakenError(Exception):
    """Another process has begun an attempt."""


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
            content = json.loads(storage.read_bytes(url))
        except FileNotFoundError:
            raise UserError(f"{storage.redact(url)}: not found; is this a ledger, and of this sweep?") from None
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise UserError(f"{storage.redact(url)}: is damaged, no JSON object; start another ledger with --fresh")
        return content

    def open(self, experiment: Mapping[str, Any], head: str | None = None) -> None:
        """Write experiment.json, with a default of ``head`` (None: today's), which it keeps.

        Raises:
            UserError: one is there that is another experiment's.
        """
        head = head or str(CATALOGUE["head"].default)
        text = json.dumps({**experiment, "head": head}, indent=1, sort_keys=True)
        if storage.create(self._at("experiment.json"), text):
            storage.write(self._at("ended", ".keep"), "")  # S3 drivers list an empty folder's parent too
            return
        found, wanted = self.experiment(), json.loads(json.dumps(experiment))
        if found == wanted or self.adopts(wanted):
            return
        other = f"is the ledger of another experiment ({difference(found, wanted)})"
        raise UserError(f"{storage.redact(self.url)}: {other}; name another ledger or model folder, or remove this one")

    def there(self) -> bool:
        """Return whether there is a ledger."""
        return storage.exists(self._at("experiment.json"))

    def adopts(self, experiment: Mapping[str, Any]) -> bool:
        """Return whether an earlier version's ledger, which did not cover contents, is of this experiment.

        The contents that it is first taken up with are its own from then on.
        """
        if self.experiment() != without_contents(experiment):
            return False
        contents = json.dumps([experiment["data"], experiment["weights"]], sort_keys=True)
        if storage.create(self._at("contents.json"), contents):
            say(f"note: {self.url}: is of an earlier version, which did not see images change; now it does")
            return True
        return storage.read_text(self._at("contents.json")) == contents

    def experiment(self) -> dict[str, Any]:
        """Return what the fingerprint covers."""
        return {name: value for name, value in self._json("experiment.json").items() if name != "head"}

    def head(self) -> str:
        """Return what ``head`` is in a trial whose settings do not say: that of a ledger's whole life."""
        return str(self._json("experiment.json").get("head", ANCHOR_FREE))  # an earlier version had no other

    def write_run(self, submission: Submission) -> None:
        """Write one submission."""
        storage.write(self._at("runs", f"{submission.run}.json"), json.dumps(submission.to_json(), indent=1))

    def run(self, run: str) -> Submission:
        """Return one submission; raises UserError if there is none of that name."""
        content = {"run": run, **self._json("runs", f"{run}.json")}
        if content.get("confirm"):
            with contextlib.suppress(FileNotFoundError):
                content["confirming"] = json.loads(storage.read_bytes(self._at("runs", run, "confirm")))
        return Submission.of_json(content)

    def decide(self, run: str, confirming: Sequence[int]) -> list[int]:
        """Return a submission's trials that train its best again: these, or what another lane has decided before."""
        url = self._at("runs", run, "confirm")
        storage.create(url, json.dumps(list(confirming)))
        return json.loads(storage.read_bytes(url))

    def stop_others(self, run: str) -> None:
        """Tell the lanes of all other submissions so far to start no further trial."""
        for name in storage.names(self._at("runs")):
            if name.endswith(".json") and name != f"{run}.json":
                storage.create(self._at("runs", name.removesuffix(".json"), "stop"), run)

    def stopped_by(self, run: str) -> str | None:
        """Return the submission that has told this one's lanes to start no further trial, or None."""
        with contextlib.suppress(FileNotFoundError):
            return storage.read_text(self._at("runs", run, "stop"))
        return None

    def can_claim(self, run: str) -> bool:
        """Return whether the store refuses to create an object twice, so that claims are exclusive."""
        return storage.creates_once(self._at("runs", run, "probe"))

    def claim(self, run: str, trial: int, lane: int) -> bool:
        """Take a trial for a lane; return whether it is this lane's, now or from before the lane was restarted."""
        url = self._at("runs", run, "claims", f"{trial:04d}")
        return storage.create(url, str(lane)) or storage.read_text(url) == str(lane)

    def artifacts(self, trial: int) -> Artifacts:
        """Return the trial's models and checkpoints."""
        return Artifacts(self._at("trials", f"{trial:04d}"))

    def _record(self, index: int, attempt: int) -> str:
        return self._at("trials", f"{index:04d}.json" if attempt <= 1 else f"{index:04d}.{attempt}.json")

    def _parsed(self, url: str, content: bytes) -> Trial | None:
        """Return the trial of a record; a damaged one is named and left out."""
        try:
            return Trial.of_json(json.loads(content))
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            if url not in _DAMAGED:
                _DAMAGED.add(url)
                say(f"ledger: {url}: is damaged and left out ({type(error).__name__}); {len(_DAMAGED)} so far")
            return None

    def latest(self, index: int) -> tuple[Trial | None, int]:
        """Return what a trial's last attempt wrote, None if it never started, and the number of its next attempt."""
        found, attempt = None, 1
        while True:
            url = self._record(index, attempt)
            try:
                read = self._parsed(url, storage.read_bytes(url))
            except FileNotFoundError:
                return found, attempt
            found = read or found
            attempt = max(attempt, read.attempt if read else 0) + 1  # an older version kept all attempts in one record

    def trial(self, index: int) -> Trial | None:
        """Return what a trial's last attempt wrote, or None if it never started."""
        return self.latest(index)[0]

    def start_trial(
        self,
        index: int,
        settings: Mapping[str, Any],
        sampled: Sequence[str],
        *,
        attempt: int | None = None,
        resumed: int | None = None,
        **more: Any,
    ) -> Trial:
        """Begin the next attempt at a trial and return it; older attempts see it and end themselves.

        Args:
            index, settings, sampled: the trial, its complete settings, and the names of the sampled ones.
            attempt: its number, which was free; None: the next.
            resumed: after which epoch it goes on; None: from the beginning.
            more: its other attributes.

        Raises:
            TakenError: another process has begun that attempt.
        """
        before, free = self.latest(index)
        trial = Trial(
            index,
            State.RUNNING,
            attempt=attempt or free,
            settings=dict(settings),
            sampled=tuple(sampled),
            epochs=settings.get("number_of_epochs", 0),
            started=time.time(),
            resumed=resumed,
            **more,
        )
        if not storage.create(self._record(index, trial.attempt), json.dumps(trial.to_json(), indent=1)):
            raise TakenError
        if before and before.attempt:
            storage.create(self._at("ended", superseded(index, before.attempt, resumed)), "")
        return trial

    def write_unstarted(self, index: int, attempt: int, state: State, **changes: Any) -> Trial | None:
        """Write an attempt that could not begin, skipped or failed, and return the trial; another's stays as it is."""
        before = self.trial(index)
        empty = Trial(index, state, attempt=0 if attempt == 1 else attempt)
        kept = dataclasses.replace(before, attempt=attempt, state=state, best=None) if before else empty
        ended = dataclasses.replace(kept, ended=time.time(), **changes)
        storage.create(self._record(index, attempt), json.dumps(ended.to_json(), indent=1))
        return self.trial(index)

    def beat(self, trial: Trial, count: int, pace: Pace | None = None) -> None:
        """Write that an attempt is alive, for the ``count``-th time, and how its last epoch went."""
        text = pace.to_json(count) if pace else str(count)
        storage.write(self._at("alive", f"{trial.index:04d}.{trial.attempt}"), text)

    def paces(self, trials: Iterable[Trial]) -> dict[int, Pace]:
        """Return how the last epoch went of those trials that run and have said so, by index."""
        urls = {t.index: self._at("alive", f"{t.index:04d}.{t.attempt}") for t in trials if t.state is State.RUNNING}
        beats = zip(urls, storage.read_many(list(urls.values())), strict=True)
        return {index: pace for index, beat in beats if (pace := Pace.parse(beat)) is not None}

    def last_beat(self, trial: Trial) -> str | None:
        """Return the last beat of an attempt."""
        with contextlib.suppress(FileNotFoundError):
            return storage.read_text(self._at("alive", f"{trial.index:04d}.{trial.attempt}"))
        return None

    def time_left(self, run: str) -> tuple[float, str]:
        """Return the seconds that a submission has left, below 0 if it is over, and in words the times that say so.

        Both times are the store's, if it tells when objects were written: a machine's clock may be days off.
        """
        submission = self.run(run)
        clock = self._at("runs", run, "clock")
        storage.write(clock, "")
        now, planned = storage.modified(clock), storage.modified(self._at("runs", f"{run}.json"))
        whose = "the store's clock"
        if now is None or planned is None or not submission.started:
            now, planned, whose = time.time(), submission.started or submission.deadline, "this machine's clock"
        left = planned + (submission.deadline - (submission.started or submission.deadline)) - now
        begun, at = (time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(t)) for t in (planned, now))
        return left, f"submitted at {begun}, it is {at} by {whose}"

    def rewrite(self, trial: Trial) -> None:
        """Replace what an attempt wrote."""
        storage.write(self._record(trial.index, trial.attempt), json.dumps(trial.to_json(), indent=1))

    def end_trial(self, trial: Trial, state: State, last: Score | None = None, **changes: Any) -> Trial:
        """Write a trial's last state, with changes to its attributes, and its last score for the others to judge by.

        ``last`` is that score; None: it is looked for, as by a lane whose trial died.
        """
        trial = dataclasses.replace(trial, **changes, state=state, ended=time.time(), evaluations=None)
        self.rewrite(trial)
        last = last or latest(e for e in self._counted() if e.trial == trial.index).get(trial.index)
        name = Evaluation(trial.index, trial.attempt, last).name() if last else f"{trial.index:04d}.{trial.attempt}~"
        storage.create(self._at("ended", name), "")
        storage.remove(self._at("alive", f"{trial.index:04d}.{trial.attempt}"))
        return trial

    def evaluate(self, mine: Evaluation) -> tuple[dict[int, Score], bool]:
        """Report an evaluation, one object with its numbers in its name, and look what the others have: two listings.

        Returns:
            The other trials' scores by index as a stopping rule may see them (of those that reached this evaluation,
            their numbers at it; of those that ended before, their last; none of those that train others again), and
            whether a later attempt has begun.
        """
        ended = storage.names(self._at("ended"))
        if any(n.startswith(f"{mine.trial:04d}.{mine.attempt}~superseded") for n in ended):
            return {}, True
        self.report(mine)
        at_it = _parsed(storage.names(self._at("evaluations", f"{mine.score.number:04d}")))
        here = latest(counted(at_it, ended))
        reached = {f"{trial:04d}" for trial in here}
        others = counted(_parsed(n for n in ended if n.partition(".")[0] not in reached), ended)
        peers = {**latest(e for e in others if e.score.number < mine.score.number), **here}
        return {t: score for t, score in peers.items() if t != mine.trial and t < MOST}, False

    def report(self, mine: Evaluation) -> None:
        """Write an evaluation."""
        storage.write(self._at("evaluations", f"{mine.score.number:04d}", mine.name()), "")

    def superseded(self, trial: Trial) -> bool:
        """Return whether a later attempt has begun."""
        return storage.exists(self._record(trial.index, trial.attempt + 1))

    def evaluations(self) -> list[Evaluation]:
        """Return all evaluations that trials have written."""
        return _parsed(path.rpartition("/")[2] for path in storage.files_below(self._at("evaluations")))

    def _counted(self) -> list[Evaluation]:
        return counted(self.evaluations(), storage.names(self._at("ended")))

    def written(self) -> list[Trial]:
        """Return what all trials' last attempts wrote, by index: one listing and one parallel fetch."""
        urls = [self._at("trials", n) for n in storage.names(self._at("trials")) if n.endswith(".json")]
        read = (self._parsed(url, c) for url, c in zip(urls, storage.read_many(urls), strict=True) if c is not None)
        last = {t.index: t for t in sorted(filter(None, read), key=lambda t: t.attempt)}
        return [last[index] for index in sorted(last)]

    def trials(self) -> list[Trial]:
        """Return what all trials wrote, by index, with their evaluations, and the best so far of those that run.

        An earlier attempt's evaluations count up to where the later one's begin.
        """
        curves: dict[int, dict[int, float]] = {}
        attempts: dict[int, int] = {}
        for e in sorted(self._counted(), key=lambda e: (e.trial, -e.attempt, -e.score.epoch)):
            curve = curves.setdefault(e.trial, {})
            if attempts.setdefault(e.trial, e.attempt) == e.attempt or e.score.epoch < min(curve):
                curve[e.score.epoch] = e.score.value
        return [t.with_curve(dict(sorted(curves.get(t.index, {}).items()))) for t in self.written()]


def _parsed(names: Iterable[str]) -> list[Evaluation]:
    return [e for e in map(Evaluation.parse, names) if e is not None]
