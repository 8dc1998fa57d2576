"""What every detector is to training and prediction: uint8 images in, losses or boxes in their pixels out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from automl_images.models.freeze import Freezable

SCORE_FLOOR = 0.001


class Detector(Freezable, ABC):
    """A detector over classes, of which a label is the index."""

    size: int | None = None  # the side in pixels of the squares that it makes of images; None: it makes none

    @abstractmethod
    def losses(self, images: Sequence[Tensor], targets: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Return the parts, scalars, whose sum is minimised.

        Args:
            images: uint8 [3, H, W], RGB; sizes may differ.
            targets: for each image ``boxes``, float [n, 4] in pixels (x1, y1, x2, y2), and ``labels``, int64 [n] from
                0; n may be 0; for models with masks ``masks``, uint8 [n, H, W].
        """

    @abstractmethod
    def predict(self, images: Sequence[Tensor]) -> list[dict[str, Any]]:
        """Return the boxes in each uint8 [3, H, W] RGB image, best score first; the module must be in evaluation mode.

        For each image ``boxes``, float [n, 4] in that image's pixels (x1, y1, x2, y2), ``scores``, float [n] above
        0.001, and ``labels``, int64 [n], after non-maximum suppression within each class. A model with masks adds
        ``masks``, a list of n of COCO's run lengths of the whole image, ``{"size": [height, width], "counts": bytes}``.
        """

    def adapt(self, shapes: Callable[[], np.ndarray]) -> str:
        """Fit to the training objects what is not learned by gradients, and return what to say of it, if anything.

        ``shapes()`` gives their widths and heights, float [n, 2], as shares of their image's longer side.
        """
        return ""
