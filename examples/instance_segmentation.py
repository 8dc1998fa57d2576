"""Instance segmentation: the outline of each object. One epoch of a small Mask R-CNN, which learns little yet."""

from automl_images import Experiment, load_model

run = Experiment(
    task="image-instance-segmentation",
    data="sample",
    settings={
        "model_name": "maskrcnn_resnet18_fpn",
        "min_size": 96,
        "max_size": 96,
        "number_of_epochs": 1,
        "training_batch_size": 4,
        "box_score_thresh": 0.0,
    },
    weights={"pretrained": False},
).run()
print(run)

model = load_model(run)
prediction = model.predict("sample/JPEGImages/000000.jpg")
print(prediction)
print(len(prediction.to_coco()), "lines of COCO's results, each with its outline")
prediction.draw().save("prediction.png")
print(run.report)
