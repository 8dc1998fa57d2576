"""``python -m pipelines``: in a checkout, another name of the command ``automl-images``."""

from automl_images.cli import main

if __name__ == "__main__":
    main()
