"""What goes wrong most often ends with a named reason and a hint that tells what to do next."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from api.errors import WarmsetError
from cli.main import warmset
from tests.support.fake_registry import FakeRegistry

NOBODY = "127.0.0.1:1"  # tcpmux, where nobody listens
KUBECONFIG = """
clusters: [{name: a, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: a, user: {token: canary}}]
contexts: [{name: a, context: {cluster: a, user: a}}]
current-context: a
"""


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "config.json").write_text("{}")
    (tmp_path / "broken.yaml").write_text("token: canary")
    (tmp_path / "kubeconfig.yaml").write_text(KUBECONFIG)
    return tmp_path


def failure(*arguments: str) -> WarmsetError:
    found = CliRunner().invoke(warmset, list(arguments)).exception
    assert isinstance(found, WarmsetError), repr(found)
    assert "canary" not in found.message + found.hint
    return found


@pytest.mark.parametrize(
    ("arguments", "reason", "hint"),
    [
        ("pull registry.example.com/models/llama:v1", "InvalidReference", "oci://registry.example.com/models/llama:v1"),
        ("pull localhost:5000/llama", "InvalidReference", "oci://localhost:5000/llama"),
        ("pull meta-llama/Llama-3-8B", "InvalidReference", "hf://meta-llama/Llama-3-8B"),
        ("pull llama", "InvalidReference", "oci://registry.example.com/"),
        (f"pull oci://{NOBODY}/m:v1 --plain-http", "SourceUnavailable", "port"),
        ("pull oci://registry.invalid/m:v1", "SourceUnavailable", "HTTPS_PROXY"),
        ("pull ftp://registry.invalid/m", "SourceUnavailable", "network"),
        ("pull file:///nowhere/m", "NotFound", "path"),
        ("ls --root nowhere", "NotFound", "--root"),
        ("verify --root nowhere", "NotFound", "--root"),
        ("gc --root nowhere", "NotFound", "--root"),
        ("rm llama --root nowhere", "NotFound", "--root"),
        ("purge --root llama", "InvalidRequest", "--yes"),
        ("node --socket nowhere.sock", "AgentUnavailable", "--socket"),
        ("agent", "InvalidRequest", "docs/stand-alone.md"),
        ("status --kubeconfig nowhere.yaml", "ClusterUnavailable", "KUBECONFIG"),
        ("status --kubeconfig broken.yaml", "ClusterUnavailable", "kubectl"),
        ("status --kubeconfig kubeconfig.yaml --context b", "ClusterUnavailable", "kubectl"),
        ("status --kubeconfig kubeconfig.yaml", "ClusterUnavailable", "network"),
        ("warm oci://registry.example.com/m:v1 --groups 1 --size 1", "InvalidRequest", "create a Model"),
    ],
)
def test_a_natural_mistake_ends_with_what_to_do_next(arguments: str, reason: str, hint: str) -> None:
    error = failure(*arguments.split())
    assert error.reason == reason, error.message
    assert hint in error.hint


def test_a_mistyped_root_is_not_made(own_home: Path) -> None:
    failure("ls", "--root", "nowhere")
    assert not (own_home / "nowhere").exists()


def test_a_wrong_tag_says_what_to_check() -> None:
    with FakeRegistry() as registry:
        registry.add_model("m/tiny", "v1", {"config.json": b"{}"})
        error = failure("pull", "--plain-http", f"oci://{registry.host}/m/tiny:v2")
        assert (error.reason, "tag" in error.hint) == ("NotFound", True)
