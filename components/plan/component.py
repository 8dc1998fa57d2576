"""plan: the sweep's ledger and its lanes."""

from kfp import dsl

from automl_images.steps import LIGHT


@dsl.component(base_image=LIGHT, install_kfp_package=False)
def plan(
    experiment: str,
    storage: str,
    run: str,
    fresh: str,
    training: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    summary: dsl.Output[dsl.Markdown],
) -> list[str]:
    """Check the sweep, open its ledger, and say which lanes train it.

    Args:
        experiment: the experiment as JSON: name, task, primary_metric, settings, weights, sweep.
        storage: the root of ledgers; empty: the bucket of this pipeline's artifacts.
        run: this submission's name; the same name is the same submission, when the step is retried.
        fresh: starts another ledger of the same experiment, with this added to its name; empty: its own ledger.
        training: records that train.
        validation: records that score trials.
        summary: what will be trained.

    Returns:
        One JSON object a lane. The only output without a name: the local runner loops over no other.
    """
    import json

    from automl_images.steps.repeat import address, bucket_root, step

    root = storage or bucket_root(summary.uri)
    options = ["--storage", root, "--run", run, *(["--fresh", fresh] if fresh else [])]
    with step("plan", ["-", address(training), address(validation), *options], stdin=experiment):
        from automl_images.steps.plan import plan_sweep

        content = json.loads(experiment)
        lanes = plan_sweep(content, training.path, validation.path, run=run or None, default_storage=root, fresh=fresh)
        with open(summary.path, "w") as file:  # noqa: PTH123
            file.write(f"{len(lanes)} lanes; ledger `{json.loads(lanes[0])['ledger']}`\n")
        return lanes
