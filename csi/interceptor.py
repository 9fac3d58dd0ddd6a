"""Around every gRPC call: one line in the log, and errors turned into statuses."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import structlog

from api.errors import WarmsetError
from csi.redact import Loggable, loggable
from csi.status_codes import status_of

# What kubelet and its sidecars ask all the time.
_QUIET = frozenset({"Probe", "GetPluginInfo", "NodeGetCapabilities", "NodeGetVolumeStats"})
log = structlog.get_logger()


class CallLog(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Stateless. The requests' secrets do not reach the log; csi/redact.py says what does."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler  # no such method: gRPC itself answers UNIMPLEMENTED
        method = handler_call_details.method.rpartition("/")[2]

        async def call(request: Any, context: grpc.aio.ServicerContext) -> Any:
            return await _logged(method, handler.unary_unary, request, context)

        return grpc.unary_unary_rpc_method_handler(
            call,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


async def _logged(
    method: str, serve: Callable[[Any, Any], Any], request: Any, context: grpc.aio.ServicerContext
) -> Any:
    began = time.monotonic()

    def facts() -> Loggable:
        return {
            "method": method,
            "request": loggable(request),
            "duration_ms": round((time.monotonic() - began) * 1000, 1),
        }

    try:
        answer = serve(request, context)
        if isinstance(answer, Awaitable):  # methods of the protocol that are not offered are plain functions
            answer = await answer
    except Exception as error:
        code, message = status_of(error)
        unforeseen = not isinstance(error, WarmsetError | NotImplementedError)
        log.warning("call.failed", code=code.name, message=message, exc_info=error if unforeseen else None, **facts())
        await context.abort(code, message)
    except BaseException:
        # The caller's deadline passed or it went away; the answer would reach nobody.
        log.info("call.cancelled", **facts())
        raise
    (log.debug if method in _QUIET else log.info)("call.complete", **facts())
    return answer
