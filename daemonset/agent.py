"""The agent's wiring: which parts live in one process, and how they start and end.

Start: own the store, answer health, socket and metrics, report what the store holds, then reconcile. The order matters
after a crash: a node that cannot reach the cluster must serve its trees all the same. End: stop accepting, tell pulls
to end (what they have stays for the next start), leave mounts and pins alone.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import version
from time import monotonic
from typing import Any, NoReturn

import structlog
from aiohttp import web

from api.keys import model_key
from api.node import AgentStatus
from api.resources import AgentInfo, NodeCacheStatus, PeerSetAside
from cache.exchange.holding import remembered
from cache.store import Store, Usage
from daemonset import http, socket_api
from daemonset.authority.broker import BrokerClient
from daemonset.authority.grants import Grants
from daemonset.authority.logins import Logins
from daemonset.authority.standalone import ConfiguredGrants
from daemonset.changed import Changed
from daemonset.config import AgentConfig, Cluster, split_address
from daemonset.metrics import Metrics
from daemonset.publishing.open_models import OpenModels
from daemonset.publishing.preload import Preload
from daemonset.publishing.publications import Publications
from daemonset.pulling.desired import from_config
from daemonset.pulling.fetch import alone, fetcher
from daemonset.pulling.pulls import Fetch, Pulls
from daemonset.serving import serving, serving_in_threads
from daemonset.sharing import peers
from daemonset.sharing.agreement import Agreement
from daemonset.sharing.exchanges import Sharing, sharing_of
from daemonset.sharing.layers import drop_unasked
from daemonset.sharing.turnstile import Turnstile, Uplink
from daemonset.upkeep import Upkeep

VERSION = version("warmset")
LOCK_WAIT_S = 20.0  # the agent before us may still be ending
POLLED_S = 2.0  # least age at which the sizes in a status that is polled are measured anew
MAX_MODELS = 256  # as many as the custom resource takes

Jobs = dict[str, Coroutine[Any, Any, NoReturn]]

log = structlog.get_logger()


async def run(config: AgentConfig) -> None:
    """Run until SIGTERM or SIGINT. Raises StoreLocked, DiskError, InvalidRequest or ClusterUnavailable at start."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with await asyncio.to_thread(
        Store.open, config.root, io=config.io, wait_s=LOCK_WAIT_S, watermarks=config.watermarks
    ) as store:
        async with AsyncExitStack() as stack:
            sharing = sharing_of(config, store=store)
            if sharing is not None:
                for holding in await asyncio.to_thread(remembered, store):
                    sharing.exchanges.hold(holding)
                host, port = split_address(sharing.listen)
                tls = sharing.tls.server if sharing.tls else None
                upload = config.limits.upload_bytes_per_second
                uplink = None if upload is None else Uplink(upload)
                app = partial(
                    peers.application,
                    sharing.exchanges,
                    store=store,
                    admission=sharing.admission,
                    turnstile=Turnstile(),
                    uplink=uplink,
                    revision=sharing.agreement.revision if sharing.agreement else None,
                )
                await stack.enter_async_context(serving_in_threads(app, host=host, port=port, tls=tls))
            fetch = fetcher(
                store,
                limits=config.limits,
                ambient=config.cluster is None,
                allow_executable=config.allow_executable,
                share=sharing.share if sharing else alone,
                mirrors=config.mirrors,
            )
            await Agent(config, store=store, fetch=fetch, sharing=sharing).run(stop)


