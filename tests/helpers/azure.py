"""Requests and answers as Azure's score files have them, and a score file's settings changed by hand."""

import base64
import json
import re

FRACTION = {"type": "number", "minimum": 0, "maximum": 1}
STRICT = {"type": "object", "additionalProperties": False}
CORNERS = ("topX", "topY", "bottomX", "bottomY")
BOX = {**STRICT, "required": list(CORNERS), "properties": dict.fromkeys(CORNERS, FRACTION)}
POLYGON = {"type": "array", "items": {"type": "array", "minItems": 6, "items": FRACTION}}
IMAGE = {
    **STRICT,
    "required": ["image_type", "image"],
    "properties": {"image_type": {"enum": ["jpg", "png", "bmp"]}, "image": {"type": "string", "minLength": 20}},
}
# what finds something with weights that have learned next to nothing
FINDING = {
    "image-object-detection": {"box_score_thresh": 0.0},
    "image-instance-segmentation": {
        "box_score_thresh": 0.0,
        "mask_pixel_score_threshold": 0.1,
        "box_detections_per_img": 2,
    },
}


def _object(**properties):
    return {**STRICT, "required": list(properties), "properties": properties}


def _list(items):
    return {"type": "array", "minItems": 1, "items": items}


def schema(task, classes, size):
    """Return the schema of the answer for an image of a size (height, width) on which something is found.

    Azure has no task of semantic segmentation: that one's is our own.
    """
    label = {"enum": classes}
    if task.startswith("image-classification"):
        each = {"type": "array", "items": FRACTION, "minItems": len(classes), "maxItems": len(classes)}
        return _object(probs=each, labels={"const": classes})
    if task == "image-semantic-segmentation":
        rle = _object(size={"const": size}, counts={"type": "string"})
        return _object(classes={"const": classes}, regions=_list(_object(label=label, rle=rle)))
    more = {"polygon": POLYGON} if task == "image-instance-segmentation" else {}
    return _object(boxes=_list(_object(box=BOX, label=label, score=FRACTION, **more)))


def request(*images, rows=False):
    """Return a request for images' bytes: a table of one column, as a list or, with an index, as rows."""
    data = [base64.b64encode(one).decode() for one in images]
    table = {"columns": ["image"], "data": [[one] for one in data] if rows else data}
    return json.dumps({"input_data": {**table, "index": list(range(len(data)))} if rows else table}).encode()


def change(path, **given):
    """Change settings in a folder's score file as a person does: take the sign away, and write another value."""
    text = (path / "score.py").read_text()
    for name, value in given.items():
        text, times = re.subn(rf'    # "{name}": .*,\n', f'    "{name}": {value!r},\n', text)
        assert times == 1, name
    (path / "score.py").write_text(text)
