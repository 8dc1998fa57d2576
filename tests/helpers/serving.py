"""Stand-ins for what is served: models that tell what they saw, without a network."""

import io
from collections import Counter
from types import SimpleNamespace
from unittest.mock import MagicMock

from PIL import Image

from automl_images.serving.batching import Batcher, Batching, Room
from automl_images.serving.service import Service


def png(width=8, height=8, colour=(200, 100, 50)):
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, "PNG")
    return file.getvalue()


class Sizes:
    """A model that answers with an image's size, and remembers its batches."""

    task = "image-classification"

    def __init__(self):
        self.batches = []

    def predict(self, images):
        self.batches.append([image.size for image in images])
        return [{"size": list(image.size)} for image in images]


class Counted:
    """Metrics that are Counters, by labels."""

    def __init__(self):
        self.all = Counter()

    def __getattr__(self, name):
        def labels(*values):
            def add(amount=1):
                self.all[(name, *values)] += amount

            return SimpleNamespace(inc=add, observe=lambda _: add(), set=MagicMock())

        return SimpleNamespace(labels=labels)


def service(model, decoders, *, name="cells", batching=Batching(8, 0), queue=None, limits=None):
    """Return a service of one model and its metrics; to be called in an event loop."""
    version = SimpleNamespace(name="v1", batcher=Batcher(model.predict, batching, Room(10**7), decoders))
    metrics = Counted()
    more = {k: v for k, v in {"queue": queue, "limits": limits}.items() if v is not None}
    return Service({name: SimpleNamespace(version=version)}, metrics, **more), metrics
