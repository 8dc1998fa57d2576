"""convert: annotations in any format to checked records."""

from kfp import dsl

from automl_images.annotations import formats
from automl_images.steps import LIGHT


@dsl.component(base_image=LIGHT, install_kfp_package=False)
def convert(
    task: str,
    data: str,
    storage: str,
    copy_images: bool,
    digest: str,
    training: dsl.Output[dsl.Dataset],
    validation: dsl.Output[dsl.Dataset],
    test: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
) -> str:
    """Read annotations of any format, check every record and its image, and write records (JSONL).

    Args:
        task: the task's name, such as image-object-detection.
        data: the experiment's data block as JSON: training, validation, test, on_error.
        storage: the root below which images are copied; empty: the bucket of this pipeline's artifacts.
        copy_images: copy the images that lie on the machine of this step, so that the other steps reach them.
        digest: of what the sources hold; with it, Kubeflow may take the records of an earlier run.
        training: records that train, or are split.
        validation: records that validate; empty where the experiment has none.
        test: records to evaluate on; empty where the experiment has none.
        report: what each set holds: figures, images with their labels drawn, and what was found.

    Returns:
        What was read, as JSON: images, boxes or labels, classes, counts of flaws and the records' digest for each set.
    """
    import json

    from automl_images.steps.convert import commands, convert_data, counted
    from automl_images.steps.inspect import write_data_report
    from automl_images.steps.repeat import address, bucket_root, step

    blocks = json.loads(data)
    sets = {"training": training, "validation": validation, "test": test}
    paths = {name: artifact.path for name, artifact in sets.items()}
    to = (storage.rstrip("/") or bucket_root(training.uri)) + "/images" if copy_images else None
    with step("convert", *commands(task, blocks, {k: address(v) for k, v in sets.items()}, to)):
        summary = convert_data(task, blocks, paths, to)
        write_data_report(report.path, "Data", task, paths, summary)
        for name, artifact in sets.items():
            artifact.metadata.update(counted(summary.get(name, {})))
        return json.dumps(summary)


convert.component_spec.inputs["data"].description += f" Formats: {formats.description()}."
