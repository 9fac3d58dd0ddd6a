"""The dashboard and the page on metrics name what agents and controllers export, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import generate_latest

import controller.metrics
import daemonset.metrics

ROOT = Path(__file__).resolve().parents[3]
DASHBOARD = json.loads((ROOT / "deploy" / "chart" / "dashboards" / "warmset.json").read_text())
PAGE = (ROOT / "docs" / "monitor.md").read_text()
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def exported() -> dict[str, str]:
    """What a scrape shows of a fresh agent and a fresh controller: type by family's name, those of the library too."""
    agent = daemonset.metrics.Metrics()
    agent.watch(models=list, publications=lambda: 0, set_aside=list, refusals={})
    text = generate_latest(agent.registry).decode() + generate_latest(controller.metrics.Metrics().registry).decode()
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))


def series(families: dict[str, str]) -> Iterator[str]:
    for name, kind in families.items():
        yield from (f"{name}_{part}" for part in ("bucket", "sum", "count")) if kind == "histogram" else [name]


def named(text: str) -> set[str]:
    return set(re.findall(r"\b(?:warmset|process)_[a-z_]+", text))


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_panel_asks_for_series_that_exist(expression: str) -> None:
    assert named(expression)
    assert named(expression) <= set(series(exported()))


@pytest.mark.parametrize("expression", [e for e in EXPRESSIONS if "_total" in e or "_bucket" in e or "_count" in e])
def test_what_only_grows_is_shown_as_a_rate(expression: str) -> None:
    assert re.search(r"\b(rate|increase)\(warmset_", expression)


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells


def test_the_page_lists_every_metric_of_ours_and_no_other() -> None:
    listed = set(re.findall(r"^\| `(warmset_[a-z_]+)", PAGE, re.MULTILINE))
    assert listed == {name for name in exported() if name.startswith("warmset_") and not name.endswith("_created")}


def test_the_alerts_of_the_page_ask_for_series_that_exist() -> None:
    expressions = re.findall(r"^ +expr: (.+)$", PAGE, re.MULTILINE)
    assert expressions
    for expression in expressions:
        assert named(expression) <= set(series(exported())), expression
