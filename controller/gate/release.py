"""Lets pods go: the release patch applied, in one burst for all members that exist."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from controller.gate.release_patch import Terms, release_patch
from controller.objects.pods import Pod, key
from controller.planning.nominations import Nominations
from kube.client import ApiError, Client
from kube.resources import POD

_TRIES = 4

log = structlog.get_logger()


async def release(client: Client, pods: Iterable[Pod], terms: Terms, *, nominations: Nominations) -> None:
    """Raises ApiError or ClusterUnavailable when a pod could not be patched; the others are released all the same."""
    going = (_propose_and_release(client, pod, terms, nominee=nominations.get(key(pod), "")) for pod in pods)
    results = await asyncio.gather(*going, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


async def _propose_and_release(client: Client, pod: Pod, terms: Terms, *, nominee: str) -> None:
    """The proposal first: once the gate is gone, the scheduler may be faster than we are."""
    if nominee:
        namespace, name = key(pod)
        body = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": {"nominatedNodeName": nominee}}
        try:
            pod = await client.patch(POD, name, body, namespace=namespace, subresource="status")
        except ApiError as error:  # it is only a proposal
            log.info("release.not_proposed", pod=f"{namespace}/{name}", node=nominee, error=str(error))
    await _release(client, pod, terms)


async def _release(client: Client, pod: Pod, terms: Terms) -> None:
    """A pod that changed since we read it (409, or 422 for a failed test) is read again. What the API server then
    still refuses is our terms: no pod stays behind for their sake."""
    namespace, name = key(pod)
    for attempt in range(_TRIES):
        last = attempt == _TRIES - 1
        patch = release_patch(pod, Terms() if last else terms)
        if not patch:
            return
        try:
            await client.patch(POD, name, patch, namespace=namespace, kind="json")
            return
        except ApiError as error:
            if error.status == 404:
                return
            if error.status not in (409, 422) or last:
                raise
            log.info("release.again", pod=f"{namespace}/{name}", error=str(error))
        newest = await client.get(POD, name, namespace=namespace)
        if newest["metadata"]["uid"] != pod["metadata"]["uid"]:
            return
        pod = newest
