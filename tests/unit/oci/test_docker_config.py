"""The user's docker configuration: where it is looked for and which entry counts."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from api.errors import InvalidRequest, Unauthorized
from cache.sources import Credential
from cache.sources.oci.credentials import docker_credential

HOST = "registry.example.com"


def look(folder: Path, config: object, *, host: str = HOST) -> Credential | None:
    text = config if isinstance(config, str) else json.dumps(config)
    (folder / "config.json").write_text(text)
    return docker_credential(host, environ={"DOCKER_CONFIG": str(folder)})


def auth(user: str = "user", password: str = "pass") -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def test_no_configuration_is_no_credential(tmp_path: Path) -> None:
    assert docker_credential(HOST, environ={"DOCKER_CONFIG": str(tmp_path)}) is None


def test_without_docker_config_the_home_folder_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(json.dumps({"auths": {HOST: {"auth": auth()}}}))
    assert docker_credential(HOST, environ={}) == Credential(HOST, username="user", password="pass")


@pytest.mark.parametrize("key", [HOST, f"https://{HOST}", f"https://{HOST}/v1/"])
def test_an_entry_is_found_under_the_customary_keys(tmp_path: Path, key: str) -> None:
    assert look(tmp_path, {"auths": {key: {"auth": auth()}}}) == Credential(HOST, username="user", password="pass")


def test_a_password_may_hold_colons(tmp_path: Path) -> None:
    found = look(tmp_path, {"auths": {HOST: {"auth": auth(password="a:b:c")}}})
    assert found is not None
    assert found.password == "a:b:c"


def test_docker_hub_has_a_key_of_its_own(tmp_path: Path) -> None:
    found = look(tmp_path, {"auths": {"https://index.docker.io/v1/": {"auth": auth()}}}, host="docker.io")
    assert found is not None
    assert found.username == "user"


def test_another_hosts_entry_is_not_taken(tmp_path: Path) -> None:
    assert look(tmp_path, {"auths": {"example.com": {"auth": auth()}}}) is None


def test_an_identity_token_is_read(tmp_path: Path) -> None:
    found = look(tmp_path, {"auths": {HOST: {"auth": auth("00000000"), "identitytoken": "t"}}})
    assert found is not None
    assert found.identity_token == "t"


@pytest.mark.parametrize("config", ["{", "[]", {"auths": {HOST: {"auth": "%%%"}}}, {"credHelpers": {HOST: "../x"}}])
def test_a_broken_configuration_is_said(tmp_path: Path, config: object) -> None:
    with pytest.raises(InvalidRequest):
        look(tmp_path, config)


def helper(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "docker-credential-test"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_helper_is_asked_for_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, 'read host; echo "{\\"Username\\": \\"$host\\", \\"Secret\\": \\"s\\"}"', monkeypatch)
    assert look(tmp_path, {"credHelpers": {HOST: "test"}}) == Credential(HOST, username=HOST, password="s")


def test_a_helper_may_give_an_identity_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, 'echo \'{"Username": "<token>", "Secret": "s"}\'', monkeypatch)
    assert look(tmp_path, {"credsStore": "test"}) == Credential(HOST, identity_token="s")


def test_a_store_without_the_host_falls_back_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, "echo credentials not found in native keychain; exit 1", monkeypatch)
    found = look(tmp_path, {"credsStore": "test", "auths": {HOST: {"auth": auth()}}})
    assert found is not None


@pytest.mark.parametrize("script", ["echo no; exit 1", "echo no json", "echo '{}'"])
def test_a_helper_that_fails_is_said_without_its_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    helper(tmp_path, script, monkeypatch)
    with pytest.raises(Unauthorized):
        look(tmp_path, {"credsStore": "test"})


def test_a_helper_that_is_not_installed_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unauthorized, match="docker-credential-absent"):
        look(tmp_path, {"credsStore": "absent"})
