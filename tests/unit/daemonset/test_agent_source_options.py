"""What a grant lets a pull use: its credential, and TLS or none for whom it is about."""

from __future__ import annotations

import pytest

from api.broker import Grant, SourceCredential
from cache.http.guard import Reach
from daemonset.pulling.fetch import source_options


@pytest.mark.parametrize(
    ("source", "endpoint", "host"),
    [
        ("oci://r.example:5000/m/llama:v1", "", "r.example:5000"),
        ("hf://org/name", "", "hub.example:8080"),
        ("https://web.example/x", "", "web.example"),
        ("s3://bucket/x", "http://minio.example:9000/", "minio.example:9000"),
    ],
)
def test_only_whom_the_source_is_read_from_may_be_without_tls(
    source: str, endpoint: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example:8080")
    credential = SourceCredential(host="x", password="secret", endpoint=endpoint)
    for plain, expected in ((True, {host}), (False, set())):
        grant = Grant(model="team/llama", source=source, revision="", credential=credential, plain_http=plain)
        options = source_options(grant, ambient=False)
        assert options.plain_http == expected
        assert not options.ambient
        assert "secret" not in repr(options)


@pytest.mark.parametrize("reach", ["public", "private", "anywhere"])
def test_a_host_may_lie_where_the_grant_says(reach: str) -> None:
    grant = Grant(model="team/llama", source="oci://r.example/m:v1", revision="", reach=reach)  # type: ignore[arg-type]
    found = source_options(grant, ambient=False).reach_for("r.example")
    assert found == {"public": Reach.PUBLIC, "private": Reach.PRIVATE, "anywhere": Reach.LOCAL}[reach]


def test_what_a_user_runs_himself_may_lie_anywhere() -> None:
    grant = Grant(model="default/llama", source="oci://r.example/m:v1", revision="")
    assert source_options(grant, ambient=True).reach_for("r.example") == Reach.LOCAL
