"""plan: what a sweep will train, written to its ledger, and the lanes that will train it."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from automl_images import contents, storage
from automl_images.annotations import read_records
from automl_images.annotations.labels import kind_of
from automl_images.annotations.reachable import addresses
from automl_images.annotations.record_file import line_of
from automl_images.errors import UserError, number, say
from automl_images.experiment import MOST_LANES, Experiment, Sweep
from automl_images.hyperparameters import default_model, described, in_one_line, resolve, without_effect
from automl_images.hyperparameters.sizes import WITHOUT_PUBLISHED_WEIGHTS, check_sizes, no_published_weights
from automl_images.steps.model_address import model_address
from automl_images.sweep.curated import AUTO, baseline, curated_space
from automl_images.sweep.fingerprint import fingerprint, without_contents
from automl_images.sweep.genes import evolution, of_another_head
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.sampling import as_written
from automl_images.sweep.sampling.evolve import Evolve
from automl_images.sweep.schema import given
from automl_images.sweep.space import Branch, check_space, parse_space, points
from automl_images.sweep.submission import Lane, Submission
from automl_images.sweep.termination import Unstopped
from automl_images.tasks import Task, check_primary_metric, get_task

HOURS = 3600.0


def check_experiment(experiment: Experiment) -> dict[str, Any]:
    """Return what a trial depends on: all of an experiment but its data, its budget and where it runs.

    Raises:
        UserError: a name or a value is wrong; the line starts with its path in the experiment.
    """
    task, sweep, profile = get_task(experiment.task), experiment.sweep, experiment.profile
    metric = check_primary_metric(task, experiment.primary_metric)
    settings = dict(experiment.settings)
    weights = _starting_weights(settings, experiment.weights.model_dump())
    space: Any = sweep.space
    first: dict[str, Any] | None = None
    sampler = sweep.sampling
    if isinstance(sampler, Evolve):
        if space == AUTO:
            raise UserError("sweep.space: auto has choices, and evolve moves numbers; leave it out, or give a space")
        sampler, settings, space = evolution(sampler, task.name, settings, space, profile)
    elif space == AUTO or (sweep.iterations > 1 and not space):
        published_only = weights["pretrained"] and not weights["source"]
        space = curated_space(task.name, settings, WITHOUT_PUBLISHED_WEIGHTS if published_only else [])
        first = baseline(space)
    branches = parse_space(space)
    sampler.points(branches)
    swept = {name for branch in branches for name in branch}
    if "model_name" not in swept:
        try:
            complete = resolve(task.name, settings, profile)
            lines = [*without_effect(complete, settings), *of_another_head(settings, complete)]
        except UserError as error:
            raise UserError(f"settings.{error}") from None
        for line in in_one_line(line for line in lines if swept.isdisjoint(re.findall(r"\w+", line))):
            say(f"note: settings: {line}")
    check_space(task.name, branches, settings, conditional=isinstance(space, list), profile=profile)
    _check_confirm(sweep)
    stopped = not isinstance(sweep.early_termination, Unstopped)
    if settings.get("validation_metric_type") == "none":
        if sweep.iterations > 1:
            raise UserError(
                "settings.validation_metric_type: none leaves the trials of a sweep unranked; use voc or coco"
            )
        if stopped:
            raise UserError("sweep.early_termination: has nothing to judge by with validation_metric_type: none")
    weights["pretrained"] = _pretrained(task, settings, branches, weights, profile)
    return {
        "task": task.name,
        "profile": profile,
        "primary_metric": metric,
        "settings": settings,
        "weights": weights,
        "sampling": as_written(sampler),
        "space": space or {},
        "baseline": first,
        "seed": sweep.seed,
        "early_termination": given(sweep.early_termination, "policy") if stopped else {},
    }


def _check_confirm(sweep: Sweep) -> None:
    """Refuse to confirm more trials than there are children, and lanes that cannot wait for one another."""
    confirm = sweep.sampling.confirm if isinstance(sweep.sampling, Evolve) else 0
    if confirm >= sweep.iterations:
        raise UserError(
            f"sweep.sampling.confirm: {confirm} of {sweep.iterations} iterations, the first of which is the starting "
            "point; lower it, or raise iterations"
        )
    if confirm and sweep.lanes == "per_trial":
        raise UserError(
            "sweep.sampling.confirm: needs sweep.lanes: concurrent; a pod for each trial could wait for one that "
            "cannot start before it ends"
        )


def _starting_weights(settings: dict[str, Any], weights: dict[str, Any]) -> dict[str, Any]:
    """Return the experiment's weights with ``source`` from the settings' checkpoint_*, which are taken out of them."""
    names = [f"checkpoint_{n}" for n in ("run_id", "dataset_id", "filename")]
    first = next((n for n in names if settings.get(n)), None)
    run, folder, file = (settings.pop(n, None) for n in names)
    if not first:
        return weights
    if weights["source"]:
        raise UserError(f"settings.{first}: names weights, and weights.source does too; give one of the two")
    if bool(folder) != bool(file):
        raise UserError("settings.checkpoint_dataset_id: goes together with checkpoint_filename, the file in it")
    if run and folder:
        raise UserError("settings.checkpoint_run_id: is another source than checkpoint_dataset_id; give one of the two")
    return {**weights, "source": _model_of_run(str(run)) if run else storage.join(str(folder), str(file))}


def _model_of_run(run: str) -> str:
    """Return the address of the model that ``checkpoint_run_id`` names."""
    try:
        address = model_address(run)
    except UserError as error:
        raise UserError(f"settings.checkpoint_run_id: {error}") from None
    if not storage.exists(_weights_file(address)):
        raise UserError(f"settings.checkpoint_run_id: {storage.redact(run)}: no such run, trial or model folder")
    return address


def _pretrained(
    task: Task, settings: Mapping[str, Any], branches: list[Branch], weights: Mapping[str, Any], profile: str
) -> bool | None:
    """Return whether trials start from published weights; None: where their model has some, and it says so."""
    wanted = weights["pretrained"]
    if weights["source"] or wanted is False:
        return wanted is not False
    default = settings.get("model_name") or default_model(task.name, profile)
    own = described(default).get("use_pretrained_model")
    if wanted is None and profile == "sagemaker" and own and not own.default_for(task.name, default, profile):
        say("note: weights: fresh ones, for use_pretrained_model is 0 unless it is given")
        return False
    of_branch = [b["model_name"].arguments if "model_name" in b else (default,) for b in branches]
    models = sorted({m for names in of_branch for m in names})
    without = [m for m in models if m in WITHOUT_PUBLISHED_WEIGHTS]
    if wanted and without:
        raise UserError(no_published_weights(without[0]))
    for branch, names in zip(branches, of_branch, strict=True):
        for model in sorted(set(names).difference(without)):
            chosen = {n: e.arguments[0] for n, e in branch.items() if e.kind == "choice" and n != "model_name"}
            check_sizes(resolve(task.name, {**settings, **chosen, "model_name": model}, profile), pretrained=True)
    if without:
        rest = "; the others start from published ones" if len(without) < len(models) else ""
        say(f"note: weights: fresh ones for {', '.join(without)}, which has none published{rest}")
        return None if rest else False
    if wanted is None:
        say(f"note: weights: published ones for {', '.join(models)}")
    return True


def _check_counts(settings: Mapping[str, Any], training: str) -> None:
    """Refuse ``num_classes`` and ``num_training_samples`` that are not the training data's."""
    given = {n: settings[n] for n in ("num_classes", "num_training_samples") if settings.get(n)}
    if not given:
        return
    records = list(read_records(training))
    classes = {name for record in records for name in record.label.known()}
    found = {"num_classes": len(classes), "num_training_samples": len(records)}
    for name, count in given.items():
        if count != found[name]:
            raise UserError(f"settings.{name}: {count} is given, and the training data has {found[name]}; leave it out")


