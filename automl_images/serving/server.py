"""The model server: KServe's, which brings the protocols, health checks and Prometheus metrics.

python -m automl_images.serving.server --model_dir /mnt/models --model_name NAME [any other option of KServe's]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any

from automl_images.errors import UserError
from automl_images.prediction import load_model
from automl_images.serving.requests import answer, find_model


def main() -> None:
    """Serve the model folder that the command line names, until the process is told to end.

    ``POST /v1/models/NAME:predict`` takes KServe V1's JSON and answers in the task's shape, boxes or probabilities (see
    `automl_images.serving.requests`); a malformed request is answered with 400 and one line.

    Raises:
        UserError: KServe is not installed, an option is missing, or the folder is not a model folder.
    """
    try:
        import kserve
        from kserve.errors import InvalidInput
    except ImportError:
        raise UserError("the server needs KServe: pip install 'automl-images[serve]'") from None

    class Served(kserve.Model):
        def __init__(self, name: str, folder: str):
            super().__init__(name)
            self.predictor = load_model(find_model(folder))
            self.one_at_a_time = asyncio.Lock()
            self.ready = True

        async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
            try:
                async with self.one_at_a_time:  # in a thread, so that health checks are answered meanwhile
                    return await asyncio.to_thread(answer, self.predictor, payload)
            except UserError as error:
                raise InvalidInput(str(error)) from None

    parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
    parser.add_argument("--model_dir", required=True, help="the model folder, or one at most two levels above it")
    options = parser.parse_args()
    kserve.ModelServer().start([Served(options.model_name, options.model_dir)])


if __name__ == "__main__":
    try:
        main()
    except UserError as fault:
        print(f"error: {fault}", file=sys.stderr)
        sys.exit(2)
