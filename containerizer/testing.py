"""What every isolator must hold to, as a function that its author's tests call.

::

    def test_my_isolator_keeps_the_contract(tmp_path: Path) -> None:
        check_isolator(MyIsolator(survey()), tmp_path)
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from containerizer.isolator import Container, Isolator
from containerizer.kernel import STEPS
from containerizer.messages import ContainerUsage, Limitation
from containerizer.plan import LaunchPlan, User
from containerizer.spec import ContainerSpec, Limits


def check_isolator(isolator: Isolator, directory: Path, spec: ContainerSpec | None = None) -> None:
    """Walk one container through an isolator's lifecycle, in good order and in bad; nothing is launched.

    directory  an empty one, for the sandbox and the isolator's files
    spec       a container for which the isolator has something to do; by default one that asks for nothing
    Raises `AssertionError` that names the rule.
    """
    assert isolator.name, "an isolator has a name, which --isolation takes"
    sandbox = directory / "sandbox"
    sandbox.mkdir(exist_ok=True)
    spec = spec or ContainerSpec(id="contract", sandbox=str(sandbox), argv=("true",))
    work = directory / "work"
    container = Container(id=spec.id, spec=spec, directory=work, user=User(0, 0), limits=spec.limits)
    asyncio.run(_walk(isolator, container))
    left = [] if not work.exists() else sorted(path.name for path in work.rglob("*"))
    assert not left, f"{isolator.name}: cleanup leaves {left} in the container's directory"


async def _walk(isolator: Isolator, container: Container) -> None:
    name = isolator.name
    # A crash may come before anything was made, and cleanup follows all the same.
    await isolator.cleanup(container)
    plan = LaunchPlan(argv=container.spec.command)
    await isolator.prepare(container, plan)
    for step in (*plan.steps, *plan.last_steps):
        assert step[0] in STEPS, f"{name}: {step[0]!r} is no step that a kernel knows"
    plan.encode()
    reported: list[Limitation] = []
    isolator.watch(container, reported.append)
    fields = isolator.usage(container)
    unknown = set(fields) - set(ContainerUsage.__struct_fields__)
    assert not unknown, f"{name}: usage has fields that a report has not: {sorted(unknown)}"
    await isolator.update(container, Limits())
    await isolator.cleanup(container)
    # What ended may be cleaned up again: by a successor that knows of the crash and not of how far it had come.
    await isolator.cleanup(container)
    isolator.recover(container)
    await isolator.cleanup(container)
    isolator.close()
    isolator.close()
