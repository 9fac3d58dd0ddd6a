"""The user's own file: mirrors for every command, or none where there is no file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.main import warmset
from tests.support.fake_registry import FakeRegistry, Fault

FILES = {"config.json": b"{}", "model.gguf": bytes(100_000)}


@pytest.fixture
def origin() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        running.add_model("m/tiny", "v1", FILES)
        yield running


@pytest.fixture
def mirror() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        running.add_model("m/tiny", "v1", FILES)
        yield running


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "DOCKER_CONFIG"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("WARMSET_CONFIG", raising=False)
    path = tmp_path / "XDG_CONFIG_HOME" / "warmset" / "config.yaml"
    path.parent.mkdir(parents=True)
    return path


def pull(origin: FakeRegistry) -> Result:
    return CliRunner().invoke(warmset, ["pull", "--plain-http", f"oci://{origin.host}/m/tiny:v1"])


def test_the_mirrors_of_the_user_s_file_are_asked(origin: FakeRegistry, mirror: FakeRegistry, file: Path) -> None:
    file.write_text(f"mirrors:\n  - host: {origin.host}\n    url: http://{mirror.host}\n")
    assert pull(origin).exit_code == 0
    assert origin.requests("/blobs/") == []
    assert len(mirror.requests("/blobs/")) == len(FILES)


def test_a_mirror_that_fails_is_told_on_stderr_and_the_pull_goes_on(
    origin: FakeRegistry, mirror: FakeRegistry, file: Path
) -> None:
    file.write_text(f"mirrors:\n  - host: {origin.host}\n    url: http://{mirror.host}\n")
    mirror.faults = [Fault(status=500, times=100)]
    done = pull(origin)
    assert done.exit_code == 0
    assert f"mirror http://{mirror.host} fails, going on without it" in done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_another_file_may_be_named(
    origin: FakeRegistry, mirror: FakeRegistry, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = file.with_name("other.yaml")
    other.write_text(f"mirrors: [{{host: '{origin.host}', url: 'http://{mirror.host}'}}]\n")
    monkeypatch.setenv("WARMSET_CONFIG", str(other))
    assert pull(origin).exit_code == 0
    assert origin.requests("/blobs/") == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mirror: []", "unknown key 'mirror'"),
        ("[", "config.yaml"),
        ("mirrors: [{host: a}]", "url"),
        ("mirrors: [{host: a, url: 'https://b', tls: no}]", "tls"),
    ],
)
def test_a_mistake_in_it_is_named(origin: FakeRegistry, file: Path, text: str, says: str) -> None:
    file.write_text(text)
    done = pull(origin)
    assert says in str(done.exception)
    assert origin.seen == []
