"""Rules of the house that no linter knows. Each is a function that yields what is wrong with one file.

What a rule allows is data, at the top, with its reason. At the end each rule is shown a piece of code that breaks it.
"""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGES: Final = ("actors", "allocator", "containerizer", "runtime")
FOLDERS: Final = (*PACKAGES, "benchmarks", "examples", "scripts", "tests")
SCRIPTS: Final = ("scripts/with-cgroup2",)
"""Python without the suffix."""

MAX_FILE_LINES: Final = 400
MAX_FUNCTION_LINES: Final = 70

LONG_FILES: Final[Mapping[str, str]] = {}
"""Path of a file that may pass the limit: why one subject needs it."""

BANNED_WORDS: Final = frozenset({"slave", "slaves", "manager", "managers", "utils", "util", "misc"})
WIRE_FORMATS: Final = ("actors/gateway/", "tests/actors/gateway/", "tests/compat/")
"""Folders that speak the Mesos v1 API, whose fields are called what they are called."""

NAMES_OF_OTHERS: Final[Mapping[str, str]] = {"MS_SLAVE": "mount(2)"}
"""Name that has a banned word: whose it is."""

ZMQ_IMPORTERS: Final = ("runtime/transport/zeromq/", "benchmarks/", "tests/")
SYSTEM_CALLS: Final = ("containerizer/linux.py", "tests/containerizer/")

PURE: Final = (
    *("runtime/constants.py", "runtime/effects.py", "runtime/errors.py", "runtime/message.py", "runtime/pid.py"),
    "runtime/supervision.py",
    *("allocator/allocate.py", "allocator/drf.py", "allocator/explain.py", "allocator/filters.py", "allocator/plan.py"),
    *("allocator/priority.py", "allocator/quota.py", "allocator/random_order.py", "allocator/ranges.py"),
    *("allocator/resource.py", "allocator/resources.py", "allocator/resources_json.py", "allocator/resources_text.py"),
    *("allocator/roles.py", "allocator/snapshot.py", "allocator/sorter.py"),
    *("containerizer/errors.py", "containerizer/messages.py", "containerizer/spec.py"),
    "containerizer/streaming.py",
    "actors/messages/",
)
"""Modules, and folders of them, without clock, chance and I/O; those that are not written yet are held to it later."""

IMPURE: Final = frozenset(
    (
        *("aiohttp", "asyncio", "concurrent", "datetime", "fcntl", "io", "kazoo", "logging", "multiprocessing", "os"),
        *("prctl", "psutil", "secrets", "select", "selectors", "shutil", "signal", "socket", "sqlite3"),
        *("subprocess", "sys", "tempfile", "threading", "time", "uuid", "zmq"),
    )
)
BUILT_IN_IO: Final = frozenset({"input", "open", "print"})

MAX_POLL_SECONDS: Final = 0.05
REAL_TIME_TESTS: Final = ("tests/conftest.py", "tests/integration/")
"""Tests that may look at the wall clock and sleep for longer, for they watch what real processes do."""


