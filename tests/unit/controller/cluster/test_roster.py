"""Which pods are in which group, and which groups are of which workload."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.cluster.roster import Enrolment, Roster
from controller.groups import GroupMember, Owner

CHANGES = st.lists(
    st.tuples(st.sampled_from("pqr"), st.none() | st.tuples(st.sampled_from("gh"), st.sampled_from("tu"))), max_size=12
)


def enrolment(group: str, top: str) -> Enrolment:
    member = GroupMember(system="s", namespace="team", key=group, name=group, size=1)
    return Enrolment(member=member, chain=(), top=Owner(api_version="v1", kind="K", name=top, uid=top))


@given(CHANGES)
def test_groups_follow_their_pods(changes: list[tuple[str, tuple[str, str] | None]]) -> None:
    roster, kept = Roster(), dict[str, Enrolment]()
    for name, place in changes:
        before = kept.pop(name, None)
        if place is None:
            left = roster.withdraw(("team", name))
        else:
            kept[name] = enrolment(*place)
            left = roster.enrol(("team", name), kept[name])
        stays = before is not None and place is not None and before.member.id == kept[name].member.id
        assert left == (None if before is None or stays else before.member.id)
    groups = {found.member.id for found in kept.values()}
    assert set(roster.groups()) == groups
    for group in groups:
        assert roster.pods(group) == tuple(("team", n) for n, found in sorted(kept.items()) if found.member.id == group)
    for top in "tu":
        of_top = {found.member.id for found in kept.values() if found.top.uid == top}
        assert set(roster.groups_of(("team", f"k-{top}"))) == of_top
