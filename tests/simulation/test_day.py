"""A day of a cluster, shortened: figures, comparison of policies, and the command that shows them."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from actors.cli.simulate import EXIT_VIOLATED, simulate
from actors.simulation import day as day_module
from actors.simulation.day import STATIC, Day, few_collections, simulate_day, workloads_of
from actors.simulation.plots import plot
from actors.simulation.summary import jain
from actors.simulation.violation import Violation
from actors.simulation.workloads import Batch, Service
from runtime.errors import KaonError

SMALL = Day(agents=24, frameworks=4, hours=0.25, load=1.2, seed=3)


@pytest.mark.parametrize("policy", ["drf", "priority", "random", STATIC])
def test_every_policy_does_work_and_keeps_the_invariants(policy: str) -> None:
    summary, samples = simulate_day(msgspec.structs.replace(SMALL, policy=policy))
    assert summary.done > 10
    assert 0.1 < summary.utilisation <= summary.utilisation_most <= 1.0
    assert len(samples) == day_module.SAMPLES
    assert summary.policy == policy


def test_static_parts_leave_unused_what_others_could_use() -> None:
    """The last framework has by far the most to do: a quarter of the agents is not enough for it."""
    shared, _ = simulate_day(SMALL)
    static, _ = simulate_day(msgspec.structs.replace(SMALL, policy=STATIC))
    assert static.utilisation < shared.utilisation
    assert static.wait_seconds > shared.wait_seconds


def test_the_same_day_is_the_same_twice() -> None:
    first, _ = simulate_day(SMALL)
    second, _ = simulate_day(SMALL)
    assert msgspec.structs.replace(first, wall_seconds=0.0) == msgspec.structs.replace(second, wall_seconds=0.0)


def test_workloads_are_made_for_the_load() -> None:
    workloads = workloads_of(Day(agents=100, frameworks=8, load=0.5))
    services = [each for each in workloads if isinstance(each, Service)]
    assert len(workloads) == 8
    assert len(services) == 2
    cpus = sum(each.instances * each.cpus for each in services)
    for each in workloads:
        if isinstance(each, Batch):
            cpus += each.jobs_per_hour / 3600.0 * each.task_seconds * sum(each.cpus) / len(each.cpus)
    assert cpus == pytest.approx(100 * day_module.CPUS * 0.5, rel=0.02)


@pytest.mark.parametrize(
    ("values", "index"), [([1.0, 1.0], 1.0), ([1.0, 0.0], 0.5), ([1.0, 0.0, 0.0, 0.0], 0.25), ([], 1.0), ([0.0], 1.0)]
)
def test_jains_index(values: list[float], index: float) -> None:
    assert jain(values) == pytest.approx(index)


def test_the_garbage_collector_is_left_as_it_was() -> None:
    import gc

    before = gc.get_threshold()
    with pytest.raises(ZeroDivisionError), few_collections():
        raise ZeroDivisionError
    assert gc.get_threshold() == before


# The command ----------------------------------------------------------------------------------------------------------


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(
        simulate, ["--agents", "4", "--frameworks", "3", "--hours", "0.1", "--seed", "5", *arguments]
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_a_table_says_what_came_of_it() -> None:
    status, output = run()
    assert status == 0
    assert "seed 5: 4 agents, 3 frameworks, 0.1 h; no invariant was broken" in output
    assert "batch1" in output


def test_json_has_the_same_for_each_policy() -> None:
    status, output = run("--json", "--policy", "drf", "--policy", "random", "--faults", "agent_crash=60")
    assert status == 0
    summaries = json.loads(output)
    assert [each["policy"] for each in summaries] == ["drf", "random"]
    assert summaries[0]["faults"]["agent_crash"] > 0
    assert summaries[0]["came"] == summaries[1]["came"]


def test_a_policy_that_is_none_is_said_before_anything_is_simulated() -> None:
    status, output = run("--policy", "drf", "--policy", "nosuch")
    assert status == 2
    assert "--policy nosuch: there is no such policy; built in are" in output
    assert "static is static partitioning" in output


def test_workloads_can_be_given(tmp_path: Path) -> None:
    file = tmp_path / "work.json"
    file.write_text('[{"type": "batch", "name": "mine", "recorded": [[1.0, 5.0, 1.0, 128]]}]')
    status, output = run("--workload", str(file))
    assert status == 0
    assert "mine" in output


@pytest.mark.parametrize("text", ["{", '[{"type": "batch", "jobs": 1}]', '[{"type": "game"}]'])
def test_a_file_that_holds_no_workloads_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "work.json"
    file.write_text(text)
    with pytest.raises(KaonError, match="holds no workloads"):
        run("--workload", str(file))


def test_a_check_says_that_a_seed_holds() -> None:
    status, output = run("--check", "--faults", "heavy")
    assert status == 0
    assert "seed 5 holds" in output
    assert run("--check", "--faults", "heavy")[1] == output


def test_a_check_that_fails_is_shrunk_and_shown() -> None:
    from tests.simulation.mutants import MUTANTS, planted

    with planted(MUTANTS[0]):
        status, output = run("--check", "--faults", "heavy")
    assert status == EXIT_VIOLATED
    assert "resources are never handed out twice" in output
    assert "--only-faults" in output


def test_a_violation_ends_a_day() -> None:
    from tests.simulation.mutants import MUTANTS, planted

    with planted(MUTANTS[0]):
        status, output = run()
        with pytest.raises(Violation):
            simulate_day(Day(agents=4, frameworks=3, hours=0.1))
    assert status == EXIT_VIOLATED
    assert "kaon simulate --seed 5" in output


def test_pictures_need_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(KaonError, match="pip install"):
        plot({"drf": []}, [], tmp_path / "picture.png")


def test_a_picture_is_drawn_where_matplotlib_is(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is an extra")
    _, samples = simulate_day(msgspec.structs.replace(SMALL, hours=0.05))
    plot({"drf": samples}, ["a", "b", "c", "d"], tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