def _check_scored(task: Task, settings: Mapping[str, Any], validation: str) -> None:
    """Refuse validation data on which the primary metric is undefined."""
    if settings.get("validation_metric_type") == "none" or not kind_of(task.label).scored_if_any:
        return
    named = (record.label.names() for record in read_records(validation, task.label))
    first = next(named, None)
    if first is not None and not first and not any(named):
        raise UserError(
            f"{storage.redact(validation)}: no image has anything to find, so {task.primary_metric} is undefined; give "
            "validation images with labels"
        )


def plan_sweep(
    experiment: Experiment | Mapping[str, Any],
    training: str,
    validation: str,
    *,
    run: str | None = None,
    default_storage: str = "runs",
    ledger: str | None = None,
    fresh: str = "",
) -> list[str]:
    """Open the ledger, write this submission into it, and return the lanes.

    Args:
        experiment: the experiment, or its content as plain values.
        training, validation: addresses of the records (JSONL) that trials train on and are scored on.
        run: this submission's name; one is made up if None.
        default_storage: where ledgers lie when the experiment names no storage.
        ledger: the address of the ledger, instead of the one that name and fingerprint give.
        fresh: starts another ledger of the same experiment, with this added to its name; empty: its own ledger.

    Returns:
        One JSON object a lane: ``{"ledger": address, "run": name, "lane": i, "lanes": n}``.

    Raises:
        UserError: the experiment is wrong, or the ledger is another experiment's.
    """
    experiment = Experiment.read(experiment)
    sweep, covered = experiment.sweep, check_experiment(experiment)
    _check_counts(covered["settings"], training)
    _check_scored(get_task(covered["task"]), covered["settings"], validation)
    covered["data"] = _data(training, validation)
    source = covered["weights"]["source"]
    if source:
        if not storage.exists(_weights_file(source)):
            raise UserError(f"weights.source: {storage.redact(_weights_file(source))}: no such file")
        covered["weights"] = {**covered["weights"], "content": contents.digest([_weights_file(source)])}
    branches = parse_space(covered["space"])
    most, iterations, there = sweep.sampling.points(branches), sweep.iterations, points(branches)
    if most is not None and most != iterations:
        say(f"{sweep.sampling.by}: {most} points, {iterations} iterations: {number(min(most, iterations), 'trial')}")
        iterations = min(most, iterations)
    elif there is not None and there < iterations > 1:
        repeats = f"{there} points for {iterations} trials, so some repeat; grid tries each once"
        say(f"note: the space has {repeats}")
    run = run or f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
    root = storage.join(experiment.storage or default_storage, "ledgers", experiment.name)
    shared = Ledger(ledger) if ledger else _found(root, covered, fresh)
    shared.open(covered)
    staged = _stage(shared, source)
    each = sweep.lanes == "per_trial"  # a pod a trial, lane i has trial i alone; else a pod for all that run at once
    lanes = iterations if each else min(iterations, sweep.max_concurrent_iterations or MOST_LANES)
    claims = not each and shared.can_claim(run)
    confirm = sweep.sampling if isinstance(sweep.sampling, Evolve) and sweep.sampling.confirm else None
    if confirm and not claims:
        raise UserError(
            f"sweep.sampling.confirm: {storage.redact(shared.url)}: this store may create an object twice, so that its "
            "lanes cannot share the trials that are trained again; name another storage"
        )
    submission = Submission(
        run,
        iterations,
        time.time() + sweep.timeout_hours * HOURS,
        _keep(shared, "training", training),
        _keep(shared, "validation", validation),
        {"pretrained": covered["weights"]["pretrained"], "source": staged},
        lanes,
        claims,
        time.time(),
        confirm.confirm if confirm else 0,
        confirm.confirm_seeds if confirm else 0,
    )
    shared.write_run(submission)
    done = sum(t.succeeded and submission.counts(t.index) for t in shared.trials())
    kept = f"; {done} are done already" if done else ""
    again = f" and {submission.total - iterations} that train the best again" if confirm else ""
    say(f"ledger {storage.redact(shared.url)}: {number(iterations, 'trial')}{again} in {number(lanes, 'lane')}{kept}")
    return [Lane(shared.url, run, i, lanes).to_json() for i in range(lanes)]


