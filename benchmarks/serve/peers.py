"""Plain servers of our models, as the examples of KServe and LitServe write them; `benchmarks.serving` measures them.

python -m benchmarks.serve.peers {kserve,litserve} --model_dir DIR --model_name m --http_port PORT [...]
"""

from __future__ import annotations

import argparse
import base64
import io
import sys
from typing import Any

from PIL import Image

from automl_images.prediction import load_model


def images(payload: Any) -> list[Image.Image]:
    """Return the images of KServe V1's JSON."""
    return [Image.open(io.BytesIO(base64.b64decode(i["image"]["b64"]))) for i in payload["instances"]]


def kserve(options: argparse.Namespace) -> None:
    """Serve as KServe's custom predictor does: what a request holds is predicted in the event loop."""
    import kserve as peer

    class Plain(peer.Model):
        def __init__(self) -> None:
            super().__init__(options.model_name)
            self.predictor = load_model(options.model_dir)
            self.ready = True

        def predict(self, payload: Any, headers: Any = None) -> Any:
            return {"predictions": self.predictor.predict(images(payload))}

    peer.ModelServer().start([Plain()])


def litserve(options: argparse.Namespace) -> None:
    """Serve as LitServe's example with batches does."""
    import litserve as peer

    from benchmarks.serve.litserve_peer import Plain

    api = Plain(options.model_dir, max_batch_size=8, batch_timeout=0.005)
    # the readiness that the benchmark asks for is KServe's
    peer.LitServer(api, accelerator="cpu", healthcheck_path="/v1/models/m").run(
        port=options.http_port, generate_client_file=False
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=["kserve", "litserve"])
    parser.add_argument("--model_dir", required=True)
    parser.add_argument("--model_name", required=True)
    parser.add_argument("--http_port", type=int, required=True)
    parser.add_argument("--grpc_port", type=int, required=True)
    {"kserve": kserve, "litserve": litserve}[parser.parse_args(sys.argv[1:]).peer](parser.parse_args())
