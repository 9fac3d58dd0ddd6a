"""The pages, and the YAML that they show, told apart by what it is for."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, Literal

import yaml

from daemonset.config import AgentConfig

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
VALUES = yaml.safe_load((ROOT / "deploy" / "chart" / "values.yaml").read_text())

Block = dict[str, Any]
Use = Literal["object", "values", "agent", "template", "volumes", "alerts", "nothing"]


def yaml_blocks(use: Use) -> list[Block]:
    """All of one use. A digest that is left to the reader is zeros."""
    texts = (re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL) for page in PAGES)
    filled = (text.replace("sha256:…", f"sha256:{0:064}") for found in texts for text in found)
    return [block for text in filled for block in yaml.safe_load_all(text) if use_of(block) == use]


def use_of(block: Block) -> Use:
    names = block.keys()
    if "apiVersion" in names:
        return "object"
    if names <= VALUES.keys():
        return "values"
    if names <= {field.name for field in dataclasses.fields(AgentConfig)}:
        return "agent"
    parts: dict[str, Use] = {"metadata": "template", "volumes": "volumes", "groups": "alerts"}
    return parts.get(next(iter(names)), "nothing")
