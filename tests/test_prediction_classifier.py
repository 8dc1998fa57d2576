"""A classifier's folder and pictures in, Azure's response out; the evaluate and predict steps on it."""

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from automl_images.data.classification import evaluation_image
from automl_images.errors import UserError
from automl_images.evaluation import headline, plots, scalars, summary_lines, weakness
from automl_images.hyperparameters import resolve
from automl_images.metrics import baseline
from automl_images.models import catalogue
from automl_images.models import folder as model_folder
from automl_images.prediction import load_model
from automl_images.prediction.classification import classify
from automl_images.steps.evaluate import evaluate_model
from automl_images.steps.predict import predict_images

ONE, MANY = "image-classification", "image-classification-multilabel"
CLASSES = ["a<b", "blue", "red"]
SMALL = {
    "model_name": "resnet20",
    "train_crop_size": 32,
    "valid_crop_size": 32,
    "valid_resize_size": 36,
    "validation_batch_size": 4,
}


def draw(folder, count=10):
    """Write pictures of several sizes and colours and return their paths."""
    rng = np.random.default_rng(0)
    paths = []
    for i in range(count):
        size = int(rng.integers(40, 90)), int(rng.integers(40, 90))
        image = Image.new("RGB", size, tuple(int(v) for v in rng.integers(0, 255, 3)))
        ImageDraw.Draw(image).ellipse([5, 5, 5 + 3 * i, 30], fill=tuple(int(v) for v in rng.integers(0, 255, 3)))
        paths.append(folder / f"{i}.png")
        image.save(paths[-1])
    return paths


def make_model(folder, paths, task, **more):
    """Save an untrained model whose logits are spread around 0 on these pictures, so that all classes are named."""
    torch.manual_seed(1)
    settings = resolve(task, {**SMALL, **more})
    model = catalogue.build(task, settings, CLASSES).eval()
    pictures = [np.array(Image.open(p).convert("RGB")) for p in paths]
    images = torch.from_numpy(np.stack([evaluation_image(p, settings) for p in pictures])).permute(0, 3, 1, 2)
    with torch.no_grad():
        head = dict(model.named_modules())["network.fc"]
        logits = model(images)
        head.weight.mul_(1 / logits.std(0)[:, None])
        head.bias.zero_()
        head.bias.sub_(model(images).mean(0))
    model_folder.save(folder, model, task=task, settings=settings, classes=CLASSES, metrics={"epoch": 1})
    return folder


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def pictures(paths):
    return [Image.open(p).convert("RGB") for p in paths]


