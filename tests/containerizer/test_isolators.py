"""Every isolator keeps the contract of its kind; so does one that is written by somebody else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from containerizer.cgroups2 import Cgroup
from containerizer.host import survey
from containerizer.isolator import Container, Isolator
from containerizer.isolators import KNOWN, choose
from containerizer.isolators.cgroups import CgroupIsolator
from containerizer.plan import LaunchPlan
from containerizer.testing import check_isolator
from examples.var_tmp_isolator.var_tmp import PrivateVarTmp


class Forgetful(Isolator):
    name = "example/forgetful"

    async def prepare(self, container: Container, plan: LaunchPlan) -> None:
        container.directory.mkdir(exist_ok=True)
        (container.directory / "left").touch()


@pytest.mark.parametrize("cls", [cls for cls in KNOWN if not issubclass(cls, CgroupIsolator)], ids=lambda cls: cls.name)
def test_contract(cls: type[Isolator], tmp_path: Path) -> None:
    check_isolator(cls(survey()), tmp_path)


@pytest.mark.root
@pytest.mark.cgroup2
def test_contract_of_cgroups(tmp_path: Path, real: Callable[..., Any]) -> None:
    """Those that this kernel has; `cgroups/core` makes the cgroup for them."""
    machine = real("auto")
    here = machine.node.cells["containerizer"].actor.work.isolators[0].host
    available = [cls for cls in KNOWN if issubclass(cls, CgroupIsolator) and cls.probe(here) is None]
    assert {"cgroups/core", "cgroups/cpu", "cgroups/mem", "cgroups/pids"} <= {cls.name for cls in available}
    # The core removes the tree when it is closed, so it comes last.
    for number, cls in enumerate(reversed(available)):
        directory = tmp_path / str(number)
        directory.mkdir()
        cgroup = Cgroup(Path(here.cgroups.path)).child("contract")
        cgroup.make()
        check_isolator(cls(here), directory)
        cgroup.remove()


def test_a_broken_isolator_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="leaves"):
        check_isolator(Forgetful(survey()), tmp_path)


@pytest.mark.root
def test_an_isolator_by_entry_point(monkeypatch: pytest.MonkeyPatch, real: Callable[..., Any], tmp_path: Path) -> None:
    installed = tmp_path / "kaon_private_var_tmp-0.1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: kaon-private-var-tmp\nVersion: 0.1.0\n")
    place = f"{PrivateVarTmp.__module__}:PrivateVarTmp"
    (installed / "entry_points.txt").write_text(f"[kaon.isolators]\n{PrivateVarTmp.name} = {place}\n")
    monkeypatch.syspath_prepend(tmp_path)
    chosen, _ = choose(survey(), ["auto", PrivateVarTmp.name])
    assert chosen[-1].name == PrivateVarTmp.name
    machine = real("auto", PrivateVarTmp.name)
    machine.attach()
    assert machine.run("c1", "ls -A /var/tmp | wc -l").exit_code == 0
    assert machine.output("c1").strip() == "0"
