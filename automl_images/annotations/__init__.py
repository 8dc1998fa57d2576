"""Labelled images as records: a reader per format and one writer, checks, split, summary.

``formats.read`` reads any format, ``checks.Checker`` finds flaws and opens every image, ``jsonl.Writer`` writes the one
form that all later steps read with :func:`read_records`.
"""

from __future__ import annotations

from automl_images.annotations.jsonl import read_records
from automl_images.annotations.records import Box, Record

__all__ = ["Box", "Record", "read_records"]
