"""What is written onto Node objects: protection from autoscalers, and the end of the startup taint."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from api import keys
from controller.node_caches.node_marks import may_take_pods, protection, untaint
from controller.objects.durations import format_time
from controller.objects.nodes import PROTECTIONS, NodeView

SCALE_DOWN, DISRUPT = PROTECTIONS
JOINED = datetime(2026, 1, 1, tzinfo=UTC)


def node(**annotations: str) -> NodeView:
    return NodeView("n1", "u", annotations=annotations, created=format_time(JOINED))


def marked(before: NodeView, *, held: bool) -> NodeView:
    """The node after our change, as the API server merges it."""
    after = dict(before.annotations)
    for key, value in protection(before, held=held).items():
        if value is None:
            after.pop(key, None)
        else:
            after[key] = value
    return node(**after)


def test_a_node_that_a_plan_holds_is_protected_and_then_let_go() -> None:
    held = marked(node(), held=True)
    assert (held.annotations[SCALE_DOWN], held.annotations[DISRUPT]) == ("true", "true")
    assert protection(held, held=True) == {}
    assert marked(held, held=False).annotations == {}
    assert protection(node(), held=False) == {}


def test_what_an_administrator_has_set_stays_his() -> None:
    his = node(**{SCALE_DOWN: "false"})
    held = marked(his, held=True)
    assert held.annotations[SCALE_DOWN] == "false"
    assert marked(held, held=False).annotations == {SCALE_DOWN: "false"}


def test_what_somebody_changed_after_us_is_left_to_him() -> None:
    held = marked(node(), held=True)
    changed = node(**{**held.annotations, DISRUPT: "30m"})
    assert marked(changed, held=False).annotations == {DISRUPT: "30m"}


def test_what_we_set_is_known_after_one_was_taken_away() -> None:
    held = marked(node(), held=True)
    without = node(**{key: value for key, value in held.annotations.items() if key != DISRUPT})
    again = marked(without, held=True)
    assert again.annotations == held.annotations
    assert again.annotations[keys.PROTECTED] == ",".join(sorted(PROTECTIONS))


def test_a_node_takes_pods_when_it_is_warm_or_has_waited_long_enough() -> None:
    assert may_take_pods(node(), ready=True, most_s=60, now=JOINED)
    assert not may_take_pods(node(), ready=False, most_s=60, now=JOINED + timedelta(seconds=59))
    assert may_take_pods(node(), ready=False, most_s=60, now=JOINED + timedelta(seconds=60))


def test_only_our_taint_is_removed_and_only_if_it_is_still_where_it_was() -> None:
    taints = [{"key": "gpu"}, {"key": "ours", "effect": "NoSchedule"}, {"key": "ours", "effect": "NoExecute"}]
    assert untaint(taints, "ours") == [
        {"op": "test", "path": "/spec/taints/2/key", "value": "ours"},
        {"op": "remove", "path": "/spec/taints/2"},
        {"op": "test", "path": "/spec/taints/1/key", "value": "ours"},
        {"op": "remove", "path": "/spec/taints/1"},
    ]
    assert untaint(taints[:1], "ours") == []
