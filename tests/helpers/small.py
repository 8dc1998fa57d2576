"""The command ``automl-images`` for what a page says: as it stands there, but trainings are as short as can be."""

import sys

from automl_images import cli

_SHORT = ("number_of_epochs=1", "evaluation_frequency=1")
_SPACE = ("sweep.space={learning_rate: {loguniform: [-8, -5]}}", "settings.model_size=small", "settings.img_size=64")


def shorter(arguments: list[str]) -> list[str]:
    """Return the options that make a command short: few epochs, and of the experiment sweep a space without epochs."""
    command, *rest = arguments
    if command == "init":
        return ["--no-measure"]
    given = [f"settings.{s}" for s in (*_SHORT, "training_batch_size=4")] if command == "run" else []
    given += _SPACE if command == "run" and rest[:1] == ["sweep"] else ()
    given += (*_SHORT, "img_size=64") if command == "train" else ()
    return [word for one in given for word in ("--set", one)]


if __name__ == "__main__":
    sys.argv[1:] += shorter(sys.argv[1:])
    cli.main()
