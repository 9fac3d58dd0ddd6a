"""Who lied is to be seen by whoever watches the node."""

from __future__ import annotations

import pytest
from prometheus_client import generate_latest

from api.resources import MOST_SET_ASIDE
from cache.exchange.group import DOES_NOT_SEND, WRONG_BYTES, Exchanges, Group
from daemonset.metrics import Metrics
from daemonset.pulling.fetch import alone
from daemonset.sharing.exchanges import Sharing


@pytest.fixture
def sharing() -> Sharing:
    exchanges = Exchanges(Group.listed(["127.0.0.1:1", "127.0.0.1:2"], me="127.0.0.1:1"))
    return Sharing(exchanges, share=alone, listen="", admission=None, tls=None)


def test_a_peer_that_served_wrong_bytes_counts_once_however_often_and_is_named(sharing: Sharing) -> None:
    metrics = Metrics()
    metrics.watch(models=list, publications=int, set_aside=sharing.set_aside, refusals={"Expired": 3})
    for _ in range(2):
        sharing.exchanges.set_aside("127.0.0.1:2", reason=WRONG_BYTES, message="it served wrong bytes")
    shown = generate_latest(metrics.registry).decode()
    assert 'warmset_agent_peers_set_aside{reason="WrongBytes"} 1.0' in shown
    assert 'warmset_agent_peers_set_aside{reason="DoesNotSend"} 0.0' in shown
    assert 'warmset_agent_peer_set_aside_timestamp_seconds{peer="127.0.0.1:2",reason="WrongBytes"}' in shown
    assert 'warmset_agent_peer_requests_refused_total{reason="Expired"} 3.0' in shown
    assert 'warmset_agent_peer_requests_refused_total{reason="OtherClient"} 0.0' in shown
    (one,) = sharing.set_aside()
    assert one.peer == "127.0.0.1:2"


def test_of_many_peers_the_latest_are_named(sharing: Sharing) -> None:
    for number in range(MOST_SET_ASIDE + 5):
        sharing.exchanges.set_aside(f"node-{number}", reason=DOES_NOT_SEND, message="")
    named = [one.peer for one in sharing.set_aside()]
    assert named == [f"node-{number}" for number in range(5, MOST_SET_ASIDE + 5)]
