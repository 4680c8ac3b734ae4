"""Rules for what is not code: documents are linked and their links resolve, and nothing lies about that should not."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]
NOT_OURS: Final = frozenset({".git", ".venv", "__pycache__", "build", "dist", "node_modules"})
JUNK: Final = re.compile(r"\.(orig|rej|bak|swp|tmp|log|pyc)$|~$|^\.DS_Store$|^core(\.\d+)?$")
ENTRY: Final = ROOT / "README.md"

DOCUMENTATION_HOSTS: Final = frozenset(
    (
        *("127.0.0.1", "localhost", "0.0.0.0", "example.com", "example.org"),
        *("www.apache.org", "mesos.apache.org", "keepachangelog.com", "semver.org", "json-schema.org"),
        *("docs.kernel.org", "www.kernel.org", "man7.org", "docs.python.org", "peps.python.org"),
        *("www.usenix.org", "rfc.zeromq.org", "msgpack.org", "opentelemetry.io", "www.w3.org", "www.rfc-editor.org"),
    )
)
"""The only hosts that a file may name in an address: places to read, none to download from.

Where packages come from is the business of each machine's own configuration.
"""


def files() -> list[Path]:
    """What the checkout holds, without what tools leave in it."""
    found: list[Path] = []
    folders = [ROOT]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            if path.name in NOT_OURS or path.name.endswith(("_cache", ".egg-info")) or path.name == ".hypothesis":
                continue
            if path.is_dir() and not path.is_symlink():
                folders.append(path)
            elif path.is_file():
                found.append(path)
    return found


def text_of(path: Path) -> str:
    return path.read_bytes().decode("utf-8", errors="replace")


def prose(path: Path) -> str:
    """A document without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text_of(path), flags=re.MULTILINE | re.DOTALL)


def links(document: Path) -> Iterator[tuple[str, Path, str]]:
    """Links of a document to files: as written, the file, and the heading in it."""
    for written in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if not re.match(r"[a-z]+:", written):
            place, _, heading = written.partition("#")
            yield written, (document.parent / place).resolve() if place else document, heading


def headings(document: Path) -> set[str]:
    """The anchors that a document's headings get."""
    titles = re.findall(r"^#+ (.+)$", prose(document), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


DOCUMENTS: Final = [path for path in files() if path.suffix == ".md"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    for written, place, heading in links(document):
        assert place.exists(), f"{written}: no such file"
        assert not heading or heading in headings(place), f"{written}: no such heading"


def test_each_document_is_reached_from_the_readme() -> None:
    reached, ahead = {ENTRY}, [ENTRY]
    while ahead:
        for _, place, _ in links(ahead.pop()):
            if place.suffix == ".md" and place.exists() and place not in reached:
                reached.add(place)
                ahead.append(place)
    lost = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS if path not in reached]
    assert lost == [], "link them from docs/README.md"


def test_nothing_lies_about() -> None:
    names = [path.relative_to(ROOT).as_posix() for path in files() if JUNK.search(path.name)]
    empty = [
        path.relative_to(ROOT).as_posix() for path in files() if path.stat().st_size == 0 and path.name != "py.typed"
    ]
    assert (names, empty) == ([], [])


def test_addresses_are_places_to_read() -> None:
    named: dict[str, str] = {}
    for path in files():
        for host in re.findall(r"https?://([A-Za-z0-9][A-Za-z0-9.-]*)", text_of(path)):
            if host.rstrip(".") not in DOCUMENTATION_HOSTS and ("." in host or host == "localhost"):
                named[host] = path.relative_to(ROOT).as_posix()
    assert named == {}


SCRIPTS: Final = [path for path in files() if path.is_relative_to(ROOT / "scripts") or path.parent.name == ".ci"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_can_be_run(script: Path) -> None:
    assert script.stat().st_mode & 0o111, "chmod +x"
    first = text_of(script).partition("\n")[0]
    assert first.startswith("#!")
    if first.endswith(("sh", "bash")):
        subprocess.run([first.split("/")[-1].split()[-1], "-n", script], check=True)
