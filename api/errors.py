"""Every failure that Warmset names, in one closed tree.

    WarmsetError
    ├── InvalidReference        the text of a reference cannot be read
    ├── InvalidRequest          a call or a file given to us is malformed
    ├── NotFound                no such repository, tag, revision, model or tree
    ├── Unauthorized            the source wants credentials, or refuses the ones it got
    ├── Forbidden               the caller is known and may not have it
    │   └── SecretNotGranted    the namespace has not let the controller read its Secret
    ├── SourceUnavailable       network trouble, a 5xx or a timeout at the source; retried
    │   └── RateLimited         the source asks to slow down; retried after its Retry-After
    ├── InvalidArtifact         the source's manifest or archive breaks a rule
    │   ├── UnsafePath          a file name that could leave the tree
    │   └── ExecutableContent   files of formats that run code when they are loaded, not allowed here
    ├── UnsupportedSource       a reference or media type that this version cannot read
    ├── DigestMismatch          bytes differ from their digest
    ├── Undecided               the first member of a group has not said which revision all of them pull
    ├── SourceChanged           the source serves something else under a version that was fixed before
    ├── Corrupted               bytes that were verified rotted on the disk; they are fetched again
    ├── InsufficientCache       the node's cache cannot take it (bytes or inodes)
    ├── DiskError               the disk failed (EIO, read-only)
    ├── OutOfResources          the process may have no more memory or threads
    ├── StoreLocked             another process owns this root
    ├── UnknownFormat           this root was laid out by another version
    ├── Paused                  an operator stopped pulls and evictions on this root
    ├── CacheVolumeLost         the root is not the one that was opened
    ├── InUse                   a pin holds what was asked to go
    ├── Pulling                 not there yet; the pull goes on in the background
    ├── AgentUnavailable        the node's agent does not answer
    ├── TargetBusy              another call works on the mount target, or a process holds it
    ├── AlreadyPublished        the mount target shows something else than what is asked for now
    ├── MountFailed             the kernel refused a mount
    │   ├── MountLimit          because some limit of the node is reached
    │   └── MountsUnknown       the mount table cannot be read, so nobody knows what is mounted
    ├── ClusterUnavailable      the API server does not answer, or refuses
    ├── NoDomainFits            no nodes can hold a group that was asked for
    ├── WaitTimeout             what was waited for did not come in time
    └── Cancelled               whoever asked took it back; what has come so far is kept for a resume

A class says whether a retry can help, which exit code the CLI ends with and which gRPC
status the CSI driver answers. The reason, the class's name, is what conditions, events,
metrics and ``-o json`` carry. Messages must never hold a credential.

Which gRPC codes kubelet takes for "maybe still in progress": CANCELLED, DEADLINE_EXCEEDED,
UNAVAILABLE, RESOURCE_EXHAUSTED, ABORTED (kubernetes pkg/volume/csi/csi_client.go).
"""

from __future__ import annotations

from typing import ClassVar

from api.text import one_line

_MAX_TEXT = 2000  # characters; names and words of servers are cut where they are taken over, this is the last fence


class WarmsetError(Exception):
    """Base of all named failures. ``hint`` tells the user what to do next.

    Both are one line without control characters, whatever they quote."""

    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1
    grpc_status: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message = one_line(message, limit=_MAX_TEXT)
        self.hint = one_line(hint, limit=_MAX_TEXT)
        super().__init__(self.message)

    @property
    def reason(self) -> str:
        """The named reason, as in conditions and metrics, for example ``DigestMismatch``."""
        return type(self).__name__


class InvalidReference(WarmsetError):
    exit_code = 2
    grpc_status = "INVALID_ARGUMENT"


class InvalidRequest(WarmsetError):
    exit_code = 2
    grpc_status = "INVALID_ARGUMENT"


class NotFound(WarmsetError):
    exit_code = 3
    grpc_status = "NOT_FOUND"


class Unauthorized(WarmsetError):
    exit_code = 4
    grpc_status = "UNAUTHENTICATED"


class Forbidden(WarmsetError):
    exit_code = 4
    grpc_status = "PERMISSION_DENIED"


class SecretNotGranted(Forbidden):
    pass


class SourceUnavailable(WarmsetError):
    retryable = True
    exit_code = 5
    grpc_status = "UNAVAILABLE"


