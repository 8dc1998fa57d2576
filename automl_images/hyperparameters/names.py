"""The tasks and the models of each, by name."""

from __future__ import annotations

CLASSIFICATION = "image-classification"
MULTILABEL = "image-classification-multilabel"
DETECTION = "image-object-detection"

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet200")
CIFAR_RESNETS = ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110")
VITS = ("vits16r224", "vitb16r224", "vitl16r224")
CLASSIFIERS = ("mobilenetv2", *RESNETS, "resnest50", "resnest101", "seresnext", *VITS, *CIFAR_RESNETS)

YOLO = ("yolov5",)
FASTER_RCNN = ("fasterrcnn_resnet18_fpn", "fasterrcnn_resnet50_fpn")
DETECTORS = (*YOLO, *FASTER_RCNN)

MODELS: dict[str, tuple[str, ...]] = {CLASSIFICATION: CLASSIFIERS, MULTILABEL: CLASSIFIERS, DETECTION: DETECTORS}
