"""The helm commands that the pages show are run as they stand, but that nothing is installed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.support.chart import OLDEST_KUBERNETES, helm

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
# What only a release that exists can do.
ABOUT_A_RELEASE = {"--reuse-values", "--reset-then-reuse-values", "--create-namespace"}


def commands() -> list[str]:
    found = []
    for page in PAGES:
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [line for line in lines if line.startswith(("helm install", "helm upgrade"))]
    return found


@pytest.mark.parametrize("command", commands())
def test_a_shown_command_renders_the_chart(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    words = shlex.split(command, comments=True)[2:]
    rendered = helm("template", *(w for w in words if w not in ABOUT_A_RELEASE), f"--kube-version={OLDEST_KUBERNETES}")
    assert "kind: DaemonSet" in rendered


def test_there_are_such_commands() -> None:
    assert len(commands()) >= 4
