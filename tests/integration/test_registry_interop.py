"""What others push is pulled, and what we push others pull: oras for Python and for Go, skopeo, and modctl where it is
installed; no proxy of Go modules has that one, so ModelPack's own code looks at our config beside it."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from api.reference import parse_reference
from cache.pull import pull
from cache.push import push
from cache.sources import SourceOptions
from cache.store import Store
from cache.transfer.progress import Progress
from tests.support.fake_proxy import FakeProxy
from tests.support.pulling import contents
from tests.support.registry import HOW_TO_GET, Registry, registry_missing

pytestmark = pytest.mark.skipif(registry_missing(), reason=HOW_TO_GET)

FILES = {
    "model.safetensors": random.Random(3).randbytes(70 << 20),  # longer than one part of an upload
    "config.json": b"{}",
    "tokenizer.json": b"[1, 2]",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


def oras(script: str, *arguments: str, folder: Path) -> None:
    """Run the oras client in a process of its own: it leaves connections open."""
    code = f"import sys, oras.client; client = oras.client.OrasClient(insecure=True)\n{script}"
    subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, check=True, timeout=120, capture_output=True)


def options(registry: Registry) -> SourceOptions:
    return SourceOptions(plain_http=frozenset({registry.host}))


def test_what_oras_pushes_is_pulled(registry: Registry, model: Path, tmp_path: Path) -> None:
    name = f"{registry.host}/interop/by-oras:v1"
    oras("client.push(sys.argv[1], files=sys.argv[2:])", name, *FILES, folder=model)
    with Store.open(tmp_path / "store") as store:
        pulled = pull(store, parse_reference(f"oci://{name}"), options=options(registry))
        assert contents(pulled.path) == FILES


def test_oras_pulls_what_is_pushed(registry: Registry, model: Path, tmp_path: Path) -> None:
    name = f"{registry.host}/interop/by-warmset:v1"
    push(model, parse_reference(f"oci://{name}"), options=options(registry))
    oras("client.pull(sys.argv[1], outdir=sys.argv[2])", name, str(tmp_path / "out"), folder=tmp_path)
    assert contents(tmp_path / "out") == FILES


@pytest.mark.skipif(
    shutil.which("oras") is None, reason='needs the oras command: export PATH="$(.ci/oras/build):$PATH"'
)
def test_the_oras_command_pulls_what_is_pushed(registry: Registry, model: Path, tmp_path: Path) -> None:
    name = f"{registry.host}/interop/for-oras:v1"
    push(model, parse_reference(f"oci://{name}"), options=options(registry))
    out = tmp_path / "out"
    subprocess.run(["oras", "pull", "--plain-http", "-o", out, name], check=True, timeout=120, capture_output=True)
    assert contents(out) == FILES


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo not found: apt-get install skopeo")
def test_skopeo_copies_what_is_pushed(registry: Registry, model: Path, tmp_path: Path) -> None:
    name = f"{registry.host}/interop/copied:v1"
    pushed = push(model, parse_reference(f"oci://{name}"), options=options(registry))
    copied = f"{registry.host}/interop/copy:v1"
    subprocess.run(
        ["skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--preserve-digests",
         f"docker://{name}", f"docker://{copied}"],
        check=True, timeout=120, capture_output=True,
    )  # fmt: skip
    with Store.open(tmp_path / "store") as store:
        pulled = pull(store, parse_reference(f"oci://{copied}"), options=options(registry))
    assert pulled.revision == pushed.revision
    assert pulled.tree == pushed.tree


def modctl(*arguments: str, storage: Path) -> None:
    """ModelPack's own tool, with a store of its own."""
    subprocess.run(
        ["modctl", "--storage-dir", storage, "--log-dir", storage, "--no-progress", *arguments],
        check=True, timeout=120, capture_output=True,
    )  # fmt: skip


NO_MODCTL = pytest.mark.skipif(
    shutil.which("modctl") is None, reason="modctl not found: build it from a checkout of github.com/modelpack/modctl"
)


@NO_MODCTL
def test_modctl_pulls_what_is_pushed(registry: Registry, model: Path, tmp_path: Path) -> None:
    name = f"{registry.host}/interop/for-modctl:v1"
    push(model, parse_reference(f"oci://{name}"), options=options(registry))
    out = tmp_path / "out"
    modctl("pull", "--plain-http", "--extract-from-remote", "--extract-dir", str(out), name, storage=tmp_path / "s")
    assert contents(out) == FILES


