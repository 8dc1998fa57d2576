"""YOLOv5's files and command line."""

import pytest

from automl_images.errors import UserError
from automl_images.experiment import Experiment
from automl_images.experiment_file import import_files, write
from automl_images.steps.plan import check_experiment
from tests.helpers.vendors import FILES, SOURCE


def command(tmp_path, text, *overrides):
    (tmp_path / "train.sh").write_text(text)
    return import_files([str(tmp_path / "train.sh")], [*SOURCE, *overrides])


def test_each_option_of_the_guide_acts_or_is_named(tmp_path):
    text = (
        "nohup python yolov5/train.py --batch 64 --cfg yolov5l.yaml --weights '' \\\n  --data coco.yaml --img 512 "
        "--epochs 30 --linear --device 0,1 --cache --evolve 50 > evolve.log &\n"
    )
    draft = command(tmp_path, text)
    content, notes = draft.content, "\n".join(draft.notes)
    settings = content["settings"]
    assert (settings["training_batch_size"], settings["img_size"], settings["number_of_epochs"]) == (64, 512, 30)
    assert (settings["model_size"], settings["evaluation_frequency"]) == ("large", 30)
    assert content["weights"] == {"pretrained": False}
    assert content["resources"] == {"count": 2}
    assert content["name"] == "train"
    assert content["sweep"]["iterations"] == 50
    sampling = content["sweep"]["sampling"]
    assert (sampling["by"], sampling["form"], len(sampling["start"])) == ("evolve", "classic", 29)
    assert all(f"--{name}: " in notes for name in ("linear", "cache", "device"))
    check_experiment(Experiment.read(content))
    plain = command(tmp_path, "python train.py --weights yolov5m.pt --device cpu")
    assert plain.content["resources"] == {"count": 0}
    assert plain.content["settings"]["number_of_epochs"] == 100
    assert any("yolov5m.pt is a pickle, which is not loaded" in note for note in plain.notes)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("python train.py --epoch 3", "--epoch: no option of train.py is called that; did you mean 'epochs'"),
        ("python train.py --batch -1", "--batch-size: -1, a batch that fits by itself, has no counterpart"),
        ("python train.py --cfg yolov5n6.yaml", "--cfg: yolov5n6.yaml: has no counterpart; sizes are yolov5s"),
        ("python train.py --epochs 0", "--epochs: '0' is out of range"),
        ("python train.py --hyp none.yaml", "--hyp: none.yaml: no such hyp file"),
    ],
)
def test_command_lines_are_refused_by_file_and_option(tmp_path, text, line):
    with pytest.raises(UserError, match=rf"^{tmp_path}/train.sh: {line}"):
        command(tmp_path, text)


def test_the_files_of_one_training_are_one_experiment():
    files = [str(FILES / name) for name in ("train.sh", "hyp.scratch-low.yaml", "data.yaml")]
    draft = import_files(files)
    assert draft.content["data"]["training"] == {"source": files[2], "format": "yolo"}
    assert draft.content["sweep"]["sampling"]["start"]["momentum"] == 0.937
    assert write(draft, files).startswith("# Imported from ")
    with pytest.raises(UserError, match="give those of one"):
        import_files([files[0], str(FILES / "azure-automode.yml")])
    with pytest.raises(UserError, match="is no configuration that is known"):
        import_files([__file__])
