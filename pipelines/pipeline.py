"""The one DAG: convert, split, plan, a ParallelFor of train, select, evaluate, register, serve."""

import json
import re
from pathlib import Path
from typing import Any

from kfp import compiler, dsl

from automl_images.components.convert.component import convert
from automl_images.components.evaluate.component import evaluate
from automl_images.components.plan.component import plan
from automl_images.components.register.component import register
from automl_images.components.select.component import select
from automl_images.components.serve.component import serve
from automl_images.components.split.component import split
from automl_images.components.train.component import train
from automl_images.environment import IMAGE
from automl_images.pipelines.experiment import Experiment
from automl_images.pipelines.pods import equip, limit
from automl_images.steps import HEAVY


def build(experiment: Experiment, *, here: int | None = None, keyed: bool = False) -> Any:
    """Return the pipeline of an experiment.

    Caching is off: Kubeflow's key has parameters and the names of artifacts, and an address does not tell what lies
    there. ``split`` alone is cached always, by the digests in what ``convert`` returned, and ``convert`` itself when a
    run gives it a digest of its sources.

    What shapes it is fixed here: parallelism, resources, images, secrets, which steps there are. The rest are the
    pipeline's parameters. First those that people change in the form of a run: ``data`` (an address), ``iterations``,
    ``model``, ``epochs``, in place of the experiment's where they are given. Then JSON texts with the experiment's
    values as defaults: a number inside a dictionary parameter would come back as a float.

    Args:
        here: how many lanes run at once on this machine; None: the pipeline is for a cluster, which has credentials,
            brings a step's deleted pod back, and whose machines share images by a store alone.
        keyed: whether the run gives ``digest``, so that Kubeflow may take the records that an earlier run converted.
    """
    cluster, resources = experiment.cluster, experiment.resources
    registered, served = experiment.register_, experiment.serve

    def place(task: dsl.PipelineTask) -> dsl.PipelineTask:
        heavy = task.name in HEAVY
        image = cluster.images.gpu if heavy else cluster.images.light
        task.set_container_image(image).set_env_variable(IMAGE, image).set_caching_options(False)
        if not here:
            equip(task, cluster)
        limit(task, resources, cluster)
        return task

    @dsl.pipeline(name=pipeline_name(experiment.name), description=f"automl-images: {experiment.task}")
    def pipeline(
        data: str = "",
        iterations: int = 0,
        model: str = "",
        epochs: int = 0,
        task: str = experiment.task,
        data_json: str = _json(experiment.data.model_dump()),
        experiment_json: str = _json(experiment.trained()),
        storage: str = experiment.storage or "",
        register_name: str = (registered and registered.name) or experiment.name,
        registry: str = (registered and registered.registry) or "",
        register_minimum: str = _json(registered and registered.minimum),
        register_promote: str = (registered and registered.promote) or "if_better",
        serve_name: str = (served and served.name) or experiment.name,
        fresh: str = "",
        copy_images: bool = not here,
        digest: str = "",
    ):
        source = {"data": data_json, "source": data, "storage": storage, "copy_images": copy_images}
        converted = place(convert(task=task, digest=digest, **source))
        converted.set_caching_options(keyed)
        records, given, tested = (converted.outputs[name] for name in ("training", "validation", "test"))
        sets = {"records": records, "given": given, "tested": tested}
        parts = place(split(data=data_json, converted=converted.outputs["Output"], **sets))
        parts.set_caching_options(True)
        training, validation, test = (parts.outputs[name] for name in ("training", "validation", "test"))
        run = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        asked = {"experiment": experiment_json, "iterations": iterations, "model_name": model, "epochs": epochs}
        sweep = {**asked, "storage": storage, "run": run, "fresh": fresh}
        lanes = place(plan(**sweep, training=training, validation=validation)).outputs["Output"]
        with dsl.ParallelFor(lanes, parallelism=here or experiment.lanes()) as lane:
            trained = place(train(lane=lane))
        selected = place(select(name=experiment.name, lanes=lanes, trained=dsl.Collected(trained.outputs["Output"])))
        best = selected.outputs["model"]
        evaluated = place(evaluate(name=experiment.name, model=best, data=test, validation=validation))
        version = ""
        if registered:
            of = {"model": best, "evaluation": evaluated.outputs["Output"], **asked}
            of |= {"minimum": register_minimum, "promote": register_promote}
            version = place(register(name=register_name, registry=registry, **of)).outputs["Output"]
        if served:
            how = _json(served.model_dump(exclude_unset=True))
            of = {"model": best, "version": version, "image": cluster.images.serve, "options": how}
            place(serve(name=serve_name, **of)).after(evaluated)

    return pipeline


def compile_package(experiment: Experiment, path: str | Path, *, keyed: bool = False) -> None:
    """Write the pipeline's package for Kubeflow (YAML); the same experiment gives the same bytes.

    ``keyed`` is as for :func:`build`; a package that is kept should not be: what its sources hold may change.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(build(experiment, keyed=keyed), package_path=str(path))


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def pipeline_name(name: str) -> str:
    """Return the name that an experiment's pipeline has on Kubeflow."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
