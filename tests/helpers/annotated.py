"""A COCO file of a few images, and what a source is converted to."""

import json
import os
from pathlib import Path

from automl_images.annotations import read_records
from automl_images.annotations.labels import KINDS
from automl_images.steps.convert import convert


def coco(folder, images, annotations=(), categories=((1, "cat"), (2, "dog")), name="instances.json", **more):
    """Write a COCO file of images (id, file name) of 12 x 8 and annotations (image id, category id, bbox)."""
    content = {
        "images": [{"id": i, "file_name": file, "width": 12, "height": 8} for i, file in images],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "bbox": bbox} for n, (i, c, bbox) in enumerate(annotations)
        ],
        "categories": [{"id": i, "name": class_} for i, class_ in categories],
        **more,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(json.dumps(content))
    return path


def converted(source, out, kind="boxes", **options):
    """Return the summary and, by the images' paths below the source, the names in each record."""
    summary = convert(str(source), str(out), KINDS[kind].task(), **options)
    root = source if Path(source).is_dir() else Path(source).parent
    return summary, {os.path.relpath(r.image_url, root): r.label.names() for r in read_records(str(out), kind)}
