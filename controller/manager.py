"""Runs the controller: reflectors and listeners on every replica, the work on the one that leads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from api.errors import ClusterUnavailable
from controller.admission.webhook import Webhook
from controller.broker.cohorts import Cohorts
from controller.broker.grants import Broker
from controller.certificates.trust import Trust
from controller.cluster.flavors import topology_flavors
from controller.cluster.levels import discover, expand
from controller.cluster.owners import Owners
from controller.cluster.roster import Roster
from controller.cluster.snapshots import Snapshots
from controller.cluster.world import World
from controller.config import Config, split_address
from controller.election import Election
from controller.events import Events
from controller.metrics import Metrics
from controller.queue import WorkQueue
from controller.reconcile import groups, models, nodes, pods, warm_sets, workloads
from controller.reconcile.context import Context, Kind, Queues, Work
from controller.server import serve_http, serve_https
from controller.takeover import spare_collector, take_over
from controller.watching import Watching
from kube.client import ApiError, Client

LEASE = "warmset-controller"
WORKERS = 8  # reconciles at a time; they mostly wait for the API server
RESOLVERS = 4  # Models resolved at a time; they wait for registries
TRUST_EVERY_S = 60.0
TOPOLOGY_EVERY_S = 60.0

_RECONCILE: dict[Kind, Callable[[Context, Work], Awaitable[float | None]]] = {
    "model": models.reconcile,
    "pod": pods.reconcile,
    "group": groups.reconcile,
    "node": nodes.reconcile,
    "warmset": warm_sets.reconcile,
    "workload": workloads.reconcile,
}

log = structlog.get_logger()


class LeadershipLost(Exception):
    """The process ends and starts anew: nothing half-done may go on beside another leader."""


async def run(client: Client, config: Config, *, identity: str, stop: asyncio.Event) -> None:
    """Until ``stop`` is set. Raises an exception group of what ended a task that must not end, LeadershipLost among
    it, and ApiError or ClusterUnavailable where there is no start."""
    world, roster, metrics = World(), Roster(), Metrics()
    watching = Watching(client, world, roster)
    trust = Trust(client, config)
    await trust.refresh()
    agents = f"system:serviceaccount:{config.namespace}:{config.agent_service_account}"
    broker = Broker(client, world, sources=config.sources, agents=agents, signers=lambda: trust.signers)
    context = Context(
        client=client,
        config=config,
        world=world,
        roster=roster,
        snapshots=Snapshots(world, roster, levels=expand(config.topology_levels), quotas=config.quotas),
        owners=Owners(client),
        events=Events(client, instance=identity),
        metrics=metrics,
        queues=Queues(),
        reports={},
        freed={},
        cohorts=Cohorts(),
        paces={},
        refused={},
        images={},
    )
    election = Election(client, namespace=config.namespace, name=LEASE, identity=identity)
    async with (
        serve_http(
            split_address(config.listen_http), ready=lambda: watching.missing, registry=metrics.registry
        ) as http,
        serve_https(
            split_address(config.listen_https),
            tls=trust.tls,
            webhook=Webhook(client, world, context.owners, host_path_root=config.host_path_root),
            broker=broker,
            metrics=metrics,
        ) as https,
        asyncio.TaskGroup() as tasks,
    ):
        log.info("controller.started", http=http, https=https, identity=identity)
        running = [
            *(_guarded(tasks, f"watch-{name}", r.run()) for name, r in watching.reflectors.items()),
            _guarded(tasks, "watch-kueue", watching.kueue.run()),
            _guarded(tasks, "trust", _keep_trust(trust, watching)),
            _guarded(tasks, "lead", _lead(context, watching, election, trust)),
        ]
        await stop.wait()
        for task in running:
            task.cancel()
    await election.release()
    log.info("controller.stopped")


def _guarded(tasks: asyncio.TaskGroup, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[None]:
    """A task that may only end by being cancelled; anything else ends the process, and says so."""

    async def guard() -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException:
            log.exception("task.failed", task=name)
            raise
        raise RuntimeError(f"task {name} ended")

    return tasks.create_task(guard(), name=name)


async def _lead(context: Context, watching: Watching, election: Election, trust: Trust) -> None:
    await watching.synced()
    await election.acquire()
    context.metrics.leading.set(1)
    watching.queues = context.queues
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_work(context, watching), name="work")
            tasks.create_task(_trust_once(trust, publish=True), name="publish")
            await election.hold()
            raise LeadershipLost("another replica leads")
    finally:
        context.queues.close()


async def _work(context: Context, watching: Watching) -> None:
    await _look_at_topology(context)
    await take_over(context)
    spare_collector()
    watching.everything()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_keep_topology(context), name="topology")
        for number in range(WORKERS):
            tasks.create_task(_worker(context, context.queues.main), name=f"worker-{number}")
        for number in range(RESOLVERS):
            tasks.create_task(_worker(context, context.queues.models), name=f"resolver-{number}")


async def _worker(context: Context, queue: WorkQueue[Work]) -> None:
    metrics = context.metrics
    while True:
        work = await queue.take()
        metrics.queued.set(len(context.queues.main) + len(context.queues.models))
        begun = time.monotonic()
        try:
            again_s = await _RECONCILE[work.kind](context, work)
        except (ApiError, ClusterUnavailable) as error:
            wait_s = queue.failed(work)
            metrics.failures.labels(kind=work.kind).inc()
            log.info("work.failed", work=work, error=str(error), again_s=round(wait_s, 2))
        except Exception:  # a bug met by one object must not stop the others
            wait_s = queue.failed(work)
            metrics.failures.labels(kind=work.kind).inc()
            log.exception("work.broken", work=work, again_s=round(wait_s, 2))
        else:
            queue.done(work)
            if again_s is not None:
                queue.add_later(work, again_s)
        metrics.reconciles.labels(kind=work.kind).observe(time.monotonic() - begun)


async def _keep_topology(context: Context) -> None:
    while True:
        await asyncio.sleep(TOPOLOGY_EVERY_S)
        await _look_at_topology(context)


async def _look_at_topology(context: Context) -> None:
    """What other schedulers' objects say of it. Groups that have their nodes keep them whatever comes out."""
    try:
        if not context.config.topology_levels:
            context.snapshots.levels = await discover(context.client)
        if context.config.startup_taint:
            context.world.flavors = await topology_flavors(context.client)
    except (ApiError, ClusterUnavailable) as error:
        log.warning("topology.not_read", error=str(error))


async def _keep_trust(trust: Trust, watching: Watching) -> None:
    while True:
        await asyncio.sleep(TRUST_EVERY_S)
        await _trust_once(trust, publish=watching.queues is not None)  # the leader publishes


async def _trust_once(trust: Trust, *, publish: bool) -> None:
    try:
        bundle = await trust.refresh()
        if publish:
            await trust.publish(bundle)
    except (ApiError, ClusterUnavailable) as error:
        log.warning("trust.not_kept", error=str(error))