class RateLimited(SourceUnavailable):
    """``retry_after_s`` is what the source asked for, in seconds; 0 where that is not known any more."""

    def __init__(self, message: str, *, retry_after_s: float = 0.0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class Undecided(WarmsetError):
    retryable = True
    exit_code = 5
    grpc_status = "UNAVAILABLE"


class InvalidArtifact(WarmsetError):
    exit_code = 6
    grpc_status = "DATA_LOSS"


class UnsafePath(InvalidArtifact):
    pass


class ExecutableContent(InvalidArtifact):
    grpc_status = "FAILED_PRECONDITION"


class UnsupportedSource(WarmsetError):
    exit_code = 6
    grpc_status = "INVALID_ARGUMENT"


class DigestMismatch(WarmsetError):
    exit_code = 7
    grpc_status = "DATA_LOSS"


class SourceChanged(WarmsetError):
    exit_code = 7
    grpc_status = "DATA_LOSS"


class Corrupted(WarmsetError):
    retryable = True
    exit_code = 7
    grpc_status = "UNAVAILABLE"


class InsufficientCache(WarmsetError):
    """``missing_bytes`` and ``missing_inodes`` are what would have to go for it to fit; 0 where that is not known."""

    retryable = True
    exit_code = 8
    grpc_status = "RESOURCE_EXHAUSTED"

    def __init__(self, message: str, *, missing_bytes: int = 0, missing_inodes: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.missing_bytes = missing_bytes
        self.missing_inodes = missing_inodes


class DiskError(WarmsetError):
    exit_code = 8
    grpc_status = "UNAVAILABLE"


class OutOfResources(WarmsetError):
    retryable = True
    exit_code = 8
    grpc_status = "RESOURCE_EXHAUSTED"


class StoreLocked(WarmsetError):
    retryable = True
    exit_code = 9
    grpc_status = "UNAVAILABLE"


class UnknownFormat(WarmsetError):
    exit_code = 2
    grpc_status = "FAILED_PRECONDITION"


class Paused(WarmsetError):
    retryable = True
    exit_code = 9
    grpc_status = "UNAVAILABLE"


class CacheVolumeLost(WarmsetError):
    exit_code = 8
    grpc_status = "UNAVAILABLE"


class InUse(WarmsetError):
    exit_code = 9
    grpc_status = "FAILED_PRECONDITION"


class Pulling(WarmsetError):
    retryable = True
    exit_code = 10
    grpc_status = "ABORTED"


class AgentUnavailable(WarmsetError):
    retryable = True
    exit_code = 5
    grpc_status = "UNAVAILABLE"


class TargetBusy(WarmsetError):
    retryable = True
    exit_code = 9
    grpc_status = "ABORTED"


class AlreadyPublished(WarmsetError):
    exit_code = 9
    grpc_status = "ALREADY_EXISTS"


class MountFailed(WarmsetError):
    exit_code = 8
    grpc_status = "INTERNAL"


class MountLimit(MountFailed):
    retryable = True
    grpc_status = "RESOURCE_EXHAUSTED"


class MountsUnknown(MountFailed):
    retryable = True
    grpc_status = "UNAVAILABLE"


class ClusterUnavailable(WarmsetError):
    retryable = True
    exit_code = 5
    grpc_status = "UNAVAILABLE"


class NoDomainFits(WarmsetError):
    retryable = True
    exit_code = 11
    grpc_status = "RESOURCE_EXHAUSTED"


class WaitTimeout(WarmsetError):
    retryable = True
    exit_code = 10
    grpc_status = "DEADLINE_EXCEEDED"


class Cancelled(WarmsetError):
    retryable = True
    exit_code = 130
    grpc_status = "CANCELLED"


def error_class(reason: str) -> type[WarmsetError]:
    """The class a named reason stands for; ``WarmsetError`` itself for an unknown one.

    Lets a reason that crossed a process boundary (the agent's socket, a status) be raised
    again with its exit code and gRPC status.
    """
    return _BY_REASON.get(reason, WarmsetError)


def _tree(cls: type[WarmsetError]) -> dict[str, type[WarmsetError]]:
    found = {cls.__name__: cls}
    for sub in cls.__subclasses__():
        found.update(_tree(sub))
    return found


_BY_REASON = _tree(WarmsetError)
