"""predict: a model's predictions for images, printed, drawn and as COCO's results."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from PIL import Image

from automl_images import storage
from automl_images.annotations.imageroot import is_image
from automl_images.annotations.named_images import image_files
from automl_images.annotations.results_write import Ids
from automl_images.errors import UserError, nearest, say
from automl_images.reports.progress import counted
from automl_images.steps.export import replacing
from automl_images.tasks import get_task, part

if TYPE_CHECKING:
    from automl_images.prediction import ModelPredictor
    from automl_images.reports import Family

ON_ERROR = ("skip", "fail")


def predict_images(
    model: str,
    images: Sequence[str | Path],
    output: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    batch: int | None = None,
    on_error: str = "skip",
    results: str | None = None,
    coco: str | None = None,
    line: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield each image's prediction in Azure's shape; memory holds a few batches, whatever the number of images.

    Detection ``{"filename", "boxes": [...]}``; classification ``{"filename", "probs": [...], "labels": [...]}``;
    segmentation ``{"filename", "classes": [...], "regions": [...]}``.

    Args:
        model: a model folder or an exported ``.onnx`` file, local or on a store.
        images: what :func:`automl_images.annotations.named_images.image_files` takes.
        output: where to draw, local or on a store: a file for a single image, else a folder.
        overrides: settings to use instead of the model's, such as ``box_score_thresh``. Where that one is not among
            them, a detector's is the score of the best F1 on validation, if the model knows it: standard error says
            which.
        batch: images that the model sees at once, fewer where they are large; None: ``validation_batch_size``.
        on_error: ``skip`` leaves out what does not open, says which, and raises when the others are done; ``fail``
            raises at the first.
        results: a file to write what a detector finds to as COCO's results, written whole or not at all. Its finds of
            all scores are in it, from 0.001, as metrics need them.
        coco: the COCO file whose ids ``results`` uses; None: images are called by their files' names, classes by their
            own.
        line: whether ``line`` of each is its prediction in a few words.

    Raises:
        UserError: a name leads to no image, a setting is wrong, the model is none, an image was left out, or ``coco``
            lacks an image or a class.
    """
    if on_error not in ON_ERROR:
        raise UserError(f"on_error: '{on_error}' is no policy; {nearest(on_error, ON_ERROR)}")
    if coco and not results:
        raise UserError("coco: has the ids of results; say where to write those (--coco-results)")
    files = image_files(images)
    predictor = _loaded(model, overrides or {})
    ids = _ids(predictor, coco, files) if results else None
    report: Family = part("reports", predictor.task)
    draw = _drawing(str(output), files) if output is not None else None
    left_out: list[str] = []
    with contextlib.ExitStack() as open_files:
        done = open_files.enter_context(counted("predict", len(files)))
        write = open_files.enter_context(_written(results, ids)) if results and ids else None
        for url, image, found in _predicted(predictor, files, batch, on_error, left_out, done):
            answer = predictor.respond(found)
            if draw:
                draw(url, report.draw_answer(Image.fromarray(image), answer, predictor.task, predictor.classes))
            if write:
                write(url, found)
            said = {"line": report.answer_line(answer, predictor.task)} if line else {}
            yield {"filename": storage.redact(url), **answer, **said}
    if left_out:
        others = f"; the first of them: {left_out[0]}" if len(left_out) > 1 else f": {left_out[0]}"
        count = "1 image was" if len(left_out) == 1 else f"{len(left_out)} images were"
        raise UserError(f"predict: of {len(files)}, {count} left out{others}")


