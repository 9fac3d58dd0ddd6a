"""Trees and the file names they may hold."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.digest import Digest
from api.errors import InvalidArtifact, UnsafePath
from api.tree import Tree, TreeFile, safe_path


def file(path: str, text: str = "x") -> TreeFile:
    return TreeFile(path, len(text), Digest(hashlib.sha256(text.encode()).hexdigest()))


def test_the_digest_is_that_of_the_sorted_list() -> None:
    a, b = file("a"), file("sub/b", "yy")
    text = f"{a.digest.hex} 1 a\n{b.digest.hex} 2 sub/b\n"
    assert Tree.of([b, a]).digest.hex == hashlib.sha256(text.encode()).hexdigest()


def test_order_does_not_matter_but_content_does() -> None:
    assert Tree.of([file("a"), file("b")]).digest == Tree.of([file("b"), file("a")]).digest
    assert Tree.of([file("a")]).digest != Tree.of([file("a", "y")]).digest
    assert Tree.of([file("a")]).digest != Tree.of([file("b")]).digest


def test_a_blob_under_two_names_is_counted_once() -> None:
    tree = Tree.of([file("a"), file("b")])
    assert tree.size == 2
    assert list(tree.blobs.values()) == [1]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([], "no files"),
        ([file("a"), file("a", "y")], "twice"),
        ([file("a"), file("a/b")], "both a file and a folder"),
        ([TreeFile("a", -1, Digest("0" * 64))], "negative"),
        ([TreeFile("a", 1, Digest("0" * 64)), TreeFile("b", 2, Digest("0" * 64))], "two sizes"),
    ],
)
def test_an_impossible_tree_is_refused(files: list[TreeFile], says: str) -> None:
    with pytest.raises(InvalidArtifact, match=says):
        Tree.of(files)


@pytest.mark.parametrize(
    "path",
    [
        *("", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/.", "a\\b", "a\nb", "a\x00b"),
        *("e\u0301", "\ud800", "x" * 256, "/".join("a" * 65), "a/" * 2100 + "a"),
    ],
)
def test_a_name_that_could_leave_the_tree_is_refused(path: str) -> None:
    with pytest.raises(UnsafePath):
        safe_path(path)


@given(st.text(max_size=60) | st.lists(st.sampled_from(["..", ".", "", "a", "b c", "é"])).map("/".join))
def test_an_accepted_name_stays_below_its_root(path: str) -> None:
    try:
        safe_path(path)
    except UnsafePath:
        return
    root = Path("/root-of-tree")
    assert Path(os.path.normpath(root / path)).is_relative_to(root)
    assert os.path.normpath(path) == path


@pytest.mark.parametrize(
    "text", ["sha256:" + "A" * 64, "sha512:" + "a" * 64, "a" * 64, "sha256:" + "a" * 63, "sha256:../x"]
)
def test_only_a_lower_case_sha256_is_a_digest(text: str) -> None:
    with pytest.raises(InvalidArtifact):
        Digest.parse(text)
