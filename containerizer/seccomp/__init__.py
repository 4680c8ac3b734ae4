"""Seccomp profiles in Docker's JSON form, and their way to BPF.

The form is that of `moby/profiles/seccomp`: a default action, and rules that name calls, an action, conditions on
arguments, and what capabilities, architecture or kernel they hold for. The first rule that fits decides.
"""

from __future__ import annotations

import struct
from collections.abc import Set as AbstractSet
from typing import Final, TypeAlias

import msgspec

from containerizer.errors import InvalidSpec
from containerizer.seccomp.tables import AUDIT_ARCHITECTURES, DOCKER_NAMES, TABLES

_ALLOW: Final = 0x7FFF0000
_LOG: Final = 0x7FFC0000
_ERRNO: Final = 0x00050000
_TRAP: Final = 0x00030000
_KILL_THREAD: Final = 0x00000000
_KILL_PROCESS: Final = 0x80000000

_ACTIONS: Final = {
    "SCMP_ACT_ALLOW": _ALLOW,
    "SCMP_ACT_LOG": _LOG,
    "SCMP_ACT_ERRNO": _ERRNO,
    "SCMP_ACT_TRAP": _TRAP,
    "SCMP_ACT_KILL": _KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": _KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": _KILL_PROCESS,
}

_ENOSYS: Final = 38
_EPERM: Final = 1
_X32_BIT: Final = 0x40000000
"""Calls of another interface of x86-64, which no filter means."""

MAX_INSTRUCTIONS: Final = 4096
"""`BPF_MAXINSNS`."""

_LOAD: Final = 0x20
_AND: Final = 0x54
_JUMP_EQUAL: Final = 0x15
_JUMP_GREATER: Final = 0x25
_JUMP_AT_LEAST: Final = 0x35
_RETURN: Final = 0x06

_NUMBER_AT: Final = 0
_ARCHITECTURE_AT: Final = 4
_ARGUMENTS_AT: Final = 16

_PASS: Final = -1
_FAIL: Final = -2

Instruction: TypeAlias = tuple[int, int, int, int]
"""Code, jump if true, jump if false, constant."""


class Argument(msgspec.Struct, frozen=True, rename="camel"):
    """A condition on an argument of a call."""

    index: int
    value: int
    op: str
    value_two: int = 0


class Condition(msgspec.Struct, frozen=True, rename="camel"):
    """What a rule holds for."""

    caps: tuple[str, ...] = ()
    arches: tuple[str, ...] = ()


class Rule(msgspec.Struct, frozen=True, rename="camel"):
    """Calls and what becomes of them."""

    names: tuple[str, ...]
    action: str
    errno_ret: int | None = None
    args: tuple[Argument, ...] | None = None
    includes: Condition = Condition()
    excludes: Condition = Condition()


class Profile(msgspec.Struct, frozen=True, rename="camel"):
    """All of a profile."""

    default_action: str
    default_errno_ret: int = _EPERM
    syscalls: tuple[Rule, ...] = ()


def read_profile(text: bytes, where: str) -> Profile:
    """Decode a profile. Raises :class:`InvalidSpec` that names the file and what is wrong in it."""
    try:
        return msgspec.json.decode(text, type=Profile)
    except msgspec.MsgspecError as error:
        raise InvalidSpec(f"seccomp profile {where}: {error}") from None


def compile_profile(profile: Profile, machine: str, capabilities: AbstractSet[str]) -> bytes:
    """BPF for a machine, for a container with these capabilities (without ``CAP_``).

    Names that this machine does not have are left out, as libseccomp does. Raises :class:`InvalidSpec` for actions and
    operators that are unknown, and for a profile that is too long for the kernel.
    """
    numbers = TABLES[machine]
    code: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 1, 0, AUDIT_ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _ERRNO | _ENOSYS),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_AT_LEAST, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, _ERRNO | _ENOSYS),
    ]
    for rule in profile.syscalls:
        if not _holds(rule, machine, capabilities):
            continue
        action = _action(rule.action, rule.errno_ret)
        tests = [_test(argument) for argument in rule.args or ()]
        for name in rule.names:
            if name in numbers:
                code.extend(_block(numbers[name], tests, action))
    code.append((_RETURN, 0, 0, _action(profile.default_action, profile.default_errno_ret)))
    if len(code) > MAX_INSTRUCTIONS:
        raise InvalidSpec(f"seccomp profile: {len(code)} instructions, {MAX_INSTRUCTIONS} at most: name fewer calls")
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _holds(rule: Rule, machine: str, capabilities: AbstractSet[str]) -> bool:
    architecture = DOCKER_NAMES[machine]
    has = {f"CAP_{name}" for name in capabilities}
    if not has.issuperset(rule.includes.caps) or has.intersection(rule.excludes.caps):
        return False
    if rule.includes.arches and architecture not in rule.includes.arches:
        return False
    return architecture not in rule.excludes.arches


