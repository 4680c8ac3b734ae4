"""The order in which roles are served: the numbers of Mesos's DRFSorterTest, and the sorter against itself."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.drf import ShareSorter
from allocator.ledger import Ledger
from allocator.plan import Grant
from allocator.random_order import RandomSorter, weighted_shuffle
from allocator.resources import Resources
from allocator.snapshot import Agent, Framework, scalars_of


class Books:
    """One agent, one framework per role; amounts are changed by role."""

    def __init__(self, total: str = "cpus:100;mem:100") -> None:
        self.ledger = Ledger()
        self.ledger.add_agent(Agent(agent_id="agent", hostname="h", number=1, total=Resources.parse(total)), ())

    @property
    def agent(self) -> Agent:
        return self.ledger.agents["agent"]

    def add(self, role: str) -> None:
        self.ledger.set_framework(Framework(framework_id=f"in {role}", roles=(role,)))

    def deactivate(self, role: str) -> None:
        self.ledger.set_framework(Framework(framework_id=f"in {role}", roles=(role,), active=False))

    def remove(self, role: str) -> None:
        held = self.agent.held.get((role, f"in {role}"))
        if held is not None:
            self.ledger.release((role, f"in {role}"), self.agent, held)
        self.ledger.remove_framework(f"in {role}")

    def allocated(self, role: str, text: str) -> None:
        if f"in {role}" not in self.ledger.frameworks:
            self.add(role)
        self.ledger.grant_all([Grant(f"in {role}", role, "agent", Resources.parse(text))])

    def unallocated(self, role: str, text: str) -> None:
        self.ledger.release((role, f"in {role}"), self.agent, Resources.parse(text))

    def total(self, text: str) -> None:
        self.ledger.set_total(self.agent, Resources.parse(text))

    def weight(self, role: str, weight: float) -> None:
        self.ledger.weights[role] = weight

    def order(self) -> str:
        snapshot = self.ledger.snapshot(0.0)
        return " ".join(role for role, _ in ShareSorter(snapshot, [snapshot.wanting]).roles())


@pytest.mark.parametrize("path", ["{}", "{0}/{0}", "{0}/{0}/{0}/{0}"])
def test_shares_decide_flat_or_in_disjoint_branches(path: str) -> None:
    """DRFSorterTest.DRF, ShallowHierarchy, DeepHierarchy."""

    def at(role: str) -> str:
        return path.format(role)

    def order(roles: str) -> str:
        return " ".join(at(role) for role in roles.split())

    books = Books()
    books.allocated(at("a"), "cpus:5;mem:5")
    books.allocated(at("b"), "cpus:6;mem:6")
    assert books.order() == order("a b")  # .05 .06
    books.allocated(at("c"), "cpus:1;mem:1")
    books.allocated(at("d"), "cpus:3;mem:1")
    assert books.order() == order("c d a b")  # .01 .03 .05 .06
    books.remove(at("a"))
    books.unallocated(at("b"), "cpus:4;mem:4")
    assert books.order() == order("c b d")  # .01 .02 .03
    books.allocated(at("e"), "cpus:1;mem:5")
    books.total("cpus:50;mem:100")
    assert books.order() == order("c b e d")  # .02 .04 .05 .06
    books.total("cpus:50;mem:200")
    books.allocated(at("f"), "cpus:5;mem:1")
    books.allocated(at("c"), "mem:15")
    assert books.order() == order("e b d c f")  # .025 .04 .06 .08 .1
    books.deactivate(at("d"))
    assert books.order() == order("e b c f")
    books.add(at("d"))
    assert books.order() == order("e b d c f")


def test_weights_divide_shares() -> None:
    """DRFSorterTest.WDRF."""
    books = Books()
    books.allocated("a", "cpus:5;mem:5")
    books.weight("b", 2)
    books.allocated("b", "cpus:6;mem:6")
    assert books.order() == "b a"  # .03 .05
    books.allocated("c", "cpus:4;mem:4")
    assert books.order() == "b c a"  # .03 .04 .05
    books.weight("d", 10)
    books.allocated("d", "cpus:10;mem:20")
    assert books.order() == "d b c a"  # .02 .03 .04 .05
    books.remove("b")
    books.allocated("d", "cpus:10;mem:25")
    assert books.order() == "c d a"  # .04 .045 .05
    books.weight("e", 0.1)
    books.allocated("e", "cpus:1;mem:1")
    assert books.order() == "c d a e"  # .04 .045 .05 .1


def test_fewer_allocations_go_first_among_equal_shares() -> None:
    """DRFSorterTest.AllocationCountTieBreak."""
    books = Books()
    for role, parts in {"a": "3", "b": "3", "c": "1 1 1", "d": "2 1", "e": "3"}.items():
        for part in parts.split():
            books.allocated(role, f"cpus:{part};mem:{part}")
    assert books.order() == "a b e d c"
    books.unallocated("c", "cpus:3;mem:3")
    assert books.order() == "c a b e d"
    books.allocated("c", "cpus:3;mem:3")
    assert books.order() == "a b e d c"  # giving back does not reset the count
    books.deactivate("a")
    books.unallocated("a", "cpus:1;mem:3")
    books.allocated("a", "cpus:1;mem:3")
    assert books.order() == "b e d c"
    books.add("a")
    assert books.order() == "b e a d c"  # a and d have two each


def test_siblings_compete_with_all_that_is_under_them() -> None:
    """DRFSorterTest.HierarchicalAllocation."""
    books = Books()
    for role in ("a", "b/c", "b/d"):
        books.add(role)
    assert books.order() == "a b/c b/d"
    books.allocated("a", "cpus:6;mem:6")
    assert books.order() == "b/c b/d a"
    books.allocated("b/c", "cpus:4;mem:4")
    books.allocated("b/d", "cpus:3;mem:3")
    assert books.order() == "a b/d b/c"  # a .06 against b .07
    books.allocated("a", "cpus:2;mem:2")
    assert books.order() == "b/d b/c a"  # .07 against .08
    books.add("b/e/f")
    assert books.order() == "b/e/f b/d b/c a"
    books.allocated("b/e/f", "cpus:3.5;mem:3.5")
    assert books.order() == "a b/d b/e/f b/c"
    books.remove("b/e/f")
    assert books.order() == "b/d b/c a"


def test_a_role_with_roles_under_it_competes_with_them_as_a_leaf() -> None:
    """DRFSorterTest.HierarchicalIterationOrder and AddChildToLeaf: ``a`` and ``a/c`` are siblings under ``a``."""
    books = Books()
    books.allocated("a", "cpus:10;mem:10")
    books.allocated("b", "cpus:6;mem:6")
    assert books.order() == "b a"
    books.allocated("a/c", "cpus:5;mem:5")
    assert books.order() == "b a/c a"
    books.remove("a")
    assert books.order() == "a/c b"  # the subtree of a has .05 only
    books.allocated("a", "cpus:10;mem:10")
    assert books.order() == "b a/c a"
    books.weight("a/c", 0.2)
    assert books.order() == "b a a/c"  # as a leaf, a has weight 1
    books.weight("a", 3)
    assert books.order() == "a a/c b"  # the weight of a counts against b, not under a
    books.weight("a/c", 1)
    assert books.order() == "a/c a b"


def test_a_leaf_is_added_to_an_inner_role() -> None:
    """DRFSorterTest.AddChildToInternal and AddChildToInactiveLeaf."""
    books = Books()
    books.allocated("x/a", "cpus:10;mem:10")
    books.allocated("x/b", "cpus:6;mem:6")
    assert books.order() == "x/b x/a"
    books.allocated("x", "cpus:7;mem:7")
    assert books.order() == "x/b x x/a"
    books.allocated("z", "cpus:20;mem:20")
    assert books.order() == "z x/b x x/a"
    books.deactivate("x")
    assert books.order() == "z x/b x/a"  # what x has still counts for the subtree
    books.remove("x")
    assert books.order() == "x/b x/a z"


def test_a_weight_on_an_inner_role_moves_its_subtree() -> None:
    """DRFSorterTest.ChangeWeightOnSubtree."""
    books = Books()
    books.weight("b", 3)
    books.weight("a", 2)
    books.add("a/x")
    books.add("b/y")
    assert books.order() == "a/x b/y"
    books.allocated("a/x", "cpus:10;mem:10")
    books.allocated("b/y", "cpus:10;mem:10")
    assert books.order() == "b/y a/x"
    books.allocated("b/z", "cpus:5;mem:5")
    assert books.order() == "b/z b/y a/x"
    books.allocated("b", "cpus:4;mem:4")
    assert books.order() == "a/x b b/z b/y"
    books.allocated("a/zz", "cpus:2;mem:2")
    assert books.order() == "a/zz a/x b b/z b/y"


def test_revocable_resources_count() -> None:
    """DRFSorterTest.RevocableResources: totals and shares have both kinds."""
    books = Books("cpus:10;mem:100")
    revocable = Resources.parse('[{"name":"cpus","type":"SCALAR","scalar":{"value":10},"revocable":{}}]')
    books.ledger.set_total(books.agent, books.agent.total + revocable)
    books.allocated("a", "cpus:10;mem:1")
    books.add("b")
    books.ledger.grant_all([Grant("in b", "b", "agent", revocable)])
    assert books.ledger.snapshot(0.0).total == (20_000, 100_000)
    assert books.order() == "a b"  # both have half of all CPUs and were allocated to once


VOLUME = (
    '[{"name":"disk","type":"SCALAR","scalar":{"value":1000},"reservations":[{"type":"STATIC","role":"r"}],"shared":{},'
    '"disk":{"persistence":{"id":"id1"},"volume":{"mode":"RW","container_path":"data"}}}]'
)


def test_a_shared_volume_counts_once_per_client_and_role() -> None:
    """DRFSorterTest.SharedResources, in the form it has here: one volume, two frameworks of one role."""
    ledger = Ledger()
    volume = Resources.parse(VOLUME)
    total = Resources.parse("cpus:100;mem:100") + volume
    ledger.add_agent(Agent(agent_id="agent", hostname="h", number=1, total=total), ())
    for framework_id in ("f", "g"):
        ledger.set_framework(Framework(framework_id=framework_id, roles=("r",)))
        ledger.grant_all([Grant(framework_id, "r", "agent", volume)])
    disk = ledger.names.index("disk")
    assert ledger.total[disk] == 1_000_000
    assert ledger.clients["r", "f"].allocated[disk] == ledger.clients["r", "g"].allocated[disk] == 1_000_000
    assert ledger.roles["r"].subtree[disk] == 1_000_000
    ledger.release(("r", "f"), ledger.agents["agent"], volume)
    assert ledger.clients["r", "f"].allocated[disk] == 0
    assert ledger.roles["r"].subtree[disk] == 1_000_000
    ledger.release(("r", "g"), ledger.agents["agent"], volume)
    assert ledger.roles["r"].subtree[disk] == 0


ROLES = ("a", "a/b", "a/b/c", "d", "d/e", "f")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(ROLES), st.integers(0, 3), st.integers(1, 4)), max_size=25),
    st.dictionaries(st.sampled_from(ROLES), st.sampled_from([0.5, 1.0, 2.0, 3.0])),
)
def test_a_sorter_that_is_told_of_grants_equals_one_built_after_them(
    grants: list[tuple[str, int, int]], weights: dict[str, float]
) -> None:
    ledger = Ledger(weights=weights)
    total = Resources.parse("cpus:1000;mem:1000")
    ledger.add_agent(Agent(agent_id="agent", hostname="h", number=1, total=total), ())
    for role in ROLES:
        for n in range(4):
            ledger.set_framework(Framework(framework_id=f"{role}-{n}", roles=(role,)))
    told = ShareSorter(ledger.snapshot(0.0), [dict(ledger.wanting)])
    for role, n, size in grants:
        resources = Resources.scalar_only(cpus=size, mem=5 - size)
        told.allocated(role, f"{role}-{n}", scalars_of(ledger.names, resources))
        ledger.grant_all([Grant(f"{role}-{n}", role, "agent", resources)])
        fresh = ShareSorter(ledger.snapshot(0.0), [dict(ledger.wanting)])
        turns = list(fresh.roles())
        assert list(told.roles()) == turns
        assert [list(told.frameworks(turn)) for turn in turns] == [list(fresh.frameworks(turn)) for turn in turns]


def test_a_weighted_shuffle_draws_each_next_place_by_weight() -> None:
    """The table of Mesos's weightedShuffle test: probabilities of place by item, to within 5 %."""
    chance = random.Random(1)
    runs = 4000
    places: Counter[tuple[str, int]] = Counter()
    weights = {"0": 1.0, "1": 2.0, "2": 3.0, "3": 4.0, "4": 5.0}
    for _ in range(runs):
        for place, item in enumerate(weighted_shuffle(tuple(weights), weights, chance)):
            places[item, place] += 1
    expected = [
        [0.07, 0.08, 0.12, 0.20, 0.54],
        [0.13, 0.16, 0.20, 0.28, 0.23],
        [0.20, 0.22, 0.24, 0.22, 0.12],
        [0.27, 0.26, 0.23, 0.17, 0.07],
        [0.33, 0.28, 0.21, 0.13, 0.04],
    ]
    for number, row in enumerate(expected):
        for place, probability in enumerate(row):
            assert places[str(number), place] / runs == pytest.approx(probability, abs=0.05)


def test_the_random_sorter_draws_by_weight_at_every_level() -> None:
    """RandomSorterTest.HierarchicalProbabilityDistribution."""
    ledger = Ledger(weights={"a": 1.0, "a/b": 2.0, "c": 2.0, "c/d": 1.0, "c/e": 2.0})
    for role in ("a", "a/b", "c/d", "c/e"):
        ledger.set_framework(Framework(framework_id=f"in {role}", roles=(role,)))
    sorter = RandomSorter(ledger.snapshot(0.0), random.Random(1))
    runs = 4000
    places: Counter[tuple[str, int]] = Counter()
    for _ in range(runs):
        for place, (role, _) in enumerate(sorter.roles()):
            places[role, place] += 1
    expected = {
        "a": [0.11, 0.15, 0.23, 0.51],
        "a/b": [0.22, 0.27, 0.30, 0.21],
        "c/d": [0.22, 0.27, 0.30, 0.21],
        "c/e": [0.44, 0.31, 0.18, 0.07],
    }
    for role, row in expected.items():
        for place, probability in enumerate(row):
            assert places[role, place] / runs == pytest.approx(probability, abs=0.05)
