"""A pull from a Hub: revision, hashes, CDN, tokens and refusals."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from api.digest import Digest
from api.errors import (
    DigestMismatch,
    Forbidden,
    InvalidReference,
    NotFound,
    RateLimited,
    SourceUnavailable,
    Unauthorized,
    UnsafePath,
    WarmsetError,
)
from api.reference import parse_reference
from cache.pull import Pulled, pull
from cache.sources import Credential, SourceOptions
from cache.sources.resolve import resolve
from cache.store import Store
from tests.support.fake_hub import FakeHub, HubFile
from tests.support.fake_registry import Fault
from tests.support.pulling import contents

WEIGHTS = bytes(range(256)) * 8192
FILES = {"config.json": b'{"a": 1}', "model.safetensors": WEIGHTS, "sub/vocab.txt": b"a\nb\n", "empty": b""}
SIZE = sum(map(len, FILES.values()))
NAME = "org/tiny"


def options(hub: FakeHub, token: str = "") -> SourceOptions:
    login = Credential(host=hub.host, password=token) if token else None
    return SourceOptions(credential=login, plain_http=frozenset({hub.host}))


def bring(hub: FakeHub, store: Store, name: str = NAME, *, token: str = "", **more: Any) -> Pulled:
    return pull(store, parse_reference(f"hf://{name}"), options=options(hub, token), trust_store=True, **more)


def test_a_repository_becomes_a_tree_of_its_commit(hub: FakeHub, store: Store) -> None:
    commit = hub.add(NAME, FILES)
    pulled = bring(hub, store)
    assert contents(pulled.path) == FILES
    assert (pulled.revision, pulled.bytes_origin, pulled.bytes_reused) == (commit, SIZE, 0)
    assert pulled.source == f"hf://{NAME}@{commit}"


def test_a_branch_and_a_commit_name_what_they_held(hub: FakeHub, store: Store) -> None:
    first = hub.add(NAME, {"a": b"1"})
    hub.add(NAME, {"a": b"2"})
    hub.add(NAME, {"a": b"3"}, revision="refs/pr/1")
    assert contents(bring(hub, store, f"{NAME}@{first}").path) == {"a": b"1"}
    assert contents(bring(hub, store).path) == {"a": b"2"}
    assert contents(bring(hub, store, f"{NAME}@refs/pr/1").path) == {"a": b"3"}


def test_a_present_tree_costs_one_request(hub: FakeHub, store: Store) -> None:
    hub.add(NAME, FILES)
    bring(hub, store)
    hub.seen.clear()
    pulled = bring(hub, store)
    assert (len(hub.seen), pulled.bytes_origin, pulled.bytes_reused) == (1, 0, SIZE)


def test_a_recorded_commit_costs_no_request(hub: FakeHub, store: Store) -> None:
    commit = hub.add(NAME, FILES)
    bring(hub, store, key="tiny")
    hub.seen.clear()
    assert bring(hub, store, f"{NAME}@{commit}").bytes_origin == 0
    assert hub.seen == []


def test_a_new_commit_costs_only_what_changed(hub: FakeHub, store: Store) -> None:
    hub.add(NAME, FILES)
    bring(hub, store)
    hub.add(NAME, {**FILES, "config.json": b"changed"})
    assert bring(hub, store).bytes_origin == len(b"changed"), "a git-sha1 that was seen before has a known sha256"


def test_filters_choose_files(hub: FakeHub, store: Store) -> None:
    hub.add(NAME, FILES)
    assert contents(bring(hub, store, include=["*.json"]).path) == {"config.json": b'{"a": 1}'}


def test_a_resolve_touches_no_file(hub: FakeHub) -> None:
    commit = hub.add(NAME, FILES)
    resolved = resolve(parse_reference(f"hf://{NAME}"), options=options(hub))
    assert (resolved.revision, resolved.bytes, resolved.files, resolved.tree) == (commit, SIZE, 4, None)
    assert str(resolved.reference) == f"hf://{NAME}@{commit}"
    assert hub.requests("/resolve/") == []


def test_the_tree_is_known_beforehand_where_all_files_are_in_lfs(hub: FakeHub) -> None:
    hub.add(NAME, {"model.safetensors": WEIGHTS})
    tree = resolve(parse_reference(f"hf://{NAME}"), options=options(hub)).tree
    assert tree is not None
    assert tree.files[0].digest == Digest(hashlib.sha256(WEIGHTS).hexdigest())


def test_the_token_opens_a_private_repository_and_stays_away_from_the_cdn(hub: FakeHub, store: Store) -> None:
    hub.add(NAME, FILES)
    hub.repos[NAME].private = True
    hub.tokens = {"hf_secret"}
    assert contents(bring(hub, store, token="hf_secret").path) == FILES
    on_hub, on_cdn = hub.requests("/resolve/"), hub.requests("/cdn/")
    assert all(seen.headers.get("authorization") == "Bearer hf_secret" for seen in on_hub)
    assert on_cdn
    assert not any("authorization" in seen.headers for seen in on_cdn)


def test_a_credential_for_another_host_is_not_shown(hub: FakeHub, store: Store) -> None:
    hub.add(NAME, FILES)
    login = Credential(host="huggingface.co", password="hf_secret")
    pull(store, parse_reference(f"hf://{NAME}"), options=replace(options(hub), credential=login))
    assert not any("authorization" in seen.headers for seen in hub.seen)


def test_the_environment_s_token_is_for_those_who_may_use_it(
    hub: FakeHub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(NAME, FILES)
    hub.repos[NAME].private = True
    hub.tokens = {"hf_ambient"}
    monkeypatch.setenv("HF_TOKEN", "hf_ambient")
    with pytest.raises((Unauthorized, NotFound)):
        bring(hub, store)
    assert not any("authorization" in seen.headers for seen in hub.seen)
    reference = parse_reference(f"hf://{NAME}")
    assert contents(pull(store, reference, options=replace(options(hub), ambient=True)).path) == FILES


@pytest.mark.parametrize(
    ("status", "headers", "kind", "hint"),
    [
        (401, {"X-Error-Code": "RepoNotFound"}, Unauthorized, "HF_TOKEN"),
        (401, {"X-Error-Code": "GatedRepo"}, Unauthorized, "ask for access at"),
        (403, {"X-Error-Code": "GatedRepo"}, Unauthorized, "ask for access at"),
        (403, {}, Forbidden, "token"),
        (404, {"X-Error-Code": "RepoNotFound"}, NotFound, "check the name"),
        (404, {"X-Error-Code": "RevisionNotFound"}, NotFound, "branches"),
        (429, {"Retry-After": "0"}, RateLimited, "HF_TOKEN"),
        (503, {}, SourceUnavailable, ""),
        (302, {"Location": "http://127.0.0.1:9/elsewhere"}, SourceUnavailable, ""),
    ],
)
def test_refusals_are_named_and_say_what_to_do(
    hub: FakeHub, store: Store, status: int, headers: dict[str, str], kind: type[WarmsetError], hint: str
) -> None:
    hub.add(NAME, FILES)
    hub.faults = [Fault(path="/api/models/", status=status, headers=headers, times=9)]
    with pytest.raises(kind) as refused:
        bring(hub, store)
    assert type(refused.value) is kind
    assert hint in refused.value.hint


def test_a_file_that_is_refused_says_so_as_well(hub: FakeHub, store: Store) -> None:
    hub.add(NAME, FILES)
    hub.repos[NAME].gated = True
    with pytest.raises(Unauthorized, match="gated"):
        bring(hub, store)


def test_a_passing_failure_of_the_listing_is_waited_out(hub: FakeHub, store: Store) -> None:
    hub.add(NAME, FILES)
    hub.faults = [Fault(path="/api/models/", status=503), Fault(path="/api/models/", status=429)]
    assert contents(bring(hub, store).path) == FILES


def test_a_broken_body_goes_on_where_it_was(hub: FakeHub, store: Store) -> None:
    hub.add(NAME, FILES)
    hub.faults = [Fault(path="/cdn/", cut_after=100_000), Fault(path="/cdn/", cut_after=70_000, reset=True)]
    pulled = bring(hub, store)
    assert contents(pulled.path) == FILES
    assert pulled.bytes_origin == SIZE


def test_an_address_that_expired_is_asked_for_anew(hub: FakeHub, store: Store) -> None:
    hub.add(NAME, FILES)
    hub.faults = [Fault(path="/cdn/", cut_after=100_000), Fault(path="/cdn/", status=403)]
    assert contents(bring(hub, store).path) == FILES


def test_a_cdn_that_ignores_ranges_costs_time_and_nothing_else(hub: FakeHub, store: Store) -> None:
    hub.add(NAME, FILES)
    hub.faults = [Fault(path="/cdn/", cut_after=100_000), Fault(path="/cdn/", ignore_range=True, times=9)]
    assert contents(bring(hub, store).path) == FILES


@pytest.mark.parametrize(("where", "at"), [("/cdn/", 1_000_000), ("/config.json", 3)])
def test_a_flipped_bit_is_fetched_again(hub: FakeHub, store: Store, where: str, at: int) -> None:
    hub.add(NAME, FILES)
    hub.faults = [Fault(path=where, flip=at)]
    assert contents(bring(hub, store).path) == FILES


@pytest.mark.parametrize(
    ("path", "honest"), [("model.safetensors", WEIGHTS), ("config.json", b'{"a": 1}'), ("large.txt", b"x" * 1_500_000)]
)
def test_bytes_that_are_not_what_the_hub_names_never_make_a_tree(
    hub: FakeHub, store: Store, path: str, honest: bytes
) -> None:
    file = HubFile.of(honest, lfs=path.endswith("safetensors"))
    lie = bytes(reversed(honest)) if path != "large.txt" else b"y" * len(honest)
    hub.commit(NAME, {path: replace(file, content=lie)})
    with pytest.raises(DigestMismatch):
        bring(hub, store)
    assert store.trees() == []


def test_a_pointer_in_place_of_its_file_is_refused(hub: FakeHub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    file = HubFile.of(WEIGHTS, lfs=True)
    hub.commit(NAME, {"model.safetensors": replace(file, content=b"version https://git-lfs.github.com/spec/v1\n")})
    monkeypatch.setattr("cache.http.retry.RetryPolicy.wait_s", lambda *args, **more: 0.0)
    with pytest.raises(SourceUnavailable):
        bring(hub, store)
    assert store.trees() == []


def test_a_large_file_without_sha256_is_checked_by_its_git_sha1(hub: FakeHub, store: Store) -> None:
    files = {"large.txt": bytes(range(256)) * 9000}
    hub.add(NAME, files, lfs_over=1 << 30)
    assert contents(bring(hub, store).path) == files


def test_a_commit_that_the_hub_answers_otherwise_is_refused(hub: FakeHub, store: Store) -> None:
    commit = hub.add(NAME, FILES)
    hub.repos[NAME].revisions[commit] = hub.add(NAME, {"a": b"other"})
    with pytest.raises(WarmsetError, match="answered with commit"):
        bring(hub, store, f"{NAME}@{commit}")


def test_a_file_name_that_leaves_the_tree_is_refused(hub: FakeHub, store: Store) -> None:
    hub.add(NAME, {**FILES, "../escaped": b"x"})
    with pytest.raises(UnsafePath):
        bring(hub, store, include=["*.json"])


@pytest.mark.parametrize("name", ["gpt2", "a/b/c", "org/..", "org/a--b", "org/name@", "/x"])
def test_what_is_no_repository_is_said(hub: FakeHub, store: Store, name: str) -> None:
    with pytest.raises(InvalidReference):
        bring(hub, store, name)
    assert hub.seen == []


def test_a_hub_without_tls_needs_permission(hub: FakeHub, store: Store) -> None:
    with pytest.raises(InvalidReference, match="TLS"):
        pull(store, parse_reference(f"hf://{NAME}"), options=SourceOptions())


def test_no_error_shows_a_token_or_a_signature(hub: FakeHub, store: Store) -> None:
    hub.add(NAME, FILES)
    hub.tokens = {"hf_secret"}
    hub.faults = [Fault(path="/cdn/", status=404, times=99)]
    with pytest.raises(WarmsetError) as failed:
        bring(hub, store, token="hf_secret")
    assert "secret" not in f"{failed.value} {failed.value.hint} {failed.value!r}"
