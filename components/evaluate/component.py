"""evaluate: how well the chosen model does."""

from kfp import dsl

from components.images import GPU


@dsl.component(base_image=GPU, install_kfp_package=False)
def evaluate(
    name: str,
    chosen: str,
    validation: dsl.Input[dsl.Dataset],
    test: dsl.Input[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Measure the chosen model on the test records, or on validation where there are none.

    Args:
        name: the experiment's name.
        chosen: what select returned.
        validation: records that scored the trials.
        test: records that no trial saw; may be empty.
        report: figures, precision-recall curves and examples with boxes drawn.
        metrics: the mean average precisions.

    Returns:
        The evaluation as JSON.
    """
    import json
    import os
    import shutil
    import tempfile

    from automl_images.steps.entry import step

    best = json.loads(chosen)
    data = test if os.path.getsize(test.path) else validation  # noqa: PTH202
    with tempfile.TemporaryDirectory() as folder, step("evaluate", [best["model"], data.path, "evaluation"], gpu=True):
        from automl_images.steps.evaluate import evaluate_model, summary_lines

        part = "test" if data is test else "validation"
        lineage = {"trial": best["trial"], "epoch": best["epoch"], "set": part}
        result = evaluate_model(best["model"], data.path, folder, title=f"{name}: evaluation", lineage=lineage)
        shutil.copy(result["report"], report.path)
        result |= {"report": report.path, "set": part}
        found = {"mean_average_precision": result["mean_average_precision"], **result["coco"]}
        for key, value in found.items():
            if value is not None:
                metrics.log_metric(key, value)
        print("\n".join(summary_lines(result)))
        return json.dumps(result)
