"""Which gRPC status an error becomes.

kubelet takes a final code for "nothing is mounted, and nothing will be": it forgets the volume and may never unpublish
it (kubernetes pkg/volume/csi/csi_client.go isFinalError). So a final code is answered only when nothing is left, which
is the caller's duty (node.py rolls back first), and whatever is not understood becomes UNAVAILABLE.
"""

from __future__ import annotations

import grpc

from api.errors import WarmsetError

# "Maybe still in progress": kubelet asks again, or unpublishes.
NOT_FINAL = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
    }
)
# gRPC carries the message in a header, of which peers take 8 KiB in all; it ends in an event of at most 1 KiB.
_MESSAGE_CHARACTERS = 1000


def status_of(error: Exception) -> tuple[grpc.StatusCode, str]:
    """Code and message for the caller. The message of an unforeseen error stays in our log: nobody checked it."""
    if isinstance(error, WarmsetError):
        hint = f" ({error.hint})" if error.hint else ""
        return grpc.StatusCode[error.grpc_status], f"{error.reason}: {error.message}{hint}"[:_MESSAGE_CHARACTERS]
    if isinstance(error, NotImplementedError):
        return grpc.StatusCode.UNIMPLEMENTED, "not offered by this driver"
    return grpc.StatusCode.UNAVAILABLE, f"unforeseen error ({type(error).__name__}); the driver's log tells more"


def is_final(error: Exception) -> bool:
    """Whether kubelet will take the error for the end of the matter."""
    return status_of(error)[0] not in NOT_FINAL