def _action(name: str, errno: int | None) -> int:
    if name not in _ACTIONS:
        raise InvalidSpec(f"seccomp profile: action {name} is unknown here: one of {', '.join(_ACTIONS)}")
    value = _ACTIONS[name]
    return value | (_EPERM if errno is None else errno) if value == _ERRNO else value


def _block(number: int, tests: list[list[Instruction]], action: int) -> list[Instruction]:
    """If it is this call and all tests pass, the action; else on to what follows, with the number loaded again."""
    body: list[Instruction] = []
    for test in tests:
        body.extend(test)
    size = len(body)
    resolved: list[Instruction] = []
    end_of_test = 0
    for test in tests:
        end_of_test += len(test)
        for _ in test:
            at = len(resolved)
            code, true, false, constant = body[at]
            jumps = {_PASS: end_of_test - at - 1, _FAIL: size - at}
            resolved.append((code, jumps.get(true, true), jumps.get(false, false), constant))
    # Behind the block the number must be loaded: arguments were.
    head: Instruction = (_JUMP_EQUAL, 0, size + 1 + bool(tests), number)
    tail: list[Instruction] = [(_LOAD, 0, 0, _NUMBER_AT)] if tests else []
    return [head, *resolved, (_RETURN, 0, 0, action), *tail]


def _test(argument: Argument) -> list[Instruction]:
    """Compare one argument, which is 64 bits wide, in two halves; little-endian, as both machines are."""
    low_at = _ARGUMENTS_AT + 8 * argument.index
    high: Instruction = (_LOAD, 0, 0, low_at + 4)
    low: Instruction = (_LOAD, 0, 0, low_at)
    value_high, value_low = argument.value >> 32, argument.value & 0xFFFFFFFF
    two_high, two_low = argument.value_two >> 32, argument.value_two & 0xFFFFFFFF
    match argument.op:
        case "SCMP_CMP_EQ":
            return [high, (_JUMP_EQUAL, 0, _FAIL, value_high), low, (_JUMP_EQUAL, _PASS, _FAIL, value_low)]
        case "SCMP_CMP_NE":
            return [high, (_JUMP_EQUAL, 0, _PASS, value_high), low, (_JUMP_EQUAL, _FAIL, _PASS, value_low)]
        case "SCMP_CMP_MASKED_EQ":
            masked_high: list[Instruction] = [high, (_AND, 0, 0, value_high), (_JUMP_EQUAL, 0, _FAIL, two_high)]
            return [*masked_high, low, (_AND, 0, 0, value_low), (_JUMP_EQUAL, _PASS, _FAIL, two_low)]
        case "SCMP_CMP_GT" | "SCMP_CMP_GE":
            last = _JUMP_GREATER if argument.op == "SCMP_CMP_GT" else _JUMP_AT_LEAST
            first: list[Instruction] = [high, (_JUMP_GREATER, _PASS, 0, value_high)]
            return [*first, (_JUMP_EQUAL, 0, _FAIL, value_high), low, (last, _PASS, _FAIL, value_low)]
        case "SCMP_CMP_LT" | "SCMP_CMP_LE":
            last = _JUMP_AT_LEAST if argument.op == "SCMP_CMP_LT" else _JUMP_GREATER
            first = [high, (_JUMP_GREATER, _FAIL, 0, value_high)]
            return [*first, (_JUMP_EQUAL, 0, _PASS, value_high), low, (last, _FAIL, _PASS, value_low)]
        case _:
            raise InvalidSpec(f"seccomp profile: operator {argument.op} is unknown")
