"""Which revisions of a Model are known, and what each was resolved from."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from api.errors import NotFound
from api.fields import ObjectMeta
from api.resources import FileSelection, KnownRevision, Model, ModelSpec, ModelStatus
from cache.sources.oci.mediatypes import OCI_INDEX, OCI_MANIFEST
from controller.config import Sources
from controller.models.resolving import known_revision, reconcile
from tests.support.fake_registry import FakeRegistry

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


class Written:
    """Stands in for the API server: keeps the status that was written last."""

    status: dict[str, Any]

    async def replace(self, resource: object, body: dict[str, Any], *, subresource: str) -> None:
        self.status = body["status"]


async def test_a_sha256_in_the_spec_belongs_to_the_revision_and_must_be_of_its_files() -> None:
    with FakeRegistry() as registry:
        revision = str(registry.add_model("m/tiny", "v1", {"config.json": b"{}"}))
        right = hashlib.sha256(b"{}").hexdigest()
        found = []
        for given in ({"config.json": right}, {"config.json": "0" * 64}, {"other.json": right}):
            asked = model("x", generation=2)
            asked.spec = ModelSpec(source=f"oci://{registry.host}/m/tiny:v1", sha256=given)
            written = Written()
            sources = Sources(plain_http=(registry.host,))
            failure = await reconcile(written, asked, sources=sources)  # type: ignore[arg-type]
            found.append(failure.reason if failure else written.status["known"][0]["sha256"])
        assert found == [{"config.json": right}, "DigestMismatch", "NotFound"]
        asked.status = ModelStatus(observed_generation=2, revision=revision)
        assert known_revision(asked, revision).sha256 == {"other.json": right}


@pytest.mark.parametrize(
    ("chosen", "revision"),
    [({"platform": "linux/arm64"}, "arm64"), ({"artifact_type": "application/vnd.example"}, "other"), ({}, "")],
)
async def test_the_spec_says_which_manifest_of_an_index_is_meant(chosen: dict[str, str], revision: str) -> None:
    with FakeRegistry() as registry:
        found = {
            name: registry.add_model("m/tiny", name, {"config.json": name.encode()})
            for name in ("amd64", "arm64", "other")
        }
        about: dict[str, dict[str, Any]] = {
            name: {"platform": {"os": "linux", "architecture": name}} for name in ("amd64", "arm64")
        }
        about["other"] = {"artifactType": "application/vnd.example", "platform": {"os": "plan9", "architecture": "vax"}}
        entries = [
            {"mediaType": OCI_MANIFEST, "digest": str(digest), "size": 5, **about[name]}
            for name, digest in found.items()
        ]
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        registry.add_manifest("m/tiny", "v1", index, content_type=OCI_INDEX)
        asked = model("x", generation=2)
        asked.spec = ModelSpec(source=f"oci://{registry.host}/m/tiny:v1", **chosen)
        written = Written()
        failure = await reconcile(written, asked, sources=Sources(plain_http=(registry.host,)))  # type: ignore[arg-type]
    if revision:
        assert written.status["revision"] == str(found[revision])
    else:
        assert failure is not None
        assert failure.reason == "UnsupportedSource"
        assert all(name in failure.message for name in ("linux/amd64", "linux/arm64", "plan9/vax"))
