"""Mirrors: asked in order before the registry, believed only as far as a digest proves, left alone when they fail."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from api.errors import InvalidRequest, NotFound
from api.reference import parse_reference
from cache.pull import Pulled, pull
from cache.sources import Credential, SourceOptions
from cache.sources.mirror import Mirror
from cache.sources.mirrors import REST_S, Mirrors
from cache.store import Store
from tests.support.fake_registry import FakeRegistry, Fault

FILES = {"config.json": b'{"a": 1}', "model.safetensors": bytes(range(256)) * 8192}
SIZE = sum(map(len, FILES.values()))


@pytest.fixture
def mirrors() -> Iterator[tuple[FakeRegistry, FakeRegistry]]:
    with ExitStack() as stack:
        yield stack.enter_context(FakeRegistry()), stack.enter_context(FakeRegistry())


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Ways:
    """A registry, its two mirrors, and pulls by way of them."""

    def __init__(self, origin: FakeRegistry, first: FakeRegistry, second: FakeRegistry, store: Store) -> None:
        self.origin, self.first, self.second, self.store = origin, first, second, store
        for registry in (origin, first, second):
            self.revision = registry.add_model("team/llama", "v1", FILES)
        self.clock = Clock()
        self.failures: list[str] = []
        self.tags = False
        self.made: Mirrors | None = None

    def mirrors(self) -> Mirrors:
        if self.made is None:
            hosts = (self.first.host, self.second.host)
            listed = [Mirror(host=self.origin.host, url=f"http://{host}", tags=self.tags) for host in hosts]
            told = lambda mirror, error: self.failures.append(f"{mirror.url}: {error}")  # noqa: E731
            self.made = Mirrors(listed, on_failure=told, clock=self.clock)
        return self.made

    def bring(self, name: str = "team/llama:v1", credential: Credential | None = None, **more: Any) -> Pulled:
        options = SourceOptions(credential, plain_http=frozenset({self.origin.host}), mirrors=self.mirrors())
        return pull(self.store, parse_reference(f"oci://{self.origin.host}/{name}"), options=options, **more)

    def bytes(self) -> tuple[int, int, int]:
        """Bytes of blobs that first mirror, second mirror and registry have sent."""
        return self.first.blob_bytes(), self.second.blob_bytes(), self.origin.blob_bytes()


@pytest.fixture
def ways(registry: FakeRegistry, mirrors: tuple[FakeRegistry, FakeRegistry], store: Store) -> Ways:
    return Ways(registry, *mirrors, store)


def test_blobs_come_from_the_first_mirror_and_a_tag_is_asked_of_the_registry(ways: Ways) -> None:
    assert ways.bring().bytes_origin == SIZE
    assert ways.bytes() == (SIZE, 0, 0)
    assert [seen.path for seen in ways.origin.seen] == ["/v2/team/llama/manifests/v1"]
    assert ways.first.requests("/manifests/") == []


def test_a_pinned_manifest_comes_from_the_mirror_so_that_the_registry_may_be_down(ways: Ways) -> None:
    ways.origin.faults = [Fault(path="/", status=503, times=1000)]
    assert ways.bring(f"team/llama@{ways.revision}").revision == str(ways.revision)
    assert ways.origin.seen == []


def test_a_mirror_that_is_trusted_with_tags_answers_for_them(ways: Ways) -> None:
    ways.tags = True
    ways.bring()
    assert ways.origin.seen == []


def test_a_mirror_is_told_whose_repository_is_meant(ways: Ways) -> None:
    """As containerd tells its proxies (docs/hosts.md), and as Dragonfly's wants it."""
    ways.bring()
    seen = ways.first.requests("/blobs/")[0]
    assert f"?ns={ways.origin.host.replace(':', '%3A')}" in seen.path
    assert seen.headers["x-dragonfly-registry"] == f"http://{ways.origin.host}"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=503, times=1000),
        Fault(status=403, times=1000),
        Fault(status=429, headers={"Retry-After": "30"}, times=1000),
        Fault(cut_after=1000, times=1000),
        Fault(cut_after=1000, reset=True, times=1000),
        Fault(flip=5, times=1000),
        Fault(headers={"Content-Length": "5"}, times=1000),
        Fault(headers={"Content-Encoding": "gzip"}, times=1000),
    ],
    ids=lambda fault: f"{fault.status or ''}{fault.cut_after or ''}{fault.reset or ''}{fault.flip or ''}",
)
def test_what_a_mirror_has_wrong_costs_the_next_one_a_request_and_is_told_once(ways: Ways, fault: Fault) -> None:
    ways.first.faults = [fault]
    pulled = ways.bring(workers=1)
    assert (pulled.path / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert len(ways.failures) == 1
    assert len(ways.first.requests("/blobs/")) <= 2


def test_a_mirror_without_the_model_is_left_out_of_the_pull_but_does_not_rest(ways: Ways) -> None:
    ways.first.blobs.clear()
    ways.bring(workers=1)
    assert len(ways.first.requests("/blobs/")) == 1
    assert ways.second.blob_bytes() == SIZE
    assert ways.failures == []


def test_mirrors_that_send_wrong_bytes_leave_the_registry_s_own(ways: Ways) -> None:
    """R10 of a mirror: the digest decides, and the second try goes to the registry, not to the next liar."""
    for mirror in (ways.first, ways.second):
        mirror.faults = [Fault(flip=5, times=1000)]
    assert ways.bring(workers=1).revision == str(ways.revision)
    assert ways.origin.blob_bytes() >= SIZE - len(FILES["config.json"])


def test_an_archive_of_a_mirror_that_lies_comes_from_the_registry(ways: Ways) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo("weights.gguf")
        member.size = 100_000
        tar.addfile(member, io.BytesIO(bytes(100_000)))
    for registry in (ways.origin, ways.first):
        registry.add_manifest("team/packed", "v1", registry.model({}, archives=(packed.getvalue(),)))
    ways.first.faults = [Fault(flip=50_000, times=1000)]
    assert (ways.bring("team/packed:v1").path / "weights.gguf").read_bytes() == bytes(100_000)
    assert ways.failures, "and the mirror rests"


def test_a_mirror_that_failed_is_left_alone_by_later_pulls_for_a_while(ways: Ways) -> None:
    ways.first.faults = [Fault(status=500)]
    ways.bring()
    asked = len(ways.first.seen)
    ways.origin.add_model("team/other", "v1", {"x": b"x"})
    ways.second.add_model("team/other", "v1", {"x": b"x"})
    ways.first.add_model("team/other", "v1", {"x": b"x"})
    ways.bring("team/other:v1")
    assert len(ways.first.seen) == asked
    ways.clock.now += REST_S + 1
    for registry in (ways.origin, ways.first):
        registry.add_model("team/third", "v1", {"y": b"y"})
    ways.bring("team/third:v1")
    assert len(ways.first.seen) > asked


def test_when_all_fail_the_registry_s_own_answer_stands(ways: Ways) -> None:
    for registry in (ways.first, ways.second, ways.origin):
        registry.blobs.clear()
    with pytest.raises(NotFound, match=ways.origin.host):
        ways.bring()


def test_the_registry_s_credential_never_goes_to_a_mirror(ways: Ways) -> None:
    ways.origin.auth, ways.origin.users = "basic", {"user": "pass"}
    for mirror in (ways.first, ways.second):
        mirror.auth, mirror.users = "basic", {"user": "pass"}
    ways.bring(credential=Credential(ways.origin.host, "user", "pass"))
    assert ways.origin.blob_bytes() >= SIZE
    assert ways.first.seen
    for mirror in (ways.first, ways.second):
        assert all("authorization" not in seen.headers for seen in mirror.seen)


def test_a_mirror_that_sends_us_to_a_token_service_gets_an_anonymous_one(ways: Ways) -> None:
    ways.first.auth = "bearer"
    ways.bring(credential=Credential(ways.origin.host, "user", "pass"))
    assert ways.origin.blob_bytes() == 0
    assert all("authorization" not in seen.headers for seen in ways.first.requests("/token"))


def test_a_mirror_of_another_registry_is_not_asked(ways: Ways) -> None:
    ways.made = Mirrors([Mirror(host="registry.example.com", url=f"http://{ways.first.host}")])
    ways.bring()
    assert ways.first.seen == []


def test_a_mirror_below_a_path_is_asked_there() -> None:
    from cache.http.network import Network
    from cache.sources.oci.registry import Repository

    reference = parse_reference("oci://registry.example.com/team/llama:v1")
    mirror = Mirror(host="registry.example.com", url="https://cache.example.com/proxy/")
    repository = Repository(reference, options=SourceOptions(), network=Network(), mirror=mirror)  # type: ignore[arg-type]
    assert str(repository.url("blobs/x")) == "https://cache.example.com/proxy/v2/team/llama/blobs/x"


@pytest.mark.parametrize(
    "url", ["mirror.example.com", "ftp://m/", "https://user:pass@m/", "https://m/?a=b", "https:///"]
)
def test_a_mirror_whose_url_is_none_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(InvalidRequest, match="mirror of r"):
        Mirrors([Mirror(host="r", url=url)])
