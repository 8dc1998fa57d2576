"""A trained model in Python: it predicts images, and is measured on labelled ones."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from PIL import Image

from automl_images import storage
from automl_images.api.experiment import Run
from automl_images.api.shown import Report, figure, png
from automl_images.errors import UserError
from automl_images.faults import explained
from automl_images.sweep.trial import Trial
from automl_images.tasks import get_task, part

if TYPE_CHECKING:
    from automl_images.prediction import ModelPredictor
    from automl_images.reports import Family

Picture = str | Path | Image.Image | np.ndarray


@explained()
def load_model(source: Run | Trial | str | Path, *, device: str | None = None, **settings: Any) -> Model:
    """Return the model of a run (its best), of a trial, of a model folder, or of a registry.

    Args:
        source: a :class:`Run`, a trial, or what :func:`automl_images.steps.model_address.model_address` takes: the
            folder of a run, of a trial or of a model, an exported ``.onnx`` file, or a registered name.
        device: ``cpu`` or ``cuda``; None: the GPU if there is one.
        settings: what is used instead of the model's own, such as ``box_score_thresh=0.5``. Where that one is not
            among them, a detector's is the score of the best F1 on validation, if the model knows it.

    Raises:
        UserError: there is no model, it has no weights that fit, or a setting cannot be changed in a trained model.
    """
    from automl_images.prediction import load_model as load
    from automl_images.steps.predict import local_model

    for name in {"folder"} & set(settings):
        raise UserError(f"{name}: is no hyperparameter; `automl-images hyperparameters` lists them")
    address = _folder(source)
    with tempfile.TemporaryDirectory(prefix="automl-images-") as scratch:
        predictor = load(local_model(address, Path(scratch)), device=device, **settings)
    predictor.settings |= predictor.working_point
    return Model(address, predictor, settings)


@dataclass(frozen=True, repr=False)
class Model:
    """A loaded model.

    Attributes:
        folder: the address of its model folder.
        predictor: the network with its settings.
        overrides: the settings that were given beside the folder's.
    """

    folder: str
    predictor: ModelPredictor
    overrides: Mapping[str, Any]

    @property
    def task(self) -> str:
        """The task's name."""
        return self.predictor.task

    @property
    def classes(self) -> list[str]:
        """The names of the classes."""
        return list(self.predictor.classes)

    @property
    def settings(self) -> dict[str, Any]:
        """The hyperparameters, complete."""
        return dict(self.predictor.settings)

    def __repr__(self) -> str:
        name = self.predictor.settings["model_name"]
        return f"<model {name} for {self.task}, {len(self.classes)} classes, on {self.predictor.device}>"

    @overload
    def predict(self, images: Image.Image | np.ndarray, *, batch: int | None = None) -> Prediction: ...
    @overload
    def predict(self, images: Sequence[Picture], *, batch: int | None = None) -> Predictions: ...
    @overload
    def predict(self, images: str | Path, *, batch: int | None = None) -> Any: ...

    @explained()
    def predict(self, images: Any, *, batch: int | None = None) -> Any:
        """Return what the model finds on an image, or on several.

        Args:
            images: a file or a URL, a Pillow image, an array uint8 [H, W, 3] (RGB) or [H, W] (grey), or a list of
                these. A folder, a ``.zip`` file or a pattern such as ``day-*/*.jpg`` is a list of the images in it.
            batch: images that the model sees at once, fewer where they are large; None: ``validation_batch_size``.

        Returns:
            A :class:`Prediction` of one image, :class:`Predictions` of a list, in its order.

        Raises:
            UserError: a name leads to no image, an image does not open, or an array is none of an image.
        """
        from automl_images.data.ahead import batches, read_ahead

        if batch is not None and batch < 1:
            raise UserError(f"batch: {batch} images are no batch; give 1 or more")
        items, single = _items(images)
        size = batch or self.predictor.settings["validation_batch_size"]
        files = read_ahead([item for item in items if isinstance(item, str)], 2 * size)

        def read() -> Iterator[tuple[str, Any]]:
            for place, item in enumerate(items):
                yield next(files) if isinstance(item, str) else (_nameless(place), _pixels(item))

        done: list[Prediction] = []
        for group in batches(read(), size):
            if isinstance(error := group[0][1], UserError):
                raise error
            outputs = self.predictor.outputs([[pixels for _, pixels in group]])  # type: ignore[misc]
            for (name, pixels), found in zip(group, outputs, strict=True):
                item = items[len(done)]
                shown = storage.redact(name)
                kept = item if isinstance(item, str) else np.asarray(pixels)
                done.append(Prediction(shown, self.task, self.classes, self.predictor.respond(found), found, kept))
        return done[0] if single else Predictions(done)

    @explained()
    def evaluate(
        self,
        data: str | Path,
        output: str | Path = "evaluation",
        *,
        format: str = "auto",
        images: str | None = None,
        on_error: str = "fail",
        title: str | None = None,
    ) -> Evaluation:
        """Measure the model on labelled images: all metrics of the task, per class, and a report.

        Args:
            data: labelled images in any format that is read, local or on a store.
            output: the folder for ``records.jsonl``, ``metrics.json`` and ``report.html``; what is there of these is
                replaced.
            format: what the data are; ``auto``: it is looked for.
            images: the images' root, or ``PREFIX=URL``; None: the data's folder.
            on_error: what happens to a flawed record: ``fail``, ``skip`` or ``fix``.
            title: the report's heading.

        Raises:
            UserError: the images cannot be read, flaws are refused, the model does not know one of the classes, or it
                was loaded with settings of its own, which an evaluation does not take.
        """
        from automl_images.steps.convert import convert
        from automl_images.steps.evaluate import evaluate_model

        for name in self.overrides:
            raise UserError(f"{name}: an evaluation goes by the model's own settings; load the model without others")
        target = storage.at_home(str(output))
        records = storage.join(target, "records.jsonl")
        source = storage.at_home(str(data))
        summary = convert(source, records, self.task, format=format, images=images, on_error=on_error)
        result = evaluate_model(self.folder, records, target, title=title)
        return Evaluation({**result, "annotations": summary})


