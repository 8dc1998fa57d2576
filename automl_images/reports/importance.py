"""How much each hyperparameter mattered in a sweep, by Optuna's PED-ANOVA, which also takes conditional spaces.

Watanabe et al., "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces", IJCAI 2023,
https://arxiv.org/abs/2304.10255.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from automl_images.reports import trials as view
from automl_images.reports.parallel import column, scale
from automl_images.sweep.trial import Trial

LEAST = 8
_TOP = 0.1  # the share of trials that counts as good, but at least so many trials:
_TOP_TRIALS = 5


def importance(trials: Sequence[Trial]) -> tuple[dict[str, float], str]:
    """Return each sampled setting's share of the importance for being among the best trials, greatest first.

    Of the ledger's trials those that ended well with a value count.

    Returns:
        The shares, which add up to 1, and an empty text; or nothing and why there are none.
    """
    counted = [t for t in trials if t.succeeded and t.value is not None]
    if len(counted) < LEAST:
        return {}, f"At least {LEAST} trials must have ended with a value before the importance says anything."
    values = [t.value or 0.0 for t in counted]
    if max(values) - min(values) < 1e-12:
        return {}, "All trials have the same value, so that no hyperparameter shows an effect."
    columns = {n: column(counted, n) for n in view.varying(counted)}
    columns = {n: c for n, c in columns.items() if len(set(c.values())) > 1}
    if not columns:
        return {}, "No sampled hyperparameter differs between the trials that have a value."

    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    def distribution(values: list[Any]) -> BaseDistribution:
        kind, (low, high) = scale(values)
        if kind == "text":
            return CategoricalDistribution(tuple(sorted(set(values))))
        if all(isinstance(v, int) for v in values):
            return IntDistribution(int(low), int(high))
        return FloatDistribution(low, high, log=kind == "log")

    distributions = {n: distribution(list(c.values())) for n, c in columns.items()}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize")
        for trial, value in zip(counted, values, strict=True):
            params = {n: c[trial.index] for n, c in columns.items() if trial.index in c}
            own = {n: distributions[n] for n in params}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=own, value=value))
        top = min(0.5, max(_TOP, _TOP_TRIALS / len(counted)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            raw = get_param_importances(
                study, evaluator=PedAnovaImportanceEvaluator(target_quantile=top), params=list(columns), normalize=False
            )
    finally:
        optuna.logging.set_verbosity(verbosity)
    total = sum(raw.values())
    if total < 1e-9:
        return {}, "The best trials' settings are spread as all trials' are: no hyperparameter shows an effect."
    return {n: v / total for n, v in sorted(raw.items(), key=lambda item: -item[1])}, ""
