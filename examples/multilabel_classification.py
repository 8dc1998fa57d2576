"""Classification with any number of classes an image: which shapes does it show?"""

from automl_images import Experiment, load_model

run = Experiment(
    task="image-classification-multilabel",
    data="sample/labels.csv",
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
predictions = model.predict("sample/JPEGImages/00000*.jpg")  # a pattern, a folder or a list: several images
print(predictions)
predictions[0].draw().save("prediction.png")
print(run.report)
