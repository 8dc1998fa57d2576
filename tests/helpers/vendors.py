"""Files of other vendors, for tests."""

import json
from pathlib import Path

from automl_images.hyperparameters.vendors import Document

FILES = Path(__file__).parents[1] / "files" / "vendors"


SOURCE = ["data.training.source=images"]


def write_json(path, content):
    path.write_text(json.dumps(content))
    return str(path)


def document_of(content):
    return Document("job", "", content, "")
