"""`kaon doctor`: what this machine can isolate, what is missing, and how to get it."""

from __future__ import annotations

import importlib.util
import platform
import resource
import shutil
import sys
from collections.abc import Sequence
from typing import Final

import click
import msgspec

from actors.cli.show import print_json, print_table

OPEN_FILES: Final = 4096
"""Descriptors that a master of a thousand agents needs: two a session, and some."""

PACKAGES: Final = ("zmq", "msgpack", "msgspec", "kazoo", "psutil", "click", "rich", "aiohttp", "prometheus_client")


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at. state: ``ok``, ``missing`` (less works), ``broken`` (Kaon cannot run)."""

    subject: str
    state: str
    detail: str
    mend: str = ""


@click.command()
@click.option("--json", "json_", is_flag=True, help="JSON instead of a table.")
def doctor(json_: bool) -> None:
    """Say what this machine can isolate, what is missing, and how to get it. Exit status 1 if Kaon cannot run here."""
    findings = examine()
    if json_:
        print_json(findings)
    else:
        print_table(("SUBJECT", "STATE", "FOUND", "TO MEND IT"), rows(findings), "nothing was looked at")
    if any(found.state == "broken" for found in findings):
        raise click.exceptions.Exit(1)


def rows(findings: Sequence[Finding]) -> list[tuple[str, str, str, str]]:
    """Of the table: what is missing for one and the same reason is one row."""
    subjects: dict[tuple[str, str, str], list[str]] = {}
    for found in findings:
        alike = found.subject if found.state == "ok" else found.detail
        subjects.setdefault((alike, found.state, found.mend), []).append(found.subject)
    details = {found.subject: found.detail for found in findings}
    return [
        (" ".join([names[0], *(name.rpartition("/")[2] for name in names[1:])]), state, details[names[0]], mend or "-")
        for (_, state, mend), names in subjects.items()
    ]


def examine() -> list[Finding]:
    """Look at everything."""
    findings = [_python(), _packages(), _open_files()]
    if sys.platform != "linux":
        detail = f"{platform.system()}: agents and containerizers need Linux"
        return [
            *findings,
            Finding("agent", "missing", detail, "frameworks can be written and tested here all the same"),
        ]
    return [*findings, *_isolation(), _zookeeper()]


def _python() -> Finding:
    return Finding("python", "ok", platform.python_version())


def _packages() -> Finding:
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        return Finding("packages", "broken", f"without {', '.join(missing)}", "run scripts/setup")
    if sys.platform == "linux" and importlib.util.find_spec("prctl") is None:
        mend = "install the headers of libcap (Debian: libcap-dev), then python-prctl"
        return Finding("packages", "missing", "without python-prctl: no process names, orphans are not adopted", mend)
    return Finding("packages", "ok", "all that are needed")


def _open_files() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= OPEN_FILES:
        return Finding("open files", "ok", f"{soft} descriptors")
    return Finding("open files", "missing", f"{soft} descriptors: about {soft // 4} agents", f"ulimit -n {OPEN_FILES}")


def _isolation() -> list[Finding]:
    """What a containerizer would use here, and what it would do without."""
    from containerizer.cgroups2.tree import look
    from containerizer.host import survey
    from containerizer.isolators import AUTO, choose

    host = survey(cgroups=look())
    chosen, missing = choose(host, (AUTO,))
    user = "root" if host.root else "an ordinary user"
    found = [Finding("kernel", "ok", f"{host.kernel}, as {user}")]
    found += [Finding(f"isolation {isolator.name}", "ok", "containers get it") for isolator in chosen]
    found += [Finding(f"isolation {lack.what}", "missing", lack.reason, lack.mend) for lack in missing]
    return found


def _zookeeper() -> Finding:
    if shutil.which("java") is None:
        mend = "for tests of elections: apt-get install zookeeper"
        return Finding("zookeeper", "missing", "no java: a single master runs without", mend)
    return Finding("zookeeper", "ok", "java is there; a single master needs neither")
