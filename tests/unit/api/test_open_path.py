"""A host path names its model and revision, and no other path is taken for one."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.open_path import open_path, parse_open_path

ROOT = PurePosixPath("/var/lib/warmset")


@given(
    name=st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,40}[a-z0-9])?", fullmatch=True),
    revision=st.from_regex(r"[0-9A-Za-z][-0-9A-Za-z._:]{0,80}", fullmatch=True),
)
def test_a_path_reads_back_as_what_it_was_made_of(name: str, revision: str) -> None:
    path = open_path(ROOT, model=f"team-a/{name}", revision=revision)
    assert path is not None
    assert path.is_relative_to(ROOT / "open")
    assert parse_open_path(str(path)) == (f"team-a/{name}", revision)


@pytest.mark.parametrize(
    ("model", "revision"),
    [("a/b", ""), ("a/b", ".."), ("a/b", "../x"), ("a/b", "x/y"), ("a/b/c", "r"), ("../b", "r"), ("b", "r")],
)
def test_what_could_leave_the_folder_makes_no_path(model: str, revision: str) -> None:
    assert open_path(ROOT, model=model, revision=revision) is None


@pytest.mark.parametrize(
    "path", ["", "/var/lib/warmset", "/open/a/b", "/x/open/a/b/c/d", "/x/open/../b/c", "open/a/b/c"]
)
def test_any_other_path_is_no_model(path: str) -> None:
    assert parse_open_path(path) is None
