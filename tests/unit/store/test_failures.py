"""Each errno has one meaning, and the user learns what to do about it."""

import errno
import os

import pytest

from api.errors import DiskError, InsufficientCache, WarmsetError
from cache.store.failures import disk_errors


@pytest.mark.parametrize(
    ("number", "named"),
    [
        (errno.ENOSPC, InsufficientCache),
        (errno.EDQUOT, InsufficientCache),
        (errno.EIO, DiskError),
        (errno.EROFS, DiskError),
        (errno.EACCES, DiskError),
        (errno.EMFILE, DiskError),
    ],
)
def test_an_errno_becomes_a_named_failure_with_a_hint(number: int, named: type[WarmsetError]) -> None:
    with pytest.raises(named) as raised, disk_errors("writing the file"):
        raise OSError(number, os.strerror(number))
    assert type(raised.value) is named
    assert raised.value.message == f"writing the file: {os.strerror(number)}"
    assert raised.value.hint


def test_other_exceptions_pass() -> None:
    with pytest.raises(KeyError), disk_errors("doing something"):
        raise KeyError
