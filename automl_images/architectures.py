"""The models: one row each, with all that is particular to it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from automl_images.errors import UserError, nearest

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)  # what timm's augreg ViTs were trained with


@dataclass(frozen=True)
class Architecture:
    """One model."""

    name: str  # the settings' model_name
    family: str  # the tasks' family whose models it is one of
    builder: str  # "module:Class", called with the classes and the settings
    library: str  # whose network it is
    network: str  # what it is called there
    groups: tuple[tuple[str, ...], ...]  # what layers_to_freeze counts, first layers first: modules and parameters
    weights: str | None = None  # the library's name of published weights; None: none that load without pickle
    weights_prefix: str = "network."  # what comes before a published tensor's name in our state_dict
    backbone_weights: str | None = None  # weights of the backbone alone that may be had in their place
    frozen_norms: bool = False  # its builder takes `frozen_norms`: batch norms keep the statistics that they got
    packages: tuple[str, ...] = ()  # what a model folder's requirements pin beside torch and torchvision
    settings: tuple[str, ...] = ()  # the hyperparameters that it has beside its family's
    defaults: Mapping[str, Any] = field(default_factory=dict)  # not its task's; a value or a mapping of tasks
    least_side: int = 1  # of its input's height and width, in pixels
    multiple: int = 1  # of which both must be multiples
    one_size: bool = False  # it takes images of the size that it was built for alone
    channels_last: bool = True  # that memory layout may make it faster
    # which of torch's exporters to ONNX writes it rightly, "trace" or "dynamo"; None: neither. A wrong one may write a
    # graph that runs and is wrong.
    exporter: str | None = "trace"
    head: tuple[str, ...] = ("fc",)  # the layers in the library's network that depend on the classes
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET  # of each channel, in [0, 1]: mean, deviation
    # up to this side in pixels a training batch of one image is doubled, or a batch norm would see a single value a
    # channel, from which it cannot learn statistics
    doubled_to: float = 0
    # by the setting `head` of a model that has several, what of this row is other there
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def _numbered(prefix: str, numbers: range) -> tuple[tuple[str, ...], ...]:
    return tuple((f"{prefix}{i}",) for i in numbers)


def _stages(root: str, count: int) -> tuple[tuple[str, ...], ...]:
    """Return the groups of a ResNet: the stem, then its stages."""
    return (f"{root}.conv1", f"{root}.bn1"), *_numbered(f"{root}.layer", range(1, count + 1))


def _classifier(name: str, library: str, network: str, weights: str | None = None, **more: Any) -> Architecture:
    """Return the row of a convolutional network for ImageNet, which halves its input five times, if not told else."""
    return Architecture(
        name,
        "classification",
        "automl_images.models.classifier:Classifier",
        library,
        network,
        weights=weights,
        packages=("timm",) if library == "timm" else (),
        **{"groups": _stages("network", 4), "least_side": 32, "doubled_to": 32, **more},
    )


def _resnest(name: str, network: str) -> Architecture:
    """Return the row of a ResNeSt, which normalises pooled features, and which channels_last makes slower on GPUs."""
    return _classifier(name, "timm", network, "in1k", channels_last=False, doubled_to=math.inf)


def _vit(name: str, network: str, weights: str, blocks: int, batch: int, rates: tuple[float, float]) -> Architecture:
    """Return the row of a ViT with patches of 16 pixels; channels_last makes no difference to it."""
    embedding = ("network.patch_embed", "network.pos_embed", "network.cls_token")
    return _classifier(
        name,
        "timm",
        network,
        weights,
        groups=(embedding, *_numbered("network.blocks.", range(blocks))),
        defaults={
            "training_batch_size": batch,
            "validation_batch_size": batch,
            "learning_rate": dict(zip(("image-classification", "image-classification-multilabel"), rates, strict=True)),
        },
        multiple=16,
        one_size=True,
        channels_last=False,
        head=("head",),
        normalisation=HALF,
        doubled_to=0,
    )


def _cifar_resnet(depth: int) -> Architecture:
    """Return the row of a ResNet for small images, which halves its input twice."""
    groups = _stages("network", 3)
    return _classifier(f"resnet{depth}", "cifar", str(depth), groups=groups, least_side=8, doubled_to=0)


def _detector(
    name: str, network: str, builder: str, heads: tuple[str, ...], coco: str | None = None, **more: Any
) -> Architecture:
    """Return the row of one of torchvision's detectors; ``coco`` are weights of the whole, else of the backbone."""
    backbone = "ResNet" + network.removeprefix("resnet") + "_Weights.IMAGENET1K_V1"
    return Architecture(
        name,
        **{"family": "detection", **more},
        builder=f"automl_images.models.rcnn:{builder}",
        library="torchvision",
        network=network,
        groups=_stages("network.backbone.body", 4),
        weights=coco or backbone,
        weights_prefix="network." if coco else "network.backbone.body.",
        frozen_norms=True,
        settings=("min_size", "max_size", "box_detections_per_img"),
        head=heads,
    )


def _faster_rcnn(depth: int, coco: str | None = None) -> Architecture:
    heads = ("roi_heads.box_predictor",)
    return _detector(f"fasterrcnn_resnet{depth}_fpn", f"resnet{depth}", "faster_rcnn", heads, coco)


def _mask_rcnn(depth: int, coco: str | None = None) -> Architecture:
    heads = ("roi_heads.box_predictor", "roi_heads.mask_predictor.mask_fcn_logits")
    name = f"maskrcnn_resnet{depth}_fpn"
    return _detector(name, f"resnet{depth}", "mask_rcnn", heads, coco, family="instances")


