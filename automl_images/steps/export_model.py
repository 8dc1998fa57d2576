"""export, of a model: a model folder as an ONNX file that finds the same, compared on images."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automl_images import __version__, storage
from automl_images.annotations.named_images import image_files
from automl_images.errors import UserError
from automl_images.sample_data import make_sample
from automl_images.tasks import get_task

if TYPE_CHECKING:
    import numpy as np

_SAMPLES, _SIZE = 4, 160  # images to compare on where none are given, and their sides in pixels
_FILE = "model.onnx"


def export_model(
    model: str, out: str | None = None, *, overrides: Mapping[str, Any] | None = None, images: Sequence[str] = ()
) -> dict[str, Any]:
    """Write a model folder as ONNX, with its metadata inside and, as JSON, beside it.

    What was written is run by onnxruntime and compared with the model by :func:`automl_images.prediction.parity`
    before it goes to its place.

    Args:
        model: a model folder, local or on a store.
        out: the ``.onnx`` file, or a folder for ``model.onnx``, local or on a store; None: the model folder.
        overrides: settings that act at inference, to use instead of the folder's.
        images: files, folders and patterns of the images to compare on; none: some of the sample data.

    Returns:
        ``out``; ``exporter``; ``fixed``, the settings that are inside the graph; ``images``, ``compared`` (values or
        boxes) and the largest ``difference`` of a score.

    Raises:
        UserError: the folder is not a model folder, the model has no graph, or the two find other things: nothing is
            written.
    """
    from automl_images.models import graphs, onnx_models
    from automl_images.prediction import load_model
    from automl_images.prediction.parity import parity

    files = image_files(images) if images else []
    target = out or storage.join(model, _FILE)
    if not target.lower().endswith(".onnx"):
        target = storage.join(target, _FILE)
    with tempfile.TemporaryDirectory(prefix="automl-images-") as name:
        scratch = Path(name)
        folder = storage.get_folder(model, scratch / "model")
        if onnx_models.file_in(folder):
            raise UserError(f"{storage.redact(model)}: is an exported model already; give the model folder")
        predictor = load_model(folder, device="cpu", **(overrides or {}))
        multilabel = get_task(predictor.task).label == "classes"
        described = {
            "automl_images": __version__,
            "task": predictor.task,
            "settings": predictor.settings,
            "classes": predictor.classes,
            "working_point": predictor.working_point,
        }
        fresh = scratch / _FILE
        metadata = graphs.write(predictor.model, {**predictor.settings, "multilabel": multilabel}, described, fresh)
        exported = load_model(fresh, device="cpu")
        try:
            found = parity(predictor, exported, _images(files, scratch / "sample"))
        except UserError as error:
            raise UserError(
                f"export: onnxruntime does not find what the model finds, so nothing is written: {error}"
            ) from None
        result = {"images": found.images, "compared": found.compared, "difference": found.difference}
        storage.write(f"{target}.json", json.dumps({**metadata, "check": result}, indent=1))
        storage.write(target, fresh.read_bytes())
    written = {"out": storage.redact(target), "exporter": metadata["exporter"], "fixed": list(metadata["fixed"])}
    return {**written, **result}


def summary_line(result: Mapping[str, Any]) -> str:
    """Return what :func:`export_model` returned in a line for people."""
    return (
        f"{result['out']}: on {result['images']} images {result['compared']} finds are the model's, their scores to "
        f"{result['difference']:.1g}; inside it: {', '.join(result['fixed'])}"
    )


def _images(files: Sequence[str], sample: Path) -> Iterator[np.ndarray]:
    from automl_images.data.images import load_image

    if not files:
        make_sample(sample, images=_SAMPLES, size=_SIZE)
        files = sorted(str(file) for file in (sample / "JPEGImages").iterdir())
    for file in files:
        yield load_image(file)
