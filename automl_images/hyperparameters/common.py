"""What every model can be set to. Ranges and defaults are Azure's; what SageMaker alone has is its own."""

from __future__ import annotations

from automl_images.hyperparameters.hyperparameter import Hyperparameter, Refusal, choice, count, flag, share, text

_SGD = {"optimizer": ("sgd",)}
_MOMENTUM = {"optimizer": ("sgd", "nag")}
_DECAYED = {"optimizer": ("sgd", "nag", "adam", "adamw")}
_ADAMS = {"optimizer": ("adam", "adamw")}
_ADAPTIVE = {"optimizer": ("adam", "adamw", "rmsprop", "adagrad")}
_RMSPROP = {"optimizer": ("rmsprop",)}
_STEP = {"lr_scheduler": ("step",)}
_EQUAL_STEPS = {**_STEP, "lr_scheduler_step": (None,)}
_COSINE = {"lr_scheduler": ("warmup_cosine",)}
_SEGMENTS = ("sagemaker", "segmentation")
_STOPPING = {"early_stopping": (1,)}
_FORGETS = Refusal(1, "would never take in a new gradient; use a value below 1", _ADAMS)

ROWS: tuple[Hyperparameter, ...] = (
    count(
        "number_of_epochs",
        15,
        "Passes over the training images.",
        defaults={("sagemaker",): 30, _SEGMENTS: 10},
        aliases=("epochs",),
    ),
    count(
        "training_batch_size",
        2,
        "Images in one forward and backward pass, of all GPUs of the trial together.",
        defaults={("classification",): 78, ("segmentation",): 16, ("sagemaker",): 32, _SEGMENTS: 16},
        aliases=("mini_batch_size",),
    ),
    count(
        "validation_batch_size",
        1,
        "Images in one forward pass at an evaluation; changes speed and memory, never a metric.",
        variants={
            "classification": {"inference": True},  # a detector predicts image by image
            "segmentation": {
                "effect": "1 scores images whole, at their own size, as they are predicted; more scores a square of "
                "crop_size out of the middle of each, so many at a time, which is faster and another figure.",
                "sweepable": False,
            },
        },
        defaults={("classification",): 78, ("sagemaker",): 32, _SEGMENTS: 16},
        aliases=("validation_mini_batch_size",),
    ),
    count(
        "grad_accumulation_step",
        1,
        "Batches that stand for one large one: the weights move once after so many. yolov5 measures each batch's loss "
        "by its own objects, so that there they are close to one, and of one or two images less so.",
        aliases=("gradient_accumulation_step",),
    ),
    flag("early_stopping", 1, "1 ends a trial whose primary metric no longer improves.", defaults={("sagemaker",): 0}),
    count(
        "early_stopping_patience",
        5,
        "Evaluations without improvement, counted after the delay, that end the trial.",
        defaults={_SEGMENTS: 4},
        needs=_STOPPING,
    ),
    count(
        "early_stopping_delay",
        5,
        "First evaluations during which a lack of improvement is not counted.",
        defaults={("sagemaker",): 1},
        needs=_STOPPING,
    ),
    count(
        "early_stopping_min_epochs",
        1,
        "Epochs that a trial has in any case before early stopping may end it.",
        defaults={("sagemaker",): 10, _SEGMENTS: 5},
        needs=_STOPPING,
    ),
    share(
        "early_stopping_tolerance",
        0.0,
        "An improvement counts if it is above this share of the last best that did; 0 counts any, 1 asks for twice it.",
        needs=_STOPPING,
    ),
    share(
        "learning_rate",
        0.005,
        "The optimiser's base step; 0 leaves the weights as they were.",
        defaults={
            ("image-classification",): 0.01,
            ("image-classification-multilabel",): 0.035,
            ("sagemaker",): 0.1,
            _SEGMENTS: 0.001,
        },
        aliases=("lr0",),
        variants={"yolov5": {"gene": (1, 1e-5, 0.1)}},
    ),
    choice(
        "lr_scheduler",
        "warmup_cosine",
        "How the learning rate moves: linear warm-up then a cosine, or a factor every few epochs.",
        choices=("warmup_cosine", "step"),
        defaults={("sagemaker",): "step", ("segmentation",): "poly", _SEGMENTS: "poly"},
        aliases=("learning_rate_scheduler",),
        variants={
            "segmentation": {
                "choices": ("warmup_cosine", "step", "poly", "cosine"),
                "effect": "How the learning rate moves: linear warm-up then a cosine; a factor every few epochs; poly, "
                "with the power 0.9 of the share of training that is left; half a cosine. The last two end at 0.",
            }
        },
    ),
    share(
        "step_lr_gamma",
        0.5,
        "Factor on the learning rate at each step; 1 keeps it, 0 ends learning at the first step.",
        defaults={("sagemaker",): 1.0},
        needs=_EQUAL_STEPS,
    ),
    count("step_lr_step_size", 5, "Epochs between two steps.", needs=_EQUAL_STEPS),
    Hyperparameter(
        "lr_scheduler_step",
        "epochs",
        None,
        "The epochs after which the learning rate takes a step, in place of one every step_lr_step_size.",
        needs=_STEP,
    ),
    share(
        "lr_scheduler_factor",
        0.1,
        "Factor on the learning rate at each step of lr_scheduler_step; 1 keeps it, 0 ends learning at the first.",
        needs={"lr_scheduler_step": None},
    ),
    share(
        "warmup_cosine_lr_cycles",
        0.45,
        "Cosine periods after the warm-up: 0.45 ends at 2.4 % of the learning rate, 0.5 at 0, 0 keeps it.",
        needs=_COSINE,
    ),
    count(
        "warmup_cosine_lr_warmup_epochs",
        2,
        "Epochs during which the learning rate rises from 0; as many as the trial has, and it never arrives.",
        needs=_COSINE,
        aliases=("warmup_epochs",),
        variants={"yolov5": {"type": "float", "low": 0, "gene": (1, 0, 5)}},
    ),
    choice(
        "optimizer",
        "sgd",
        "How weights follow gradients; nag is sgd with Nesterov's momentum, whatever nesterov says.",
        choices=("sgd", "adam", "adamw", "rmsprop", "nag"),
        variants={"segmentation": {"choices": ("sgd", "adam", "adamw", "rmsprop", "nag", "adagrad")}},
    ),
    share(
        "momentum",
        0.9,
        "Share of the last step that the next one keeps; 0 needs sgd and nesterov: 0.",
        needs=_MOMENTUM,
        variants={"yolov5": {"gene": (0.3, 0.6, 0.98)}},
        refused=(
            Refusal(
                0,
                "leaves nesterov nothing to look ahead along; set nesterov: 0 or a momentum above 0",
                {**_SGD, "nesterov": (1,)},
            ),
            Refusal(
                0,
                "leaves nag nothing to look ahead along; use sgd with nesterov: 0, or a momentum above 0",
                {"optimizer": ("nag",)},
            ),
        ),
    ),
    share(
        "weight_decay",
        1e-4,
        "Pull of the weights towards 0: in the gradient (L2) under sgd, nag and adam, beside it under adamw; "
        "SageMaker's profile has none under adam unless it is given.",
        needs=_DECAYED,
        variants={"yolov5": {"gene": (1, 0, 0.001)}},
    ),
    flag(
        "nesterov",
        1,
        "1 looks ahead along the momentum, which must be above 0.",
        defaults={("sagemaker",): 0},
        needs=_SGD,
    ),
    share(
        "beta1",
        0.9,
        "Decay of the gradients' running mean; 1 is refused.",
        aliases=("beta_1",),
        needs=_ADAMS,
        refused=(_FORGETS,),
    ),
    share(
        "beta2",
        0.999,
        "Decay of the squared gradients' mean; 1 is refused.",
        aliases=("beta_2",),
        needs=_ADAMS,
        refused=(_FORGETS,),
    ),
    share(
        "eps",
        1e-8,
        "Added to the divisor of a step: the larger, the smaller the steps of seldom changing weights; 0 is refused.",
        needs=_ADAPTIVE,
        refused=(Refusal(0, "divides by nothing where a gradient is 0; use a value above 0, such as 1e-8", _ADAPTIVE),),
    ),
    share(
        "gamma",
        0.9,
        "Decay of the squared gradients' mean; 0 takes the last gradient's sign alone, 1 is refused.",
        aliases=("gamma1",),
        needs=_RMSPROP,
        refused=(Refusal(1, _FORGETS.why, _RMSPROP),),
    ),
    flag(
        "amsgrad", 0, "1 divides by the largest squared-gradient mean so far.", aliases=("ams_gradient",), needs=_ADAMS
    ),
    count("evaluation_frequency", 1, "Epochs between two evaluations; the last epoch is always evaluated."),
    count(
        "checkpoint_frequency",
        None,
        "Epochs between two model folders that are kept beside the best epoch's, in `epochs/` of the trial's folder; "
        "not set: the best epoch's alone.",
        capped_by="number_of_epochs",
    ),
    count(
        "layers_to_freeze",
        None,
        "The first so many groups of the network's layers keep their weights and norms' statistics; not set: none.",
    ),
    text(
        "checkpoint_run_id",
        "Starts from an earlier run's model: a run's, a trial's or a model's folder, or its address.",
    ),
    text(
        "checkpoint_dataset_id", "Starts from a weights file in this folder (any address); needs checkpoint_filename."
    ),
    text("checkpoint_filename", "The weights file in the folder that checkpoint_dataset_id names."),
    share(
        "split_ratio",
        0.2,
        "The share of the training data that validates where no validation data is given.",
        place="data.split_ratio",
    ),
)
