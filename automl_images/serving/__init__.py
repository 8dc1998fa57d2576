"""The score file's run, the server and the Kubernetes manifests of a model."""

from automl_images.serving.score import run_score_file

__all__ = ["run_score_file"]