@dataclass(frozen=True)
class Source:
    """One file of Python, its path from the root on."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def comments(self) -> dict[int, str]:
        """Line number: the comment on it."""
        tokens = tokenize.generate_tokens(StringIO(self.text).readline)
        return {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}

    def walk(self) -> Iterator[ast.AST]:
        return ast.walk(self.tree)


def sources() -> list[Source]:
    found = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    found += [ROOT / script for script in SCRIPTS]
    return [Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in found]


def imports(node: ast.AST) -> list[str]:
    """Dotted names of the modules that a statement may import."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def called(node: ast.AST) -> str:
    """`time.sleep` for a call of it; empty for anything else."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


# The rules ------------------------------------------------------------------------------------------------------------


def file_has_one_subject(source: Source) -> Iterator[str]:
    lines = source.text.count("\n")
    if lines > MAX_FILE_LINES and source.path not in LONG_FILES:
        yield f"{lines} lines, {MAX_FILE_LINES} at most: split it by subject"


def function_fits_a_screen(source: Source) -> Iterator[str]:
    for node in source.walk():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                yield f"line {node.lineno}: {node.name} has {lines} lines, {MAX_FUNCTION_LINES} at most"


def names_given(source: Source) -> Iterator[tuple[int, str]]:
    """Names that a file gives, as opposed to those of others that it uses."""
    yield 0, source.path
    for node in source.walk():
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.lineno, node.name
            case ast.arg():
                yield node.lineno, node.arg
            case ast.Name(ctx=ast.Store()):
                yield node.lineno, node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node.lineno, node.attr


def names_are_of_this_house(source: Source) -> Iterator[str]:
    if source.path.startswith(WIRE_FORMATS):
        return
    for line, name in names_given(source):
        for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name):
            if word.lower() in BANNED_WORDS and name not in NAMES_OF_OTHERS:
                yield f"line {line}: {name!r} says {word!r}: use Mesos's word, or say what it does"


def only_the_transport_imports_zmq(source: Source) -> Iterator[str]:
    for node in source.walk():
        for module in imports(node):
            if module.startswith(("zmq.asyncio", "zmq.auth")):
                yield f"imports {module}: one loop drives plain sockets, without tasks and threads"
            elif module.split(".")[0] == "zmq" and not source.path.startswith(ZMQ_IMPORTERS):
                yield f"imports {module}: only {ZMQ_IMPORTERS[0]} does"


def one_module_holds_system_calls(source: Source) -> Iterator[str]:
    if source.path.startswith(SYSTEM_CALLS):
        return
    for line, name in names_given(source):
        if re.match(r"_*(SYS|NR)_[a-z]", name):
            yield f"line {line}: {name} looks like a system call's number: it belongs into {SYSTEM_CALLS[0]}"
    for node in source.walk():
        if called(node).endswith(".syscall"):
            yield f"a system call by number: it belongs into {SYSTEM_CALLS[0]}"


def pure_module_has_no_clock_chance_or_io(source: Source) -> Iterator[str]:
    if not source.path.startswith(PURE):
        return
    for node in source.walk():
        for module in imports(node):
            if module.split(".")[0] in IMPURE or re.match(r"random\.(?!Random$)", module):
                yield f"imports {module}: time, chance and I/O are handed in"
        if isinstance(node, ast.Call) and (called(node) in BUILT_IN_IO or is_unseeded(node)):
            yield f"line {node.lineno}: calls {called(node)}: time, chance and I/O are handed in"


def is_unseeded(call: ast.Call) -> bool:
    """Whether it draws from the interpreter's own chance; `random.Random`, the type, is what a caller hands in."""
    name = called(call)
    return name.startswith("random.") and not (name == "random.Random" and call.args)


def logic_is_tested_without_a_wall_clock(source: Source) -> Iterator[str]:
    if not source.path.startswith("tests/") or source.path.startswith(REAL_TIME_TESTS):
        return
    for node in source.walk():
        if not isinstance(node, ast.Call):
            continue
        if called(node) in {"time.time", "datetime.now", "datetime.today"}:
            yield f"line {node.lineno}: {called(node)}: use the virtual clock"
        if called(node) in {"time.sleep", "asyncio.sleep"} and not is_poll(node):
            yield f"line {node.lineno}: {called(node)}: wait for the event itself, with a deadline"


def is_poll(sleep: ast.Call) -> bool:
    """Whether it is so short that it can only be one round of waiting for a condition."""
    seconds = sleep.args[0] if sleep.args else None
    return isinstance(seconds, ast.Constant) and float(str(seconds.value)) <= MAX_POLL_SECONDS


def nothing_is_put_off(source: Source) -> Iterator[str]:
    for line, comment in source.comments.items():
        if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", comment):
            yield f"line {line}: {comment}: do it, or open an issue"