def _data(training: str, validation: str) -> dict[str, str]:
    """Return digests of the records, without what they say of the images' bytes, and of images and masks as now."""
    records, images = hashlib.sha256(), []
    for url in (training, validation):
        for record in read_records(url):
            records.update(line_of(dataclasses.replace(record, digest=None)).encode())
            images += [url for url in addresses(record) if not url.startswith(storage.INLINE)]
        records.update(b"\0")
    return {"digest": records.hexdigest(), "images": contents.digest(images)}


def _found(root: str, covered: Mapping[str, Any], fresh: str) -> Ledger:
    """Return the experiment's ledger: its own, or one of an earlier version, whose fingerprint covered less."""
    end = f"-{fresh}" if fresh else ""
    own = Ledger(f"{root}-{fingerprint(covered)}{end}")
    earlier = Ledger(f"{root}-{fingerprint(without_contents(covered))}{end}")
    return earlier if not own.there() and earlier.there() and earlier.adopts(covered) else own


def _weights_file(source: str) -> str:
    return storage.join(source, "model.pt") if storage.is_dir(source) else source


def _keep(shared: Ledger, name: str, records: str) -> str:
    """Copy records into the ledger, where every lane reaches them, and return their address."""
    url = storage.join(shared.url, "records", f"{name}.jsonl")
    storage.create(url, storage.read_bytes(records))
    return url


def _stage(shared: Ledger, source: str | None) -> str | None:
    """Copy the weights that trials start from into the ledger, once, and return their address."""
    if not source:
        return None
    file = _weights_file(source)
    url = storage.join(shared.url, "weights", file.rpartition("/")[2])
    if not storage.exists(url):
        storage.write(url, storage.read_bytes(file))
        labels = storage.join(file.rpartition("/")[0], "labels.json")
        if storage.exists(labels):  # a classifier's last layer is kept if they are the same
            storage.write(storage.join(shared.url, "weights", "labels.json"), storage.read_bytes(labels))
    return url


def headline(lanes: Sequence[str]) -> str:
    """Return in a line what the step came to."""
    return f"{number(len(lanes), 'lane')}; ledger {storage.redact(Lane.of_json(lanes[0]).ledger)}"
