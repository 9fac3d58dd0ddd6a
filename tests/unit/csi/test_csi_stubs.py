"""The committed stubs are those of the committed csi.proto."""

from __future__ import annotations

from pathlib import Path

import pytest

from csi.proto import csi_pb2
from scripts.generate import generate_csi

STUBS = Path(csi_pb2.__file__).parent


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stubs")
    generate_csi(folder)
    return folder / "csi" / "proto"


@pytest.mark.parametrize("name", ["csi_pb2.py", "csi_pb2.pyi", "csi_pb2_grpc.py"])
def test_stub_is_what_protoc_makes(generated: Path, name: str) -> None:
    assert (STUBS / name).read_text() == (generated / name).read_text(), "run `make generate` and commit what it writes"
