"""The release patch: our gate goes, warm nodes are preferred, and nothing is required that nobody asked for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.gate.release_patch import Terms, release_patch
from tests.support.jsonpatch import TestFailed, apply

OURS = {"name": "warmset.dev/weights"}
KUEUE = {"name": "kueue.x-k8s.io/admission"}
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
WARM = Terms(hostnames=("n1", "n2"))
RACK = Terms(hostnames=("n1",), domain=("rack", "r1"))
IN_RACK = {"key": "rack", "operator": "In", "values": ["r1"]}


def pod(*gates: dict[str, str], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": "7"}, "spec": {"schedulingGates": list(gates or (OURS,))} | spec}


def released(held: dict[str, Any], terms: Terms) -> dict[str, Any]:
    result: dict[str, Any] = apply(held, release_patch(held, terms))
    return result


def node_affinity(result: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = result["spec"]["affinity"]["nodeAffinity"]
    return found


def test_warm_nodes_are_preferred_by_name_and_nothing_is_required() -> None:
    result = released(pod(), WARM)
    assert node_affinity(result) == {
        PREFERRED: [
            {
                "weight": 100,
                "preference": {
                    "matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n1", "n2"]}]
                },
            }
        ]
    }
    assert result["spec"]["schedulingGates"] == []


def test_only_our_gate_goes() -> None:
    assert released(pod(KUEUE, OURS), WARM)["spec"]["schedulingGates"] == [KUEUE]


def test_a_pod_without_our_gate_is_left_alone() -> None:
    assert release_patch(pod(KUEUE), WARM) == []


def test_a_release_without_terms_changes_no_affinity() -> None:
    assert "affinity" not in released(pod(), Terms())["spec"]


def test_the_domain_a_group_asked_for_is_required() -> None:
    assert node_affinity(released(pod(), RACK))[REQUIRED] == {"nodeSelectorTerms": [{"matchExpressions": [IN_RACK]}]}


def test_a_domain_that_the_node_selector_names_already_is_not_repeated() -> None:
    assert REQUIRED not in node_affinity(released(pod(nodeSelector={"rack": "r1"}), RACK))


def test_the_users_preferences_stay_before_ours() -> None:
    theirs = {"weight": 1, "preference": {"matchExpressions": [{"key": "x", "operator": "Exists"}]}}
    held = pod(affinity={"nodeAffinity": {PREFERRED: [theirs]}, "podAffinity": {"kept": True}})
    result = released(held, WARM)
    assert node_affinity(result)[PREFERRED][0] == theirs
    assert len(node_affinity(result)[PREFERRED]) == 2
    assert result["spec"]["affinity"]["podAffinity"] == {"kept": True}


def test_a_pod_that_changed_meanwhile_is_not_patched() -> None:
    changed = pod()
    changed["metadata"]["resourceVersion"] = "8"
    with pytest.raises(TestFailed):
        apply(changed, release_patch(pod(), WARM))


EXPRESSION = st.fixed_dictionaries({"key": st.sampled_from("abc"), "operator": st.just("Exists")})
TERM = st.fixed_dictionaries(
    {},
    optional={
        "matchExpressions": st.lists(EXPRESSION, min_size=1, max_size=3),
        "matchFields": st.just([{"key": "metadata.name", "operator": "In", "values": ["n1"]}]),
    },
)


@given(st.lists(TERM, min_size=1, max_size=4))
def test_required_terms_are_only_ever_appended_to(terms: list[dict[str, Any]]) -> None:
    """kube-apiserver: the same number of terms, each old one a prefix of the new one, an empty one unchanged."""
    held = pod(affinity={"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": terms}}})
    after = node_affinity(released(held, RACK))[REQUIRED]["nodeSelectorTerms"]
    assert len(after) == len(terms)
    for old, new in zip(terms, after, strict=True):
        assert new.get("matchFields") == old.get("matchFields")
        expected = [*old.get("matchExpressions", []), IN_RACK] if old else []
        assert new.get("matchExpressions", []) == expected


def test_a_release_notes_the_domain_that_it_required_and_only_then() -> None:
    assert released(pod(), RACK)["metadata"]["annotations"] == {"warmset.dev/required": "rack=r1"}
    assert "annotations" not in released(pod(), WARM)["metadata"]
