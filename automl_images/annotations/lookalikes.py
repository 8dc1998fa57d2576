"""Formats that are not read: the names by which people ask for them, what they look like, and what converts them."""

from __future__ import annotations

import posixpath

from automl_images import storage
from automl_images.annotations.lines import first_line, head_of
from automl_images.annotations.source import Source

_DATUMARO = "Datumaro ('datum convert') writes COCO, VOC and YOLO of it"
_FIFTYONE = "FiftyOne ('fiftyone convert') writes COCO, VOC and YOLO of it"
# by the names that people give them: what turns them into a format that is read, or which of ours they are
OTHERS = {
    "createml": f"Apple's Create ML: {_DATUMARO}, as Roboflow does",
    "tfrecord": f"TensorFlow's records: {_FIFTYONE}",
    "parquet": "a table of Parquet: write it as csv or jsonl with pandas or duckdb",
    "webdataset": "shards of tar files: unpack them, and name the folder or its csv",
    "kitti": f"KITTI's text files: {_DATUMARO}",
    "openimages": f"Open Images: {_FIFTYONE}",
    "supervisely": f"Supervisely's JSON: {_DATUMARO}; its own export to COCO is read too",
    "datumaro": "Datumaro's own JSON: 'datum convert' writes COCO, VOC and YOLO of it",
    "fiftyone": "FiftyOne's own: export it with fiftyone.types.COCODetectionDataset",
    "cvat_video": "CVAT for video: export it as 'CVAT for images', which is cvat",
    "label_studio_min": "Label Studio's JSON-MIN: export it as JSON, which is label_studio",
    "darwin": f"V7's Darwin: {_DATUMARO}; its own export to COCO is read too",
    "labelbox": "Labelbox's export: its own converter, labelbox-python's, writes COCO",
    "mltable": "Azure's MLTable: name the JSONL that it lists, which is jsonl",
}
_SAME = {
    "azure": "jsonl",
    "json_lines": "jsonl",
    "ndjson": "jsonl",
    "coco_json": "coco",
    "pascal": "voc",
    "pascal_voc": "voc",
    "pascalvoc": "voc",
    "vocdevkit": "voc",
    "imagenet": "folder",
    "imagefolder": "folder",
    "directory": "folder",
    "ultralytics": "yolo",
    "yolov5": "yolo",
    "yolov8": "yolo",
    "darknet": "yolo",
    "augmented_manifest": "manifest",
    "groundtruth": "manifest",
    "ground_truth": "manifest",
    "rec": "recordio",
    "mxnet": "recordio",
    "labelstudio": "label_studio",
    "vgg": "via",
    "tensorflow_csv": "csv",
    "tfcsv": "csv",
    "png_masks": "masks",
    "camvid": "masks",
}


def hint(name: str) -> str | None:
    """Return what to do with a format of a name that there is not, or None where nothing is known of it."""
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    if plain in _SAME:
        return f"it is called {_SAME[plain]} here"
    if plain == "roboflow":
        return "Roboflow exports many: name coco, voc, yolo, csv or folder, or auto, which tells them apart"
    found = OTHERS.get(plain) or next((text for other, text in OTHERS.items() if other.replace("_", "") in plain), None)
    return found and f"it is not read: {found}"


def looks_like(source: Source) -> str | None:
    """Return what a source looks like that is in no format, with what to do with it; None where nothing tells."""
    files = source.listed if source.is_folder else [source.url]
    for file in files[:1000]:
        suffix = posixpath.splitext(file)[1].lower()
        url = storage.join(source.url, file) if source.is_folder else file
        name = _BY_SUFFIX.get(suffix) or (_by_content(suffix, url) if suffix in (".json", ".csv", ".xml") else None)
        if name:
            return f"{storage.redact(url)} looks like {OTHERS[name]}"
    return None


_BY_SUFFIX = {
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
    ".parquet": "parquet",
    ".tar": "webdataset",
}


def _by_content(suffix: str, url: str) -> str | None:
    head = head_of(url)
    if suffix == ".csv":
        return "openimages" if {"ImageID", "LabelName"} <= set(first_line(url).split(",")) else None
    if suffix == ".xml":
        return "cvat_video" if b"<annotations" in head and b"<track" in head else None
    for name, keys in _BY_KEYS.items():
        if all(b'"' + key + b'"' in head for key in keys):
            return name
    return None


_BY_KEYS = {
    "createml": (b"annotations", b"coordinates", b"image"),
    "supervisely": (b"objects", b"classTitle"),
    "datumaro": (b"infos", b"categories", b"items"),
    "darwin": (b"annotations", b"bounding_box"),
    "label_studio_min": (b"annotator", b"original_width", b"image"),
    "fiftyone": (b"samples", b"ground_truth"),
    "labelbox": (b"data_row",),
}
