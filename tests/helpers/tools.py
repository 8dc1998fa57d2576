"""Exports of annotation tools, as small as they can be, and what is read of them."""

import base64
import io
import json

import numpy as np
from PIL import Image

from automl_images.annotations import formats
from tests.conftest import save_images

WIDTH, HEIGHT = 12, 8


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(np.array(pixels, np.uint8)).save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


def labelme(*drawn, **more):
    return json.dumps(
        {"version": "5.4.1", "flags": {}, "shapes": list(drawn), "imagePath": "a.png", "imageData": None}
        | {"imageHeight": HEIGHT, "imageWidth": WIDTH}
        | more
    )


def drawn(label="cat", points=((3, 4), (9, 8)), shape_type="rectangle", **more):
    return {"label": label, "points": [list(p) for p in points], "group_id": None, "flags": {}} | {
        "shape_type": shape_type,
        **more,
    }


def studio(*results, data=None, **more):
    """Return an export of one task with one annotation."""
    annotation = {"id": 7, "completed_by": 1, "was_cancelled": False, "ground_truth": False, "result": list(results)}
    task = {"id": 3, "annotations": [annotation], "data": data or {"image": "a.png"}, "predictions": [], "project": 1}
    return json.dumps([task | more])


def result(type_="rectanglelabels", labels=("cat",), **value):
    value = value or {"x": 25, "y": 50, "width": 50, "height": 50, "rotation": 0}
    return {
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "value": value | {type_: list(labels)},
        "id": "x1",
        "from_name": "label",
        "to_name": "image",
        "type": type_,
    }


def via(*regions, project=True, name="a.png"):
    images = {f"{name}123": {"filename": name, "size": 123, "regions": list(regions), "file_attributes": {}}}
    wrapped = {"_via_settings": {}, "_via_img_metadata": images, "_via_attributes": {}}
    return json.dumps(wrapped if project else images)


def region(attributes, **shape):
    shape = shape or {"name": "rect", "x": 3, "y": 4, "width": 6, "height": 4}
    return {"shape_attributes": shape, "region_attributes": attributes}


def cvat(inside, image='id="0" name="a.png" width="12" height="8"'):
    return (
        f'<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta><task/></meta>'
        f"<image {image}>{inside}</image></annotations>"
    )


BOX = '<box label="cat" source="manual" occluded="0" xtl="3" ytl="4" xbr="9" ybr="8" z_order="0">{}</box>'


def read(tmp_path, name, text, label, **options):
    save_images(tmp_path, ["a.png"])
    (tmp_path / name).write_text(text)
    return list(formats.read(str(tmp_path), label=label, **options))


def boxes(record):
    return [
        (b.label, *(round(v, 6) for v in (b.topX * WIDTH, b.topY * HEIGHT, b.bottomX * WIDTH, b.bottomY * HEIGHT)))
        for b in record.label.boxes
    ]


def outline(record, i=0):
    """Return the points of an object's only part, in pixels."""
    (part,) = record.label.instances[i].polygon
    return [(round(x * WIDTH, 4), round(y * HEIGHT, 4)) for x, y in zip(part[::2], part[1::2], strict=True)]


MASKED = np.zeros((HEIGHT, WIDTH), bool)
MASKED[2:5, 3:7] = True
MASKED[3, 4] = False


def packed(mask):
    """Return a mask as thi.ng's rle-pack has it: runs of one byte, and now and then bytes as they are."""
    data = np.repeat(np.where(mask, 255, 0).reshape(-1).astype(np.uint8), 4)
    lengths = (3, 4, 8, 16)
    bits = [f"{len(data):032b}", f"{7:05b}", *(f"{n - 1:04b}" for n in lengths)]
    i = 0
    while i < len(data):
        same = 1
        while i + same < len(data) and data[i + same] == data[i] and same < 60_000:
            same += 1
        if same > 4:
            which = next(k for k, n in enumerate(lengths) if same - 1 < 1 << n)
            bits.append(f"1{which:02b}{same - 1:0{lengths[which]}b}{data[i]:08b}")
        else:
            bits.append(f"000{same - 1:03b}" + "".join(f"{v:08b}" for v in data[i : i + same]))
        i += same
    text = "".join(bits)
    return [int(text[k : k + 8].ljust(8, "0"), 2) for k in range(0, len(text), 8)]
