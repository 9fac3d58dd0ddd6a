"""What the agent counts, for Prometheus. No model names, which may be confidential; of peers only a few are named."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api.resources import NodeModelState, NodeModelStatus, PeerSetAside
from cache.exchange.authority.admission import REASONS as REFUSED_REASONS
from cache.exchange.group import SET_ASIDE_REASONS

# Seconds. A config file takes none, a 700 GB model over 1 Gb/s nearly two hours.
PULL_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400)


class Metrics:
    """One registry an agent, so that several live in one test process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.received = Counter(
            "warmset_agent_received_bytes",
            "Model bytes that arrived, by where from.",
            ["source"],
            registry=self.registry,
        )
        self.pull_seconds = Histogram(
            "warmset_agent_pull_seconds",
            "Duration of each attempt to pull a model, by how it ended: Ready, Stopped or the reason of the failure.",
            ["result"],
            buckets=PULL_BUCKETS,
            registry=self.registry,
        )
        self.corrupted = Counter(
            "warmset_agent_corrupted_blobs",
            "Blobs whose bytes rotted on the disk, found by the scrub or by a verification.",
            registry=self.registry,
        )
        self.evicted = Counter(
            "warmset_agent_evicted_bytes", "Bytes freed to make room: leftovers and models.", registry=self.registry
        )
        self.preloaded = Counter(
            "warmset_agent_preloaded_bytes", "Bytes read ahead into memory for pods that asked.", registry=self.registry
        )
        self.paused = Gauge(
            "warmset_agent_paused", "1 while an operator wants no pulls and no evictions.", registry=self.registry
        )
        self.scrubbed_at = Gauge(
            "warmset_agent_scrub_finished_timestamp_seconds",
            "When every blob had last been read again; 0 for never.",
            registry=self.registry,
        )
        for source in ("origin", "peers"):
            self.received.labels(source)

    def watch(
        self,
        *,
        models: Callable[[], Iterable[NodeModelStatus]],
        publications: Callable[[], int],
        set_aside: Callable[[], Iterable[PeerSetAside]],
        refusals: Mapping[str, int],
    ) -> None:
        """Read these at each scrape; ``refusals`` of peers' requests, by reason."""
        self.registry.register(_State(models, publications, set_aside, refusals))


class _State(Collector):
    def __init__(
        self,
        models: Callable[[], Iterable[NodeModelStatus]],
        publications: Callable[[], int],
        set_aside: Callable[[], Iterable[PeerSetAside]],
        refusals: Mapping[str, int],
    ) -> None:
        self._models = models
        self._refusals = refusals
        self._publications = publications
        self._set_aside = set_aside

    def collect(self) -> Iterator[Metric]:
        states = Tally(status.state for status in self._models())
        by_state = GaugeMetricFamily("warmset_agent_models", "Models on this node, by state.", labels=["state"])
        for state in get_args(NodeModelState):
            by_state.add_metric([state], states[state])
        yield by_state
        yield GaugeMetricFamily(
            "warmset_agent_publications", "Trees mounted into pods, or about to be.", value=self._publications()
        )
        peers = list(self._set_aside())
        reasons = Tally(one.reason for one in peers)
        aside = GaugeMetricFamily(
            "warmset_agent_peers_set_aside",
            "Peers from which this node took nothing more, since it started, by reason.",
            labels=["reason"],
        )
        for reason in SET_ASIDE_REASONS:
            aside.add_metric([reason], reasons[reason])
        yield aside
        named = GaugeMetricFamily(
            "warmset_agent_peer_set_aside_timestamp_seconds",
            "When a peer was last set aside, by name and reason; the latest ones.",
            labels=["peer", "reason"],
        )
        for one in peers:
            named.add_metric([one.peer, one.reason], datetime.fromisoformat(one.at).timestamp())
        yield named
        refused = CounterMetricFamily(
            "warmset_agent_peer_requests_refused",
            "Requests of peers that did not prove that they may read, by reason.",
            labels=["reason"],
        )
        for reason in REFUSED_REASONS:
            refused.add_metric([reason], self._refusals.get(reason, 0))
        yield refused
