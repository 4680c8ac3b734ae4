"""What caused what: trees out of the turns of several nodes."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.effects import Send
from runtime.pid import PID
from runtime.tracing.clocks import Passage, shifts
from runtime.tracing.merge import Merger
from runtime.tracing.records import TurnRecord
from runtime.tracing.text import tree_text
from runtime.tracing.tree import Hop, Trace, Unseen, build, in_causal_order
from tests.runtime.tracing.turns import AGENT, ALLOCATOR, MASTER, MS, USER, launch, replies, sends, turn


def by_span(trace: Trace) -> dict[int, Hop]:
    return {hop.turn.span: hop for hop in trace.hops()}


def paths(hop: Hop) -> Iterator[list[Hop]]:
    yield [hop]
    for child in hop.children:
        for path in paths(child):
            yield [hop, *path]


def test_a_trace_has_one_root_and_every_hop_its_parent() -> None:
    (trace,) = build(launch())
    assert [hop.turn.span for hop in trace.roots] == [1]
    assert trace.orphans == []
    parents = {span: hop.parent.turn.span for span, hop in by_span(trace).items() if hop.parent is not None}
    assert parents == {2: 1, 4: 2, 5: 2, 7: 5, 9: 5}
    assert trace.nodes == ["framework", "m1", "a1"]


def test_kinds_of_hops() -> None:
    (trace,) = build(launch())
    assert {span: hop.kind for span, hop in by_span(trace).items()} == {
        1: "start",
        2: "message",
        4: "message",
        5: "message",
        7: "answer",
        9: "timer",
    }
    assert [span for span, hop in by_span(trace).items() if hop.durable] == [7]


def test_times_of_a_hop_are_those_of_network_mailbox_and_turn() -> None:
    (trace,) = build(launch())
    hop = by_span(trace)[5]
    assert (hop.network, hop.queueing, hop.handling) == pytest.approx((2 * MS, 3 * MS, 1 * MS))


@pytest.mark.parametrize("agent_clock", [0.0, -500.0, 500.0])
def test_times_add_up_along_every_path(agent_clock: float) -> None:
    (trace,) = build(launch(agent_clock))
    for path in paths(trace.roots[0]):
        parts = sum(hop.network + hop.queueing + hop.handling for hop in path)
        assert parts == pytest.approx(path[-1].ended - path[0].received)


@pytest.mark.parametrize("agent_clock", [-500.0, 500.0])
def test_a_wrong_clock_is_put_right_by_what_cannot_be(agent_clock: float) -> None:
    (trace,) = build(launch(agent_clock))
    hops = by_span(trace)
    assert all(hop.network >= 0 for hop in hops.values())
    assert hops[2].received < hops[5].received < hops[7].received
    assert trace.shifts[AGENT.node, AGENT.incarnation] == pytest.approx(-agent_clock * MS, abs=3 * MS)


def test_clocks_that_contradict_nothing_are_left_alone() -> None:
    (trace,) = build(launch(1.0))
    assert trace.shifts == {}


def test_turns_without_their_cause_are_orphans_with_all_below_them() -> None:
    (trace,) = build([each for each in launch() if each.span != 2])
    assert [hop.turn.span for hop in trace.roots] == [1]
    assert [hop.turn.span for hop in trace.orphans] == [4, 5]
    assert trace.roots[0].unseen == [Unseen("Send", "master@m1", "Accept")]
    assert set(by_span(trace)) == {1, 4, 5, 7, 9}


def test_what_was_sent_and_not_seen_is_told_but_for_timers() -> None:
    (trace,) = build(launch()[:4])
    hops = by_span(trace)
    assert hops[5].unseen == [Unseen("Reply", "master@m1", "Running")]
    assert hops[2].unseen == []


def test_several_messages_of_one_type_are_matched_in_their_order() -> None:
    turns = [
        turn(MASTER, MASTER, "Go", 1, effects=[sends(AGENT, "Ping"), sends(AGENT, "Ping"), sends(AGENT, "Ping")]),
        turn(AGENT, MASTER, "Ping", 3, 1),
        turn(AGENT, MASTER, "Ping", 5, 1),
    ]
    (trace,) = build(turns)
    assert [hop.kind for hop in trace.roots[0].children] == ["message", "message"]
    assert trace.roots[0].unseen == [Unseen("Send", "agent@a1", "Ping")]


def test_work_of_an_edge_follows_from_the_turn_that_began_it() -> None:
    turns = [turn(AGENT, MASTER, "Fetch", 1, times=(0, 0, 1)), turn(AGENT, AGENT, "Fetched", 3, 1, (9, 9, 9))]
    (trace,) = build(turns)
    (work,) = trace.roots[0].children
    assert work.kind == "work"
    assert work.network == pytest.approx(8 * MS)


def test_an_ask_that_reached_nobody_follows_from_the_turn_that_asked() -> None:
    turns = [
        turn(MASTER, USER, "Go", 2, effects=[sends(AGENT, "RunTask", "Ask")], times=(0, 0, 1)),
        turn(MASTER, AGENT, "node.AskFailed", 8, 5, (30_001, 30_001, 30_002)),
    ]
    (trace,) = build(turns)
    assert trace.orphans == []
    (failed,) = trace.roots[0].children
    assert (failed.kind, failed.turn.message_type) == ("runtime", "node.AskFailed")
    assert trace.roots[0].unseen == []


def test_a_turn_that_two_nodes_told_of_counts_once() -> None:
    (trace,) = build([*launch(), *launch()])
    assert len(list(trace.hops())) == 6


def test_traces_are_kept_apart_and_in_order() -> None:
    other = [turn(MASTER, MASTER, "Tick", 100, trace=100, times=(-5, -5, -4))]
    assert [trace.trace for trace in build([*launch(), *other])] == [100, 1]


def test_records_that_lie_about_their_cause_close_no_circle() -> None:
    turns = [turn(MASTER, AGENT, "A", 1, 3), turn(AGENT, MASTER, "B", 3, 1), turn(AGENT, AGENT, "C", 5, 5)]
    (trace,) = build(turns)
    assert {hop.turn.span for hop in trace.hops()} == {1, 3, 5}


def test_an_address_that_was_dialled_matches_the_node_that_answered() -> None:
    to = PID("master", "tcp://127.0.0.1:5040")
    turns = [turn(USER, USER, "Go", 1, effects=[sends(to, "Subscribe")]), turn(MASTER, USER, "Subscribe", 3, 1)]
    (trace,) = build(turns)
    assert (trace.roots[0].unseen, trace.roots[0].children[0].kind) == ([], "message")


@st.composite
def histories(draw: st.DrawFn) -> list[TurnRecord]:
    """Any tree of turns over three nodes, each with a clock of its own, told in any order."""
    actors = [USER, MASTER, AGENT]
    wrong = {actor: draw(st.floats(-1000, 1000)) for actor in actors}
    turns: list[TurnRecord] = []
    ended: dict[int, float] = {}
    for place in range(draw(st.integers(1, 20))):
        span = 2 * place + 2
        parent = draw(st.sampled_from([0, *ended])) if ended else 0
        actor = draw(st.sampled_from(actors))
        sender = next((each.actor for each in turns if each.span == parent), actor)
        received = ended.get(parent, 0.0) + draw(st.floats(0.01, 50))
        started = received + draw(st.floats(0, 5))
        ended[span] = started + draw(st.floats(0, 5))
        times = (received + wrong[actor], started + wrong[actor], ended[span] + wrong[actor])
        turns.append(turn(actor, sender, "M", span, parent, times))
    random.Random(draw(st.integers(0, 99))).shuffle(turns)
    return turns


@given(histories())
def test_no_effect_comes_before_its_cause_whatever_the_clocks_say(turns: list[TurnRecord]) -> None:
    order = [each.span for each in in_causal_order(turns)]
    assert sorted(order) == sorted(each.span for each in turns)
    place = {span: at for at, span in enumerate(order)}
    assert all(place[each.parent] < place[each.span] for each in turns if each.parent)


@given(histories())
def test_a_live_view_is_in_causal_order_when_all_comes_in_time(turns: list[TurnRecord]) -> None:
    merger = Merger(1.0)
    for each in turns:
        merger.push(each, 0.0)
    assert merger.pop(0.5) == []
    assert [each.span for each in merger.pop(1.0)] == [each.span for each in in_causal_order(turns)]
    assert merger.flush() == []


def test_a_cause_that_comes_late_leaves_with_its_effect() -> None:
    first, second = launch()[:2]
    merger = Merger(1.0)
    merger.push(second, 0.0)
    merger.push(first, 0.9)
    assert [each.span for each in merger.pop(1.0)] == [1, 2]


def test_clocks_of_machines_that_nothing_joins_are_not_touched() -> None:
    a, b, c, d = (("a", 1), ("b", 1), ("c", 1), ("d", 1))
    found = shifts([Passage(a, b, 10.0, 4.0), Passage(c, d, 10.0, 4.0)], a)
    assert found == {a: 0.0, b: 6.0}


def test_a_machine_is_placed_in_the_middle_of_what_both_directions_allow() -> None:
    a, b = ("a", 1), ("b", 1)
    found = shifts([Passage(a, b, 0.0, 100.0), Passage(b, a, 101.0, 3.0)], a)
    assert found[b] == pytest.approx((-100.0 - 98.0) / 2)


def test_names_of_effects_are_those_of_the_runtime() -> None:
    assert sends(AGENT, "X")[0] == Send.__name__
    assert replies(AGENT, "X")[0] == "Reply"
    assert ALLOCATOR.node == MASTER.node


def test_a_chain_of_thousands_of_turns_is_ordered_and_shown() -> None:
    count = 4000
    chain = [turn(MASTER, MASTER, "Tick", span, span - 1, (span, span, span)) for span in range(1, count + 1)]
    assert [each.span for each in in_causal_order(reversed(chain))] == list(range(1, count + 1))
    (trace,) = build(chain)
    lines = tree_text(trace).splitlines()
    assert len(lines) == count + 1
    assert max(map(len, lines)) < 250
