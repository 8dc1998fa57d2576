"""A model folder and pictures in, Azure's response out."""

import numpy as np
import pytest
import torch
from PIL import Image

from automl_images.data.detection import image_tensor
from automl_images.data.images import load_image
from automl_images.hyperparameters import resolve
from automl_images.models import folder as model_folder
from automl_images.models.catalogue import build
from automl_images.prediction import load_model
from automl_images.prediction.detection import detect, response

TASK = "image-object-detection"
CLASSES = ["blue", "red"]
NAMES = ("topX", "topY", "bottomX", "bottomY")
MODELS = {
    "fasterrcnn_resnet18_fpn": {"min_size": 64, "max_size": 64},
    "yolov5": {"img_size": 64, "nms_iou_thresh": 0.9},
}


@pytest.fixture(scope="module", params=MODELS)
def saved(request, tmp_path_factory):
    """Return the folder of an untrained model, whose scores are spread by hand since all of them would be alike."""
    torch.manual_seed(0)
    settings = resolve(TASK, {"model_name": request.param, **MODELS[request.param], "box_score_thresh": 0.2})
    settings |= {"model_size": "nano"} if request.param == "yolov5" else {}
    model = build(TASK, settings, CLASSES)
    with torch.no_grad():
        if request.param == "yolov5":
            for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
                norm.momentum = 1.0  # one batch's statistics, without which nothing of the picture gets through
            noise = torch.randint(0, 255, (4, 3, 64, 64), dtype=torch.uint8)
            model.train().losses(list(noise), [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}] * 4)
            for branch in model.network.model[-1].cv3:  # the class branch of each grid
                branch[-1].bias.copy_(torch.tensor([-2.0, -1.0]))
                branch[-1].weight.mul_(3)
        else:
            model.network.roi_heads.box_predictor.cls_score.weight.mul_(50)
    folder = tmp_path_factory.mktemp("model")
    model_folder.save(folder, model, task=TASK, settings=settings, classes=CLASSES, metrics={"epoch": 1})
    return folder


@pytest.fixture(scope="module")
def pictures(squares):
    """Return pictures of three sizes."""
    first, second, third = (Image.open(r.image_url).convert("RGB") for r in squares[1][:3])
    return [first, second.crop((0, 0, 60, 37)), third.crop((0, 0, 64, 32))]


def boxes_of(found, name="score"):
    return [[b[name] for b in image["boxes"]] for image in found]


def test_a_response_has_fractions_labels_and_falling_scores_above_the_threshold():
    found = {
        "boxes": np.array([[-5, 10, 50, 90], [0, 0, 20, 40], [1, 1, 2, 2]], np.float64),
        "scores": np.array([0.9, 0.5, 0.3], np.float64),
        "labels": np.array([1, 0, 0]),
        "size": (100, 80),
    }
    boxes = response(found, CLASSES, 0.25)["boxes"]
    assert boxes[0] == {"box": dict(zip(NAMES, [0, 0.125, 0.5, 1], strict=True)), "label": "red", "score": 0.9}
    assert boxes[1]["box"] == dict(zip(NAMES, [0, 0, 0.2, 0.5], strict=True))
    assert [b["label"] for b in boxes] == ["red", "blue", "blue"]
    assert len(response(found, CLASSES, 0.5)["boxes"]) == 1  # above, not equal to
    assert response(found, CLASSES, 0.95) == {"boxes": []}


def test_predictions_have_azures_shape(saved, pictures):
    found = load_model(saved).predict(pictures)
    assert len(found) == 3
    assert all(len(image["boxes"]) > 1 for image in found)
    for scores in boxes_of(found):
        assert scores == sorted(scores, reverse=True)
        assert 0.2 < scores[-1] <= scores[0] <= 1
    for box in (b for image in found for b in image["boxes"]):
        assert set(box) == {"box", "label", "score"}
        assert box["label"] in CLASSES
        x1, y1, x2, y2 = (box["box"][name] for name in NAMES)
        assert 0 <= x1 <= x2 <= 1
        assert 0 <= y1 <= y2 <= 1


def test_the_score_threshold_cuts_and_can_be_given_at_prediction(saved, pictures):
    everything = boxes_of(load_model(saved, box_score_thresh=0.0).predict(pictures))
    default, strict = (boxes_of(load_model(saved, **o).predict(pictures)) for o in ({}, {"box_score_thresh": 0.35}))
    assert default == [[s for s in scores if s > 0.2] for scores in everything]
    assert strict == [[s for s in scores if s > 0.35] for scores in everything]
    assert sum(map(len, everything)) > sum(map(len, default)) > sum(map(len, strict)) > 0


def test_a_picture_is_predicted_alone_whatever_is_beside_it(saved, pictures):
    predictor = load_model(saved, device="cpu")
    together = predictor.predict(pictures)
    assert together == [predictor.predict([p])[0] for p in pictures]
    assert together[0] != together[1]


def test_a_batch_is_detected_as_its_images_are(saved, pictures):
    predictor = load_model(saved, device="cpu")
    images = [image_tensor(np.asarray(p)) for p in pictures[:2]]
    batch = detect(predictor.model, images, predictor.device)
    for image, found in zip(images, batch, strict=True):
        alone = detect(predictor.model, [image], predictor.device)[0]
        assert (found["boxes"].dtype, found["scores"].dtype, found["labels"].dtype) == (np.float64,) * 2 + (np.int64,)
        assert found["size"] == (image.shape[2], image.shape[1])
        best = found["scores"] > 0.2
        assert best.sum() > 0
        np.testing.assert_allclose(found["scores"][best], alone["scores"][alone["scores"] > 0.2], atol=1e-4)
        np.testing.assert_array_equal(found["labels"][best], alone["labels"][alone["scores"] > 0.2])
        assert found["boxes"].max() <= max(image.shape)


def test_exif_orientation_is_heeded_as_in_training(saved, pictures, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    pictures[1].save(tmp_path / "lying.png", exif=exif)
    upright = Image.fromarray(load_image(str(tmp_path / "lying.png")))
    assert upright.size == (37, 60)
    predictor = load_model(saved)
    with Image.open(tmp_path / "lying.png") as lying:
        assert predictor.predict([lying]) == predictor.predict([upright]) != predictor.predict([pictures[1]])


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_pictures_of_any_mode_are_predicted(saved, pictures, mode):
    grey = pictures[0].convert("L").convert("RGB")
    shown = grey.convert(mode) if mode != "P" else grey.quantize(256)
    predictor = load_model(saved, box_score_thresh=0.0)
    (expected,), (found,) = (boxes_of(predictor.predict([p])) for p in (shown.convert("RGB"), shown))
    assert found == expected != []
