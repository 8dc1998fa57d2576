"""What the server counts, for Prometheus."""

from __future__ import annotations

from typing import Any


class Metrics:
    """The server's counters, in Prometheus' own registry (or another); labels have bounded values alone."""

    def __init__(self, registry: Any = None):
        from prometheus_client import REGISTRY, Counter, Gauge, Histogram

        def made(kind: Any, name: str, text: str, labels: tuple[str, ...], **how: Any) -> Any:
            return kind(f"automl_images_{name}", text, labels, registry=registry or REGISTRY, **how)

        seconds = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
        told = ("model", "protocol")
        self.requests = made(Counter, "requests", "Predictions that were asked for.", (*told, "code"))
        self.seconds = made(
            Histogram, "request_seconds", "From a request's head to its answer, of code 200.", told, buckets=seconds
        )
        self.batch = made(Histogram, "batch_images", "Images in a batch.", ("model",), buckets=(1, 2, 4, 8, 16, 32, 64))
        self.waiting = made(Gauge, "waiting_requests", "Requests that wait or are answered.", ("model",))
        self.refused = made(Counter, "refused", "Requests that were refused.", ("reason",))
        self.swaps = made(Counter, "swaps", "New versions that were looked at.", ("model", "outcome"))
