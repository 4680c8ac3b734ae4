"""The wheel: exactly the four packages, typed, with the licence."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from hatchling.build import build_wheel

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"actors", "allocator", "containerizer", "runtime"}
SUFFIXES = {".py", ".typed", ".template", ".json"}
"""Modules, the mark of a typed package, skeletons of `kaon new`, and the seccomp profile."""


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Paths in a wheel that is built from this checkout."""
    monkeypatch.chdir(ROOT)
    with zipfile.ZipFile(tmp_path / build_wheel(str(tmp_path))) as wheel:
        return [Path(name) for name in wheel.namelist()]


def test_wheel_ships_the_four_packages_and_nothing_else(shipped: list[Path]) -> None:
    top_levels = {path.parts[0] for path in shipped if not path.parts[0].endswith(".dist-info")}
    assert top_levels == PACKAGES
    assert {path.suffix for path in shipped if path.parts[0] in PACKAGES} <= SUFFIXES


def test_wheel_says_that_it_is_typed_and_under_which_licence(shipped: list[Path]) -> None:
    assert {path.parts[0] for path in shipped if path.name == "py.typed"} == PACKAGES
    assert "LICENSE" in {path.name for path in shipped}


def test_wheel_has_every_module_of_the_checkout(shipped: list[Path]) -> None:
    modules = {path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert modules - set(shipped) == set()
