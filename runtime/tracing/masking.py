"""Secrets are masked before anything is written: fields marked `message.SECRET`, wherever they stand.

A masked value keeps its shape (a text stays a text, a pair a pair), so that what is written can be read as the same
type again, by a replay for instance. What a type can hold is found out once: a type without secrets costs a look-up.
"""

from __future__ import annotations

import copy
import enum
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import msgspec
from msgspec import inspect
from msgspec.structs import force_setattr

from runtime.codec import HIDDEN
from runtime.message import declared_count

Masker: TypeAlias = Callable[[Any], Any]
"""Gives a value without its secrets: the value itself when it has none."""

_maskers: dict[type[msgspec.Struct], Masker | None] = {}
_declared = -1


def masker_of(struct: type[msgspec.Struct]) -> Masker | None:
    """What masks values of a type; None when it holds no secret.

    A class declared later may be a new alternative where only its base is named, so that all is found out again then.
    """
    global _declared  # noqa: PLW0603  the cache belongs to the module
    if _declared != declared_count():
        _declared = declared_count()
        _maskers.clear()
    try:
        return _maskers[struct]
    except KeyError:
        _maskers[struct] = _later
        masker = _maskers[struct] = _struct_masker(struct)
        return masker


def mask(value: Any) -> Any:
    """Any value without its secrets; what is unchanged is shared with `value`."""
    if isinstance(value, msgspec.Struct):
        masker = masker_of(type(value))
        return value if masker is None else masker(value)
    if isinstance(value, dict):
        return {mask(key): mask(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)) and not _is_named(value):
        return type(value)(mask(item) for item in value)
    return value


def conceal(value: Any) -> Any:
    """Something of the shape of `value` that says nothing; what is empty stays so."""
    if not value:
        return value
    if type(value) is str:
        return HIDDEN
    match value:
        case enum.Enum():
            return next(iter(type(value)))
        case bool() | int() | float():
            return type(value)(0)
        case bytes() | bytearray():
            return type(value)(HIDDEN.encode())
        case msgspec.Struct():
            return _mask_fields(tuple((name, conceal) for name in value.__struct_fields__), value)
        case dict():
            return {conceal(key): conceal(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset() if not _is_named(value):
            return type(value)(conceal(item) for item in value)
    return HIDDEN


def is_secret(declared: inspect.Type) -> bool:
    """Whether a type, or one of its alternatives, is marked."""
    if isinstance(declared, inspect.Metadata):
        return bool((declared.extra or {}).get("secret")) or is_secret(declared.type)
    return isinstance(declared, inspect.UnionType) and any(map(is_secret, declared.types))


def _is_named(value: Any) -> bool:
    """Whether it is a named tuple, whose constructor takes its items one by one."""
    return isinstance(value, tuple) and hasattr(value, "_fields")


def _later(value: Any) -> Any:
    """Masks what a recursive type holds of itself."""
    return mask(value)


def _struct_masker(struct: type[msgspec.Struct]) -> Masker | None:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    found = {field.name: _compile(field.type) for field in info.fields}
    maskers = tuple((name, masker) for name, masker in found.items() if masker is not None)
    return partial(_mask_fields, maskers) if maskers else None


def _mask_fields(maskers: tuple[tuple[str, Masker], ...], value: msgspec.Struct) -> msgspec.Struct:
    """A copy with other values. Not `structs.replace`: that would check a masked value as if somebody had given it."""
    changed = value
    for name, masker in maskers:
        old = getattr(value, name)
        new = masker(old)
        if new is not old:
            if changed is value:
                changed = copy.copy(value)
            force_setattr(changed, name, new)
    return changed


def _compile(declared: inspect.Type) -> Masker | None:
    """What masks values that are declared so; None when they cannot hold a secret."""
    if is_secret(declared):
        return conceal
    match declared:
        case inspect.Metadata():
            return _compile(declared.type)
        case inspect.UnionType():
            return _compile_union(declared)
        case inspect.StructType():
            return mask if declared.cls.__subclasses__() else masker_of(declared.cls)
        case inspect.CollectionType():
            return _compile_items([declared.item_type])
        case inspect.TupleType():
            return _compile_items(declared.item_types)
        case inspect.DictType():
            return _compile_dict(declared)
        case inspect.DataclassType() | inspect.TypedDictType() | inspect.NamedTupleType():
            return conceal if any(_compile(field.type) for field in declared.fields) else None
        case inspect.AnyType() | inspect.CustomType():
            return mask
    return None


def _compile_union(declared: inspect.UnionType) -> Masker | None:
    options = [option for option in declared.types if not isinstance(option, inspect.NoneType)]
    maskers = [_compile(option) for option in options]
    if len(maskers) != 1 or maskers[0] is None:
        return mask if any(maskers) else None
    masker = maskers[0]
    return lambda value: None if value is None else masker(value)


def _compile_items(declared: Any) -> Masker | None:
    maskers = [_compile(each) for each in declared]
    if not any(maskers):
        return None

    def mask_items(value: Any) -> Any:
        if value is None:
            return None
        if len(maskers) == 1:
            return type(value)((maskers[0] or _same)(item) for item in value)
        return type(value)((masker or _same)(item) for masker, item in zip(maskers, value, strict=True))

    return mask_items


def _compile_dict(declared: inspect.DictType) -> Masker | None:
    keys, values = _compile(declared.key_type), _compile(declared.value_type)
    if keys is None and values is None:
        return None
    mask_key, mask_value = keys or _same, values or _same
    return lambda value: {mask_key(key): mask_value(item) for key, item in value.items()}


def _same(value: Any) -> Any:
    return value
