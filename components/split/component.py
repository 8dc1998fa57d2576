"""split: what trains, what validates and what the best model is tested on."""

from kfp import dsl

from automl_images.steps import LIGHT


@dsl.component(base_image=LIGHT, install_kfp_package=False)
def split(
    records: dsl.Input[dsl.Dataset],
    training: dsl.Output[dsl.Dataset],
    validation: dsl.Output[dsl.Dataset],
    test: dsl.Output[dsl.Dataset],
    given: dsl.Input[dsl.Dataset] = None,
    tested: dsl.Input[dsl.Dataset] = None,
    split_ratio: float = 0.2,
    test_ratio: float = 0.0,
    by: str = "random",
    seed: int = 0,
    data: str = "",
    converted: str = "",
) -> str:
    """Split records into training, validation and test, unless validation or test are given.

    Args:
        records: records (JSONL).
        training: records that train.
        validation: records that score trials.
        test: records to evaluate on; empty where there are none.
        given: records that validate; if there are any, none are split off.
        tested: records to test on; if there are any, none are split off.
        split_ratio: the share of the records that validates.
        test_ratio: the share of the records that is the test set.
        by: random, or stratified: each class in the same ratio.
        seed: equal seeds split equally.
        data: an experiment's data block as JSON: its split_ratio, test_ratio and split, in place of the four above.
        converted: what convert returned; its digests let Kubeflow take an equal earlier split, and no other.

    Returns:
        How many images each set has, as JSON.
    """
    import json

    from automl_images.steps.inputs import checked_data
    from automl_images.steps.repeat import address, step
    from automl_images.steps.split import how, split_data, words

    block = {"split_ratio": split_ratio, "test_ratio": test_ratio, "split": {"by": by, "seed": int(seed)}}
    task = {"task": records.metadata["task"]} if "task" in records.metadata else {}
    with step("split"):
        options = how(checked_data(data) if data else block)
    known = {"given": given, "tested": tested}
    more = [w for name, artifact in known.items() if artifact for w in (f"--{name}", address(artifact))]
    with step(
        "split", [*map(address, (records, training, validation)), *words(options), "--test", address(test), *more]
    ):
        files = {"test_out": test.path, "tested": tested and tested.path}
        counts = split_data(records.path, given and given.path, training.path, validation.path, **files, **options)
        for name, artifact in (("training", training), ("validation", validation), ("test", test)):
            artifact.metadata.update({**task, "images": counts[name], "set": name})
        return json.dumps(counts)
