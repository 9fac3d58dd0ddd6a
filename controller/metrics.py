"""What the controller counts (Prometheus). Names carry their unit; no label has a value that users choose."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# Seconds from a warm hit to a pull of hours.
_BUCKETS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800)


class Metrics:
    """One set of collectors; tests make their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.leading = Gauge("warmset_leading", "1 while this replica leads.", registry=self.registry)
        self.queued = Gauge("warmset_queue_keys", "Keys that wait for work.", registry=self.registry)
        self.failures = Counter(
            "warmset_reconcile_failures_total",
            "Reconciles that failed and come back.",
            ["kind"],
            registry=self.registry,
        )
        self.reconciles = Histogram(
            "warmset_reconcile_seconds", "Time of one reconcile.", ["kind"], registry=self.registry
        )
        self.admissions = Histogram(
            "warmset_admission_seconds", "Time to answer an admission review.", registry=self.registry
        )
        self.holds = Histogram(
            "warmset_gate_hold_seconds",
            "From a pod's creation to its gate's removal, by why it was let go.",
            ["reason"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.cold_starts = Histogram(
            "warmset_cold_start_seconds",
            "From the creation of a group's first pod to each stage of its start.",
            ["stage"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