def _segmenter(kind: str, depth: int, head: tuple[str, ...], coco: str | None = None, **more: Any) -> Architecture:
    """Return the row of a segmentation network on a dilated ResNet; ``coco`` are weights of the whole."""
    backbone = f"ResNet{depth}_Weights.IMAGENET1K_V1"
    return Architecture(
        f"{kind}_resnet{depth}",
        "segmentation",
        "automl_images.models.segmenter:Segmenter",
        "torchvision",
        f"resnet{depth}",
        _stages("network.backbone", 4),
        weights=coco or backbone,
        weights_prefix="network." if coco else "network.backbone.",
        backbone_weights=backbone if coco else None,
        settings=("pretrained_weights",) if coco else (),
        head=head,
        **more,
    )


def _segmenters(depth: int) -> tuple[Architecture, ...]:
    """Return the rows of all segmentation networks of a depth; two of them normalise means over a whole image."""
    name, coco = f"ResNet{depth}", "Weights.COCO_WITH_VOC_LABELS_V1"
    auxiliary = "aux_classifier.4"
    return (
        _segmenter("fcn", depth, ("classifier.4", auxiliary), f"FCN_{name}_{coco}"),
        _segmenter("psp", depth, ("classifier.5", auxiliary), doubled_to=math.inf),
        _segmenter("deeplab", depth, ("classifier.4", auxiliary), f"DeepLabV3_{name}_{coco}", doubled_to=math.inf),
    )


ARCHITECTURES: dict[str, Architecture] = {
    row.name: row
    for row in (
        _classifier(
            "mobilenetv2",
            "torchvision",
            "mobilenet_v2",
            "MobileNet_V2_Weights.IMAGENET1K_V2",
            groups=_numbered("network.features.", range(19)),
            head=("classifier.1",),
        ),
        _classifier("resnet18", "torchvision", "resnet18", "ResNet18_Weights.IMAGENET1K_V1"),
        _classifier("resnet34", "torchvision", "resnet34", "ResNet34_Weights.IMAGENET1K_V1"),
        _classifier("resnet50", "torchvision", "resnet50", "ResNet50_Weights.IMAGENET1K_V2"),
        _classifier("resnet101", "torchvision", "resnet101", "ResNet101_Weights.IMAGENET1K_V2"),
        _classifier("resnet152", "torchvision", "resnet152", "ResNet152_Weights.IMAGENET1K_V2"),
        _classifier("resnet200", "timm", "resnet200"),
        _resnest("resnest50", "resnest50d"),
        _resnest("resnest101", "resnest101e"),
        # Azure says that it takes no arbitrary size: multiples of its last layer's stride
        _classifier("seresnext", "timm", "seresnext50_32x4d", "racm_in1k", multiple=32),
        _vit("vits16r224", "vit_small_patch16_224", "augreg_in21k_ft_in1k", 12, 128, (0.0125, 0.025)),
        _vit("vitb16r224", "vit_base_patch16_224", "augreg2_in21k_ft_in1k", 12, 48, (0.0125, 0.025)),
        _vit("vitl16r224", "vit_large_patch16_224", "augreg_in21k_ft_in1k", 24, 10, (0.001, 0.002)),
        *(_cifar_resnet(depth) for depth in (20, 32, 44, 56, 110)),
        Architecture(
            "yolov5",
            "detection",
            "automl_images.models.yolov5:YoloV5",
            "ours",
            "yolov5",
            _numbered("network.model.", range(10)),  # its backbone
            settings=("img_size", "model_size", "multi_scale"),
            head=tuple(f"model.24.m.{i}" for i in range(3)),
            variants={
                "anchor": {},
                "anchor_free": {
                    "library": "ultralytics",
                    "packages": ("ultralytics", "opencv-python-headless"),
                    "head": tuple(f"model.24.cv3.{i}.2" for i in range(3)),
                },
            },
            defaults={
                "number_of_epochs": 30,
                "training_batch_size": 16,
                "validation_batch_size": 16,
                "learning_rate": 0.01,
                "box_score_thresh": 0.1,
            },
        ),
        _faster_rcnn(18),
        _faster_rcnn(34),
        _faster_rcnn(50, "FasterRCNN_ResNet50_FPN_Weights.COCO_V1"),
        _faster_rcnn(101),
        _faster_rcnn(152),
        _detector(
            "retinanet_resnet50_fpn",
            "resnet50",
            "retinanet",
            ("head.classification_head.cls_logits",),
            "RetinaNet_ResNet50_FPN_Weights.COCO_V1",
        ),
        _mask_rcnn(18),
        _mask_rcnn(34),
        _mask_rcnn(50, "MaskRCNN_ResNet50_FPN_Weights.COCO_V1"),
        _mask_rcnn(101),
        _mask_rcnn(152),
        *_segmenters(50),
        *_segmenters(101),
    )
}


def architecture(settings: Mapping[str, Any]) -> Architecture:
    """Return the row of the model that settings name, as it is with their head.

    Settings without a head are of before there was a choice, when it was ``anchor_free``.

    Raises:
        UserError: the model has no such head.
    """
    row = ARCHITECTURES[settings["model_name"]]
    if not row.variants:
        return row
    head = settings.get("head", "anchor_free")
    if head not in row.variants:
        raise UserError(f"head: {row.name} has no head {head!r}; {nearest(str(head), row.variants)}")
    return replace(row, **row.variants[head])


def models_of(family: str) -> tuple[str, ...]:
    """Return the names of a family's models; of a family that has none yet, none."""
    return tuple(name for name, row in ARCHITECTURES.items() if row.family == family)


def has_published(model_name: str) -> bool:
    """Return whether a model has published weights."""
    return ARCHITECTURES[model_name].weights is not None