@pytest.fixture(scope="module", params=[ONE, MANY])
def model(request, paths, tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"), paths, request.param)


def named(prediction, many):
    """Return the labels that a prediction amounts to."""
    probs = prediction["probs"]
    return [n for n, p in zip(CLASSES, probs, strict=True) if (p > 0.5 if many else p == max(probs))]


def write_records(path, paths, labels):
    lines = [{"image_url": str(p), "label": label} for p, label in zip(paths, labels, strict=True)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_probabilities_are_a_softmax_or_sigmoids():
    logits = torch.tensor([[1.0, 2.0, -50.0], [100.0, 0.0, 0.0]], dtype=torch.float64)
    linear = torch.nn.Linear(3, 3, bias=False, dtype=torch.float64)
    torch.nn.init.eye_(linear.weight)
    one, many = (classify(linear, logits, m) for m in (False, True))
    assert one.dtype == many.dtype == np.float32
    np.testing.assert_allclose(one.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(one[0, 1] / one[0, 0], np.e, rtol=1e-5)
    np.testing.assert_allclose(many, 1 / (1 + np.exp(-logits.numpy())), rtol=1e-5, atol=1e-30)


def test_a_response_has_a_probability_for_each_class(model, pictures):
    predictor = load_model(model, device="cpu")
    found = predictor.predict(pictures)
    assert [set(f) for f in found] == [{"probs", "labels"}] * len(pictures)
    assert all(f["labels"] == CLASSES == predictor.classes for f in found)
    probs = np.array([f["probs"] for f in found])
    assert probs.min() >= 0 and probs.max() <= 1 and len(np.unique(probs.argmax(1))) == 3
    sums = probs.sum(1)
    assert np.allclose(sums, 1, atol=5e-6) == (predictor.task == ONE)


def test_the_probabilities_are_the_networks(model, pictures):
    predictor = load_model(model, device="cpu")
    sized = np.stack([evaluation_image(np.array(p), predictor.settings) for p in pictures])
    images = torch.from_numpy(sized).permute(0, 3, 1, 2)
    assert images.shape[2:] == (32, 32) and images.dtype == torch.uint8
    many = predictor.task == MANY
    whole = classify(predictor.model, images, many)
    assert (whole.dtype, whole.shape) == (np.float32, (len(pictures), 3))
    with torch.no_grad():
        logits = predictor.model(images)
    np.testing.assert_allclose(whole, (logits.sigmoid() if many else logits.softmax(1)).numpy(), atol=1e-6)
    # in batches of four, the last one short, and alone
    np.testing.assert_allclose([f["probs"] for f in predictor.predict(pictures)], whole, atol=2e-6)
    np.testing.assert_allclose(predictor.predict(pictures[3:4])[0]["probs"], whole[3], atol=2e-6)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16"])
def test_pictures_of_any_mode_are_predicted(model, pictures, mode):
    grey = pictures[0].convert("L")
    if mode == "I;16":
        shown = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        shown = grey.quantize(256) if mode == "P" else grey.convert("RGB").convert(mode)
    predictor = load_model(model)
    expected = predictor.predict([shown.convert("RGB") if mode != "I;16" else grey])[0]["probs"]
    assert predictor.predict([shown])[0]["probs"] == pytest.approx(expected, abs=1e-5)


def test_sizes_can_be_given_at_prediction_and_are_checked(model, pictures):
    wide = load_model(model, valid_resize_size=32)
    assert wide.settings["valid_resize_size"] == 32
    assert wide.predict(pictures) != load_model(model).predict(pictures)
    with pytest.raises(UserError, match="valid_crop_size: 4 is too small for resnet20"):
        load_model(model, valid_crop_size=4)


def test_a_shape_takes_the_whole_image(paths, pictures, tmp_path):
    folder = make_model(tmp_path, paths, ONE, image_shape="3,32,48")
    predictor = load_model(folder)
    sized = evaluation_image(np.array(pictures[0]), predictor.settings)
    assert sized.shape == (32, 48, 3)
    whole = classify(predictor.model, torch.from_numpy(sized.copy()).permute(2, 0, 1)[None], False)[0]
    assert predictor.predict(pictures[:1])[0]["probs"] == pytest.approx(whole, abs=2e-6)


def test_the_predict_step_prints_and_draws(model, paths, pictures, tmp_path):
    predictor = load_model(model)
    expected = [predictor.predict([p])[0] for p in pictures]
    lines = list(predict_images(str(model), [paths[0].parent], tmp_path / "drawn"))
    for found, path, one in zip(lines, paths, expected, strict=True):  # in batches
        assert found == {"filename": str(path), **one, "probs": pytest.approx(one["probs"], abs=2e-6)}
    for path in paths:
        drawn = Image.open(tmp_path / "drawn" / f"{path.stem}.png")
        plain = Image.open(path).convert("RGB").resize(drawn.size, Image.Resampling.BICUBIC)
        changed = np.abs(np.asarray(drawn).astype(int) - np.asarray(plain)).max(2) > 0
        assert changed[:12, :12].any()  # the first label, at the top on the left
        assert not changed[drawn.height // 2 :].any()
    list(predict_images(str(model), paths[:1], tmp_path / "one.jpg"))
    assert (tmp_path / "one.jpg").exists()


def test_evaluate_counts_right_and_wrong(model, paths, pictures, tmp_path, capsys):
    predictor = load_model(model)
    many = predictor.task == MANY
    said = [named(p, many) for p in predictor.predict(pictures)]
    truth = [list(s) for s in said]
    wrong = next(i for i, s in enumerate(said) if "red" in s)
    truth[wrong] = ["blue"] if not many else [n for n in said[wrong] if n != "red"]  # one image is not as it is given
    labels = truth if many else [t[0] for t in truth]
    data = write_records(tmp_path / "v.jsonl", paths, labels)
    result = evaluate_model(str(model), str(data), str(tmp_path / "out"), title="My <title>", lineage={"trial": 7})
    assert result["accuracy"] == pytest.approx(1 - 1 / len(paths))
    assert result["task"] == predictor.task and result["images"] == len(paths) and result["seconds"] > 0
    counts = {n: sum(n in t for t in truth) for n in CLASSES}
    assert {n: f["count"] for n, f in result["per_label_metrics"].items()} == counts
    red = result["per_label_metrics"]["red"]
    assert red["precision"] == pytest.approx(1 - 1 / sum("red" in s for s in said)) and red["recall"] == 1
    if many:
        right = (len(said[wrong]) - 1) / len(said[wrong])
        assert result["iou"] == pytest.approx((len(paths) - 1 + (right if len(said[wrong]) > 1 else 0)) / len(paths))
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == result
    page = Path(result["report"]).read_text()
    assert "My &lt;title&gt;" in page and f"{wrong}.png" in page and page.count("data:image/jpeg") == 1
    lines = summary_lines(result)
    assert [line.split()[0] for line in lines[1:4]] == CLASSES
    assert f"{'iou' if many else 'accuracy'} {result['iou' if many else 'accuracy']:.4f}" in lines[-1]
    assert next(iter(scalars(result))) == ("iou" if many else "accuracy")
    assert {"seconds", "images", "top_k"}.isdisjoint(scalars(result))
    first = ", ".join(
        f"{name} {value:.4f} (baseline {result['baseline'][name]:.4f})"
        for name, value in list(scalars(result).items())[:3]
    )
    assert headline({**result, "set": "test"}) == f"{len(paths)} images (test): {first}"


@pytest.mark.parametrize(("value", "weak"), [(None, True), (0.5, True), (0.51, False)])
def test_a_result_that_a_model_without_sight_reaches_is_said(value, weak):
    figures = {"accuracy": value, "baseline": {"accuracy": 0.5}}
    result = {"task": ONE, "images": 9, **figures}
    assert ("is not above the baseline 0.5000" in headline(result)) is weak
    assert weakness({"task": ONE, "accuracy": 0.1}) is None, "an older result has no baseline"


def test_the_baseline_is_the_largest_class_and_the_prior():
    found = baseline(np.array([0, 1, 1, 1]), ["a", "b"], False)
    assert (found["accuracy"], found["AUC_macro"], found["balanced_accuracy"]) == (0.75, 0.5, 0.5)
    assert found["average_precision_score_macro"] == pytest.approx((0.25 + 0.75) / 2)
    assert found["log_loss"] == pytest.approx(-(0.25 * np.log(0.25) + 0.75 * np.log(0.75)))
    several = baseline(np.array([[1, 0], [1, 0], [1, 1], [0, 0]]), ["a", "b"], True)
    assert several["iou"] == pytest.approx((1 + 1 + 0.5 + 0) / 4)


def test_drawings_of_equal_stems_do_not_overwrite_each_other(model, tmp_path):
    folders = [tmp_path / name for name in ("one", "two")]
    for folder, suffixes in zip(folders, (("png", "jpg", "bmp"), ("png",)), strict=True):
        folder.mkdir()
        for suffix in suffixes:
            Image.new("RGB", (40, 40), "red").save(folder / f"a.{suffix}")
    Image.new("RGB", (40, 40), "red").save(folders[0] / "b.png")
    lines = list(predict_images(str(model), folders, tmp_path / "drawn"))
    assert len(lines) == 5
    names = {"a.bmp.png", "a.jpg.png", "a.png.png", "a.png-2.png", "b.png"}
    assert {f.name for f in (tmp_path / "drawn").iterdir()} == names


def test_a_decompression_bomb_is_one_line(model, tmp_path):
    """A PNG of 50000 x 50000 pixels in a few bytes, by its header."""
    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    parts = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    with pytest.raises(UserError, match="bomb.png does not open: it has more than") as caught:
        list(predict_images(str(model), [tmp_path / "bomb.png"]))
    assert "\n" not in str(caught.value)


def test_plots_are_taken_out_of_an_evaluation():
    def evaluation(count, **more):
        return {"per_label_metrics": dict.fromkeys(map(str, range(count))), **more}

    small = evaluation(2, confusion_matrix=[[1, 0], [0, 1]], roc={"fpr": []})
    assert plots(small) == (["0", "1"], [[1, 0], [0, 1]], {"fpr": []})
    assert set(small) == {"per_label_metrics", "confusion_matrix"}
    large = evaluation(51, confusion_matrix=[[0] * 51] * 51, roc=None)
    assert plots(large)[1:] == (None, None) and "confusion_matrix" not in large
    many = evaluation(1, confusion_matrix={"0": [[1, 0], [0, 1]]}, roc=None)
    assert plots(many)[1] is None and "confusion_matrix" in many
    assert plots(evaluation(1)) == (["0"], None, None)
    detector = evaluation(1, confusion_matrix=[[1, 2], [3, 0]])
    assert plots(detector) == (["0", "background"], [[1, 2], [3, 0]], None)


def test_the_component_gives_the_page_what_it_draws(model, paths, tmp_path):
    from kfp import dsl

    from automl_images.components.evaluate.component import evaluate

    many = load_model(model).task == MANY
    label = ["red"] if many else "red"
    data = write_records(tmp_path / "v.jsonl", paths, [label] + [["blue"] if many else "blue"] * (len(paths) - 1))
    (tmp_path / "t.jsonl").touch()
    kinds = {"report": dsl.HTML, "metrics": dsl.Metrics, "classification": dsl.ClassificationMetrics}
    outputs = {name: kind(uri=str(tmp_path / name)) for name, kind in kinds.items()}
    returned = evaluate.python_func(
        name="signs",
        model=dsl.Model(uri=str(model), metadata={"trial": 3.0, "epoch": 2.0}),  # whole numbers become these
        data=dsl.Dataset(uri=str(tmp_path / "t.jsonl")),
        validation=dsl.Dataset(uri=str(data)),
        **outputs,
    )
    result = json.loads(returned)
    assert result["set"] == "validation" and "roc" not in result
    assert "signs: evaluation" in (tmp_path / "report").read_text()
    assert outputs["metrics"].metadata == scalars(result)
    drawn = outputs["classification"].metadata
    json.dumps(drawn, allow_nan=False)
    assert drawn["confidenceMetrics"][0]["falsePositiveRate"] == 0
    assert drawn["confidenceMetrics"][-1]["recall"] == 1
    if many:
        assert "confusionMatrix" not in drawn
    else:
        assert [s["displayName"] for s in drawn["confusionMatrix"]["annotationSpecs"]] == CLASSES
        assert [r["row"] for r in drawn["confusionMatrix"]["rows"]] == result["confusion_matrix"]


BAD = {
    "unknown-class": (ONE, "rde", r"v.jsonl, line 2: the class 'rde' .*did you mean 'red'"),
    "unknown-label": (MANY, ["blue", "rde"], r"v.jsonl, line 2: the class 'rde' .*did you mean 'red'"),
    "several-for-one": (
        ONE,
        ["red", "blue"],
        r"v.jsonl, line 2: is not as `automl-images convert --task image-classification` writes",
    ),
}


@pytest.mark.parametrize(("task", "label", "line"), BAD.values(), ids=BAD.keys())
def test_labels_that_do_not_fit_are_refused_by_line(paths, tmp_path, task, label, line):
    folder = make_model(tmp_path / "model", paths, task)
    data = write_records(tmp_path / "v.jsonl", paths[:2], ["red" if task == ONE else ["red"], label])
    with pytest.raises(UserError, match=line) as refused:
        evaluate_model(str(folder), str(data), str(tmp_path / "out"))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [None, "{}", "[]", "no json"], ids=["none", "no-task", "a-list", "damaged"])
def test_a_folder_that_is_none_is_refused(tmp_path, content):
    if content:
        (tmp_path / "settings.json").write_text(content)
    with pytest.raises(UserError, match="is it a model folder|does not parse"):
        load_model(tmp_path)
