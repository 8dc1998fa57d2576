"""The experiment of a pipeline: one YAML file, checked before anything runs."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from automl_images import experiment as library
from automl_images.errors import UserError
from automl_images.experiment import Data, Source
from automl_images.experiment_file import read_experiment
from automl_images.pipelines.cluster import Cluster
from automl_images.steps.plan import check_experiment
from automl_images.sweep.sampling.evolve import CONFIRM

SHIPPED = Path(__file__).parent / "experiments"
_BUDGET = ("iterations", "max_concurrent_iterations", "timeout_hours", "lanes")  # what may change within a ledger


class Experiment(library.Experiment):
    """What to train on what, and where."""

    name: str = Field(pattern=library.NAME, max_length=63)
    data: Data
    cluster: Cluster = Cluster()

    def trains_as(self, trained: Mapping[str, Any]) -> bool:
        """Return whether another's ``trained()``, read from JSON, has this one's ledger: all is equal but budgets."""

        def kept(trained: Mapping[str, Any]) -> dict[str, Any]:
            sweep = {k: v for k, v in trained["sweep"].items() if k not in _BUDGET}
            if isinstance(sampling := sweep["sampling"], Mapping) and sampling["by"] == "evolve":
                sampling = {k: v for k, v in sampling.items() if k not in CONFIRM}
                sweep["sampling"] = sampling if len(sampling) > 1 else sampling["by"]
            return {**trained, "sweep": sweep}

        return kept(json.loads(json.dumps(self.trained()))) == kept(trained)


def load(path: str | Path, overrides: list[str] | None = None) -> Experiment:
    """Return the experiment in a YAML file, or in a vendor's.

    Args:
        path: the file; or, where there is none of this name, that of an experiment that ships, such as ``quickstart``.
        overrides: ``PATH=VALUE``, such as ``data.training.source=s3://bucket/bccd``; the value is YAML.

    Raises:
        UserError: the file is missing or no YAML; a key is unknown, a value wrong; the line names its path in the file.
    """
    path = Path(path)
    ships = {file.stem: file for file in sorted(SHIPPED.glob("*.yaml"))}
    if str(path) in ships and not path.exists():
        path = ships[str(path)]
    if not path.exists() or path.is_dir():
        raise UserError(f"{path}: no such experiment; these ship and go by their names: {', '.join(ships)}")
    content = read_experiment(str(path), overrides or ())
    try:
        experiment = Experiment.read(content)
        check_experiment(experiment)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return experiment


def sets(data: Data) -> list[Source]:
    """Return the sets of images that there are: training, validation, test."""
    return [part for part in (data.training, data.validation, data.test) if part]


def addresses(part: Source) -> list[str]:
    """Return the addresses that a set names: its source's, and its images' root if it has one."""
    return [part.source, *([part.images.partition("=")[2] or part.images] if part.images else [])]


def draw_sample(experiment: Experiment) -> None:
    """Draw the synthetic images that the examples name, in the folder ``sample``, if they are wanted and not there."""
    sample = Path("sample")
    if sample.exists() or not any(Path(part.source).parts[:1] == sample.parts for part in sets(experiment.data)):
        return
    from automl_images.sample_data import make_sample

    print("there is no folder sample here: drawing one, as automl-images sample-data does", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=".", prefix=".sample-") as folder:
        make_sample(Path(folder, "sample"))
        Path(folder, "sample").rename(sample)
