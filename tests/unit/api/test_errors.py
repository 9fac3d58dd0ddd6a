"""The tree of named failures."""

from __future__ import annotations

import api.errors
from api.errors import WarmsetError, error_class


def test_the_docstring_names_every_class() -> None:
    text = api.errors.__doc__ or ""
    classes = [c for c in vars(api.errors).values() if isinstance(c, type) and issubclass(c, WarmsetError)]
    assert all(c.__name__ in text for c in classes)


def test_a_reason_leads_back_to_its_class() -> None:
    assert error_class("DigestMismatch") is api.errors.DigestMismatch
    assert error_class("RateLimited") is api.errors.RateLimited


def test_an_unknown_reason_is_the_base() -> None:
    assert error_class("SomethingNewer") is WarmsetError


def test_what_kubelet_may_retry_is_told_apart_from_what_is_final() -> None:
    non_final = {"CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED"}
    for cls in (c for c in vars(api.errors).values() if isinstance(c, type) and issubclass(c, WarmsetError)):
        if cls.retryable:
            assert cls.grpc_status in non_final, cls.__name__