@NO_MODCTL
@pytest.mark.parametrize("layers", [("--raw",), ()], ids=["raw", "tar"])
def test_what_modctl_builds_and_pushes_is_pulled(
    registry: Registry, model: Path, tmp_path: Path, layers: tuple[str, ...]
) -> None:
    name = f"{registry.host}/interop/by-modctl:{len(layers)}"
    storage, modelfile = tmp_path / "s", tmp_path / "Modelfile"
    modctl("modelfile", "generate", str(model), "--output", str(tmp_path), storage=storage)
    modctl("build", *layers, "-f", str(modelfile), "-t", name, str(model), storage=storage)
    modctl("push", "--plain-http", name, storage=storage)
    with Store.open(tmp_path / "store") as store:
        assert contents(pull(store, parse_reference(f"oci://{name}"), options=options(registry)).path) == FILES


def artifact(registry: Registry, name: str) -> tuple[dict[str, Any], bytes]:
    """The manifest and the config blob, as the registry has them."""

    def get(path: str) -> bytes:
        headers = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
        request = urllib.request.Request(f"http://{registry.host}/v2/{name}/{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=10) as response:
            return bytes(response.read())

    manifest = json.loads(get("manifests/v1"))
    return manifest, get(f"blobs/{manifest['config']['digest']}")


def test_the_manifest_is_a_modelpack_artifact(registry: Registry, model: Path) -> None:
    push(model, parse_reference(f"oci://{registry.host}/interop/spec:v1"), options=options(registry))
    manifest, blob = artifact(registry, "interop/spec")
    assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    kinds = {layer["annotations"]["org.cncf.model.filepath"]: layer["mediaType"] for layer in manifest["layers"]}
    assert kinds["model.safetensors"] == "application/vnd.cncf.model.weight.v1.raw"
    assert kinds["config.json"] == "application/vnd.cncf.model.weight.config.v1.raw"
    config = json.loads(blob)
    assert config["modelfs"] == {"type": "layers", "diffIds": [layer["digest"] for layer in manifest["layers"]]}
    assert config["config"] == {"format": "safetensors"}


@pytest.mark.skipif(
    shutil.which("modelpack-config") is None,
    reason='modelpack-config not found: export PATH="$(.ci/modelpack/build):$PATH"',
)
def test_modelpacks_own_code_takes_the_config(registry: Registry, model: Path) -> None:
    push(model, parse_reference(f"oci://{registry.host}/interop/valid:v1"), options=options(registry))
    _, blob = artifact(registry, "interop/valid")

    def check(config: bytes) -> int:
        return subprocess.run(["modelpack-config"], input=config, timeout=60, capture_output=True).returncode

    assert check(blob) == 0
    assert check(blob.replace(b'"descriptor":{},', b"")) == 1


def test_an_upload_that_breaks_is_brought_to_its_end(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache.sources.oci.upload.PART_BYTES", 1 << 20)
    (tmp_path / "model").mkdir()
    content = random.Random(4).randbytes((5 << 20) + 77)
    (tmp_path / "model" / "model.gguf").write_bytes(content)
    with FakeProxy(upstream=registry.host, cut_at=(1_500_000, 4_000_000)) as relay:
        reference = parse_reference(f"oci://{relay.host}/interop/broken:v1")
        trusting = SourceOptions(plain_http=frozenset({relay.host}))
        told: list[Progress] = []
        pushed = push(tmp_path / "model", reference, options=trusting, on_progress=told.append)
        assert told[-1].bytes_done == told[-1].bytes_total
        with Store.open(tmp_path / "store") as store:
            pulled = pull(store, reference, options=trusting)
            assert contents(pulled.path) == {"model.gguf": content}
    assert pulled.revision == pushed.revision


def test_a_blob_of_another_repository_is_mounted_instead_of_sent(registry: Registry, model: Path) -> None:
    push(model, parse_reference(f"oci://{registry.host}/interop/base:v1"), options=options(registry))
    tuned = parse_reference(f"oci://{registry.host}/interop/tuned:v1")
    assert push(model, tuned, options=options(registry), mount_from="interop/base").bytes_sent == 0
    tuned = parse_reference(f"oci://{registry.host}/interop/other:v1")
    assert push(model, tuned, options=options(registry), mount_from="interop/none").bytes_sent > 0
