"""split: what trains and what validates."""

from kfp import dsl

from automl_images.steps import LIGHT


@dsl.component(base_image=LIGHT, install_kfp_package=False)
def split(
    data: str,
    converted: str,
    records: dsl.Input[dsl.Dataset],
    given: dsl.Input[dsl.Dataset],
    training: dsl.Output[dsl.Dataset],
    validation: dsl.Output[dsl.Dataset],
) -> str:
    """Split records into training and validation, unless validation is given.

    Args:
        data: the experiment's data block as JSON: split_ratio and split (by, seed).
        converted: what convert returned; its digests let Kubeflow take an equal earlier split, and no other.
        records: records (JSONL).
        given: records that validate; if there are any, nothing is split.
        training: records that train.
        validation: records that score trials.

    Returns:
        How many images each set has, as JSON.
    """
    import json

    from automl_images.steps.repeat import address, step

    block = json.loads(data)
    how = {"by": "random", "seed": 0, **(block.get("split") or {})}
    ratio = block.get("split_ratio", 0.2)
    options = ["--split-ratio", str(ratio), "--seed", str(how["seed"]), "--given", address(given)]
    with step("split", [*map(address, (records, training, validation)), *options]):
        from automl_images.steps.split import split_data

        counts = split_data(
            records.path, given.path, training.path, validation.path, ratio=ratio, seed=how["seed"], by=how["by"]
        )
        training.metadata["images"], validation.metadata["images"] = counts["training"], counts["validation"]
        return json.dumps(counts)
