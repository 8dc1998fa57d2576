"""YOLOv5: ``data.yaml``, ``hyp.*.yaml``, and the command line of ``train.py``."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from automl_images import storage
from automl_images.errors import UserError, nearest
from automl_images.hyperparameters.catalogue import canonical_name, described
from automl_images.hyperparameters.vendors.draft import Document, Draft, Maps, Named
from automl_images.hyperparameters.yolov5 import ANCHOR
from automl_images.plain import read_yaml

TITLE = "YOLOv5"
TASK, MODEL = "image-object-detection", "yolov5"
GENERATIONS, EPOCHS, PATIENCE, ANCHORS = 300, 100, 100, 3  # train.py's own
_NAMES = (
    *("lr0", "lrf", "momentum", "weight_decay", "warmup_epochs", "warmup_momentum", "warmup_bias_lr", "box", "cls"),
    *("cls_pw", "obj", "obj_pw", "iou_t", "anchor_t", "anchors", "fl_gamma", "hsv_h", "hsv_s", "hsv_v", "degrees"),
    *("translate", "scale", "shear", "perspective", "flipud", "fliplr", "mosaic", "mixup", "copy_paste"),
)
# what a file of hyperparameters starts from, where it is not what the rows have
_START = {"momentum": 0.937, "weight_decay": 0.0005, "warmup_epochs": 3.0}
_SIZES = {"s": "small", "m": "medium", "l": "large", "x": "xlarge"}
_SPELT = {"batch": "batch-size", "img": "imgsz", "img-size": "imgsz", "linear-lr": "linear", "workdir": "project"}
_FLAGS = {  # what has no effect here, or another one; the others act, see _option
    "cache": "images are kept in memory in any case, as far as it goes",
    "linear": "the rate falls along a cosine to lrf; a straight line has no counterpart",
    "workers": "as many processes load images as there are cores",
    "project": "storage says where runs are written",
    "exist-ok": "a run goes on where an equal one was interrupted",
    "resume": "a run goes on where an equal one was interrupted",
    "noval": "the best epoch is kept, which evaluations tell; evaluation_frequency says how often they are",
    "nosave": "the best epoch's model is always kept",
    "noplots": "reports are always written",
    "rect": "images are padded to squares",
    "image-weights": "has no counterpart",
    "quad": "has no counterpart",
    "single-cls": "has no counterpart; records say the classes",
    "label-smoothing": "has no counterpart",
    "sync-bn": "has no counterpart for detectors",
    "bucket": "storage may be any address, and lanes share what is below it",
    "entity": "has no counterpart",
    "upload_dataset": "has no counterpart",
    "bbox_interval": "has no counterpart",
    "artifact_alias": "has no counterpart",
    "local_rank": "all GPUs of a lane train each trial together",
    "cos-lr": "",  # is what it is
}
_ENDS = {">", ">>", "2>", "2>&1", "&", "&&", "||", "|", ";"}
_OPTIONAL = ("cache", "evolve", "resume")  # may stand without a value
_SWITCHES = {"linear", "exist-ok", "noval", "nosave", "noplots", "rect", "image-weights", "quad", "single-cls"}
_SWITCHES |= {"sync-bn", "cos-lr", "multi-scale", "noautoanchor", "adam"}
_VALUED = {"epochs", "data", "weights", "cfg", "hyp", "imgsz", "batch-size", "device", "optimizer", "name", "seed"}
_VALUED |= {"patience", "freeze", "save-period"}


def recognises(document: Document) -> bool:
    """Return whether a file is a ``data.yaml``, hyperparameters of YOLOv5, or a command line of ``train.py``."""
    content = document.content
    if isinstance(content, Mapping):
        return _is_data(content) or _is_hyp(content)
    return _command(document) is not None


def _is_data(content: Mapping[str, Any]) -> bool:
    return "names" in content and bool({"train", "val"} & set(content)) and "task" not in content


def _is_hyp(content: Mapping[str, Any]) -> bool:
    return "lr0" in content or len(set(content) & set(_NAMES)) > 5


def table(task: str = TASK, model: str = MODEL) -> dict[str, Named]:
    """Return the hyperparameters of YOLOv5's files by its names, with the head that has anchors."""
    if model != MODEL:
        return {}
    rows = described(MODEL)
    return {
        name: Named(
            replace(rows[canonical_name(name)], name=name),
            f"settings.{canonical_name(name)}",
            _START.get(name, rows[canonical_name(name)].default_for(task, model, head=ANCHOR)),
        )
        for name in _NAMES
    }


