"""Rewrite the files that are made from other files. `make generate` runs this; the tests hold both together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from api import crd

ROOT = Path(__file__).resolve().parent.parent


def generate_crds() -> None:
    folder = ROOT / "deploy" / "chart" / "crds"
    for plural, manifest in crd.manifests().items():
        (folder / f"{plural}.yaml").write_text(crd.render(manifest))


def generate_csi(out: Path = ROOT) -> None:
    """Make the CSI stubs below ``out``.

    protoc runs at the checkout's root, so that the stubs import each other as csi.proto.csi_pb2. They demand a
    grpcio and a protobuf at least as new as the grpcio-tools that made them; the lock file holds them together.
    """
    outputs = [f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", *outputs, "csi/proto/csi.proto"]
    subprocess.run(command, cwd=ROOT, check=True)


def main() -> None:
    generate_crds()
    generate_csi()


if __name__ == "__main__":
    main()
