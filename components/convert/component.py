"""convert: annotations in any format to checked records."""

from kfp import dsl

from automl_images.annotations import formats
from automl_images.steps import LIGHT


@dsl.component(base_image=LIGHT, install_kfp_package=False)
def convert(
    training: dsl.Output[dsl.Dataset],
    validation: dsl.Output[dsl.Dataset],
    test: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
    source: str = "",
    folder: dsl.Input[dsl.Dataset] = None,
    task: str = "image-object-detection",
    format: str = "",
    images: str = "",
    on_error: str = "",
    data: str = "",
    storage: str = "",
    copy_images: bool = True,
    digest: str = "",
) -> str:
    """Read annotations of any format, check every record and its image, and write records (JSONL).

    Args:
        training: records that train, or are split; all of the source, unless it holds several sets.
        validation: records that validate; empty where there are none.
        test: records to evaluate on; empty where there are none.
        report: what each set holds: figures, images with their labels drawn, and what was found.
        source: the labelled images: a folder, file or .zip on any store.
        folder: the labelled images, in place of source: what another component has made.
        task: the task's name.
        format: of the source; empty: told from its content.
        images: the images' root, or PREFIX=URL; empty: the source's folder.
        on_error: what happens to a flawed record: fail, skip or fix; empty: fail.
        data: an experiment's data block as JSON, for several sets; what is given beside it replaces its training's.
        storage: the root below which images are copied; empty: the bucket of this pipeline's artifacts.
        copy_images: copy the images that lie on the machine of this step, so that the other steps reach them.
        digest: of what the sources hold; with it, Kubeflow may take the records of an earlier run.

    Returns:
        What was read, as JSON: images, boxes or labels, classes, counts of flaws and the records' digest for each set.
    """
    import json

    from automl_images.steps.convert import commands, convert_data, counted
    from automl_images.steps.inputs import data_block
    from automl_images.steps.inspect import write_data_report
    from automl_images.steps.repeat import address, bucket_root, step

    sets = {"training": training, "validation": validation, "test": test}
    paths = {name: artifact.path for name, artifact in sets.items()}
    to = (storage.rstrip("/") or bucket_root(training.uri)) + "/images" if copy_images else None
    with step("convert"):
        blocks = data_block(data, source, folder and address(folder), format, images, on_error)
        lines = commands(task, blocks, {k: address(v) for k, v in sets.items()}, to)
    with step("convert", *lines):
        summary = convert_data(task, blocks, paths, to)
        write_data_report(report.path, "Data", task, paths, summary)
        for name, artifact in sets.items():
            artifact.metadata.update({"task": task, "set": name, **counted(summary.get(name, {}))})
        return json.dumps(summary)


convert.component_spec.inputs["format"].description += f" One of: {formats.description()}."
