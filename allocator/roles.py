"""Roles: names in a tree, ``eng/prod/web``. Quota, weights and reservations hang on them.

Rules of a name as in Mesos (`src/common/roles.cpp`), with hierarchical roles.
"""

from __future__ import annotations

import functools
from typing import Final

from runtime.errors import KaonError

DEFAULT_ROLE: Final = "*"
"""The role of those who name none; nothing can be reserved for it."""

_FORBIDDEN: Final = " \t\n\r\x0b\x0c\x08\x7f"


class InvalidRole(KaonError, ValueError):
    """A text is no role name."""


def check_role(role: str) -> str:
    """Return `role` as it is; raises :class:`InvalidRole` that says what is wrong with it."""
    if role == DEFAULT_ROLE:
        return role
    if not role:
        raise InvalidRole("a role is empty: leave it out, or write '*' for the default role")
    for part in role.split("/"):
        reason = _fault(part)
        if reason:
            raise InvalidRole(f"role {role!r}: {reason}")
    return role


def _fault(part: str) -> str:
    """Why one component of a role's path is not allowed; empty when it is."""
    if not part:
        return "it has an empty component; write components between single slashes, without one at either end"
    if part in (".", ".."):
        return f"the component {part!r} has a meaning of its own in paths; choose another name"
    if part == DEFAULT_ROLE:
        return "'*' stands only by itself, never inside a path"
    if part.startswith("-"):
        return f"the component {part!r} starts with '-', which reads as an option; choose another name"
    if any(character in _FORBIDDEN for character in part):
        return f"the component {part!r} contains white space or a control character; remove it"
    return ""


@functools.lru_cache(maxsize=65_536)
def lineage(role: str) -> tuple[str, ...]:
    """The role and its ancestors, the role itself first: ``a/b/c`` gives ``(a/b/c, a/b, a)``."""
    parts = role.split("/")
    return tuple("/".join(parts[:length]) for length in range(len(parts), 0, -1))


@functools.lru_cache(maxsize=65_536)
def top_level(role: str) -> str:
    """The first component: where quota is set."""
    return role.partition("/")[0]


def is_within(role: str, ancestor: str) -> bool:
    """Whether `role` is `ancestor` or lies under it."""
    return role == ancestor or role.startswith(ancestor + "/")
