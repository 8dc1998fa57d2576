"""The command ``automl-images`` for what a page says: as it stands there, but trainings are as short as can be."""

import sys

from automl_images import cli

SHORT = ("number_of_epochs=1", "evaluation_frequency=1")
FASTER = {
    "run": [w for s in (*SHORT, "training_batch_size=4") for w in ("--set", f"settings.{s}")],
    "train": [w for s in (*SHORT, "img_size=64") for w in ("--set", s)],
    "init": ["--no-measure"],
}

if __name__ == "__main__":
    sys.argv[1:] += FASTER.get(sys.argv[1], [])
    cli.main()