def read(documents: Sequence[Document], maps: Maps, given: Mapping[str, Any]) -> Draft:
    """Return the experiment of a command line, a file of data and one of hyperparameters: any of the three, once."""
    draft, parts = Draft("yolov5"), dict[str, Document]()
    for document in documents:
        content = document.content
        kind = "command" if not isinstance(content, Mapping) else "data" if _is_data(content) else "hyp"
        if kind in parts:
            raise UserError(f"{document.file}: is another {kind} beside {parts[kind].file}; give one of the two")
        parts[kind] = document
    first = documents[0].file
    draft.put("task", TASK, f"{first}: {TITLE} finds boxes")
    draft.put("settings.model_name", MODEL, f"{first}: {TITLE}")
    draft.put("settings.head", ANCHOR, f"{first}: {TITLE}'s")
    draft.needed["data.training.source"] = f"{first}: does not say where images are; add a data.yaml, or give --set "
    draft.needed["data.training.source"] += "data.training.source=FOLDER"
    options = _options(parts["command"]) if "command" in parts else {}
    where = f"{parts['command'].file}: --" if "command" in parts else ""
    if "data" in parts:
        _data(draft, parts["data"])
    elif options.get("data"):
        _named_data(draft, str(options["data"]), f"{where}data", maps)
    hyp = parts.get("hyp") or (_named_hyp(str(options["hyp"]), f"{where}hyp", maps) if options.get("hyp") else None)
    _hyperparameters(draft, hyp, "evolve" in options)
    if "command" in parts:
        _apply(draft, options, where, maps)
    return draft


def _data(draft: Draft, document: Document) -> None:
    place = storage.join(document.folder, posixpath.basename(document.file)) if document.folder else document.file
    draft.put("data.training.source", place, f"{document.file}: train, val, test, names")
    draft.put("data.training.format", "yolo", document.file)
    if isinstance(document.content, Mapping) and document.content.get("download"):
        draft.note(f"{document.file}: download", "nothing is fetched; images must be there")


def _named_data(draft: Draft, name: str, key: str, maps: Maps) -> None:
    place = maps.place(name) or name
    if storage.exists(place):
        draft.put("data.training.source", place, key)
        if place.endswith((".yaml", ".yml")):
            draft.put("data.training.format", "yolo", key)
    else:
        draft.needed["data.training.source"] = (
            f"{key}: {name}: is not there; give --map {name}=PLACE, or --set data.training.source=FOLDER"
        )


def _named_hyp(name: str, key: str, maps: Maps) -> Document:
    place = maps.place(name) or name
    try:
        text = storage.read_text(place)
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{key}: {name}: no such hyp file; give --map {name}=FILE") from None
    content = read_yaml(text, place)
    if not isinstance(content, Mapping):
        raise UserError(f"{place}: is no hyp file: it holds no names with values")
    return Document(place, text, content, posixpath.dirname(place))


def _hyperparameters(draft: Draft, document: Document | None, evolves: bool) -> None:
    """Put what a file of hyperparameters has; what evolves starts there."""
    known, start = table(), dict[str, Any]()
    for name, value in (document.content if document else {}).items():
        assert document is not None
        key = f"{document.file}: {name}"
        if name not in known:
            raise UserError(f"{key}: no hyperparameter of {TITLE} is called that; {nearest(str(name), known)}")
        start[name] = known[name].check(value, key)
    file = document.file if document else f"{TITLE}'s own"
    for name in known:
        if name not in start and name not in ("anchors",):
            start[name] = known[name].default
            if document:
                draft.note(f"{file}: {name}", f"is not there; {TITLE}'s usual {start[name]} is taken")
    if evolves:
        start.setdefault("anchors", ANCHORS)
        draft.put(
            "sweep.sampling", {"by": "evolve", "form": "classic", "start": start}, f"{file}, and train.py --evolve"
        )
        return
    for name, value in start.items():
        draft.put(known[name].ours, value, f"{file}: {name}")


def _command(document: Document) -> list[str] | None:
    """Return the words after ``train.py`` in a text, up to the end of its command; None if it has none."""
    text = re.sub(r"\\\r?\n", " ", document.text)
    for line in text.splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue
        for i, word in enumerate(words):
            if posixpath.basename(word) == "train.py":
                rest = words[i + 1 :]
                ended = next((n for n, w in enumerate(rest) if w in _ENDS or w.endswith(";")), len(rest))
                last = [w.removesuffix(";") for w in rest[ended : ended + 1] if w not in _ENDS]
                return [*rest[:ended], *last]
    return None


def _options(document: Document) -> dict[str, Any]:
    """Return the options of a command line under their main names; True for one without a value."""
    words, found = list(_command(document) or ()), dict[str, Any]()
    while words:
        word = words.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        name = _SPELT.get(name, name)
        if not word.startswith("--") or name not in {*_FLAGS, *_VALUED, *_SWITCHES, "evolve"}:
            known = sorted({*_FLAGS, *_VALUED, *_SWITCHES, "evolve"})
            raise UserError(f"{document.file}: {word}: no option of train.py is called that; {nearest(name, known)}")
        if name in found:
            raise UserError(f"{document.file}: --{name}: is there twice")
        if equals:
            found[name] = value
        elif name in _SWITCHES or (name in _OPTIONAL and (not words or words[0].startswith("--"))):
            found[name] = True
        elif words and not (words[0].startswith("--") and words[0] != "--"):
            found[name] = words.pop(0)
        else:
            raise UserError(f"{document.file}: --{name}: has no value")
    return found


