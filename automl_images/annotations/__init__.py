"""Labelled images as records: a file per format and per kind of label, checks, split, summary.

``formats.read`` reads any format, ``checks.Checker`` finds flaws and opens every image, ``record_file.write`` writes
the one form that all later steps read with :func:`read_records`.
"""

from __future__ import annotations

from automl_images.annotations.labels import Box, Boxes, Classes, Instance, Mask, OneClass, Polygons, Rle
from automl_images.annotations.record_file import read_records
from automl_images.annotations.records import Record

__all__ = ["Box", "Boxes", "Classes", "Instance", "Mask", "OneClass", "Polygons", "Record", "Rle", "read_records"]
