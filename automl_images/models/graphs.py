"""What of each model becomes an ONNX graph, and the exporter that writes it.

A graph takes uint8 pixels and gives what people use: probabilities, or boxes. What an exporter cannot put into it is
told in the file's metadata, as ``before`` and ``after``, and done by `automl_images.models.onnx_models`.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import singledispatch
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from automl_images.architectures import architecture
from automl_images.errors import UserError
from automl_images.models.classifier import Classifier
from automl_images.models.rcnn import TorchvisionDetector
from automl_images.models.yolov5 import YoloV5

KEY = "automl_images"  # of the metadata in the file
OPSET = 18


@dataclass(frozen=True)
class Graph:
    """A module for an exporter, with what is to be known of its graph.

    Attributes:
        kind: which class of `automl_images.models.onnx_models` predicts with it.
        module: takes one uint8 tensor, gives a tuple of tensors.
        example: what it is called with while its graph is written.
        inputs, outputs: their names; one input.
        axes: of each, those of any length, with names.
        fixed: the settings that are inside the graph, and can no longer be changed.
        before, after: what is done outside of it.
    """

    kind: str
    module: nn.Module
    example: Tensor
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    axes: dict[str, dict[int, str]]
    fixed: tuple[str, ...]
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        """Return what programs of others need to use the graph, JSON-serialisable."""
        told = ("kind", "inputs", "outputs", "axes", "fixed", "before", "after")
        return {**{name: getattr(self, name) for name in told}, "shape": list(self.example.shape), "dtype": "uint8"}


def write(model: nn.Module, settings: Mapping[str, Any], described: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Write a model in evaluation mode, on the CPU, as an ONNX graph, by the exporter that its row names.

    Args:
        model: as :func:`automl_images.models.folder.load` returns it.
        settings: complete, with what is to be inside the graph.
        described: what else the file's metadata says.
        file: an ``.onnx`` file.

    Returns:
        The metadata: ``described``, what :meth:`Graph.described` returns, ``exporter`` and ``opset``.

    Raises:
        UserError: no exporter writes this model rightly, it failed, or its package is not installed.
    """
    exporter = architecture(settings).exporter
    try:
        import onnx
    except ModuleNotFoundError:
        raise UserError("export to onnx needs the extra onnx: pip install 'automl-images[onnx]'") from None
    if exporter is None:
        raise UserError(f"{settings['model_name']}: no exporter to ONNX writes it rightly; serve its model folder")
    graph = graph_of(model, settings)
    graph.module.eval()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the check on images tells whether what was traced holds for others
            _EXPORTERS[exporter](graph, file)
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{settings['model_name']}: torch's exporter ({exporter}) fails: {reason[:200]}") from None
    metadata = {**described, **graph.described(), "exporter": exporter, "opset": OPSET}
    written = onnx.load(str(file))
    onnx.helper.set_model_props(written, {KEY: json.dumps(metadata)})
    onnx.save(written, str(file))
    onnx.checker.check_model(str(file))
    return metadata


def _traced(graph: Graph, file: Path) -> None:
    torch.onnx.export(
        graph.module,
        (graph.example,),
        str(file),
        dynamo=False,
        opset_version=OPSET,
        input_names=list(graph.inputs),
        output_names=list(graph.outputs),
        dynamic_axes=graph.axes,
    )


def _captured(graph: Graph, file: Path) -> None:
    axes = {axis: torch.export.Dim(name, min=1) for axis, name in graph.axes[graph.inputs[0]].items()}
    torch.onnx.export(
        graph.module,
        (graph.example,),
        str(file),
        dynamo=True,
        opset_version=OPSET,
        input_names=list(graph.inputs),
        output_names=list(graph.outputs),
        dynamic_shapes=(axes,),
        external_data=False,
        verbose=False,
    )


_EXPORTERS: dict[str, Callable[[Graph, Path], None]] = {"trace": _traced, "dynamo": _captured}


@singledispatch
def graph_of(model: nn.Module, settings: Mapping[str, Any]) -> Graph:
    """Return what of a model becomes a graph; ``multilabel`` among the settings says that classes exclude none.

    Raises:
        UserError: it is of no kind that has one.
    """
    raise UserError(f"{settings['model_name']}: has no graph in ONNX in this version; serve its model folder")


