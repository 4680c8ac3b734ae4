"""What all tests share: markers that say what a test needs of the machine, and an account of what was skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]
ALLOWED_SKIPS: Final = ROOT / "tests" / "allowed_skips.txt"


def has_cgroup2() -> bool:
    """Or a subtree has been handed to this user, as a test does that runs others so."""
    if os.environ.get("KAON_CGROUP2") == "delegated":
        return True
    script = ROOT / "scripts" / "with-cgroup2"
    said = subprocess.run([script, "--check"], capture_output=True, text=True, timeout=30, check=True).stdout
    return said.strip() == "direct"


def has_zookeeper() -> bool:
    return shutil.which("java") is not None and Path("/usr/share/java/zookeeper.jar").exists()


NEEDS: Final[dict[str, tuple[str, Callable[[], bool]]]] = {
    "root": ("needs root", lambda: os.geteuid() == 0),
    "cgroup2": ("needs cgroup v2: run it with scripts/with-cgroup2", has_cgroup2),
    "gpu": ("needs an NVIDIA GPU", lambda: Path("/dev/nvidiactl").exists()),
    "zookeeper": ("needs ZooKeeper: scripts/setup installs it", has_zookeeper),
}
"""Marker: why its tests are skipped, and whether this machine has what they need."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--strict-skips",
        action="store_true",
        help=f"fail when a test is skipped for a reason that is not in {ALLOWED_SKIPS.relative_to(ROOT)}",
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, after -m has taken its pick."""
    for marker, (reason, is_there) in NEEDS.items():
        needing = [item for item in items if item.get_closest_marker(marker)]
        if needing and not is_there():
            for item in needing:
                item.add_marker(pytest.mark.skip(reason=reason))


def allowed_reasons() -> Iterator[str]:
    """First words of the reasons in `tests/allowed_skips.txt`."""
    for line in ALLOWED_SKIPS.read_text().splitlines():
        reason, bar, _why = line.partition(" | ")
        if bar and not line.startswith("#"):
            yield reason


def skip_reasons(config: pytest.Config) -> Counter[str]:
    """How often each reason was given in this run; empty in a worker of pytest-xdist, whose parent counts."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    return Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)


def surprising(reasons: Counter[str]) -> list[str]:
    allowed = tuple(allowed_reasons())
    return [reason for reason in reasons if not reason.startswith(allowed)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    reasons = skip_reasons(config)
    refused = surprising(reasons) if config.getoption("--strict-skips") else []
    for reason, count in sorted(reasons.items()):
        note = " - NOT ALLOWED: see tests/allowed_skips.txt" if reason in refused else ""
        terminalreporter.write_line(f"skipped {count}: {reason}{note}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.getoption("--strict-skips") and surprising(skip_reasons(session.config)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
