"""Configurations of other systems, read into an experiment: Azure's AutoML for images, SageMaker's, YOLOv5's.

A reader is a module with ``recognises``, ``read`` and ``table``; to add one is a file and its row here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from automl_images.errors import UserError
from automl_images.hyperparameters.vendors import azure, sagemaker, yolov5
from automl_images.hyperparameters.vendors.draft import Document, Draft, Maps, Named

VENDORS: dict[str, Any] = {"azure": azure, "sagemaker": sagemaker, "yolov5": yolov5}

__all__ = ["VENDORS", "Document", "Draft", "Maps", "Named", "read", "vendor_of"]


def vendor_of(document: Document) -> str | None:
    """Return the vendor whose file it is; None: no vendor's that is known."""
    if isinstance(document.content, Mapping):
        return next((name for name in VENDORS if VENDORS[name].recognises(document)), None)
    return next((name for name in ("yolov5", "azure") if VENDORS[name].recognises(document)), None)


def read(documents: Sequence[Document], maps: Maps, given: Mapping[str, Any]) -> Draft:
    """Return the experiment of a vendor's files.

    Args:
        documents: the files; several of them if YOLOv5's alone.
        maps: what the vendor's references are here.
        given: paths of the experiment that are set otherwise, with their values.

    Raises:
        UserError: a file is no vendor's, or of two vendors, a name unknown, a value out of range; the line has the
            file and the key.
    """
    names = {document.file: vendor_of(document) for document in documents}
    for file, name in names.items():
        if name is None:
            raise UserError(
                f"{file}: is no configuration that is known: an Azure job of image AutoML, a list of its arguments, a "
                "SageMaker request or its hyperparameters, YOLOv5's data.yaml, hyp.yaml or train.py command"
            )
    vendor, *others = sorted({str(name) for name in names.values()})
    if others:
        raise UserError(f"{' and '.join(names)}: are of {' and '.join([vendor, *others])}; give those of one")
    draft: Draft = VENDORS[vendor].read(documents, maps, given)
    return draft
