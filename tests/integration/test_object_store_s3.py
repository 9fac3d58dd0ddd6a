"""Pulls from a real S3-compatible server."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import S3Store

from api.broker import Grant
from api.errors import NotFound, SourceChanged, Unauthorized, WarmsetError
from api.reference import parse_reference
from cache.pull import Pulled, pull
from cache.sources import Credential, SourceOptions
from cache.sources.objects.pieces import PIECE_BYTES
from cache.sources.resolve import resolve
from cache.store import Store
from controller.models.credentials import for_host
from daemonset.pulling.fetch import source_options
from tests.support.object_store import FILES, check_the_command_pulls
from tests.support.pulling import contents
from tests.support.s3_server import HOW_TO_GET, S3Server, s3_server_missing, start_s3_server

pytestmark = pytest.mark.skipif(s3_server_missing(), reason=HOW_TO_GET)

ROOT = Path(__file__).parents[2]
SIZE = sum(map(len, FILES.values()))
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = start_s3_server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """A fresh bucket, and an environment that lets its user in."""
    name = f"models-{next(NUMBERS)}"
    s3.call("PUT", f"/{name}")
    login = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
    for key, value in {"AWS_ENDPOINT_URL": s3.endpoint, **login}.items():
        monkeypatch.setenv(key, value)
    return S3Store(
        name,
        endpoint=s3.endpoint,
        client_options={"allow_http": True},
        retry_config={"max_retries": 1, "retry_timeout": timedelta(seconds=5)},
    )


def fill(bucket: S3Store, files: dict[str, bytes], *, prefix: str = "llama/v1") -> None:
    for path, content in files.items():
        obstore.put(bucket, f"{prefix}/{path}", content)


def bring(store: Store, bucket: S3Store, path: str = "llama/v1", **more: Any) -> Pulled:
    more.setdefault("options", SourceOptions(ambient=True))
    return pull(store, parse_reference(f"s3://{bucket.config['bucket']}/{path}"), trust_store=True, **more)


def test_a_prefix_is_a_folder(store: Store, bucket: S3Store) -> None:
    fill(bucket, FILES)
    fill(bucket, {"config.json": b"another"}, prefix="llama/v10")
    pulled = bring(store, bucket)
    assert contents(pulled.path) == FILES
    assert pulled.bytes_origin == SIZE
    assert bring(store, bucket).bytes_origin == 0


def test_an_object_alone_is_a_file(store: Store, bucket: S3Store) -> None:
    fill(bucket, FILES)
    assert contents(bring(store, bucket, "llama/v1/config.json").path) == {"config.json": b"{}"}


def test_a_listing_of_several_pages_is_read_to_its_end(store: Store, bucket: S3Store) -> None:
    fill(bucket, {f"part-{n:04d}": b"%d" % n for n in range(1005)})
    resolved = resolve(parse_reference(f"s3://{bucket.config['bucket']}/llama/v1"), options=SourceOptions(ambient=True))
    assert resolved.files == 1005


def test_the_etag_of_a_multipart_upload_is_taken_for_a_version_and_no_more(store: Store, bucket: S3Store) -> None:
    content = bytes(range(256)) * 50_000
    obstore.put(bucket, "llama/v1/model.gguf", content, use_multipart=True, chunk_size=5 << 20)
    assert "-" in (obstore.head(bucket, "llama/v1/model.gguf")["e_tag"] or "")
    assert contents(bring(store, bucket).path) == {"model.gguf": content}


@pytest.mark.parametrize("versioned", [False, True])
def test_an_object_overwritten_under_a_pull_is_said(bucket: S3Store, s3: S3Server, versioned: bool) -> None:
    """Also where the bucket keeps the old version: a listing does not name it, so there is no asking for it."""
    if versioned:
        keep_versions(bucket, s3)
    fill(bucket, FILES)
    resolved = resolve(parse_reference(f"s3://{bucket.config['bucket']}/llama/v1"), options=SourceOptions(ambient=True))
    large = next(file for file in resolved.artifact.unhashed if file.size > 1000)
    session = resolved.open_session(resolved.artifact)
    body = session.open(large.key, size=large.size, start=0, stop=large.size)
    assert body.readinto(memoryview(bytearray(10))) == 10
    fill(bucket, {large.path: bytes(large.size)})
    rest = memoryview(bytearray(PIECE_BYTES))
    assert body.readinto(rest) == PIECE_BYTES - 10, "what was asked for before"
    with pytest.raises(SourceChanged, match="overwritten"):
        body.readinto(rest)


def keep_versions(bucket: S3Store, s3: S3Server) -> None:
    xml = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    s3.call("PUT", f"/{bucket.config['bucket']}?versioning", xml)


def test_a_versioned_bucket_serves_the_same_way(store: Store, bucket: S3Store, s3: S3Server) -> None:
    keep_versions(bucket, s3)
    fill(bucket, FILES)
    first = bring(store, bucket, "llama/v1/config.json")
    fill(bucket, {"config.json": b"new"})
    second = bring(store, bucket, "llama/v1/config.json")
    assert first.revision != second.revision
    assert contents(second.path) == {"config.json": b"new"}


def test_a_pinned_revision_that_is_gone_is_said(store: Store, bucket: S3Store) -> None:
    fill(bucket, FILES)
    revision = bring(store, bucket).revision
    assert bring(store, bucket, f"llama/v1@{revision}").revision == revision
    fill(bucket, {"config.json": b"new"})
    with pytest.raises(SourceChanged):
        bring(store, bucket, f"llama/v1@{revision}")


def test_the_same_bytes_under_two_prefixes_are_stored_once(store: Store, bucket: S3Store) -> None:
    fill(bucket, FILES)
    fill(bucket, FILES, prefix="copy")
    one, other = bring(store, bucket), bring(store, bucket, "copy")
    assert one.tree == other.tree
    assert store.trees() == [one.tree.digest]


def test_a_bucket_that_is_not_there_is_said(store: Store, bucket: S3Store) -> None:
    with pytest.raises(NotFound):
        pull(store, parse_reference("s3://no-such-bucket-here/x"), options=SourceOptions(ambient=True))


def test_a_credential_is_used_for_its_own_bucket_alone(store: Store, bucket: S3Store, s3: S3Server) -> None:
    fill(bucket, FILES)
    host = s3.endpoint.partition("://")[2]
    name = bucket.config["bucket"]
    for given in (name, "another"):
        options = SourceOptions(Credential(given, "user", "secret"), plain_http=frozenset({host}))
        assert contents(bring(store, bucket, options=options).path) == FILES


def test_a_cluster_s_endpoint_without_tls_needs_permission(store: Store, bucket: S3Store) -> None:
    with pytest.raises(WarmsetError):
        bring(store, bucket, options=SourceOptions())


def test_in_a_cluster_a_secret_names_the_service_and_nothing_else_is_asked(
    store: Store, bucket: S3Store, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the Secret's keys to the bytes on a node, by way of the grant that carries them."""
    fill(bucket, FILES)
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name)
    name = bucket.config["bucket"]
    data = {
        "AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ENDPOINT_URL": s3.endpoint, "AWS_REGION": "eu-central-1",
    }  # fmt: skip
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    secret = {"metadata": {"annotations": {"warmset.dev/hosts": "models-*"}}, "data": encoded}
    source = f"s3://{name}/llama/v1"
    found = for_host(secret, parse_reference(source), name="team/s3")
    grant = Grant(model="team/llama", source=source, revision="", credential=found, plain_http=True)
    assert contents(bring(store, bucket, options=source_options(grant, ambient=False)).path) == FILES


def test_azure_needs_an_account(store: Store) -> None:
    with pytest.raises(Unauthorized, match="account"):
        pull(store, parse_reference("az://container/x"), options=SourceOptions())


def test_the_command_reads_the_user_s_environment(bucket: S3Store, tmp_path: Path) -> None:
    fill(bucket, FILES)
    check_the_command_pulls(f"s3://{bucket.config['bucket']}/llama/v1", folder=tmp_path)
