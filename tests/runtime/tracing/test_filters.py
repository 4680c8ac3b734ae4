"""Which turns pass a filter."""

from __future__ import annotations

import pytest

from runtime.effects import Ask, Send, Turn
from runtime.pid import PID
from runtime.tracing.filters import BadFilter, check_bounds, has_field, is_sampled, wanted_by
from runtime.tracing.messages import Filter
from tests.runtime.tracing.mall import Line, Order, Pack, Packed

SHOP = PID("shop/1", "front", 1)
STORE = PID("store", "back", 2)
ORDER = Order(framework_id="f1", lines=(Line("t1", token="hunter2"), Line("t2")), password="hunter2")
TURN = Turn(
    SHOP,
    STORE,
    ORDER,
    0xABC,
    5,
    3,
    1.0,
    1.0,
    1.0,
    [Ask(STORE, Pack(line=Line("t3")), "packed"), Send(PID("till", "front"), Packed(task_id="t4", weight=1.0))],
)


@pytest.mark.parametrize(
    "chosen",
    [
        Filter(),
        Filter(actor="shop/1"),
        Filter(actor="shop*"),
        Filter(message_type="shop.Order"),
        Filter(message_type="*.Ord?r"),
        Filter(peer="store@back"),
        Filter(peer="till@*"),
        Filter(fields=(("framework_id", "f1"),)),
        Filter(fields=(("task_id", "t1"),)),
        Filter(fields=(("task_id", "t2"), ("framework_id", "f1"))),
        Filter(fields=(("task_id", "t3"),)),
        Filter(fields=(("task_id", "t4"),)),
        Filter(trace=0xABC),
        Filter(actor="shop*", message_type="shop.*", trace=0xABC),
    ],
    ids=str,
)
def test_passes(chosen: Filter) -> None:
    assert wanted_by(chosen)(TURN)


@pytest.mark.parametrize(
    "chosen",
    [
        Filter(actor="shop"),
        Filter(message_type="Order"),
        Filter(peer="shop/1@front"),
        Filter(fields=(("task_id", "t9"),)),
        Filter(fields=(("framework_id", "t1"),)),
        Filter(fields=(("task_id", "t1"), ("framework_id", "f2"))),
        Filter(trace=0xABD),
        Filter(failed=True),
        Filter(actor="shop*", trace=0xABD),
    ],
    ids=str,
)
def test_does_not_pass(chosen: Filter) -> None:
    assert not wanted_by(chosen)(TURN)


def test_a_secret_cannot_be_found_out_by_asking_for_it() -> None:
    assert not has_field(ORDER, "password", "hunter2")
    assert not has_field(ORDER, "token", "hunter2")


def test_a_sample_takes_about_its_share_of_traces_and_is_the_same_everywhere() -> None:
    taken = [trace for trace in range(2**40, 2**40 + 20_000, 2) if is_sampled(trace, 0.1)]
    assert 800 < len(taken) < 1200
    assert set(taken) <= {trace for trace in range(2**40, 2**40 + 20_000) if is_sampled(trace, 0.2)}


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (1.0, 1000)])
def test_no_sample_and_all(share: float, expected: int) -> None:
    assert sum(is_sampled(trace, share) for trace in range(1, 1001)) == expected


@pytest.mark.parametrize("bounds", [(1.5, 1.0, 1.0), (-0.1, 1.0, 1.0), (1.0, 0.0, 1.0), (1.0, 1.0, -1.0)])
def test_bounds_that_are_none_are_refused(bounds: tuple[float, float, float]) -> None:
    with pytest.raises(BadFilter, match=r"is no share|are no bounds"):
        check_bounds(*bounds)
