"""What registries do wrong, by row of docs/faults.md, beyond what the transfer engine's own tests try."""

from __future__ import annotations

from typing import Any

import pytest

from api.errors import InvalidArtifact, NotFound, SourceUnavailable, UnsupportedSource, WarmsetError
from api.reference import parse_reference
from cache.pull import pull
from cache.sources.resolve import resolve
from cache.store import Store
from tests.support.fake_registry import MODEL_CONFIG, FakeRegistry, Fault
from tests.support.pulling import bring, contents, trusting

FILES = {"config.json": b'{"a": 1}', "model.safetensors": bytes(range(256)) * 8192}
OTHER = {"config.json": b'{"a": 2}'}


def test_r08_a_range_that_the_registry_says_is_beyond_the_end_is_asked_for_again(
    registry: FakeRegistry, store: Store
) -> None:
    """As when one of several replicas has only part of the blob yet."""
    registry.add_model("m/tiny", "v1", FILES)
    registry.faults = [
        Fault(cut_after=100_000),
        Fault(status=416, headers={"Content-Range": "bytes */100000"}),
    ]
    assert contents(bring(registry, store, "m/tiny:v1", workers=1).path) == FILES


@pytest.mark.parametrize("stated", [None, f"sha256:{'0' * 64}", f"sha512:{'0' * 128}", "nonsense\x1b[31m"])
def test_r11_the_digest_is_that_of_the_body_whatever_the_header_says(
    registry: FakeRegistry, store: Store, stated: str | None
) -> None:
    revision = registry.add_model("m/tiny", "v1", FILES)
    headers = {"Docker-Content-Digest": stated}
    registry.faults = [Fault(path="/manifests/", headers=headers), Fault(headers=headers, times=10)]
    assert bring(registry, store, "m/tiny:v1").revision == str(revision)
    assert contents(bring(registry, store, f"m/tiny@{revision}").path) == FILES


def test_r25_a_tag_that_moves_changes_nothing_for_who_was_resolved_before(registry: FakeRegistry, store: Store) -> None:
    registry.add_model("m/tiny", "v1", FILES)
    resolved = resolve(parse_reference(f"oci://{registry.host}/m/tiny:v1"), options=trusting(registry))
    registry.add_model("m/tiny", "v1", OTHER)
    assert contents(pull(store, resolved.reference, options=trusting(registry)).path) == FILES
    assert contents(bring(registry, store, "m/tiny:v1").path) == OTHER


def test_r26_a_repository_that_is_deleted_takes_nothing_from_who_has_it(registry: FakeRegistry, store: Store) -> None:
    revision = registry.add_model("m/tiny", "v1", FILES)
    bring(registry, store, "m/tiny:v1", key="team/tiny")
    registry.manifests.clear()
    registry.blobs.clear()
    assert contents(bring(registry, store, f"m/tiny@{revision}").path) == FILES
    with pytest.raises(NotFound, match="m/tiny"):
        bring(registry, store, "m/tiny:v1")


def test_r26_blobs_collected_after_the_manifest_was_read_are_said_and_asked_for_once(
    registry: FakeRegistry, store: Store
) -> None:
    registry.add_model("m/tiny", "v1", FILES)
    registry.blobs.clear()
    with pytest.raises(NotFound, match="blob"):
        bring(registry, store, "m/tiny:v1", workers=1)
    assert len(registry.requests("/blobs/")) == 1


def test_r27_an_origin_that_is_down_is_not_asked_for_what_is_here(registry: FakeRegistry, store: Store) -> None:
    revision = registry.add_model("m/tiny", "v1", FILES)
    bring(registry, store, "m/tiny:v1", key="team/tiny")
    registry.seen.clear()
    registry.faults = [Fault(path="/", status=503, times=1000)]
    pulled = bring(registry, store, f"m/tiny@{revision}")
    assert contents(pulled.path) == FILES
    assert registry.seen == []


def test_r27_and_what_is_not_here_is_for_later_not_for_never(registry: FakeRegistry, store: Store) -> None:
    registry.add_model("m/tiny", "v1", FILES)
    registry.faults = [Fault(path="/", status=503, times=1000)]
    with pytest.raises(SourceUnavailable) as caught:
        bring(registry, store, "m/tiny:v1")
    assert caught.value.retryable
    assert caught.value.grpc_status == "UNAVAILABLE", "which kubelet takes for not final"


def test_x09_a_config_of_gigabytes_is_never_fetched(registry: FakeRegistry, store: Store) -> None:
    """Nothing in it decides what a model's files are, so it is not read at all."""
    manifest = registry.model(FILES)
    manifest["config"] = {"mediaType": MODEL_CONFIG, "digest": f"sha256:{'a' * 64}", "size": 2 << 30}
    registry.add_manifest("m/tiny", "v1", manifest)
    assert contents(bring(registry, store, "m/tiny:v1").path) == FILES
    assert registry.requests("a" * 64) == []


KIT = "application/vnd.kitops.modelkit."