@graph_of.register
def _(model: Classifier, settings: Mapping[str, Any]) -> Graph:
    from automl_images.hyperparameters.sizes import input_shape

    if settings.get("image_shape"):
        _, height, width = input_shape(settings)
        before: dict[str, Any] = {"resize": {"height": height, "width": width}}
    else:
        height = width = settings["valid_crop_size"]
        before = {"resize": {"shorter_side": settings["valid_resize_size"]}, "crop": "centre"}
    return Graph(
        "classifier",
        _Probabilities(model, settings["multilabel"]),
        torch.zeros(2, 3, height, width, dtype=torch.uint8),
        ("images",),
        ("probabilities",),
        {"images": {0: "batch"}, "probabilities": {0: "batch"}},
        ("image_shape", "valid_crop_size"),
        before={**before, "interpolation": "bilinear, antialiased", "colours": "RGB, 0 to 255"},
    )


class _Probabilities(nn.Module):
    """A classifier with what makes probabilities of its logits."""

    def __init__(self, model: nn.Module, multilabel: bool):
        super().__init__()
        self.model, self.multilabel = model, multilabel

    def forward(self, images: Tensor) -> tuple[Tensor]:
        logits = self.model(images)
        return (logits.sigmoid() if self.multilabel else logits.softmax(1),)


@graph_of.register
def _(model: TorchvisionDetector, settings: Mapping[str, Any]) -> Graph:
    outputs = ("boxes", "scores", "labels", *(() if model.mask_threshold is None else ("masks",)))
    masks = {} if model.mask_threshold is None else {"masks": "scaled into their boxes, above the threshold inside"}
    return Graph(
        "torchvision_detector",
        _Found(model),
        torch.randint(0, 255, (3, 3 * settings["min_size"] // 4, settings["min_size"]), dtype=torch.uint8),
        ("image",),
        outputs,
        {"image": {1: "height", 2: "width"}, **{name: {0: "found"} for name in outputs}},
        ("min_size", "max_size", "nms_iou_thresh", "box_detections_per_img"),
        before={"colours": "RGB, 0 to 255", "least_side": "a max_size-th of the other, padded with 0"},
        after={"boxes": "left, top, right, bottom in pixels, to be clipped to the image", **masks},
    )


class _Found(nn.Module):
    """torchvision's detector, all of it: normalisation, scaling, network, non-maximum suppression, boxes in pixels."""

    def __init__(self, model: TorchvisionDetector):
        super().__init__()
        self.first = model.first
        self.network = copy.copy(model.network)  # which keeps its own transform
        self.network._modules = {**model.network._modules, "transform": copy.copy(model.network.transform)}
        self.network.transform.resize = self._resized

    def _resized(self, image: Tensor, target: None) -> tuple[Tensor, None]:
        """Return an image as torchvision's transform scales it.

        The transform's own, traced, computes sides in single precision, and in double precision otherwise, so that of
        some images a side is a pixel shorter, and other things are found.
        """
        sides = torch._shape_as_tensor(image)[1:].double()
        least, most = float(self.network.transform.min_size[-1]), float(self.network.transform.max_size)
        scale = torch.min(least / sides.min(), most / sides.max())
        size = (sides * scale).floor().long()
        return F.interpolate(image[None], [size[0], size[1]], mode="bilinear", align_corners=False)[0], target  # type: ignore[list-item]

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        (found,) = self.network([image.float() / 255])
        masks = (found["masks"],) if "masks" in found else ()
        return found["boxes"], found["scores"], found["labels"] - self.first, *masks


@graph_of.register
def _(model: YoloV5, settings: Mapping[str, Any]) -> Graph:
    return Graph(
        "yolov5",
        _Places(model.network),
        torch.zeros(2, 3, model.size, model.size, dtype=torch.uint8),
        ("images",),
        ("places",),
        {"images": {0: "batch"}, "places": {0: "batch"}},
        ("img_size", "model_size", "head"),
        before={"letterbox": {"size": model.size, "grey": 114}, "colours": "RGB, 0 to 255"},
        after={
            "places": "of each centre x, centre y, width, height in pixels of the square, then a score a class",
            "suppression": "within each class, by nms_iou_thresh, of boxes that are clipped to the image",
        },
    )


class _Places(nn.Module):
    """YOLOv5's network with its decoding: what it says of each place of its grids."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.network(images.float() / 255)[0].float(),)
