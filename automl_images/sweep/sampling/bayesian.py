"""Bayesian sampling: Optuna's tree-structured Parzen estimator, asked afresh by each trial from what the ledger holds.

Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization"; multivariate and grouped (Falkner et al. 2018), so
that conditional spaces work: each branch has parameters of its own. Trials that still run count as if they would end
badly (Optuna's constant liar), so that trials in parallel spread out.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from automl_images.sweep.sampling.independent import Sobol
from automl_images.sweep.sampling.sampler import Sampler, Settings
from automl_images.sweep.schema import Whole
from automl_images.sweep.space import Branch, Expression
from automl_images.sweep.trial import State, Trial

_BRANCH = "branch"
_EDGE = 1e-9


class Bayesian(Sampler):
    """Reads the other trials; Sobol's points until ``startup`` of them have ended with a value."""

    by: Literal["bayesian"] = "bayesian"
    startup: Whole = Field(10, ge=1, description="Trials that end with a value before the estimator proposes.")
    # more than Optuna's 24: one candidate here is a point in all dimensions
    candidates: Whole = Field(64, ge=1, description="Points that the estimator compares for each proposal.")
    adaptive: ClassVar[bool] = True

    def propose(self, branches: Sequence[Branch], seed: int, index: int, trials: Sequence[Trial] = ()) -> Settings:
        """See :meth:`Sampler.propose`."""
        known = _known(branches, trials)
        if sum(t.state is not State.RUNNING and t.value is not None for _, t in known) < self.startup:
            return Sobol().propose(branches, seed, index)
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        draws = int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of features that Optuna calls experimental
            estimator = optuna.samplers.TPESampler(
                seed=draws,
                n_startup_trials=1,
                n_ei_candidates=self.candidates,
                multivariate=True,
                group=True,
                constant_liar=True,
            )
            study = optuna.create_study(direction="maximize", sampler=estimator)
            for i, trial in known:
                if trial.value is not None or trial.state is State.RUNNING:
                    study.add_trial(_frozen(optuna, branches, i, trial))
            asked = study.ask()
            chosen = asked.suggest_categorical(_BRANCH, list(range(len(branches)))) if len(branches) > 1 else 0
            return {
                name: _from_parameter(e, asked._suggest(f"{chosen}.{name}", _distribution(optuna, e)))
                for name, e in branches[chosen].items()
            }


def _known(branches: Sequence[Branch], trials: Sequence[Trial]) -> list[tuple[int, Trial]]:
    """Return the trials that the space could have proposed, each with its branch; the others tell it nothing."""
    found = []
    for trial in trials:
        for i, branch in enumerate(branches):
            if set(branch) == set(trial.sampled) and all(_fits(e, trial.settings[n]) for n, e in branch.items()):
                found.append((i, trial))
                break
    return found


def _frozen(optuna: Any, branches: Sequence[Branch], branch: int, trial: Trial) -> Any:
    running = trial.state is State.RUNNING
    parameters: dict[str, Any] = {}
    distributions: dict[str, Any] = {}
    if len(branches) > 1:
        parameters[_BRANCH] = branch
        distributions[_BRANCH] = optuna.distributions.CategoricalDistribution(list(range(len(branches))))
    for name, e in branches[branch].items():
        parameters[f"{branch}.{name}"] = _to_parameter(e, trial.settings[name])
        distributions[f"{branch}.{name}"] = _distribution(optuna, e)
    state = optuna.trial.TrialState.RUNNING if running else optuna.trial.TrialState.COMPLETE
    return optuna.trial.create_trial(
        state=state, value=None if running else trial.value, params=parameters, distributions=distributions
    )


def _distribution(optuna: Any, e: Expression) -> Any:
    """Return Optuna's distribution of an expression; the normal family is asked for as a quantile."""
    kinds, bounds = optuna.distributions, e.bounds()
    if e.kind == "choice":
        return kinds.CategoricalDistribution(list(range(len(e.arguments))))
    if e.kind == "randint":
        return kinds.IntDistribution(0, int(e.arguments[0]) - 1)
    if bounds is None:
        return kinds.FloatDistribution(_EDGE, 1 - _EDGE)
    return kinds.FloatDistribution(*_ends(e), log="log" in e.kind)


def _ends(e: Expression) -> tuple[float, float]:
    """Return the bounds of a uniform expression before they are rounded to multiples of q."""
    low, high = (math.exp(a) if "log" in e.kind else float(a) for a in e.arguments[:2])
    return (1 / high, 1 / low) if _reverse(e) else (low, high)


def _reverse(e: Expression) -> bool:
    """Return whether an expression is asked for as what it leaves to 1."""
    return e.kind == "reverseloguniform"


def _from_parameter(e: Expression, parameter: Any) -> Any:
    if e.kind == "choice":
        return e.arguments[parameter]
    if e.kind == "randint":
        return int(parameter)
    if _reverse(e):
        return 1 - float(parameter)
    return e.quantile(parameter) if e.bounds() is None else e.rounded(float(parameter))


def _to_parameter(e: Expression, value: Any) -> Any:
    if e.kind == "choice":
        return list(e.arguments).index(value)
    if e.kind == "randint":
        return int(value)
    if e.bounds() is None:
        return min(max(e.probability(value), _EDGE), 1 - _EDGE)
    low, high = _ends(e)
    return min(max(1 - value if _reverse(e) else float(value), low), high)


def _fits(e: Expression, value: Any) -> bool:
    if e.kind == "choice":
        return value in e.arguments
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    bounds = e.bounds()
    return ("log" not in e.kind or value >= 0) and (bounds is None or bounds[0] <= value <= bounds[1])