def broad_except_says_why(source: Source) -> Iterator[str]:
    comments = source.comments
    for node in source.walk():
        if not isinstance(node, ast.ExceptHandler) or isinstance(node.body[-1], ast.Raise):
            continue
        caught = ast.unparse(node.type) if node.type else "everything"
        if re.search(r"\b(Exception|BaseException|everything)\b", caught):
            said = " ".join(comments.get(line, "") for line in (node.lineno, node.lineno + 1))
            reason = re.sub(r"#|noqa(: *[A-Z0-9, ]+)?", "", said)
            if len(reason.split()) < 3:
                yield f"line {node.lineno}: catches {caught} and no comment there says why"


Rule = Callable[[Source], Iterator[str]]
RULES: Final[tuple[Rule, ...]] = (
    file_has_one_subject,
    function_fits_a_screen,
    names_are_of_this_house,
    only_the_transport_imports_zmq,
    one_module_holds_system_calls,
    pure_module_has_no_clock_chance_or_io,
    logic_is_tested_without_a_wall_clock,
    nothing_is_put_off,
    broad_except_says_why,
)

BROKEN: Final = (
    (file_has_one_subject, "runtime/a.py", "a = 1\n" * 401),
    (function_fits_a_screen, "runtime/a.py", "def a():\n" + "    b()\n" * 70),
    (names_are_of_this_house, "runtime/a.py", "class AgentManager: ..."),
    (names_are_of_this_house, "runtime/a.py", "def add(slave_id): ..."),
    (names_are_of_this_house, "runtime/utils.py", ""),
    (only_the_transport_imports_zmq, "actors/a.py", "import zmq"),
    (only_the_transport_imports_zmq, "runtime/transport/zeromq/a.py", "from zmq import asyncio"),
    (one_module_holds_system_calls, "containerizer/a.py", "SYS_clone3 = 435"),
    (one_module_holds_system_calls, "containerizer/a.py", "libc.syscall(435)"),
    (pure_module_has_no_clock_chance_or_io, "allocator/drf.py", "from time import monotonic"),
    (pure_module_has_no_clock_chance_or_io, "allocator/drf.py", "print(1)"),
    (pure_module_has_no_clock_chance_or_io, "allocator/drf.py", "from random import choice"),
    (pure_module_has_no_clock_chance_or_io, "allocator/drf.py", "import random\nrandom.shuffle(a)"),
    (logic_is_tested_without_a_wall_clock, "tests/runtime/test_a.py", "time.sleep(1)"),
    (logic_is_tested_without_a_wall_clock, "tests/runtime/test_a.py", "await_(asyncio.sleep(0.1))"),
    (nothing_is_put_off, "runtime/a.py", "a = 1  # TO" + "DO: two"),
    (broad_except_says_why, "runtime/a.py", "try:\n    a()\nexcept Exception:  # noqa: BLE001\n    b()"),
    (broad_except_says_why, "runtime/a.py", "try:\n    a()\nexcept (OSError, BaseException):\n    b()"),
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_house_rule(rule: Rule) -> None:
    wrong = [f"{source.path}: {what}" for source in sources() for what in rule(source)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("rule", "path", "text"), BROKEN)
def test_rule_notices_what_breaks_it(rule: Rule, path: str, text: str) -> None:
    assert list(rule(Source(path, text))) != []


def test_each_rule_has_been_seen_to_break() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


def test_long_files_are_still_there_and_long() -> None:
    assert [path for path in LONG_FILES if (ROOT / path).read_text().count("\n") <= MAX_FILE_LINES] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_each_folder_of_modules_is_a_package_that_says_what_it_is_for(package: str) -> None:
    folders = {path.parent for path in (ROOT / package).rglob("*.py")}
    missing = [str(folder) for folder in folders if not (folder / "__init__.py").is_file()]
    assert missing == []
    silent = [folder for folder in folders if not ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))]
    assert silent == []
