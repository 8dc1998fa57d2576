"""What a trial is proposed: what it had if it has started before, the baseline, or what the sampler draws."""

from __future__ import annotations

from typing import Any

from automl_images.errors import UserError
from automl_images.hyperparameters import resolve, without_effect
from automl_images.sweep.canonical import canonical_settings, canonical_space
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.sampling import SAMPLING
from automl_images.sweep.space import parse_space
from automl_images.sweep.trial import MOST


def sampled(ledger: Ledger, trial: int) -> dict[str, Any]:
    """Return a trial's sampled settings.

    One that has started before keeps them: what it would be proposed now may depend on the others. One that trains
    another again has those of that one.

    Raises:
        UserError: the trial that it trains again has none.
    """
    experiment, before = ledger.experiment(), ledger.trial(trial)
    if before and before.settings:
        return {name: before.settings[name] for name in before.sampled}
    if trial >= MOST:
        known = ledger.trial(trial % MOST)
        if trial % MOST and not (known and known.settings):
            raise UserError(f"trial {trial % MOST} has no settings, so that trial {trial} cannot train it again")
        return sampled(ledger, trial % MOST)
    baseline = experiment.get("baseline")
    if baseline is not None:
        if trial == 0:
            return dict(baseline)
        trial -= 1
    sampler = SAMPLING.validate_python(experiment["sampling"])
    branches = parse_space(canonical_space(experiment["space"]))
    return sampler.propose(branches, experiment["seed"], trial, ledger.written() if sampler.adaptive else [])


def given(ledger: Ledger, trial: int) -> tuple[dict[str, Any], list[str]]:
    """Return the settings that a trial is given, those of all trials and its sampled ones, and the latter's names."""
    drawn = sampled(ledger, trial)
    return {**canonical_settings(ledger.experiment()["settings"]), **drawn}, sorted(drawn)


def proposed(ledger: Ledger, trial: int) -> tuple[dict[str, Any], list[str], list[str]]:
    """Return a trial's complete settings, the sampled names, lines on what has no effect; UserError: out of range."""
    settings, names = given(ledger, trial)
    experiment = ledger.experiment()
    complete = resolve(experiment["task"], settings, experiment["profile"])
    if "head" in complete and "head" not in settings:
        complete = resolve(experiment["task"], {**settings, "head": ledger.head()}, experiment["profile"])
    return complete, names, without_effect(complete, settings)
