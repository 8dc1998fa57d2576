"""train: one lane of a sweep."""

from kfp import dsl

from automl_images.steps import GPU


@dsl.component(base_image=GPU, install_kfp_package=False)
def train(lane: str) -> str:
    """Run trial after trial of one lane, each in a process of its own; a trial that fails never fails the step.

    Args:
        lane: one of the lanes that plan returned.

    Returns:
        The state of each trial of the lane, as JSON.
    """
    from automl_images.steps.repeat import step

    with step("train", ["--lane", lane, "--again"]):
        from automl_images.steps.train import train_lane

        return train_lane(lane)
