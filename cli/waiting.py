"""Waiting for a WarmSet, telling on stderr what it waits for."""

from __future__ import annotations

import asyncio
import time

import click

from api.errors import WaitTimeout
from api.resources import WarmSet
from cli.cluster import state, warm_set
from controller.objects.durations import seconds
from kube.client import Client

POLL_S = 1.0


async def until(client: Client, name: str, *, namespace: str, within: str, condition: str = "Warm") -> WarmSet:
    """The WarmSet once ``condition`` is True for its present generation. Raises WaitTimeout, NotFound."""
    deadline = time.monotonic() + seconds(within)
    said = ""
    while True:
        found = await warm_set(client, name, namespace=namespace)
        present = state(found.status.conditions, condition)
        current = found.status.observed_generation == found.metadata.generation
        if current and present is not None and present.status == "True":
            return found
        words = f"{present.reason}: {present.message}" if present is not None else "nobody has looked at it yet"
        if words != said:
            click.echo(f"waiting for {namespace}/{name}: {words}", err=True)
            said = words
        if time.monotonic() >= deadline:
            raise WaitTimeout(
                f"WarmSet {namespace}/{name} was not {condition} within {within}: {words}",
                hint=f"warmset explain {name} -n {namespace}",
            )
        await asyncio.sleep(POLL_S)