def _loaded(model: str, overrides: Mapping[str, Any]) -> ModelPredictor:
    """Return the model's predictor, with the settings by which people are shown what it finds."""
    from automl_images.prediction import load_model

    for name in {"folder", "device"} & set(overrides):  # arguments of load_model
        raise UserError(f"{name}: is no hyperparameter; `automl-images hyperparameters` lists them")
    with tempfile.TemporaryDirectory(prefix="automl-images-") as scratch:
        predictor = load_model(local_model(model, Path(scratch)), **overrides)
    for name, value in predictor.working_point.items():
        own = f"--set {name}={predictor.settings[name]:g} for the model's own"
        print(f"predict: {name} {value:.4g}, of the best F1 on validation; {own}", file=sys.stderr)
    predictor.settings |= predictor.working_point
    return predictor


def local_model(model: str, scratch: Path) -> Path:
    """Return where a model folder or an ``.onnx`` file is on this machine: itself, or a copy in ``scratch``."""
    if not model.lower().endswith(".onnx"):
        return storage.get_folder(model, scratch)
    if storage.is_local(model):
        return storage.local_path(model)
    try:
        (scratch / "model.onnx").write_bytes(storage.read_bytes(model))
    except FileNotFoundError:
        raise UserError(f"{storage.redact(model)}: no such file") from None
    return scratch / "model.onnx"


def _predicted(
    predictor: ModelPredictor,
    files: Sequence[str],
    batch: int | None,
    on_error: str,
    left_out: list[str],
    done: Callable[[int], None],
) -> Iterator[tuple[str, Any, Any]]:
    """Yield each address with its image, uint8 [H, W, 3], and what the model finds; fill ``left_out`` with reasons."""
    from automl_images.data.ahead import batches, read_ahead

    size = batch or predictor.settings["validation_batch_size"]
    for read in batches(read_ahead(files, 2 * size), size):
        if isinstance(error := read[0][1], UserError):
            if on_error == "fail":
                raise error
            left_out.append(str(error))
            say(f"predict: left out: {error}")
        else:
            outputs = predictor.outputs([[image for _, image in read]])  # type: ignore[misc]
            for (url, image), found in zip(read, outputs, strict=True):
                yield url, image, found
        done(len(read))


def _ids(predictor: ModelPredictor, coco: str | None, files: Sequence[str]) -> Ids:
    if not hasattr(part("evaluation", predictor.task), "measured"):
        raise UserError(
            f"task: '{get_task(predictor.task).name}' has no COCO results; they are of boxes or of masks of objects"
        )
    if coco:
        return Ids.of_coco(coco, files, predictor.classes)
    say("predict: results call images by their files' names and classes by theirs; --coco FILE has them by its ids")
    return Ids.of_names(files, predictor.classes)


@contextlib.contextmanager
def _written(results: str, ids: Ids) -> Iterator[Callable[[str, Any], None]]:
    """Yield what adds an image's finds to a file of results, which is there when the block ends well."""
    with replacing(results, False) as fresh, Path(fresh).open("w", encoding="utf-8") as file:
        before = "["

        def write(url: str, found: Any) -> None:
            nonlocal before
            for row in ids.rows(url, found):
                file.write(before + json.dumps(row))
                before = ",\n"

        yield write
        file.write("[]" if before == "[" else "]")
        file.close()  # before it goes to its place


def _drawing(output: str, files: Sequence[str]) -> Callable[[str, Image.Image], None]:
    """Return what saves the drawing of an address: in ``output`` where that is an image's name and there is one."""
    one = len(files) == 1 and is_image(output)
    names = dict(zip(files, drawing_names([_path(file) for file in files]), strict=True))

    def draw(url: str, drawn: Image.Image) -> None:
        target, content = output if one else storage.join(output, names[url]), io.BytesIO()
        suffix = PurePosixPath(target).suffix.lower()
        drawn.save(content, Image.registered_extensions()[suffix])
        storage.write(target, content.getvalue())

    return draw


def _path(url: str) -> PurePosixPath:
    """Return an address as a path, without what a web address says after it."""
    return PurePosixPath(urlsplit(url).path if url.startswith(("http://", "https://")) else url)


def drawing_names(files: Sequence[PurePosixPath]) -> list[str]:
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
