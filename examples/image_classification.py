"""Classification with one class an image: the images of the sample data that show shapes of one class alone."""

from pathlib import Path

from automl_images import Experiment, load_model
from automl_images.sample_data import make_sample

if not Path("sample").exists():
    make_sample(Path("sample"))
heading, *lines = Path("sample/labels.csv").read_text().splitlines()
single = [line for line in lines if "|" not in line]
Path("sample/single.csv").write_text("\n".join(["image,label", *single, ""]))

run = Experiment(
    task="image-classification",
    data="sample/single.csv",  # or a folder for each class
    settings={
        "model_name": "resnet18",
        "train_crop_size": 64,
        "valid_crop_size": 64,
        "valid_resize_size": 72,
        "number_of_epochs": 5,
        "training_batch_size": 16,
    },
    weights={"pretrained": False},
).run()
print(run)

model = load_model(run)
prediction = model.predict("sample/JPEGImages/000000.jpg")
print(prediction)
prediction.draw().save("prediction.png")
print(run.report)
