"""The page of workload APIs, its table of paths, and the examples say the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from api import keys

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "deploy" / "examples"
PAGE = (ROOT / "docs" / "workloads.md").read_text()
OWN = {"agent-standalone.yaml", "model.yaml", "persistent-volume.yaml", "secret-access.yaml", "warmset.yaml"}


def rows() -> list[tuple[str, list[str]]]:
    """The example of each row of the first table, and the paths that it names."""
    section = PAGE.partition("## Where the annotation goes\n")[2].partition("\n## ")[0]
    found = []
    for line in section.splitlines():
        cells = line.split("|")
        if len(cells) == 5 and (example := re.search(r"examples/([a-z-]+\.yaml)\)", cells[3])):
            found.append((example[1], re.findall(r"`([a-zA-Z.\[\]]+annotations)`", cells[2])))
    return found


def at(value: Any, path: list[str]) -> Iterator[dict[str, Any]]:
    """What lies at the path; ``name[]`` goes into every item of a list."""
    if not path:
        yield value
        return
    name, rest = path[0].removesuffix("[]"), path[1:]
    inner = value.get(name) if isinstance(value, dict) else None
    for item in inner or () if path[0].endswith("[]") else [inner] if inner is not None else []:
        yield from at(item, rest)


def asking(value: Any) -> int:
    """How often the annotation stands anywhere."""
    if isinstance(value, dict):
        return (keys.MODEL in value) + sum(asking(inner) for inner in value.values())
    return sum(asking(inner) for inner in value) if isinstance(value, list) else 0


@pytest.mark.parametrize(("example", "paths"), rows(), ids=[name for name, _ in rows()])
def test_an_example_asks_at_the_paths_of_the_table_and_nowhere_else(example: str, paths: list[str]) -> None:
    objects = [obj for obj in yaml.safe_load_all((EXAMPLES / example).read_text()) if obj]
    places = [place for obj in objects for path in paths for place in at(obj, path.split("."))]
    asked = [place for place in places if keys.MODEL in place]
    assert asked
    assert len(asked) == sum(asking(obj) for obj in objects)


def test_every_workloads_example_is_in_the_table() -> None:
    assert sorted(name for name, _ in rows()) == sorted({path.name for path in EXAMPLES.glob("*.yaml")} - OWN)


@pytest.mark.parametrize("example", [name for name, _ in rows()])
def test_an_example_names_every_model_by_one_that_exists(example: str) -> None:
    """Those of the other examples, so that a reader can apply them one after the other."""
    known = {"llama-3-70b", "llama-3-1b-draft"}
    for name in re.findall(rf"{keys.MODEL}: \"?([^\"\n]+)", (EXAMPLES / example).read_text()):
        assert {part.strip() for part in name.split(",")} - known <= {"oci://registry.example.com/models/llama-3-8b:v2"}
