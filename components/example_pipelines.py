"""Three pipelines of these components with those of other people: their images, their gate, their use of the model.

    python -m automl_images.components.example_pipelines [FOLDER]

writes their packages. On a cluster the steps need the keys of the object store, as :func:`reach_store` gives them; on
one machine ``kfp.local`` runs all three.
"""

import json
import sys
from pathlib import Path

from kfp import compiler, dsl, kubernetes

from automl_images.components.convert.component import convert
from automl_images.components.evaluate.component import evaluate
from automl_images.components.plan.component import plan
from automl_images.components.register.component import register
from automl_images.components.select.component import select
from automl_images.components.serve.component import serve
from automl_images.components.split.component import split
from automl_images.components.train.component import train
from automl_images.steps import LIGHT

KEYS = {"accesskey": "AWS_ACCESS_KEY_ID", "secretkey": "AWS_SECRET_ACCESS_KEY"}
SETTINGS = {"model_name": "resnet18", "number_of_epochs": 1, "train_crop_size": 32, "valid_crop_size": 32}
SWEEP = {
    "settings": SETTINGS,
    "weights": {"pretrained": False},
    "sweep": {"iterations": 2, "max_concurrent_iterations": 1, "space": {"learning_rate": {"uniform": [0.001, 0.01]}}},
}


def reach_store(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Give a step the keys of Kubeflow's own object store: records name images where they lie."""
    kubernetes.use_secret_as_env(task, "mlpipeline-minio-artifact", KEYS, optional=True)
    return task.set_env_variable("AWS_ENDPOINT_URL", "http://seaweedfs.kubeflow:9000").set_caching_options(False)


# Components of other people; any image that has kfp will do.


@dsl.component(base_image=LIGHT, install_kfp_package=False)
def photograph(count: int, images: dsl.Output[dsl.Dataset]):
    """Make a folder of images, one folder in it for each class."""
    import struct
    import zlib
    from pathlib import Path

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    for name, colour in (("blue", (0, 0, 255)), ("red", (255, 0, 0))):
        for i in range(count):
            file = Path(images.path, name, f"{i:03}.png")
            file.parent.mkdir(parents=True, exist_ok=True)
            row = b"\0" + bytes(max(0, part - 9 * i) for part in colour) * 32
            header = struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)
            parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * 32)) + chunk(b"IEND", b"")
            file.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


@dsl.component(base_image=LIGHT, install_kfp_package=False)
def weigh(model: dsl.Input[dsl.Model]) -> str:
    """Read a model folder: its classes, and how large its weights are."""
    import json
    from pathlib import Path

    labels = json.loads(Path(model.path, "labels.json").read_text())
    return json.dumps({"labels": labels, "bytes": Path(model.path, "model.pt").stat().st_size})


@dsl.component(base_image=LIGHT, install_kfp_package=False)
def gate(metrics: dsl.Input[dsl.Metrics], name: str, least: float) -> bool:
    """Return whether a figure is high enough."""
    return float(metrics.metadata[name]) >= least


@dsl.pipeline(name="train-on-what-another-made")
def trained_on_theirs(count: int = 8) -> str:
    """Train on images that another component makes, and hand the model to a third."""
    made = photograph(count=count)
    read = reach_store(convert(folder=made.outputs["images"], task="image-classification"))
    parts = reach_store(split(records=read.outputs["training"], by="stratified", split_ratio=0.25))
    sets = {name: parts.outputs[name] for name in ("training", "validation")}
    trained = reach_store(train(**sets, settings=SETTINGS, pretrained=False))
    return weigh(model=trained.outputs["model"]).output


@dsl.pipeline(name="measure-and-decide")
def measured_and_decided(model: str, source: str, least: float = 0.5) -> bool:
    """Measure a model that lies somewhere on other data; another component decides by its figures."""
    found = dsl.importer(artifact_uri=model, artifact_class=dsl.Model, reimport=True)
    read = reach_store(convert(source=source, task="image-classification"))
    measured = reach_store(evaluate(model=found.output, data=read.outputs["training"]))
    return gate(metrics=measured.outputs["metrics"], name="accuracy", least=least).output


@dsl.pipeline(name="sweep-among-others")
def swept_among_others(source: str, registry: str = "", iterations: int = 2, epochs: int = 1) -> str:
    """Search hyperparameters, register and serve the best; another component reads it."""
    read = reach_store(convert(source=source, task="image-classification"))
    parts = reach_store(split(records=read.outputs["training"], by="stratified", split_ratio=0.25))
    training, validation = parts.outputs["training"], parts.outputs["validation"]
    how = {"experiment": json.dumps(SWEEP), "iterations": iterations, "epochs": epochs}
    planned = reach_store(plan(training=training, validation=validation, **how))
    with dsl.ParallelFor(planned.outputs["Output"], parallelism=1) as lane:
        trained = reach_store(train(lane=lane))
    ended = dsl.Collected(trained.outputs["Output"])
    best = reach_store(select(lanes=planned.outputs["Output"], trained=ended)).outputs["model"]
    version = reach_store(register(name="colours", model=best, registry=registry))
    reach_store(serve(name="colours", model=best, version=version.outputs["Output"]))
    return weigh(model=best).output


PIPELINES = (trained_on_theirs, measured_and_decided, swept_among_others)


def write_packages(folder: str | Path) -> list[Path]:
    """Write the pipelines' packages for Kubeflow below a folder; return the files."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    files = [Path(folder, f"{pipeline.name}.yaml") for pipeline in PIPELINES]
    for pipeline, file in zip(PIPELINES, files, strict=True):
        compiler.Compiler().compile(pipeline, package_path=str(file))
    return files


if __name__ == "__main__":
    print(*write_packages(sys.argv[1] if len(sys.argv) > 1 else "."), sep="\n")
