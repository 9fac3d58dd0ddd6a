"""A registry that has one small model, and a user whose store and settings nobody else has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fake_registry import FakeRegistry

FILES = {"config.json": b"{}", "sub/model.safetensors": bytes(3 << 20)}


@pytest.fixture
def registry(registry: FakeRegistry) -> FakeRegistry:
    registry.add_model("m/tiny", "v1", FILES)
    return registry


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    return tmp_path / "cache" / "warmset"
