"""Plans, trains and selects a tiny evolution of yolov5: ``offline_run.py FOLDER HEAD [lane]``.

FOLDER has ``records.jsonl``. With ``lane`` each trial is a process of its own, as in a sweep; else all are in this one.
What it prints is JSON: the trial that is selected, each trial's settings and metrics, and its losses by epoch.
"""

import json
import sys

from automl_images import storage
from automl_images.steps.plan import plan_sweep
from automl_images.steps.select import select_trial
from automl_images.steps.train import train_lane
from automl_images.steps.trial import run_trial
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.submission import Lane

if __name__ == "__main__":
    folder, head, *how = sys.argv[1:]
    settings = {"model_name": "yolov5", "head": head, "model_size": "small", "img_size": 64, "number_of_epochs": 1}
    settings |= {"training_batch_size": 4, "validation_batch_size": 4, "warmup_epochs": 0}
    experiment = {
        "name": "offline",
        "task": "image-object-detection",
        "storage": folder,
        "settings": settings,
        "sweep": {"sampling": "evolve", "iterations": 2, "max_concurrent_iterations": 1},
    }
    records = f"{folder}/records.jsonl"
    (planned,) = plan_sweep(experiment, records, records)
    lane = Lane.of_json(planned)
    ledger = Ledger(lane.ledger)
    if how:
        train_lane(planned)
    else:
        for index in range(2):
            run_trial(ledger, lane.run, index)
    chosen = select_trial(ledger.url, evolution=f"{folder}/evolution")
    trials = [
        {
            "settings": t.settings,
            "state": t.state,
            "best": t.best,
            "error": t.error,
            "losses": [row["losses"] for row in json.loads(storage.read_text(f"{t.model}/training.json"))],
        }
        for t in ledger.trials()
    ]
    print(json.dumps({"trial": chosen["trial"], "trials": trials}))
