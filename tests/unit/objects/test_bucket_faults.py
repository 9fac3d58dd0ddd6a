"""R30: what an S3-compatible store answers when it will not serve. moto's server knows none of these answers."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from api.errors import Forbidden, RateLimited, SourceChanged, SourceUnavailable, Unauthorized
from api.reference import parse_reference
from cache.pull import Pulled, pull
from cache.sources import SourceOptions
from cache.store import Store

CONTENT = bytes(range(256)) * 8192
LISTING = """<?xml version="1.0"?><ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated><Contents>
<Key>m/model.gguf</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>"v1"</ETag><Size>{size}</Size>
</Contents></ListBucketResult>"""


class Bucket:
    """One object. ``refusals`` are (status, code) pairs to answer first to what holds ``refuse`` in its target."""

    def __init__(self) -> None:
        self.refuse = "m/model.gguf"
        self.refusals: list[tuple[int, str]] = []
        self.etag = '"v1"'
        self.conditions = True  # whether If-Match is heeded
        self.endpoint = ""
        self.asked: list[str] = []


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    state = Bucket()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            state.asked.append(self.path)
            if state.refusals and state.refuse in self.path:
                status, code = state.refusals.pop(0)
                return self.answer(status, {}, f"<Error><Code>{code}</Code></Error>".encode())
            if "list-type" in self.path:
                return self.answer(200, {}, LISTING.format(size=len(CONTENT)).encode())
            if state.conditions and self.headers.get("If-Match", state.etag) != state.etag:
                return self.answer(412, {}, b"<Error><Code>PreconditionFailed</Code></Error>")
            first, last = map(int, re.findall(r"[0-9]+", self.headers["Range"]))
            headers = {"Content-Range": f"bytes {first}-{last}/{len(CONTENT)}", "ETag": state.etag}
            return self.answer(206, headers, CONTENT[first : last + 1])

        def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            stamp = {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
            for name, value in {**headers, **stamp, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    state.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    login = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
    for name, value in {**login, "AWS_ENDPOINT_URL": state.endpoint}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("cache.http.retry.RetryPolicy.wait_s", lambda *_, **__: 0.0)
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def bring(store: Store) -> Pulled:
    return pull(store, parse_reference("s3://bucket/m"), options=SourceOptions(ambient=True), workers=1)


def test_r30_a_store_that_asks_to_slow_down_is_waited_for(store: Store, bucket: Bucket) -> None:
    bucket.refusals = [(503, "SlowDown")] * 4
    assert (bring(store).path / "model.gguf").read_bytes() == CONTENT


def test_r30_and_one_that_never_stops_asking_is_named(store: Store, bucket: Bucket) -> None:
    bucket.refusals = [(503, "SlowDown")] * 1000
    with pytest.raises(RateLimited, match="slow down"):
        bring(store)
    assert len(bucket.asked) < 30, "no hammering"


def test_r30_a_clock_that_is_wrong_is_said_as_such_and_once(store: Store, bucket: Bucket) -> None:
    bucket.refuse, bucket.refusals = "list-type", [(403, "RequestTimeTooSkewed")] * 1000
    with pytest.raises(Forbidden, match="RequestTimeTooSkewed") as caught:
        bring(store)
    assert "clock" in caught.value.hint
    assert len(bucket.asked) == 1


def test_r30_a_listing_that_is_not_allowed_is_not_asked_for_again(store: Store, bucket: Bucket) -> None:
    bucket.refuse, bucket.refusals = "list-type", [(403, "AccessDenied")] * 1000
    with pytest.raises(Forbidden, match="AccessDenied"):
        bring(store)
    assert len(bucket.asked) == 1


@pytest.mark.parametrize(
    "code", ["ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthenticationFailed"]
)
def test_r30_a_credential_that_ended_is_told_from_a_missing_right(store: Store, bucket: Bucket, code: str) -> None:
    bucket.refusals = [(403 if code != "ExpiredToken" else 400, code)] * 1000
    with pytest.raises(Unauthorized, match=code):
        bring(store)


@pytest.mark.parametrize("conditions", [True, False])
def test_r30_an_object_that_is_overwritten_between_listing_and_reading_is_never_mixed(
    store: Store, bucket: Bucket, conditions: bool
) -> None:
    bucket.etag, bucket.conditions = '"v2"', conditions
    with pytest.raises(SourceChanged, match="overwritten"):
        bring(store)
    assert store.trees() == []


def test_r30_an_object_that_became_shorter_is_said(store: Store, bucket: Bucket) -> None:
    bucket.refusals = [(416, "InvalidRange")] * 1000
    with pytest.raises(SourceChanged, match="overwritten"):
        bring(store)


def test_r30_an_error_without_a_code_is_an_unavailable_store(store: Store, bucket: Bucket) -> None:
    bucket.refusals = [(500, "")] * 1000
    with pytest.raises(SourceUnavailable):
        bring(store)
