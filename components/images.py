"""The container images of the components: one name each, in this one place.

An environment variable replaces a name when the components are imported, an experiment's ``cluster.images`` when its
pipeline is built.
"""

import os

from automl_images import __version__

HEAVY = ("train", "evaluate")  # the steps that compute, in the image GPU; the others are in LIGHT

LIGHT = os.environ.get("AUTOML_IMAGES_LIGHT_IMAGE", f"automl-images/light:{__version__}")
GPU = os.environ.get("AUTOML_IMAGES_GPU_IMAGE", f"automl-images/gpu:{__version__}")
SERVE = os.environ.get("AUTOML_IMAGES_SERVE_IMAGE", f"automl-images/serve:{__version__}")
