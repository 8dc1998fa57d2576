"""train: one training, or one lane of a sweep."""

from typing import Optional

from kfp import dsl

from automl_images.steps import GPU


@dsl.component(base_image=GPU, install_kfp_package=False)
def train(
    model: dsl.Output[dsl.Model],
    training: dsl.Input[dsl.Dataset] = None,
    validation: dsl.Input[dsl.Dataset] = None,
    settings: dict = {},  # noqa: B006 (KFP's way)
    task: str = "",
    pretrained: Optional[bool] = None,  # noqa: UP045 (KFP reads no other)
    start: dsl.Input[dsl.Model] = None,
    seed: int = 0,
    lane: str = "",
) -> str:
    """Train a model once. With a lane: trial after trial of it; a trial that fails never fails the step.

    Args:
        model: the model folder; with a lane it is empty, because select has the best of all lanes.
        training: records that train (JSONL), as convert and split write them.
        validation: records that score.
        settings: hyperparameters, such as {"model_name": "resnet18", "number_of_epochs": 5}.
        task: the task's name; empty: that of the records, which convert says of them.
        pretrained: whether published weights are taken; not given: where the model has some.
        start: a model folder whose weights are taken in their place.
        seed: what is drawn depends on it.
        lane: one of the lanes that plan returned, in place of all of the above.

    Returns:
        The primary metric of the model, or with a lane the state of each of its trials, as JSON.
    """
    import json
    import os

    from automl_images.steps.inputs import training_inputs
    from automl_images.steps.repeat import address, step
    from automl_images.steps.train import train_lane, train_once

    if lane:
        with step("train", ["--lane", lane, "--again"]):
            training_inputs(lane, training, validation, task, settings, start)
            os.makedirs(model.path, exist_ok=True)  # noqa: PTH103
            return train_lane(lane)
    with step("train"):
        options, words = training_inputs("", training, validation, task, settings, start, pretrained, seed)
    with step("train", [*map(address, (training, validation, model)), *words]):
        best = train_once(training=training.path, validation=validation.path, model=model.path, **options)
        model.metadata.update({"task": options["task"], **{k: best[k] for k in ("metric", "value", "epoch")}})
        return json.dumps({k: best[k] for k in ("metric", "value", "epoch", "settings")})