class Agent:
    """All parts of one agent. ``fetch`` is a parameter so that tests can stand in for the network."""

    def __init__(self, config: AgentConfig, *, store: Store, fetch: Fetch, sharing: Sharing | None = None) -> None:
        self._config = config
        self._store = store
        self._stopping = False
        self._measured: tuple[float, Usage] | None = None
        self._changed = Changed()
        self._metrics = Metrics()
        ask: BrokerClient | Agreement | ConfiguredGrants = ConfiguredGrants(config)
        if config.cluster is not None:
            ask = BrokerClient(config.cluster.broker)
        elif sharing is not None and sharing.agreement is not None:
            ask = sharing.agreement
        grants = Grants(store.root, ask=ask.grant)
        self._pulls = Pulls(
            store,
            grants=grants,
            fetch=fetch,
            slots=config.limits.pulls,
            changed=self._changed,
            metrics=self._metrics,
        )
        self._upkeep = Upkeep(
            store,
            pulls=self._pulls,
            metrics=self._metrics,
            scrub_bytes_per_second=config.scrub_bytes_per_second,
            watermarks=config.watermarks,
        )
        logins = Logins(store.root, changed=self._changed)
        self._preload = Preload(store, limit_bytes=config.limits.preload_bytes, on_bytes=self._metrics.preloaded.inc)
        self._publications = Publications(
            store, pulls=self._pulls, grants=grants, logins=logins, preload=self._preload, changed=self._changed
        )
        self._open_models = OpenModels(store, pulls=self._pulls, grants=grants, changed=self._changed)
        self._sharing = sharing
        self._set_aside: Callable[[], list[PeerSetAside]] = sharing.set_aside if sharing else list
        admission = sharing.admission if sharing else None
        self._metrics.watch(
            models=self._pulls.statuses,
            publications=self._publications.count,
            set_aside=self._set_aside,
            refusals=admission.refusals if admission else {},
        )

    async def run(self, stop: asyncio.Event) -> None:
        async with AsyncExitStack() as stack:
            jobs = {"pulls": self._pulls.run(), "preload": self._preload.run(), **self._upkeep.jobs()}
            if self._sharing is not None:
                jobs["layers"] = drop_unasked(self._sharing.exchanges, store=self._store)
            if self._config.host_path:
                jobs["open"] = self._open_models.run()
            if self._config.socket is None or self._config.host_path:
                self._pulls.pins_are_mounts(True)  # there is no driver that could mount anything
            if self._config.cluster is None:
                self._pulls.set_desired(from_config(self._config.models))
            else:
                jobs |= await stack.enter_async_context(self._joined(self._config.cluster))
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            async with self._servers():
                running = [tasks.create_task(_guarded(name, job), name=name) for name, job in jobs.items()]
                log.info("agent.started", node=self._config.node, version=VERSION, root=str(self._store.root))
                await stop.wait()
                self._stopping = True
                log.info("agent.stopping")
                for task in running:
                    task.cancel()
        log.info("agent.stopped")

    def _joined(self, cluster: Cluster) -> AbstractAsyncContextManager[Jobs]:
        # Imported here because a stand-alone agent need not pay for the library: a second and 20 MiB.
        from daemonset.cluster import joined

        return joined(
            cluster,
            node=self._config.node,
            status=self._node_status,
            on_desired=self._pulls.set_desired,
            changed=self._changed,
        )

    @asynccontextmanager
    async def _servers(self) -> AsyncIterator[None]:
        host, port = self._config.address
        tcp = http.application(
            metrics=self._metrics,
            not_ready=self._not_ready,
            status=None if self._config.cluster else self._agent_status,
        )
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(serving(tcp, partial(web.TCPSite, host=host, port=port)))
            if self._config.socket is not None:
                listener = socket_api.listen(self._config.socket)
                local = socket_api.application(
                    self._publications, status=self._agent_status, verify=self._upkeep.verify
                )
                await stack.enter_async_context(serving(local, partial(web.SockSite, sock=listener)))
            yield

    def _not_ready(self) -> str:
        if self._stopping:
            return "Stopping: the agent was told to end"
        return self._upkeep.trouble()

    async def _agent_status(self) -> AgentStatus:
        usage = await self._usage(polled=True)
        return AgentStatus(
            node=self._config.node,
            version=VERSION,
            cache_id=self._store.cache_id,
            capacity=usage.capacity,
            used=usage.used,
            paused=self._pulls.paused,
            models=self._pulls.statuses(),
            names={model_key(m.namespace, m.base_name): m.name for m in self._config.models},
            publications=await self._publications.all(),
            peers_set_aside=self._set_aside(),
        )

    async def _node_status(self) -> NodeCacheStatus:
        usage = await self._usage(polled=False)
        return NodeCacheStatus(
            cache_id=self._store.cache_id,
            capacity=usage.capacity,
            used=usage.used,
            reserved=usage.reserved,
            paused=self._pulls.paused,
            models=self._pulls.statuses()[:MAX_MODELS],
            agent=AgentInfo(
                address=self._config.cluster.advertise if self._config.cluster else "",
                key=self._sharing.key if self._sharing else "",
                version=VERSION,
            ),
            peers_set_aside=self._set_aside(),
        )

    async def _usage(self, *, polled: bool) -> Usage:
        """Measuring walks the cache, a second for 100,000 files: whoever polls gets figures that are as old as keeps
        the walks to a hundredth of the time."""
        began = monotonic()
        if self._measured is None or not polled or began >= self._measured[0]:
            usage = await asyncio.to_thread(self._store.usage)
            took_s = monotonic() - began
            self._measured = monotonic() + max(POLLED_S, 100 * took_s), usage
        return self._measured[1]


async def _guarded(name: str, job: Awaitable[NoReturn]) -> None:
    """A job ends only by being cancelled; anything else is a defect, said by name before the agent ends with it."""
    try:
        await job
    except Exception:
        log.exception("agent.job_failed", job=name)
        raise
