"""Any OCI client can read a tree from an agent that holds it: the real oras and skopeo do."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from api.reference import parse_reference
from cache.origin import Origin
from cache.sources.artifact import Filter
from tests.support.exchange_group import MIB, Model, Node, pull_together, start_nodes
from tests.support.fake_registry import FakeRegistry

WITHIN_S = 60

needs_oras = pytest.mark.skipif(
    shutil.which("oras") is None, reason='needs the oras command: export PATH="$(.ci/oras/build):$PATH"'
)
needs_skopeo = pytest.mark.skipif(
    shutil.which("skopeo") is None, reason="needs skopeo on PATH (apt-get install skopeo)"
)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[Node, Model, str]]:
    """A node that holds a model, and the model's repository there, as host:port/warmset/<exchange>."""
    with FakeRegistry() as registry, ExitStack() as stack:
        model = Model(registry, large=[3 * MIB])
        (node,) = start_nodes(stack, tmp_path, count=1)
        pull_together([node], model.reference, plain_http=registry.host)
        exchange = Origin(parse_reference(model.pinned), Filter()).exchange
        yield node, model, f"{node.address}/warmset/{exchange}"


def tree_of(node: Node) -> str:
    assert node.pulled is not None
    return node.pulled.tree.digest.hex


def run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )


@needs_oras
def test_oras_pulls_a_tree_from_an_agent(held: tuple[Node, Model, str], tmp_path: Path) -> None:
    node, model, repository = held
    target = tmp_path / "pulled"
    oras = shutil.which("oras") or ""
    done = run(oras, "pull", "--plain-http", f"{repository}:{tree_of(node)}", "-o", target, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() for path in target.iterdir()} == model.files


@needs_skopeo
def test_skopeo_copies_a_tree_from_an_agent(held: tuple[Node, Model, str], tmp_path: Path) -> None:
    node, model, repository = held
    target = tmp_path / "copied"
    source = f"docker://{repository}:{tree_of(node)}"
    skopeo = shutil.which("skopeo") or ""
    done = run(skopeo, "copy", "--insecure-policy", "--src-tls-verify=false", source, f"dir:{target}", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    layers = json.loads((target / "manifest.json").read_text())["layers"]
    copied = {
        layer["annotations"]["org.opencontainers.image.title"]: (
            target / layer["digest"].removeprefix("sha256:")
        ).read_bytes()
        for layer in layers
    }
    assert copied == model.files


@needs_oras
def test_oras_finds_nothing_under_another_name(held: tuple[Node, Model, str], tmp_path: Path) -> None:
    node, _, repository = held
    elsewhere = f"{repository.rpartition('/')[0]}/{'0' * 64}"
    oras = shutil.which("oras") or ""
    for name in (f"{elsewhere}:{tree_of(node)}", f"{repository}:latest"):
        done = run(oras, "pull", "--plain-http", name, "-o", tmp_path / "none", folder=tmp_path)
        assert done.returncode != 0
        assert "404" in done.stderr or "not found" in done.stderr