def modelkit(registry: FakeRegistry, kitfile: bytes, *, layer: str) -> None:
    """A ModelKit of one raw layer of this kind, and what its Kitfile says."""
    manifest = registry.model({"a.bin": b"adapter"})
    del manifest["artifactType"]
    config = registry.add_blob(kitfile)
    manifest["config"] = {"mediaType": f"{KIT}config.v1+json", "digest": str(config), "size": len(kitfile)}
    manifest["layers"][0]["mediaType"] = f"{KIT}{layer}.v1.raw"
    registry.add_manifest("m/kit", "v1", manifest)


def test_a_modelkit_whose_model_lies_in_another_one_is_refused_by_name(registry: FakeRegistry, store: Store) -> None:
    modelkit(registry, b'{"model": {"name": "x", "path": "r.example.com/base/llama:v1"}}', layer="modelpart")
    with pytest.raises(UnsupportedSource, match="base/llama:v1"):
        bring(registry, store, "m/kit:v1", allow_executable=True)


@pytest.mark.parametrize("kitfile", [b'{"datasets": []}', b'{"model": {"path": "./model"}}'])
def test_a_modelkit_without_a_model_and_a_parent_is_what_its_layers_are(
    registry: FakeRegistry, store: Store, kitfile: bytes
) -> None:
    modelkit(registry, kitfile, layer="dataset")
    assert contents(bring(registry, store, "m/kit:v1", allow_executable=True).path) == {"a.bin": b"adapter"}


def test_the_description_of_a_modelkit_with_a_model_is_not_fetched(registry: FakeRegistry, store: Store) -> None:
    modelkit(registry, b"never read", layer="model")
    bring(registry, store, "m/kit:v1", allow_executable=True)
    assert len(registry.requests("/blobs/")) == 1


@pytest.mark.parametrize("kitfile", [b"[", b'{"model": 5}'])
def test_a_modelkit_whose_description_is_malformed_is_refused(
    registry: FakeRegistry, store: Store, kitfile: bytes
) -> None:
    modelkit(registry, kitfile, layer="dataset")
    with pytest.raises(InvalidArtifact, match="Kitfile"):
        bring(registry, store, "m/kit:v1")


HOSTILE = "x\x1b[2J\x1b]0;owned\x07\r\nlevel=error msg=forged \u202e\u2028" + "y" * 100_000


def hostile_manifests(registry: FakeRegistry) -> list[dict[str, Any]]:
    """One for each field whose value may end in a message."""
    found = []
    for field in ("path", "title", "layer", "config", "manifest", "digest", "artifact", "annotation"):
        manifest = registry.model({"config.json": b"{}"})
        layer = manifest["layers"][0]
        match field:
            case "path":
                layer["annotations"]["org.cncf.model.filepath"] = HOSTILE
            case "title":
                layer["annotations"] = {"org.opencontainers.image.title": HOSTILE}
            case "layer":
                layer["mediaType"] = HOSTILE
            case "config":
                manifest["config"]["mediaType"] = HOSTILE
                del manifest["artifactType"], layer["annotations"]
            case "manifest":
                manifest["mediaType"] = HOSTILE
            case "digest":
                layer["digest"] = HOSTILE
            case "artifact":
                manifest["artifactType"] = HOSTILE
                manifest["config"]["mediaType"] = HOSTILE
                del layer["annotations"]
            case "annotation":
                layer["annotations"][HOSTILE] = 5
        found.append(manifest)
    return found


def test_x13_no_message_carries_what_a_stranger_wrote_to_a_terminal_or_a_log(
    registry: FakeRegistry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Line breaks forge log lines, escapes drive terminals, bidirectional marks hide what stands there."""
    monkeypatch.setattr("cache.http.retry.RetryPolicy.wait_s", lambda *_, **__: 0.0)
    entry = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": f"sha256:{'b' * 64}", "size": 5}
    platforms = [{**entry, "platform": {"os": HOSTILE, "architecture": "a"}}, {**entry, "digest": f"sha256:{'c' * 64}"}]
    documents: list[tuple[Any, str]] = [(manifest, manifest["mediaType"]) for manifest in hostile_manifests(registry)]
    index = "application/vnd.oci.image.index.v1+json"
    documents.append(({"schemaVersion": 2, "mediaType": index, "manifests": platforms}, index))
    for document, content_type in documents:
        registry.add_manifest("m/tiny", "v1", document, content_type=content_type.split("\r")[0][:100])
        check_refused(registry, store)
    for status in (400, 401, 403, 404, 429, 500):
        body = b'{"errors": [{"code": "DENIED", "message": "\\u001b[31mforged\\r\\nline"}]}'
        registry.faults = [Fault(path="/manifests/", status=status, body=body, times=100)]
        check_refused(registry, store)


def check_refused(registry: FakeRegistry, store: Store) -> None:
    with pytest.raises(WarmsetError) as caught:
        bring(registry, store, "m/tiny:v1")
    for text in (str(caught.value), caught.value.message, caught.value.hint):
        assert text.isprintable(), text
        assert len(text) <= 2000


def test_x13_a_manifest_with_long_annotations_is_bounded_by_its_own_limit(registry: FakeRegistry, store: Store) -> None:
    manifest = registry.model(FILES)
    manifest["annotations"] = {"note": "z" * (5 << 20)}
    registry.add_manifest("m/tiny", "v1", manifest)
    with pytest.raises((InvalidArtifact, SourceUnavailable), match="longer than"):
        bring(registry, store, "m/tiny:v1")
