"""The code that kubelet gets for each failure, and what it takes the code for.

kubernetes pkg/volume/csi/csi_client.go isFinalError: after a final code the volume counts as not mounted for sure.
"""

from __future__ import annotations

import grpc
import pytest

from api import errors
from csi.status_codes import is_final, status_of

C = grpc.StatusCode
FINAL, NOT_FINAL = True, False
TABLE = [
    (errors.Pulling, C.ABORTED, NOT_FINAL),
    (errors.TargetBusy, C.ABORTED, NOT_FINAL),
    (errors.SourceUnavailable, C.UNAVAILABLE, NOT_FINAL),
    (errors.RateLimited, C.UNAVAILABLE, NOT_FINAL),
    (errors.Undecided, C.UNAVAILABLE, NOT_FINAL),
    (errors.AgentUnavailable, C.UNAVAILABLE, NOT_FINAL),
    (errors.ClusterUnavailable, C.UNAVAILABLE, NOT_FINAL),
    (errors.DiskError, C.UNAVAILABLE, NOT_FINAL),
    (errors.StoreLocked, C.UNAVAILABLE, NOT_FINAL),
    (errors.Paused, C.UNAVAILABLE, NOT_FINAL),
    (errors.Corrupted, C.UNAVAILABLE, NOT_FINAL),
    (errors.CacheVolumeLost, C.UNAVAILABLE, NOT_FINAL),
    (errors.Cancelled, C.CANCELLED, NOT_FINAL),
    (errors.WaitTimeout, C.DEADLINE_EXCEEDED, NOT_FINAL),
    (errors.InsufficientCache, C.RESOURCE_EXHAUSTED, NOT_FINAL),
    (errors.MountLimit, C.RESOURCE_EXHAUSTED, NOT_FINAL),
    (errors.MountsUnknown, C.UNAVAILABLE, NOT_FINAL),
    (errors.OutOfResources, C.RESOURCE_EXHAUSTED, NOT_FINAL),
    (errors.NoDomainFits, C.RESOURCE_EXHAUSTED, NOT_FINAL),
    (errors.InvalidRequest, C.INVALID_ARGUMENT, FINAL),
    (errors.InvalidReference, C.INVALID_ARGUMENT, FINAL),
    (errors.UnsupportedSource, C.INVALID_ARGUMENT, FINAL),
    (errors.Unauthorized, C.UNAUTHENTICATED, FINAL),
    (errors.Forbidden, C.PERMISSION_DENIED, FINAL),
    (errors.SecretNotGranted, C.PERMISSION_DENIED, FINAL),
    (errors.NotFound, C.NOT_FOUND, FINAL),
    (errors.DigestMismatch, C.DATA_LOSS, FINAL),
    (errors.SourceChanged, C.DATA_LOSS, FINAL),
    (errors.InvalidArtifact, C.DATA_LOSS, FINAL),
    (errors.UnsafePath, C.DATA_LOSS, FINAL),
    (errors.ExecutableContent, C.FAILED_PRECONDITION, FINAL),
    (errors.InUse, C.FAILED_PRECONDITION, FINAL),
    (errors.UnknownFormat, C.FAILED_PRECONDITION, FINAL),
    (errors.AlreadyPublished, C.ALREADY_EXISTS, FINAL),
    (errors.MountFailed, C.INTERNAL, FINAL),
    (errors.WarmsetError, C.INTERNAL, FINAL),
]


@pytest.mark.parametrize(("kind", "code", "final"), TABLE, ids=[row[0].__name__ for row in TABLE])
def test_named_failure_has_its_code(kind: type[errors.WarmsetError], code: grpc.StatusCode, final: bool) -> None:
    error = kind("why")
    assert status_of(error) == (code, f"{kind.__name__}: why")
    assert is_final(error) is final


def test_every_named_failure_stands_in_the_table() -> None:
    def tree(kind: type[errors.WarmsetError]) -> set[type[errors.WarmsetError]]:
        return {kind}.union(*(tree(sub) for sub in kind.__subclasses__()))

    assert {row[0] for row in TABLE} == tree(errors.WarmsetError)


def test_unforeseen_error_is_not_final_and_its_text_stays_here() -> None:
    error = KeyError("password=hunter2")
    code, message = status_of(error)
    assert code is C.UNAVAILABLE
    assert "hunter2" not in message


def test_rpc_that_is_not_offered_is_unimplemented() -> None:
    assert status_of(NotImplementedError())[0] is C.UNIMPLEMENTED


def test_hint_comes_along() -> None:
    assert status_of(errors.Pulling("not yet", hint="wait"))[1] == "Pulling: not yet (wait)"


def test_message_fits_into_a_header() -> None:
    assert len(status_of(errors.NotFound("x" * 100_000))[1]) <= 1000
