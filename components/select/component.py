"""select: the best trial of a sweep."""

from kfp import dsl

from automl_images.steps import LIGHT


@dsl.component(base_image=LIGHT, install_kfp_package=False)
def select(
    lanes: list[str],
    model: dsl.Output[dsl.Model],
    leaderboard: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    evolution: dsl.Output[dsl.Artifact],
    trained: list[str] = [],  # noqa: B006 (KFP's way)
    name: str = "",
) -> str:
    """Choose the trial with the best primary metric, or an evolution's best fitness or mean of it, from the ledger.

    Args:
        lanes: what plan returned; says which ledger.
        model: the best trial's model folder; its metadata say where the ledger has it, and which trial it is.
        leaderboard: all trials, their curves and settings.
        metrics: the best trial's value of the primary metric.
        evolution: a folder with evolve.csv, hyp_evolve.yaml, evolve.png and, if the best are trained again,
            confirm.csv; empty if the sweep does not evolve.
        trained: what the lanes returned; makes select wait for them.
        name: the leaderboard's heading.

    Returns:
        The best trial as JSON: trial, metric, value, epoch, settings, model (the address of its model folder), ledger.
    """
    import json
    from pathlib import Path

    from automl_images.steps.inputs import first_lane
    from automl_images.steps.repeat import address, step

    with step("select"):
        lane = first_lane(lanes)
    options = ["--run", lane.run, "--report", address(leaderboard), *(["--title", name] if name else [])]
    options += ["--evolution", address(evolution)]
    with step("select", [lane.ledger, *options]):
        from automl_images.steps.select import choose

        Path(evolution.path).mkdir(parents=True, exist_ok=True)
        chosen, told = choose(lane, model.path, leaderboard.path, evolution.path, name)
        model.metadata.update(told)
        if chosen["value"] is not None:
            metrics.log_metric(chosen["metric"], chosen["value"])
        states = [t["state"] for t in chosen.pop("trials")]
        for state in sorted(set(states)):
            metrics.log_metric(f"trials {state}", states.count(state))
        return json.dumps(chosen)
