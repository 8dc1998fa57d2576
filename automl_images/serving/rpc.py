"""The Open Inference Protocol over gRPC: KServe's service, with predictions of our own behind it.

KServe's own gRPC server takes as many calls as come, and has their bodies in memory before any of its code runs.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_interceptor.exceptions import GrpcException
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as generated
from kserve.protocol.grpc.interceptors import ExceptionToStatusInterceptor
from kserve.protocol.grpc.servicer import InferenceServicer

from automl_images.errors import UserError
from automl_images.serving import open_inference
from automl_images.serving.service import Refused, Service, request_id

log = logging.getLogger("automl_images.serving")
_GRACE = 30.0  # seconds that running calls have once the server ends
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class Inferences(InferenceServicer):
    """KServe's answers to what only reads; predictions are the service's."""

    def __init__(self, service: Service, *kserves: Any):
        super().__init__(*kserves)
        self._service = service

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        """Answer a `ModelInferRequest`, with raw contents; its id is the request's, or `x-request-id`'s."""
        told = dict(context.invocation_metadata() or ())
        own_id, model = request_id(told.get("x-request-id")), request.model_name if request else ""
        said: dict[str, Any] = {}
        await context.send_initial_metadata((("x-request-id", own_id),))
        try:
            with self._service.told("grpc", model, own_id, said), self._place(request):
                if request.model_version not in ("", self._service.models[model].version.name):
                    raise Refused(404, "route", "model_version: is not the one that is served; leave it empty")
                asked, found, version = await self._service.infer(
                    model, lambda: open_inference.read_message(request, self._service.limits)
                )
                said["images"] = len(found)
        except Refused as refused:
            raise GrpcException(status_code=_CODES[refused.status], details=str(refused)) from None
        output = {"name": open_inference.OUTPUT, "datatype": "BYTES", "shape": [len(found)]}
        return messages.ModelInferResponse(
            model_name=model,
            model_version=version,
            id=asked.id or own_id,
            outputs=[output],
            raw_output_contents=[open_inference.packed(found)],
        )

    @contextlib.contextmanager
    def _place(self, request: Any) -> Iterator[None]:
        """Keep a place, and count the bytes of a message, which has arrived."""
        if request is None:
            raise UserError("the request is not a ModelInferRequest")
        size = request.ByteSize()
        with self._service.place(request.model_name):
            self._service.keep(size)
            try:
                yield
            finally:
                self._service.drop(size)


class _Garbage(grpc.aio.ServerInterceptor):
    """Hands a prediction None for bytes that are no message; grpc would answer UNKNOWN, and log a traceback."""

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)
        if handler is None or not details.method.endswith("/ModelInfer"):
            return handler

        def message(data: bytes) -> Any:
            try:
                return handler.request_deserializer(data)
            except DecodeError:
                return None

        return grpc.unary_unary_rpc_method_handler(handler.unary_unary, message, handler.response_serializer)


class Server:
    """The server, as KServe's ModelServer starts and stops it."""

    def __init__(self, port: int, service: Service, *kserves: Any):
        self.port, self.service, self.kserves = port, service, kserves
        self._server: Any = None

    async def start(self) -> None:
        """Serve until stopped; as many calls at a time as wait for all models, more are refused unread."""
        calls = self.service.queue.requests * len(self.service.models)
        self._server = grpc.aio.server(
            ThreadPoolExecutor(4, "grpc"),
            interceptors=(ExceptionToStatusInterceptor(), _Garbage()),
            options=[
                ("grpc.max_receive_message_length", self.service.queue.body),
                ("grpc.max_send_message_length", -1),
            ],
            maximum_concurrent_rpcs=calls,
        )
        servicer = Inferences(self.service, *self.kserves)
        generated.add_GRPCInferenceServiceServicer_to_server(servicer, self._server)
        if not self._server.add_insecure_port(f"[::]:{self.port}"):
            raise OSError(f"port {self.port} cannot be listened on")
        await self._server.start()
        log.info("gRPC listens on port %d", self.port)
        await self._server.wait_for_termination()

    async def stop(self, sig: int | None = None) -> None:
        """Take no more calls, and wait for those that run."""
        if self._server:
            await self._server.stop(grace=_GRACE)