def _apply(draft: Draft, options: Mapping[str, Any], where: str, maps: Maps) -> None:
    """Put what the options say, and what train.py has where they do not."""
    epochs = _whole(options.get("epochs", EPOCHS), f"{where}epochs")
    own = "train.py's default"
    draft.put("settings.number_of_epochs", epochs, f"{where}epochs" if "epochs" in options else f"{where}epochs, {own}")
    if options.get("evolve"):
        count = options["evolve"]
        generations = GENERATIONS if count is True else _whole(count, f"{where}evolve")
        draft.put("sweep.iterations", generations, f"{where}evolve")
        draft.put("settings.early_stopping", 0, f"{where}evolve: a generation trains all its epochs")
        draft.put("settings.evaluation_frequency", epochs, f"{where}evolve: a generation is rated at its last epoch")
    else:
        patience = _whole(options.get("patience", PATIENCE), f"{where}patience", least=0)
        if patience:
            draft.put("settings.early_stopping_patience", patience, f"{where}patience")
        else:
            draft.put("settings.early_stopping", 0, f"{where}patience: 0 is none")
    _model(draft, options, where, maps)
    for name, value in options.items():
        key = f"{where}{name}"
        if name in ("batch-size", "imgsz", "freeze", "save-period", "seed"):
            _number(draft, name, value, key)
        elif name == "device":
            _device(draft, str(value), key)
        elif name in ("optimizer", "adam"):
            draft.put("settings.optimizer", "adam" if name == "adam" else str(value).lower(), key)
        elif name == "multi-scale":
            draft.put("settings.multi_scale", 1, key)
        elif name == "name":
            draft.put("name", re.sub(r"[^A-Za-z0-9._-]+", "-", str(value)).lstrip("._-") or "experiment", key)
        elif name == "noautoanchor":
            draft.note(key, "anchors are fitted where they match too few boxes")
        elif _FLAGS.get(name):
            draft.note(key, _FLAGS[name])


def _number(draft: Draft, name: str, value: Any, key: str) -> None:
    if name == "batch-size" and str(value).strip() == "-1":
        raise UserError(f"{key}: -1, a batch that fits by itself, has no counterpart; give a number")
    if (name, str(value)) in (("freeze", "0"), ("save-period", "-1")):
        return draft.note(key, f"{value} is none, which is the default")
    ours = {"batch-size": "training_batch_size", "imgsz": "img_size", "freeze": "layers_to_freeze"}.get(name)
    if name == "seed":
        return draft.put("sweep.seed", _whole(value, key, least=0), key)
    draft.put(f"settings.{ours or 'checkpoint_frequency'}", _whole(value, key), key)


def _device(draft: Draft, value: str, key: str) -> None:
    if value == "cpu":
        draft.put("resources.count", 0, key)
    elif re.fullmatch(r"\d+(,\d+)*", value):
        draft.put("resources.count", len(value.split(",")), key)
        draft.note(key, "says how many GPUs a trial has; which ones, CUDA_VISIBLE_DEVICES")
    else:
        draft.note(key, f"{value}: sweep.max_concurrent_iterations says how many trials run at once")


def _model(draft: Draft, options: Mapping[str, Any], where: str, maps: Maps) -> None:
    """Put the network's size and the weights that it starts from."""
    weights, cfg = str(options.get("weights", "yolov5s.pt")), str(options.get("cfg", ""))
    key = f"{where}weights" if "weights" in options else f"{where}weights, train.py's default"
    named = re.match(r"yolov5([a-z])(6?)(u?)\b", posixpath.basename(cfg or weights))
    shown = f"{where}cfg" if cfg else key
    if named and (named[1] not in _SIZES or named[2]):
        raise UserError(
            f"{shown}: {cfg or weights}: has no counterpart; sizes are {', '.join(f'yolov5{size}' for size in _SIZES)}"
        )
    if named:
        draft.put("settings.model_size", _SIZES[named[1]], shown)
    elif cfg:
        raise UserError(f"{where}cfg: {cfg}: other networks than yolov5s, m, l and x have no counterpart")
    if not weights.strip():
        draft.put("weights.pretrained", False, key)
    elif (place := maps.place(weights)) is not None:
        draft.put("weights.source", place, key)
    elif weights.endswith(".pt"):
        draft.note(
            key,
            f"{weights} is a pickle, which is not loaded: training starts from fresh weights unless you give --map "
            f"{weights}=FILE, a state_dict (.safetensors) or a model folder",
        )
    else:
        draft.put("weights.source", weights, key)


def _whole(value: Any, key: str, least: int = 1) -> int:
    if not re.fullmatch(r"\d+", str(value)) or int(value) < least:
        raise UserError(f"{key}: {value!r} is out of range; allowed: whole numbers from {least} on")
    return int(value)
