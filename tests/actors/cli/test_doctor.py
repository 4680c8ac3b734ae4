"""`kaon doctor`: what is missing is said with its reason and what to do about it."""

from __future__ import annotations

import json
import sys

import pytest
from click.testing import CliRunner

from actors.cli.doctor import Finding, doctor, examine, rows

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="isolation is Linux's")


def test_each_lack_has_a_reason_and_a_way_to_mend_it() -> None:
    missing = [found for found in examine() if found.state == "missing"]
    assert [found.subject for found in missing if not found.detail or not found.mend] == []
    assert "not looked for" not in {found.detail for found in missing}


def test_a_machine_that_can_run_kaon_is_status_zero_and_json_has_all() -> None:
    result = CliRunner().invoke(doctor, ["--json"])
    assert result.exit_code == 0, result.output
    subjects = {found["subject"] for found in json.loads(result.output)}
    assert {"python", "kernel", "isolation cgroups/cpu", "isolation posix/rlimits"} <= subjects


def test_what_is_missing_for_one_reason_is_one_row() -> None:
    findings = [
        Finding("isolation posix/rlimits", "ok", "containers get it"),
        Finding("isolation linux/seccomp", "ok", "containers get it"),
        Finding("isolation cgroups/cpu", "missing", "no cgroup v2 is mounted", "boot with it"),
        Finding("isolation cgroups/mem", "missing", "no cgroup v2 is mounted", "boot with it"),
        Finding("zookeeper", "missing", "no java", "install it"),
    ]
    assert rows(findings) == [
        ("isolation posix/rlimits", "ok", "containers get it", "-"),
        ("isolation linux/seccomp", "ok", "containers get it", "-"),
        ("isolation cgroups/cpu mem", "missing", "no cgroup v2 is mounted", "boot with it"),
        ("zookeeper", "missing", "no java", "install it"),
    ]
