"""A zygote finds out which pages its inits write to. In processes of their own: what is cloned must have one thread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

PRELUDE = f"""
import sys, os
sys.path.append({str(ROOT)!r})
from containerizer import bare, init, linux, rehearsal
"""

FAULTS = """
import resource
def faults(copying):
    reader, writer = os.pipe()
    pid, pidfd = linux.clone(0)
    if pid == 0:
        if copying:
            init.hot_pages.copy()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        bare.pthread_sigmask(bare.SIG_BLOCK, init.EVERY_SIGNAL)
        os.setsid()
        linux.set_name("measured")
        linux.close_all_but({0, 1, 2, writer})
        os.write(writer, b"%d" % (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before))
        os._exit(0)
    os.waitpid(pid, 0)
    return int(os.read(reader, 100))
"""


def run(program: str) -> Any:
    """What a program says in JSON, run as the zygote is."""
    command = [sys.executable, "-I", "-S", "-c", PRELUDE + program]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert said.returncode == 0, said.stderr
    return json.loads(said.stdout)


def test_what_an_init_writes_to_is_found() -> None:
    ranges = run("print(bare.to_json(dict((str(a), n) for a, n in rehearsal.rehearse())))")
    lengths = list(ranges.values())
    assert lengths
    assert all(int(address) % os.sysconf("SC_PAGE_SIZE") == 0 for address in ranges)
    assert 100 * 1024 < sum(lengths) < 4 << 20, "some hundred pages, and by far not all"


def test_nothing_of_a_rehearsal_is_left() -> None:
    program = """
before = os.listdir("/proc/self/fd"), os.path.lexists("/dev/directory")
rehearsal.rehearse()
after = os.listdir("/proc/self/fd"), os.path.lexists("/dev/directory")
try:
    os.waitpid(-1, os.WNOHANG)
    child = 1
except ChildProcessError:
    child = 0
print(bare.to_json({"same": int(before == after), "child": child}))
"""
    assert run(program) == {"same": 1, "child": 0}


@pytest.mark.parametrize("at_once", [True, False])
def test_pages_that_were_copied_fault_no_more(at_once: bool) -> None:
    program = f"""
init.hot_pages = linux.HotPages(rehearsal.rehearse())
init.hot_pages._at_once &= {at_once}
plain, copied = [sorted(faults(copying) for _ in range(5))[2] for copying in (False, True)]
print(bare.to_json({{"plain": plain, "copied": copied}}))
"""
    said = run(FAULTS + program)
    assert said["copied"] < said["plain"] / 2, said


@pytest.mark.parametrize(
    "spoil",
    [
        "os.defpath = '/nonexistent'",
        "rehearsal._plan = lambda: b'no plan'",
        "linux.CLONE_NEWNS = 1 << 62",
        "rehearsal._entries = lambda *_: 1 / 0",
    ],
)
def test_a_rehearsal_that_fails_finds_nothing_and_does_no_harm(spoil: str) -> None:
    if "CLONE" in spoil and os.geteuid():
        pytest.skip("needs root")
    program = f"{spoil}\nfound = rehearsal.rehearse()\nlinux.HotPages(found).copy()\nprint(len(found))"
    assert run(program) == 0


def test_directories_on_the_way_are_not_for_everybody(tmp_path: Path) -> None:
    program = (
        f"os.umask(0); steps = __import__('containerizer.steps').steps; k = steps.LinuxKernel(); p = {str(tmp_path)!r}"
    )
    program += "\nk.make_directory(p + '/a/b/c', 0o711)\nk.make_directory(p + '/a/b', 0o700)\nprint(1)"
    run(program)
    modes = [(tmp_path / path).stat().st_mode & 0o7777 for path in ("a", "a/b", "a/b/c")]
    assert modes == [0o755, 0o755, 0o711]
