"""Object detection: a sweep of two short trials, the better one registered, and what it finds on an image."""

from automl_images import Experiment, load_model

run = Experiment(
    task="image-object-detection",
    data="sample",  # drawn if it is not there; yours is a folder in any format that is read, here or on a store
    iterations=2,
    settings={
        "model_name": "yolov5",
        "model_size": "small",
        "img_size": 96,
        "number_of_epochs": 10,
        "training_batch_size": 8,
        "optimizer": "adamw",
        "evaluation_frequency": 5,
        "box_score_thresh": 0.0,  # after so few epochs none is sure
    },
    weights={"pretrained": False},  # for photographs leave it out: published weights where the model has some
    sweep={"sampling": "grid", "space": {"learning_rate": {"choice": [0.001, 0.002]}}},
).run()
print(run)
for trial in run.trials:
    print(trial.index, trial.state, trial.value, trial.settings["learning_rate"])
print(run.register("shapes"))

model = load_model("runs/registry/shapes@champion")
prediction = model.predict("sample/JPEGImages/000000.jpg")
print(prediction)
prediction.draw().save("prediction.png")
print(run.report)
