"""An experiment in Python, and what its run leaves: a thin front of the one that a file holds."""

from __future__ import annotations

import html
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automl_images import storage
from automl_images.api.shown import Report, table
from automl_images.errors import UserError, number
from automl_images.faults import explained
from automl_images.sweep.trial import Trial

if TYPE_CHECKING:
    from automl_images.pipelines.experiment import Experiment as Model

_FILE = "summary.json"


class Experiment:
    """What to train on what.

    Args:
        task: the task's name, such as ``image-object-detection``.
        data: a folder or file of labelled images, local or on a store; or the block ``data`` of an experiment's file, a
            mapping with ``training``, ``validation``, ``test``, ``split_ratio`` and so on.
        iterations: how many trials; None: what ``sweep`` says, else one.
        name: what runs and ledgers are called; None: the last part of the data's address.
        sweep: the block ``sweep``, such as ``{"sampling": "bayesian"}``.
        fields: the other blocks of an experiment's file, such as ``settings={"number_of_epochs": 5}``,
            ``weights={"pretrained": False}``, ``storage="s3://bucket/runs"``.
            ``automl-images schema`` lists them.

    Attributes:
        model: the whole experiment, with its defaults.

    Raises:
        UserError: a key is unknown, a value wrong; the line names its path, as of a file.
    """

    def __init__(
        self,
        task: str,
        data: str | Path | Mapping[str, Any],
        *,
        iterations: int | None = None,
        name: str | None = None,
        sweep: Mapping[str, Any] | None = None,
        **fields: Any,
    ):
        from automl_images.pipelines.experiment import Experiment as Model
        from automl_images.steps.plan import check_experiment

        block = {"training": {"source": _address(data)}} if isinstance(data, str | Path) else data
        content = {"task": task, "data": block, "name": _name(block) if name is None else name, **fields}
        if iterations is not None:
            if "iterations" in (sweep or {}):
                raise UserError("iterations: is given beside a sweep that has its own; give one of the two")
            content["sweep"] = {**(sweep or {}), "iterations": iterations}
        elif sweep is not None:
            content["sweep"] = sweep
        self.model: Model = Model.read(content)
        check_experiment(self.model)

    @classmethod
    @explained()
    def load(cls, path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
        """Return the experiment of a file, or one that ships, such as ``quickstart``.

        Args:
            path: the YAML file.
            overrides: ``PATH=VALUE``, such as ``sweep.iterations=4``.

        Raises:
            UserError: there is no such file, a key is unknown, a value wrong.
        """
        from automl_images.pipelines.experiment import load

        made = cls.__new__(cls)
        made.model = load(path, list(overrides))
        return made

    def __repr__(self) -> str:
        return f"<experiment {self.model.name}: {self.model.task}, {number(self.model.sweep.iterations, 'trial')}>"

    @explained()
    def run(self, *, root: str | Path = "runs", fresh: bool = False, runner: str = "subprocess") -> Run:
        """Run it on this machine, show how far it is, and return what came of it.

        Run again after an interruption, it goes on; run again with more iterations, only the new ones are trained.

        Args:
            root: the folder of runs.
            fresh: start over, even if this experiment has run before.
            runner: ``subprocess``, or ``docker``: each step in its container.

        Raises:
            UserError: a step says what can be mended.
            StepFailed: a step failed otherwise.
            KeyboardInterrupt: it was interrupted; the text says what is kept.
        """
        from automl_images.pipelines import run as local
        from automl_images.pipelines.experiment import draw_sample

        if runner not in ("subprocess", "docker"):
            raise UserError(f"runner: '{runner}' runs nothing; use subprocess or docker")
        draw_sample(self.model)
        try:
            made = local.run(self.model, root=_address(root), fresh=fresh, runner=runner, console=_console())
        except local.RunInterrupted as end:
            raise KeyboardInterrupt(f"{end.kept}; the same again goes on") from None
        return Run(made["folder"])

    @explained()
    def compile(self, path: str | Path = "pipeline.yaml") -> Path:
        """Write the pipeline's package for Kubeflow Pipelines, and return its path."""
        from automl_images.pipelines.pipeline import compile_package

        target = storage.local_path(_address(path))
        compile_package(self.model, target)
        return target

    @explained()
    def submit(
        self,
        host: str | None = None,
        *,
        namespace: str | None = None,
        token: str | None = None,
        wait: bool = True,
        fresh: bool = False,
        take_over: bool = False,
        local_images: bool = False,
        resubmit: int = 2,
    ) -> str:
        """Send it to Kubeflow Pipelines, and follow it to its end; return the id of its first run there.

        Args:
            host: the address of the API; None: ``cluster.endpoint``, else where kfp finds it.
            namespace: the runs' namespace; None: ``cluster.namespace``.
            token: a bearer token.
            wait: whether to follow the run.
            fresh: start over, even if this experiment has run before.
            take_over: if a run of it still goes, end that one and go on with its trials.
            local_images: the cluster's nodes have the images, which name no registry.
            resubmit: how often to send it again, while it is followed, if a pod of its is lost.

        Raises:
            UserError: an image names no registry, an address is of this machine alone, Kubeflow does not take it, or
                the run fails.
        """
        from automl_images.pipelines import submit as remote
        from automl_images.pipelines.experiment import draw_sample
        from automl_images.pipelines.kubeflow import Kubeflow

        model = self.model
        if namespace is not None:
            model = model.model_copy(update={"cluster": model.cluster.model_copy(update={"namespace": namespace})})
        kubeflow = Kubeflow(host or model.cluster.endpoint, model.cluster.namespace, token)
        draw_sample(model)
        run = remote.submit(model, kubeflow, fresh=fresh, take_over=take_over, local_images=local_images)
        print(f"run {run}: {kubeflow.link(run)}", flush=True)
        if wait:
            remote.follow(model, kubeflow, run, resubmit)
        return run


class Run:
    """What a run on this machine left in its folder.

    Attributes:
        folder: the run's folder.
        summary: what ``summary.json`` in it has.

    Raises:
        UserError: there is no finished run in the folder.
    """

    def __init__(self, folder: str | Path):
        self.folder = storage.local_path(_address(folder))
        try:
            self.summary: dict[str, Any] = json.loads((self.folder / _FILE).read_text())
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{self.folder}: has no {_FILE}; name the folder of a run that has ended") from None

    @property
    def trials(self) -> Trials:
        """The trials, in the order of their numbers."""
        trials = sorted(map(Trial.of_json, self.summary["trials"]), key=lambda t: t.index)
        return Trials(trials, self.summary["best"])

    @property
    def best(self) -> Trial:
        """The trial that was selected."""
        return next(t for t in self.trials if t.index == self.summary["best"]["trial"])

    @property
    def model(self) -> str:
        """The address of the best trial's model folder, in the registry if it was registered."""
        return str(self.summary["model"])

    @property
    def metrics(self) -> dict[str, Any]:
        """What the best model was measured by, on the test set or on validation."""
        return dict(self.summary["evaluation"])

    @property
    def report(self) -> Report:
        """The evaluation's report."""
        return Report(self.summary["report"])

    @property
    def leaderboard(self) -> Report:
        """The report on all trials."""
        return Report(self.summary["leaderboard"])

    @explained()
    def register(
        self,
        name: str,
        registry: str | None = None,
        *,
        minimum: float | None = None,
        promote: str = "if_better",
    ) -> dict[str, Any]:
        """Register the best model under a name; a repeat returns the version that it has.

        Args:
            name: the model's name.
            registry: a folder on any store, or ``kubeflow://HOST``; None: beside the run's ledgers.
            minimum: the least value of the primary metric; a model below it is refused.
            promote: when it becomes champion: ``if_better``, ``always`` or ``never``.

        Returns:
            ``name``, ``version``, ``uri``, ``aliases``, ``promotion``.

        Raises:
            UserError: the name is not allowed, or the metric is below ``minimum``.
        """
        from automl_images.steps.register import register_model

        best = self.summary["best"]
        ledger = self.summary["ledger"]
        target = registry or storage.join(ledger.rpartition("/ledgers/")[0], "registry")
        lineage = {"ledger": ledger, "trial": best["trial"], "epoch": best["epoch"], "settings": best["settings"]}
        model = self.best.model or self.model
        return register_model(model, name, target, self.metrics, lineage, minimum, promote)

    def __repr__(self) -> str:
        return f"<run {self.folder}: {self.trials.line()}>"

    def _repr_html_(self) -> str:
        from automl_images.evaluation import summary_lines

        lines = "\n".join(summary_lines(self.summary["evaluation"]))
        return f"{self.trials._repr_html_()}<pre>{html.escape(lines)}</pre><p>{html.escape(str(self.folder))}</p>"


class Trials(list[Trial]):
    """A run's trials; a notebook shows them as a table."""

    def __init__(self, trials: Sequence[Trial], best: Mapping[str, Any]):
        super().__init__(trials)
        self._best = best

    def line(self) -> str:
        """Return which is the best, in a line."""
        value = "unranked" if self._best["value"] is None else f"{self._best['metric']} {self._best['value']:.4f}"
        return (
            f"{number(len(self), 'trial')}, best: trial {self._best['trial']}, {value} at epoch {self._best['epoch']}"
        )

    def __repr__(self) -> str:
        best = self._best["trial"]
        return "\n".join(("* " if t.index == best else "  ") + _told(t, self._best["metric"]) for t in self)

    def _repr_html_(self) -> str:
        names = sorted({name for trial in self for name in trial.sampled})
        heading = ["trial", "state", self._best["metric"], "epoch", *names]
        rows = [
            [t.index, t.state.value, t.value, (t.best or {}).get("epoch"), *(t.settings.get(n) for n in names)]
            for t in self
        ]
        chosen = [t.index == self._best["trial"] for t in self]
        return f"<p>{html.escape(self.line())}</p>{table(heading, rows, chosen)}"


def _told(trial: Trial, metric: str) -> str:
    """Return a trial in a line: its state and why, its value, and what was sampled for it."""
    value = "" if trial.value is None else f", {metric} {trial.value:.4f} at epoch {(trial.best or {}).get('epoch')}"
    sampled = "".join(f", {name}={trial.settings.get(name)}" for name in sorted(trial.sampled))
    why = trial.error or trial.reason
    return f"trial {trial.index}: {trial.state.value}{value}{sampled}" + (f" ({why})" if why else "")


def _address(path: str | Path) -> str:
    return storage.at_home(str(path))


def _name(data: Mapping[str, Any]) -> str:
    """Return a name for an experiment, of its training data's address."""
    training = data.get("training") if isinstance(data, Mapping) else None
    source = training.get("source") if isinstance(training, Mapping) else None
    last = str(source or "").rstrip("/").rpartition("/")[2].partition("?")[0]
    last = re.sub(r"\.(csv|jsonl?|tsv|txt|zip|ya?ml)$", "", last)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("._-")[:63] or "experiment"


def _console() -> Any:
    """Return where progress is shown: live in a notebook that has ipywidgets, as plain lines in one that has not."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_jupyter:
        try:
            import ipywidgets  # noqa: F401
        except ImportError:
            return Console(file=sys.stderr, force_jupyter=False, force_terminal=False, width=120)
    return console
