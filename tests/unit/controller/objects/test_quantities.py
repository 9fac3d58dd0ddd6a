"""Kubernetes quantities and what the scheduler counts for a pod."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import InvalidRequest
from controller.objects.quantities import pod_requests, quantity, resources


@pytest.mark.parametrize(
    ("text", "value"),
    [("8", 8), ("64Gi", 64 << 30), ("1.5Gi", 3 << 29), ("1e3", 1000), ("2k", 2000), ("500m", 1), ("0.1", 1), (4, 4)],
)
def test_a_quantity_is_a_whole_number_rounded_up(text: str | int, value: int) -> None:
    assert quantity(text) == value


def test_cpu_counts_in_thousandths() -> None:
    assert resources({"cpu": "250m", "nvidia.com/gpu": "8", "memory": "1Gi", "pods": "0"}) == {
        "cpu": 250,
        "nvidia.com/gpu": 8,
        "memory": 1 << 30,
    }


@given(st.integers(min_value=0, max_value=10**15))
def test_plain_numbers_read_back(number: int) -> None:
    assert quantity(str(number)) == number


@pytest.mark.parametrize("text", ["", "8 GPUs", "1Xi", "--1", "1e999"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        quantity(text)


def test_a_pod_asks_for_its_containers_together() -> None:
    spec = {"containers": [{"resources": {"requests": {"cpu": "1"}}}, {"resources": {"limits": {"cpu": "2"}}}]}
    assert pod_requests(spec) == {"cpu": 3000, "pods": 1}


def test_a_larger_init_step_counts_with_the_sidecars_before_it() -> None:
    def container(cpu: str, **extra: str) -> dict[str, object]:
        return {"resources": {"requests": {"cpu": cpu}}, **extra}

    spec = {
        "initContainers": [container("1", restartPolicy="Always"), container("5")],
        "containers": [container("2")],
        "overhead": {"cpu": "250m"},
    }
    assert pod_requests(spec)["cpu"] == 6250
