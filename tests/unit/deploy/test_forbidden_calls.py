"""Calls that no part of Warmset makes: each was behind somebody's vulnerability (docs/security.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SOURCES = [
    path
    for folder in ("api", "cache", "cli", "controller", "csi", "daemonset", "kube")
    for path in (ROOT / folder).rglob("*.py")
    if "proto" not in path.parts
]
FORBIDDEN = {
    "extractall": "an archive's names decide where files go; cache/archives reads streams",
    "rmtree": "follows into mounts; cache.store.files.remove_folder does not",
    "system": "a shell",
    "popen": "a shell",
    "eval": "runs data",
    "exec": "runs data",
}
MODULES = {"pickle", "marshal", "shelve", "torch", "numpy"}
SHELL, UNVERIFIED = "shell", "verify"


def names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            yield function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_forbidden_is_called(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not FORBIDDEN.keys() & set(names(tree))
    imported = {
        alias.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    } | {(node.module or "").partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not MODULES & imported
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant):
            assert (node.arg, node.value.value) not in {(SHELL, True), (UNVERIFIED, False)}


def test_the_driver_opens_no_network_connection() -> None:
    """All of the privileged code talks over unix sockets: nothing there can name a host."""
    text = "".join(path.read_text() for path in SOURCES if path.is_relative_to(ROOT / "csi"))
    assert "UnixConnector" in text
    for name in ("TCPConnector", "AF_INET", "create_connection", "getaddrinfo", "urllib"):
        assert name not in text
