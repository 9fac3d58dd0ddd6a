"""Kueue's Workloads and AdmissionChecks, watched where Kueue is installed. It may come later, or never."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NoReturn

import structlog

from api.errors import ClusterUnavailable
from controller.kueue.workload import GROUP
from kube.client import ApiError, Client, Object, backoff
from kube.reflector import Key, Reflector
from kube.resources import Resource

VERSIONS = ("v1beta2", "v1beta1")  # the newest that is served
LOOK_AGAIN_S = 60.0

OnChange = Callable[[Key, Object | None, Object | None], None]

log = structlog.get_logger()


def workloads(version: str) -> Resource:
    return Resource(GROUP, version, "workloads", "Workload")


def admission_checks(version: str) -> Resource:
    return Resource(GROUP, version, "admissionchecks", "AdmissionCheck", namespaced=False)


class KueueWatch:
    """``known`` is set once the Workloads were read, or it is clear that there are none to read."""

    def __init__(self, client: Client, *, on_workload: OnChange, on_check: OnChange) -> None:
        self.known = asyncio.Event()
        self._client = client
        self._on_workload = on_workload
        self._on_check = on_check

    async def run(self) -> NoReturn:
        failures = 0
        while True:
            try:
                version = await self._served()
            except (ApiError, ClusterUnavailable) as error:
                log.warning("kueue.not_asked", error=str(error))
                await backoff(failures)
                failures = min(failures + 1, 10)
                continue
            if version is not None:
                read = Reflector(self._client, workloads(version), on_change=self._on_workload)
                checks = Reflector(self._client, admission_checks(version), on_change=self._on_check)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(read.run(), name="watch-workloads")
                    tasks.create_task(checks.run(), name="watch-admissionchecks")
                    await read.synced.wait()
                    self.known.set()
            self.known.set()
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _served(self) -> str | None:
        for version in VERSIONS:
            try:
                await self._client.list(workloads(version), field_selector="metadata.name=none")
            except ApiError as error:
                if error.status not in (403, 404):
                    raise
                if error.status == 403:
                    log.warning("kueue.not_readable", error=str(error))
                continue
            return version
        return None
