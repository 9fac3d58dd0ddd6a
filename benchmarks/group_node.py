"""A stand-alone agent that takes its members' addresses as they are: the namespaces of a benchmark are its loopback.

    python -m benchmarks.group_node --config agent.yaml

The configuration's loader lets members do without security on loopback addresses only, for good reason.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import yaml

from cache.store.capacity import Watermarks
from daemonset.agent import run
from daemonset.config import AgentConfig, Limits, Peers, StandaloneModel

if __name__ == "__main__":
    said = yaml.safe_load(Path(sys.argv[sys.argv.index("--config") + 1]).read_text())
    config = AgentConfig(
        root=Path(said["root"]),
        node=said["node"],
        listen=said["listen"],
        models=tuple(StandaloneModel(**model) for model in said["models"]),
        plain_http=frozenset(said["plain_http"]),
        limits=Limits(**said["limits"]),
        watermarks=Watermarks(**said["watermarks"]),
        peers=Peers(
            listen=said["peers"]["listen"],
            members=tuple(said["peers"]["members"]),
            without_security=said["peers"]["without_security"],
        ),
    )
    asyncio.run(run(config))
