"""YAML that the pages show is taken by what it is for.

What the chart and an API server take is tried in tests/integration; test_dashboard.py has the alerts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

import daemonset.config
from api.fields import ObjectMeta
from api.resources import Model, ModelSpec
from controller.admission.mutate import mutate
from csi import attributes
from tests.support.pages import yaml_blocks


def test_every_block_is_for_something() -> None:
    assert yaml_blocks("nothing") == []


def test_an_agent_reads_its_configuration(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    blocks = yaml_blocks("agent")
    for block in blocks:
        path.write_text(yaml.safe_dump({"root": "/var/lib/warmset"} | block))
        # An agent finds itself among the members by this machine's addresses; they are the reader's.
        first = {"peers": {"listen": _members(block["peers"])[0]}} if "peers" in block else {}
        daemonset.config.load(path, options=first)
    assert len(blocks) >= 2


def _members(peers: dict[str, Any]) -> list[str]:
    return peers.get("members") or [member for listed in peers["domains"].values() for member in listed]


def test_an_annotated_pod_is_admitted() -> None:
    source = "oci://registry.example.com/models/llama:v1"
    blocks = yaml_blocks("template")
    for block in blocks:
        pod = block | {"spec": {"containers": [{"name": "engine", "image": "engine:1"}]}}
        names = ("llama", "llama-3-70b")
        models = {
            f"team-a/{name}": Model(metadata=ObjectMeta(name=name, namespace="team-a"), spec=ModelSpec(source=source))
            for name in names
        }
        assert mutate(pod, namespace="team-a", models=models)
    assert blocks


def test_the_driver_knows_a_volumes_attributes() -> None:
    volumes = [volume["csi"] for block in yaml_blocks("volumes") for volume in block["volumes"]]
    for csi in volumes:
        assert attributes.known(csi["volumeAttributes"]) == csi["volumeAttributes"]
        assert csi["readOnly"]
    assert volumes
