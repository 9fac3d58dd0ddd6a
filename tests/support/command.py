"""``warmset`` as a user runs it, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "cli.main", *map(str, arguments)]


def environment(**env: str) -> dict[str, str]:
    """Without the user's logins and proxies."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return {**kept, "DOCKER_CONFIG": "/nonexistent", "PYTHONPATH": str(REPOSITORY), **env}


def warmset(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), env=environment(**env), capture_output=True, text=True, timeout=120, check=False
    )


def warmset_json(*arguments: str | Path, code: int = 0) -> Any:
    """What ``-o json`` prints; fails the test unless the command ends with ``code``."""
    done = warmset(*arguments, "-o", "json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)
