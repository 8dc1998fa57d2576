"""Exported models as the models that they were: onnxruntime computes the graph, torch what stands around it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from automl_images.errors import UserError, first_line
from automl_images.models.folder import changed_settings
from automl_images.models.graphs import KEY
from automl_images.models.rcnn import TorchvisionDetector
from automl_images.models.yolov5 import YoloV5
from automl_images.tasks import get_task

FILE = "model.onnx"


class Loaded(NamedTuple):
    """An exported model: what :func:`automl_images.models.folder.load` returns, and the best threshold."""

    model: nn.Module
    task: str
    settings: dict[str, Any]
    classes: list[str]
    working_point: dict[str, float]


def file_in(folder: Path) -> Path | None:
    """Return the exported model that an address is or, where it has no ``model.pt``, has; None: it is a model folder's.

    Raises:
        UserError: it names an ``.onnx`` file that is not there.
    """
    if folder.suffix.lower() == ".onnx" and not folder.is_dir():
        if not folder.exists():
            raise UserError(f"{folder}: no such file")
        return folder
    return folder / FILE if (folder / FILE).exists() and not (folder / "model.pt").exists() else None


def load(file: Path, overrides: Mapping[str, Any], gpu: bool) -> Loaded:
    """Return what ``export --to onnx`` wrote, ready to predict; on the GPU where onnxruntime has one and it may.

    Raises:
        UserError: the file is damaged or another program's, onnxruntime is not installed, or an override is inside the
            graph or does not act.
    """
    session = Session(file, gpu)
    try:
        described = session.described
        task, classes, fixed = get_task(described["task"]).name, list(described["classes"]), described["fixed"]
        own, kind, point = dict(described["settings"]), _KINDS[described["kind"]], dict(described["working_point"])
    except (LookupError, TypeError, ValueError, AttributeError):
        raise UserError(
            f"{file}: its metadata is not what this version of export writes; export the model anew"
        ) from None
    settings, changed = changed_settings(task, own, overrides)
    for name in changed:
        if name in fixed and settings[name] != own.get(name):
            raise UserError(
                f"{name}: is inside {file.name}, where it is {own.get(name)}; export the model folder with "
                f"--set {name}={settings[name]}"
            )
    return Loaded(kind(session, settings, task).eval(), task, settings, classes, point)


class Session(nn.Module):
    """A graph in onnxruntime, and ``described``, its metadata."""

    def __init__(self, file: Path, gpu: bool):
        super().__init__()
        try:
            import onnxruntime
        except ModuleNotFoundError:
            raise UserError(f"{file.name}: needs the extra onnx: pip install 'automl-images[onnx]'") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors; they are raised too
        wanted = (*(("CUDAExecutionProvider",) if gpu else ()), "CPUExecutionProvider")
        providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
        try:
            self._session = onnxruntime.InferenceSession(str(file), options, providers=providers)
            self.described = json.loads(self._session.get_modelmeta().custom_metadata_map[KEY])
        except (LookupError, ValueError):
            raise UserError(f"{file}: is no model that export wrote: it has no metadata of ours") from None
        except Exception as error:  # onnxruntime's own have no class in common
            raise UserError(f"{file}: does not load: {first_line(error)[:200]}") from None
        (self._input,) = (one.name for one in self._session.get_inputs())
        # where callers look for the device that inputs go to
        self.place = nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for pixels, uint8 or, as in 0 to 1, float."""
        if pixels.is_floating_point():
            pixels = (pixels * 255).round().to(torch.uint8)
        outputs = self._session.run(None, {self._input: pixels.contiguous().numpy()})
        return tuple(torch.from_numpy(one) for one in outputs)


class OnnxClassifier(nn.Module):
    """A classifier whose graph gives probabilities."""

    def __init__(self, session: Session, settings: Mapping[str, Any], task: str):
        super().__init__()
        self.session, self.many = session, get_task(task).label == "classes"

    def forward(self, images: Tensor) -> Tensor:
        """Return what stands for logits of uint8 [B, 3, H, W]: a sigmoid or softmax gives the probabilities back."""
        (found,) = self.session(images)
        return found.logit() if self.many else found.log()


class _Network(nn.Module):
    """torchvision's detector in a graph that takes one image."""

    def __init__(self, session: Session, max_size: int):
        super().__init__()
        self.session, self.transform = session, nn.Module()
        self.transform.max_size = max_size  # type: ignore[assignment]

    def forward(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        names = self.session.described["outputs"]
        return [dict(zip(names, self.session(image), strict=True)) for image in images]


def torchvision_detector(session: Session, settings: Mapping[str, Any], task: str) -> nn.Module:
    """Return a detector whose network is in a graph; its labels begin at 0 there."""
    masks = settings["mask_pixel_score_threshold"] if "masks" in session.described["outputs"] else None
    return TorchvisionDetector(_Network(session, settings["max_size"]), 0, "transform", (), masks)


class OnnxYoloV5(nn.Module):
    """A YOLOv5 whose network is in a graph: :class:`YoloV5` without what makes and trains that network."""

    predict, _batch = YoloV5.predict, YoloV5._batch

    def __init__(self, session: Session, settings: Mapping[str, Any], task: str):
        super().__init__()
        self.network = session
        self.size = int(session.described["before"]["letterbox"]["size"])
        self.nms_iou_thresh = float(settings["nms_iou_thresh"])
        self.max_boxes = int(settings.get("box_detections_per_img", 300))


_KINDS: dict[str, Any] = {
    "classifier": OnnxClassifier,
    "torchvision_detector": torchvision_detector,
    "yolov5": OnnxYoloV5,
}
