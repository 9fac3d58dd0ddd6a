"""Who lied is to be seen by whoever watches the node."""

from __future__ import annotations

from prometheus_client import generate_latest

from cache.exchange.group import WRONG_BYTES, Exchanges, Group
from daemonset.metrics import Metrics


def test_a_peer_that_served_wrong_bytes_counts_once_however_often() -> None:
    exchanges = Exchanges(Group.listed(["127.0.0.1:1", "127.0.0.1:2"], me="127.0.0.1:1"))
    metrics = Metrics()
    metrics.watch(models=list, publications=int, set_aside=exchanges.peers_set_aside, refusals={"Expired": 3})
    for _ in range(2):
        exchanges.set_aside("127.0.0.1:2", reason=WRONG_BYTES, message="it served wrong bytes")
    shown = generate_latest(metrics.registry).decode()
    assert 'warmset_agent_peers_set_aside{reason="WrongBytes"} 1.0' in shown
    assert 'warmset_agent_peers_set_aside{reason="DoesNotSend"} 0.0' in shown
    assert 'warmset_agent_peer_requests_refused_total{reason="Expired"} 3.0' in shown
    assert 'warmset_agent_peer_requests_refused_total{reason="OtherClient"} 0.0' in shown
    (one,) = exchanges.peers_set_aside()
    assert one.peer == "127.0.0.1:2"
