"""A compiled experiment."""

import yaml

from automl_images.pipelines.experiment import load
from automl_images.pipelines.pipeline import compile_package


class Package:
    """A compiled experiment, by meaning."""

    def __init__(self, path, keyed=False, overrides=()):
        self.experiment = load(path, list(overrides))
        self.file = path.parent / f"{path.stem}-pipeline.yaml"
        compile_package(self.experiment, self.file, keyed=keyed)
        # the loader in C takes a tenth of the time of compiling; that in Python more than all of it
        documents = list(yaml.load_all(self.file.read_text(), yaml.CSafeLoader))
        self.spec, self.platform = documents[0], documents[1] if len(documents) > 1 else {}
        self.tasks = self.spec["root"]["dag"]["tasks"]

    def loop(self):
        """Return the one loop's task and its body's tasks."""
        (loop,) = (t for t in self.tasks.values() if "parameterIterator" in t)
        return loop, self.spec["components"][loop["componentRef"]["name"]]["dag"]["tasks"]

    def steps(self):
        """Return {step: its task}, that of train from inside the loop."""
        return {n: t for n, t in {**self.tasks, **self.loop()[1]}.items() if "parameterIterator" not in t}

    def container(self, step):
        return self.spec["deploymentSpec"]["executors"][f"exec-{step}"]["container"]

    def kubernetes(self, step):
        platforms = self.platform.get("platforms", {"kubernetes": {"deploymentSpec": {"executors": {}}}})
        return platforms["kubernetes"]["deploymentSpec"]["executors"].get(f"exec-{step}", {})

    def cached(self):
        """Return the steps that Kubeflow may take from an earlier run."""
        return {n for n, t in self.steps().items() if t.get("cachingOptions", {}).get("enableCache")}
