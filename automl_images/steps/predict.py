"""predict: a model folder's predictions for images, and the boxes or labels drawn."""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from automl_images import storage
from automl_images.annotations.imageroot import is_image, passed_over
from automl_images.errors import UserError
from automl_images.tasks import part

if TYPE_CHECKING:
    from automl_images.reports import Family


def predict_images(
    model: str, images: Sequence[Path], output: Path | None = None, overrides: Mapping[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield each image's prediction in Azure's shape.

    Detection ``{"filename", "boxes": [...]}``; classification ``{"filename", "probs": [...], "labels": [...]}``;
    segmentation ``{"filename", "classes": [...], "regions": [...]}``.

    Args:
        model: a model folder, local or on a store.
        images: files, or folders whose images are taken.
        output: where to draw: a file for a single image, else a folder.
        overrides: settings to use instead of the model's, such as ``box_score_thresh``. Where that one is not among
            them, a detector's is the score of the best F1 on validation, if the folder knows it: standard error says
            which.

    Raises:
        UserError: a file is missing or no image, a setting is wrong, or the folder is not a model folder.
    """
    files = [f for path in images for f in _files(path)]
    if not files:
        raise UserError("predict: no image among the files and folders that were given")
    from automl_images.data.images import load_image
    from automl_images.hyperparameters import check_inference
    from automl_images.prediction import load_model

    with tempfile.TemporaryDirectory(prefix="automl-images-") as scratch:
        folder = storage.get_folder(model, Path(scratch))
        predictor = load_model(folder)
        if overrides:
            predictor = load_model(folder, **check_inference(predictor.settings["model_name"], overrides))
    for name, value in predictor.working_point.items():
        own = f"--set {name}={predictor.settings[name]:g} for the model's own"
        print(f"predict: {name} {value:.4g}, of the best F1 on validation; {own}", file=sys.stderr)
    predictor.settings |= predictor.working_point
    report: Family = part("reports", predictor.task)
    one = output is not None and len(files) == 1 and is_image(output.name)
    for file, name in zip(files, drawing_names(files), strict=True):
        image = Image.fromarray(load_image(str(file)))
        prediction = predictor.predict([image])[0]
        if output is not None:
            target = output if one else output / name
            target.parent.mkdir(parents=True, exist_ok=True)
            report.draw_answer(image, prediction, predictor.task, predictor.classes).save(target)
        yield {"filename": str(file), **prediction}


def drawing_names(files: Sequence[Path]) -> list[str]:
    """Return a name for each file's drawing, no two alike, in upper and lower case either.

    ``cat.jpg`` is drawn in ``cat.png``. Where several files would be, each has its own suffix before it, and a number
    if that is not enough: ``cat.jpg.png``, ``cat.jpg-2.png``.
    """
    stems, names = Counter(file.stem.lower() for file in files), []
    taken = {stem for stem, count in stems.items() if count == 1}
    for file in files:
        name = file.stem
        if stems[name.lower()] > 1:
            numbered = (f"{file.name}-{n}" if n > 1 else file.name for n in itertools.count(1))
            name = next(n for n in numbered if n.lower() not in taken)
            taken.add(name.lower())
        names.append(f"{name}.png")
    return names


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = storage.files_below(str(path))
        if others := passed_over(found):
            print(f"{path}: passed over, as their suffixes are no images': {others}", file=sys.stderr)
        return [path / name for name in found if is_image(name)]
    if not path.exists():
        raise UserError(f"{path}: no such image")
    return [path]
