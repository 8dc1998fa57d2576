"""Every environment variable that is read: our own by name, and in :data:`OTHERS` those of other programs."""

from __future__ import annotations

import os
from collections.abc import Mapping

LIGHT_IMAGE = "AUTOML_IMAGES_LIGHT_IMAGE"  # the names of the containers' images, instead of this version's
GPU_IMAGE = "AUTOML_IMAGES_GPU_IMAGE"
SERVE_IMAGE = "AUTOML_IMAGES_SERVE_IMAGE"
IMAGE = "AUTOML_IMAGES_IMAGE"  # the image that a step runs in, for the line that repeats it
MOUNTS = "AUTOML_IMAGES_MOUNTS"  # the folders that a step's container is given, as docker run -v has them, one a line
SHARED = "AUTOML_IMAGES_SHARED"  # a folder that all pods of a run have, whose images are not copied
LANES_HERE = "AUTOML_IMAGES_LANES_HERE"  # how many lanes share this machine
STOP = "AUTOML_IMAGES_STOP"  # a lane starts no trial; what has begun ends with the best model that it has
PROCESSES = "AUTOML_IMAGES_PROCESSES"  # how many processes train a trial where there is no GPU
COMPUTE = "AUTOML_IMAGES_COMPUTE"  # from a trial's first process to its others: what they compute with
TOGETHER = "AUTOML_IMAGES_TOGETHER"  # a folder where another process tells the first what it failed by
RANK = "LOCAL_RANK"  # Lightning's: which of a trial's processes this is
CREDENTIALS = (  # of object stores; a container is given those that its caller has, and a log has their names alone
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_DEFAULT_REGION",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_CONNECTION_STRING",
    "GOOGLE_APPLICATION_CREDENTIALS",
)
OTHERS = {
    "CUDA_VISIBLE_DEVICES": "which GPUs a lane may use",
    "OMP_NUM_THREADS": "how many threads; set for a lane by its share, unless it is set",
    "TMPDIR": "where decoded images and checkpoints lie for a while",
    "TORCH_HOME": "torch's cache of published weights",
    "HF_HUB_OFFLINE": "no published weights are asked for",
    "KUBECONFIG": "the clusters that serve may deploy to; read by Kubernetes' client",
    "KF_PIPELINES_TOKEN": "a bearer token for Kubeflow Pipelines",
    "AZUREML_MODEL_DIR": "where Azure's endpoint puts a model folder; read by score.py",
    "COLUMNS": "how wide a table is that is written to a file",
    "PATH": "where docker, kubectl and nvidia-smi are found",
}


def lanes_here(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many lanes share this machine; 1 if nothing says it."""
    return int(environment.get(LANES_HERE, "1"))


def rank() -> int:
    """Return which of a trial's processes this is; 0 is the one that reports."""
    return int(os.environ.get(RANK, "0"))
