"""The helm commands that the pages show are run as they stand, but that nothing is installed; values are rendered."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from tests.support.chart import CHART, OLDEST_KUBERNETES, helm
from tests.support.pages import PAGES, ROOT, Block, yaml_blocks

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


@pytest.mark.parametrize("values", yaml_blocks("values"), ids=lambda block: next(iter(block)))
def test_shown_values_render_the_chart(values: Block, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    options = [f"--values={file}", f"--kube-version={OLDEST_KUBERNETES}"]
    assert "kind: DaemonSet" in helm("template", "warmset", str(CHART), *options)
