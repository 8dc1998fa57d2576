"""plan: the sweep's ledger and its lanes."""

from kfp import dsl

from automl_images.steps import LIGHT


@dsl.component(base_image=LIGHT, install_kfp_package=False)
def plan(
    training: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    summary: dsl.Output[dsl.Markdown],
    experiment: str = "{}",
    storage: str = "",
    run: str = "",
    fresh: str = "",
    iterations: int = 0,
    model_name: str = "",
    epochs: int = 0,
) -> list[str]:
    """Check the sweep, open its ledger, and say which lanes train it.

    Args:
        training: records that train.
        validation: records that score trials.
        summary: what will be trained.
        experiment: the experiment as JSON: name, task (else the records'), primary_metric, settings, weights, sweep.
        storage: the root of ledgers; empty: the bucket of this pipeline's artifacts.
        run: this submission's name; the same name is the same submission, when the step is retried.
        fresh: starts another ledger of the same experiment, with this added to its name; empty: its own ledger.
        iterations: how many trials; 0: as the experiment says.
        model_name: the model; empty: as the experiment says.
        epochs: how many epochs a trial has; 0: as the experiment says.

    Returns:
        One JSON object a lane. The only output without a name: the local runner loops over no other.
    """
    import json

    from automl_images.steps.inputs import experiment_of
    from automl_images.steps.repeat import address, bucket_root, step

    root = storage or bucket_root(summary.uri)
    options = ["--storage", root, *(["--run", run] if run else []), *(["--fresh", fresh] if fresh else [])]
    with step("plan"):
        content = experiment_of(experiment, training.metadata.get("task", ""), iterations, model_name, epochs)
    with step("plan", ["-", address(training), address(validation), *options], stdin=json.dumps(content)):
        from automl_images.errors import number
        from automl_images.steps.plan import plan_sweep

        lanes = plan_sweep(content, training.path, validation.path, run=run or None, default_storage=root, fresh=fresh)
        with open(summary.path, "w") as file:  # noqa: PTH123
            file.write(f"{number(len(lanes), 'lane')}; ledger `{json.loads(lanes[0])['ledger']}`\n")
        return lanes
