"""evaluate: how well the chosen model does."""

from kfp import dsl

from automl_images.steps import GPU


@dsl.component(base_image=GPU, install_kfp_package=False)
def evaluate(
    name: str,
    chosen: str,
    validation: dsl.Input[dsl.Dataset],
    test: dsl.Input[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    classification: dsl.Output[dsl.ClassificationMetrics],
) -> str:
    """Measure the chosen model on the test records, or on validation where there are none.

    Args:
        name: the experiment's name.
        chosen: what select returned.
        validation: records that scored the trials.
        test: records that no trial saw; may be empty.
        report: figures, curves and examples, boxes drawn or mistakes shown.
        metrics: every single figure.
        classification: the confusion matrix of up to 50 classes (of a detector with the background; not multi-label)
            and the ROC curve over all pairs of image and class (none for detection).

    Returns:
        The evaluation as JSON.
    """
    import json
    import os
    import shutil
    import tempfile

    from automl_images.steps.repeat import address, neighbour, step

    best = json.loads(chosen)
    data, part = (test, "test") if os.path.getsize(test.path) else (validation, "validation")  # noqa: PTH202
    command = [best["model"], address(data), neighbour(report, "evaluation"), "--title", f"{name}: evaluation"]
    with tempfile.TemporaryDirectory() as folder, step("evaluate", command):
        from automl_images.steps.evaluate import evaluate_model, plots, scalars, summary_lines

        lineage = {"trial": best["trial"], "epoch": best["epoch"], "set": part}
        result = evaluate_model(best["model"], data.path, folder, title=f"{name}: evaluation", lineage=lineage)
        shutil.copy(result["report"], report.path)
        result |= {"report": report.path, "set": part}
        for key, value in scalars(result).items():
            metrics.log_metric(key, value)
        classes, matrix, roc = plots(result)
        if matrix:
            classification.log_confusion_matrix(classes, matrix)
        if roc:
            classification.log_roc_curve(roc["fpr"], roc["tpr"], roc["threshold"])
        print("\n".join(summary_lines(result)))
        return json.dumps(result)
