"""Every member of a stand-alone group works out the same list, however it is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import InvalidRequest
from daemonset.sharing import members
from daemonset.sharing.members import expand, hosts, own


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("node1", ["node1"]),
        ("node[1-3]", ["node1", "node2", "node3"]),
        ("node[08-11]", ["node08", "node09", "node10", "node11"]),
        ("node[01-02,07],login", ["node01", "node02", "node07", "login"]),
        ("r[0-1]n[1,3]", ["r0n1", "r0n3", "r1n1", "r1n3"]),
        ("gpu[1-2].example.com", ["gpu1.example.com", "gpu2.example.com"]),
    ],
)
def test_a_slurm_node_list_reads_as_scontrol_reads_it(text: str, names: list[str]) -> None:
    assert hosts(text) == names


@pytest.mark.parametrize(
    "text", ["", "a,,b", "n[1-", "n1]", "n[3-1]", "n[a-b]", "n[]", "n[1-99999999]", "a b", "[[1]]"]
)
def test_what_is_no_node_list_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        hosts(text)


names = st.from_regex(r"[a-z][a-z-]{0,6}", fullmatch=True)


@given(names, st.integers(0, 9000), st.integers(0, 40), st.integers(1, 6))
def test_a_range_holds_each_number_once_at_its_width(name: str, first: int, more: int, width: int) -> None:
    last = first + more
    found = hosts(f"{name}[{first:0{width}d}-{last:0{width}d}]")
    assert found == [f"{name}{number:0{width}d}" for number in range(first, last + 1)]


@given(st.lists(names, min_size=1, max_size=8, unique=True), st.data())
def test_lists_side_by_side_are_their_parts_one_after_the_other(parts: list[str], data: st.DataObject) -> None:
    written = [f"{part}[{data.draw(st.integers(0, 9))}]" for part in parts]
    assert hosts(",".join(written)) == [host for text in written for host in hosts(text)]


@given(st.text(max_size=40))
def test_no_text_does_worse_than_being_refused(text: str) -> None:
    try:
        hosts(text)
    except InvalidRequest:
        return


def test_a_slurm_job_gives_the_members() -> None:
    found = expand(["slurm://:9820"], expected=0, environ={"SLURM_JOB_NODELIST": "gpu[2,1]"})
    assert found == ("gpu1:9820", "gpu2:9820")


def test_without_a_slurm_job_it_says_so() -> None:
    with pytest.raises(InvalidRequest, match="SLURM_JOB_NODELIST"):
        expand(["slurm://:9820"], expected=0, environ={})


def test_a_name_is_waited_for_until_it_has_all_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "AGAIN_S", 0.001)
    answers = iter([[], ["10.0.0.2"], ["10.0.0.2", "10.0.0.1", "fd00::1"]])
    found = expand(["dns://group.example.com:9820"], expected=3, environ={}, resolve=lambda _: next(answers))
    assert found == ("10.0.0.1:9820", "10.0.0.2:9820", "[fd00::1]:9820")


def test_a_name_that_never_has_enough_addresses_is_named() -> None:
    with pytest.raises(InvalidRequest, match=r"group\.example\.com has 1 addresses"):
        expand(["dns://group.example.com:1"], expected=2, environ={}, resolve=lambda _: ["10.0.0.1"], wait_s=0.0)


@pytest.mark.parametrize("member", ["dns://:9820", "dns://name", "slurm://node:9820", "slurm://"])
def test_half_a_member_is_refused(member: str) -> None:
    with pytest.raises(InvalidRequest, match="no member"):
        expand([member], expected=0, environ={"SLURM_JOB_NODELIST": "a"})


def test_a_member_knows_itself_by_its_address() -> None:
    assert own(["198.51.100.7:9820", "127.0.0.1:9820", "203.0.113.7:9820"]) == "127.0.0.1:9820"  # RFC 5737: nobody's


@pytest.mark.parametrize("listed", [["203.0.113.7:1"], ["127.0.0.1:1", "127.0.0.1:2"]])
def test_who_cannot_tell_which_member_it_is_asks_to_be_told(listed: list[str]) -> None:
    with pytest.raises(InvalidRequest, match=r"member"):
        own(listed)
