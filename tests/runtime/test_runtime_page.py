"""The page about the runtime is true: its code runs, its metrics are there, its effects are all of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

from runtime.effects import Effect
from runtime.metrics import NodeMetrics
from tests.runtime.puppets import Stage

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "runtime.md"


def test_the_code_on_the_page_runs(tmp_path: Path) -> None:
    pieces = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert len(pieces) > 5
    program = tmp_path / "page.py"
    program.write_text("\n".join(pieces))
    ran = subprocess.run(
        [sys.executable, "-W", "error", program],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def test_the_metrics_on_the_page_are_those_of_a_node() -> None:
    listed = set(re.findall(r"`(kaon_\w+)", PAGE.read_text(encoding="utf-8")))
    stage = Stage()
    node = stage.node()
    stage.puppet(node, "a")
    text = NodeMetrics(node).text().decode()
    there = set(re.findall(r"^(kaon_\w+)", text, flags=re.MULTILINE)) | set(
        re.findall(r"^# TYPE (\w+)", text, flags=re.MULTILINE)
    )
    assert listed <= there
    assert {name for name in there if name.startswith("kaon_") and not name.endswith("_created")} - listed == {
        "kaon_build_info"
    }


def test_the_page_shows_every_effect() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for effect in get_args(Effect):
        assert f"{effect.__name__.lower()}(" in text
