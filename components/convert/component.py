"""convert: annotations in any format to checked records."""

from kfp import dsl

from components.images import LIGHT


@dsl.component(base_image=LIGHT, install_kfp_package=False)
def convert(
    task: str,
    data: str,
    training: dsl.Output[dsl.Dataset],
    validation: dsl.Output[dsl.Dataset],
    test: dsl.Output[dsl.Dataset],
) -> str:
    """Read annotations of any format, check every record and its image, and write records (JSONL).

    Classes are read from a folder per class, JSONL, CSV, SageMaker's lst or augmented manifest; boxes from Pascal VOC,
    COCO or JSONL.

    Args:
        task: the task's name, such as image-object-detection.
        data: the experiment's data block as JSON: training, validation, test, on_error.
        training: records that train, or are split.
        validation: records that validate; empty where the experiment has none.
        test: records to evaluate on; empty where the experiment has none.

    Returns:
        What was read, as JSON: images, boxes or labels, classes and counts of flaws for each set.
    """
    import json

    from automl_images.steps.entry import step

    blocks = json.loads(data)
    source = (blocks.get("training") or {}).get("source", "")
    with step("convert", [source, training.path, "--task", task]):
        from automl_images.steps.convert import convert_data

        summary = convert_data(task, blocks, training.path, validation.path, test.path)
        for artifact, name in ((training, "training"), (validation, "validation"), (test, "test")):
            counts = summary.get(name, {})
            artifact.metadata.update({k: counts[k] for k in ("images", "boxes", "labels") if k in counts})
        return json.dumps(summary)
