"""evaluate: how well a model does."""

from kfp import dsl

from automl_images.steps import GPU


@dsl.component(base_image=GPU, install_kfp_package=False)
def evaluate(
    model: dsl.Input[dsl.Model],
    data: dsl.Input[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    classification: dsl.Output[dsl.ClassificationMetrics],
    validation: dsl.Input[dsl.Dataset] = None,
    name: str = "",
) -> str:
    """Measure a model on records.

    Args:
        model: a model folder, as train and select write it.
        data: the records (JSONL), such as a test set that no trial saw.
        report: figures, curves and examples, boxes drawn or mistakes shown.
        metrics: every single figure.
        classification: the confusion matrix of up to 50 classes (of a detector with the background; not multi-label)
            and the ROC curve over all pairs of image and class (none for detection).
        validation: the records to measure on where data has none.
        name: the report's heading begins with it.

    Returns:
        The evaluation as JSON.
    """
    import json
    import os
    import shutil
    import tempfile

    from automl_images.steps.repeat import address, model_folder, neighbour, step

    with step("evaluate"):
        known = validation is None or os.path.getsize(data.path) > 0  # noqa: PTH202
    records, part = (data, data.metadata.get("set", "test")) if known else (validation, "validation")
    title = f"{name}: evaluation" if name else "Evaluation"
    command = [model_folder(model), address(records), neighbour(report, "evaluation"), "--title", title]
    with tempfile.TemporaryDirectory() as folder, step("evaluate", command):
        from automl_images.steps.evaluate import evaluate_model, plots, scalars, summary_lines

        lineage = {k: int(model.metadata[k]) for k in ("trial", "epoch") if k in model.metadata} | {"set": part}
        result = evaluate_model(model.path, records.path, folder, title=title, lineage=lineage)
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
