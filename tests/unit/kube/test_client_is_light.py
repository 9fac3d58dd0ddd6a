"""What only parses, helps or knows no cluster does not pay for the Kubernetes library."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["kube.client", "cli.commands.status", "cli.commands.warm", "daemonset.agent"])
def test_the_library_is_imported_by_whoever_connects(module: str) -> None:
    script = f"import sys, {module}; print('kubernetes' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
