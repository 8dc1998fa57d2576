"""Semantic segmentation: the class of each pixel."""

from automl_images import Experiment, load_model

run = Experiment(
    task="image-semantic-segmentation",
    data="sample",
    settings={
        "model_name": "fcn_resnet50",
        "base_size": 96,
        "crop_size": 64,
        "number_of_epochs": 2,
        "training_batch_size": 8,
        "optimizer": "adam",
    },
    weights={"pretrained": False},
).run()
print(run)

model = load_model(run)
prediction = model.predict("sample/JPEGImages/000000.jpg")
print(prediction)
prediction.draw().save("prediction.png")
print(run.report)