@dataclass(frozen=True, repr=False)
class Prediction:
    """What a model finds on an image; a notebook shows it drawn on the image.

    Attributes:
        filename: the image's address; ``image-0`` of one that has none.
        task, classes: the model's.
        answer: what is found, in Azure's shape: ``boxes``; ``probs`` and ``labels``; or ``classes`` and ``regions``.
        found: the same as arrays, before the threshold; see the predictor's ``outputs``.
        kept: the address again, or the pixels of an image that has none.
    """

    filename: str
    task: str
    classes: list[str]
    answer: dict[str, Any]
    found: Any
    kept: str | np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """Return the prediction as JSON has it, in Azure's shape, with ``filename``."""
        return {"filename": self.filename, **self.answer}

    def to_coco(self, coco: str | Path | None = None) -> list[dict[str, Any]]:
        """Return what is found as COCO's results; see :meth:`Predictions.to_coco`."""
        return Predictions([self]).to_coco(coco)

    @property
    def image(self) -> Image.Image:
        """The image, upright, in RGB; read again if it has an address."""
        from automl_images.data.images import load_image

        return Image.fromarray(load_image(self.kept) if isinstance(self.kept, str) else self.kept)

    def draw(self) -> Image.Image:
        """Return the image with what is found drawn on it."""
        return self._reports.draw_answer(self.image, self.answer, self.task, self.classes)

    @property
    def _reports(self) -> Family:
        family: Family = part("reports", self.task)
        return family

    def __str__(self) -> str:
        return f"{self.filename}: {self._reports.answer_line(self.answer, self.task)}"

    __repr__ = __str__

    def _repr_png_(self) -> bytes:
        return png(self.draw())

    def _figure(self) -> str:
        return figure(self.draw(), str(self))


class Predictions(list[Prediction]):
    """What a model finds on several images; a notebook shows the first of them drawn."""

    _SHOWN = 12

    def to_dict(self) -> list[dict[str, Any]]:
        """Return the predictions as JSON has them."""
        return [one.to_dict() for one in self]

    def to_coco(self, coco: str | Path | None = None) -> list[dict[str, Any]]:
        """Return what is found, of all scores from 0.001, as COCO's results.

        Args:
            coco: the COCO file whose ids are used; None: images are called by their files' names, classes by theirs.

        Raises:
            UserError: the task has no such results, an image is there twice, or the file lacks an image or a class.
        """
        from automl_images.annotations.results_write import Ids

        if not self:
            return []
        task = self[0].task
        if not hasattr(part("evaluation", task), "measured"):
            name = get_task(task).name
            raise UserError(f"task: '{name}' has no COCO results; they are of boxes or of masks of objects")
        names = [one.filename for one in self]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UserError(f"{twice}: is there twice; results of COCO have each image once")
        classes = self[0].classes
        ids = Ids.of_coco(str(coco), names, classes) if coco else Ids.of_names(names, classes)
        return [row for one in self for row in ids.rows(one.filename, one.found)]

    def __repr__(self) -> str:
        return "\n".join(map(str, self))

    def _repr_html_(self) -> str:
        more = len(self) - self._SHOWN
        return "".join(one._figure() for one in self[: self._SHOWN]) + (f"<p>and {more} more</p>" if more > 0 else "")


class Evaluation(dict[str, Any]):
    """What an evaluation measured, as ``metrics.json`` has it; a notebook shows it as text with the report below."""

    @property
    def report(self) -> Report:
        """The report."""
        return Report(self["report"])

    def __str__(self) -> str:
        from automl_images.evaluation import summary_lines

        return "\n".join(summary_lines(self))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>{self.report._repr_html_()}"


def _folder(source: Run | Trial | str | Path) -> str:
    """Return the address of a model folder."""
    from automl_images.steps.model_address import model_address

    if isinstance(source, Run):
        return source.model
    if isinstance(source, Trial):
        if source.model is None:
            why = source.error or source.reason or source.state.value
            raise UserError(f"trial {source.index}: has no model: {why}")
        return source.model
    if not isinstance(source, str | Path):
        raise UserError(f"a {type(source).__name__} is no model; give a run, a trial, or the address of a model")
    return model_address(storage.at_home(str(source)))


def _items(images: Any) -> tuple[list[Any], bool]:
    """Return each image, a file by its address, and whether one alone is meant."""
    from automl_images.annotations.named_images import image_files

    if isinstance(images, str | Path):
        name = storage.at_home(str(images))
        files = image_files([name])
        path = storage.local_path(name) if storage.is_local(name) else None
        return list(files), len(files) == 1 and (path.is_file() if path else files == [name])
    if isinstance(images, Image.Image | np.ndarray):
        return [images], True
    if not isinstance(images, Sequence):
        raise UserError(f"a {type(images).__name__} is no image; give a path, a Pillow image, an array, or a list")
    return [one for image in images for one in _items(image)[0]], False


def _nameless(place: int) -> str:
    return f"image-{place}"


def _pixels(image: Image.Image | np.ndarray) -> np.ndarray:
    """Return an image as uint8 [H, W, 3]."""
    from automl_images.data.images import to_rgb

    if isinstance(image, Image.Image):
        return to_rgb(image)
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)) or not image.size:
        raise UserError(f"an array {image.dtype} {list(image.shape)} is no image; give uint8 [H, W, 3] or [H, W]")
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else np.ascontiguousarray(image)
