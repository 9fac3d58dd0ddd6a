"""Which revisions of a Model are known, and what each was resolved from."""

from __future__ import annotations

from typing import Any

import pytest

from api.errors import NotFound
from api.resources import FileSelection, KnownRevision, Model, ModelSpec, ModelStatus, ObjectMeta
from controller.resolving import known_revision

OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def model(source: str, *, generation: int = 1, **status: Any) -> Model:
    meta = ObjectMeta(name="llama", namespace="team", generation=generation)
    found = ModelStatus(observed_generation=1, **status)
    return Model(metadata=meta, spec=ModelSpec(source=source), status=found)


def test_an_old_revision_comes_from_where_it_was_resolved_not_from_an_edited_source() -> None:
    known = [
        KnownRevision(revision=NEW, source=f"oci://new.example/m@{NEW}"),
        KnownRevision(revision=OLD, source=f"oci://old.example/m@{OLD}", files=FileSelection(include=["*.json"])),
    ]
    found = known_revision(model("oci://new.example/m", revision=NEW, known=known), OLD)
    assert (found.source, found.files) == (f"oci://old.example/m@{OLD}", FileSelection(include=["*.json"]))


def test_while_an_edited_source_is_being_resolved_the_present_revision_is_still_the_old_ones() -> None:
    known = [KnownRevision(revision=OLD, source=f"oci://old.example/m@{OLD}")]
    edited = model("oci://new.example/m", generation=2, revision=OLD, known=known)
    assert known_revision(edited, OLD).source == f"oci://old.example/m@{OLD}"


def test_a_status_without_a_record_speaks_of_the_spec_it_was_made_for() -> None:
    assert known_revision(model("oci://r.example/m:v1", revision=OLD), OLD).source == f"oci://r.example/m:v1@{OLD}"
    with pytest.raises(NotFound):
        known_revision(model("oci://r.example/m:v1", generation=2, revision=OLD), OLD)


def test_a_revision_that_a_pod_made_up_is_not_known() -> None:
    with pytest.raises(NotFound, match="never had revision"):
        known_revision(model("oci://r.example/m:v1", revision=NEW), OLD)
