"""What a listing of objects makes of files and a revision."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import InvalidArtifact, NotFound, SourceChanged, UnsafePath
from api.reference import UrlReference
from cache.sources.artifact import Filter
from cache.sources.objects.listing import Listed, Listing

HERE = UrlReference("s3", "bucket/model")
A, B = Listed("a.json", "model/a.json", 2, '"e1"'), Listed("sub/b.bin", "model/sub/b.bin", 3, '"e2"')


@given(st.permutations([A, B, Listed("c", "model/c", 1)]))
def test_the_revision_does_not_depend_on_the_order(objects: list[Listed]) -> None:
    assert (
        Listing.of(objects, reference=HERE).revision == Listing.of(sorted(objects, key=repr), reference=HERE).revision
    )


@pytest.mark.parametrize(
    "other",
    [
        Listed("a.json", "model/a.json", 3, '"e1"'),
        Listed("a.json", "model/a.json", 2, '"e9"'),
        Listed("a.json", "model/a.json", 2, '"e1"', "v2"),
        Listed("z.json", "model/z.json", 2, '"e1"'),
    ],
)
def test_another_name_size_or_version_is_another_revision(other: Listed) -> None:
    assert Listing.of([A, B], reference=HERE).revision != Listing.of([other, B], reference=HERE).revision


def test_a_pinned_reference_is_held_to_its_listing() -> None:
    pinned = HERE.pinned(Listing.of([A, B], reference=HERE).revision)
    assert Listing.of([B, A], reference=pinned).objects == (A, B)
    with pytest.raises(SourceChanged, match="not at sha256"):
        Listing.of([A], reference=pinned)


def test_marks_of_folders_are_no_files() -> None:
    marks = [Listed("", "model/", 0), Listed("sub/", "model/sub/", 0)]
    assert Listing.of([*marks, A], reference=HERE).objects == (A,)
    with pytest.raises(NotFound, match="no objects"):
        Listing.of(marks, reference=HERE)


def test_an_object_s_name_cannot_leave_the_tree() -> None:
    listing = Listing.of([A, Listed("../escaped", "model/../escaped", 1)], reference=HERE)
    with pytest.raises(UnsafePath):
        listing.artifact(wanted=Filter(include=("a.json",)))


def test_an_object_that_is_also_a_folder_is_refused() -> None:
    listing = Listing.of([Listed("a", "model/a", 1), Listed("a/b", "model/a/b", 1)], reference=HERE)
    with pytest.raises(InvalidArtifact, match="both a file and a folder"):
        listing.artifact(wanted=Filter())


def test_an_empty_object_needs_no_bytes_to_be_known() -> None:
    artifact = Listing.of([Listed("empty", "model/empty", 0, '"e"')], reference=HERE).artifact(wanted=Filter())
    assert artifact.tree is not None


def test_a_name_with_an_at_sign_is_no_revision() -> None:
    assert str(UrlReference("s3", "bucket/a@b")) == "s3://bucket/a@b"
