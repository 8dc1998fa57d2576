"""Outlines for records of boxes."""

import dataclasses

from automl_images.annotations import Instance
from automl_images.annotations.labels import Polygons


def outlined(record):
    """Return a record of boxes as one of polygons: each box's lower left half."""
    corners = [(b.label, ((b.topX, b.topY, b.bottomX, b.bottomY, b.topX, b.bottomY),)) for b in record.label.boxes]
    return dataclasses.replace(record, label=Polygons(tuple(Instance(*corner) for corner in corners)))
