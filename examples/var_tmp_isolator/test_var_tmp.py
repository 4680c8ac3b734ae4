"""What its author would test of an isolator: the contract, and the step that it adds."""

from __future__ import annotations

import asyncio
from pathlib import Path

from containerizer.host import survey
from containerizer.isolator import Container
from containerizer.plan import LaunchPlan, User
from containerizer.spec import ContainerSpec, Limits, Namespace
from containerizer.testing import check_isolator
from examples.var_tmp_isolator.var_tmp import PrivateVarTmp


def test_it_keeps_the_contract(tmp_path: Path) -> None:
    check_isolator(PrivateVarTmp(survey()), tmp_path)


def test_it_covers_the_directory_where_mounts_stay_inside(tmp_path: Path) -> None:
    spec = ContainerSpec(id="c", sandbox=str(tmp_path), argv=("true",))
    container = Container(id="c", spec=spec, directory=tmp_path, user=User(0, 0), limits=Limits())
    plan = LaunchPlan(argv=spec.command)
    asyncio.run(PrivateVarTmp(survey()).prepare(container, plan))
    assert plan.mounts == []
    plan.namespaces.add(Namespace.MOUNT)
    asyncio.run(PrivateVarTmp(survey()).prepare(container, plan))
    assert plan.mounts == [("cover", "/var/tmp", "mode=1777", [], False)]
