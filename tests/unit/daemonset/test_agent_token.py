"""The node's UID, from the claims of the agent's own bound token."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from daemonset.cluster import node_uid_of_token


def token(claims: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"header.{payload}.signature"


def test_a_bound_token_names_its_node(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(token({"kubernetes.io": {"node": {"name": "node-a", "uid": "uid-a"}}}))
    assert node_uid_of_token(path) == "uid-a"


@pytest.mark.parametrize(
    "text", ["", "opaque", "a.b", "a.!!!.c", token({}), token([]), token({"kubernetes.io": {"node": "x"}})]
)
def test_any_other_token_names_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "token"
    path.write_text(text)
    assert node_uid_of_token(path) == ""


def test_no_token_names_none(tmp_path: Path) -> None:
    assert node_uid_of_token(tmp_path / "none") == ""
