"""split: what trains, what validates and what the best model is tested on."""

from kfp import dsl

from automl_images.steps import LIGHT


@dsl.component(base_image=LIGHT, install_kfp_package=False)
def split(
    data: str,
    converted: str,
    records: dsl.Input[dsl.Dataset],
    given: dsl.Input[dsl.Dataset],
    tested: dsl.Input[dsl.Dataset],
    training: dsl.Output[dsl.Dataset],
    validation: dsl.Output[dsl.Dataset],
    test: dsl.Output[dsl.Dataset],
) -> str:
    """Split records into training, validation and test, unless validation or test are given.

    Args:
        data: the experiment's data block as JSON: split_ratio, test_ratio and split (by, seed, pattern, ...).
        converted: what convert returned; its digests let Kubeflow take an equal earlier split, and no other.
        records: records (JSONL).
        given: records that validate; if there are any, none are split off.
        tested: records to test on; if there are any, none are split off.
        training: records that train.
        validation: records that score trials.
        test: records to evaluate on; empty where there are none.

    Returns:
        How many images each set has, as JSON.
    """
    import json

    from automl_images.steps.repeat import address, step
    from automl_images.steps.split import how, split_data, words

    options = how(json.loads(data))
    more = [*words(options), "--given", address(given), "--test", address(test), "--tested", address(tested)]
    with step("split", [*map(address, (records, training, validation)), *more]):
        files = {"test_out": test.path, "tested": tested.path}
        counts = split_data(records.path, given.path, training.path, validation.path, **files, **options)
        for name, artifact in (("training", training), ("validation", validation), ("test", test)):
            artifact.metadata["images"] = counts[name]
        return json.dumps(counts)
