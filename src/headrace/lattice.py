"""One type for what chunks of a job hold in different ones, so that no value changes.

A lattice: ``join`` is commutative, associative and idempotent, so the order of the chunks does not matter.
docs/types.md has it as a table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from headrace.model import DATETIME, FLOAT, INTEGER, STRING, UNKNOWN, ColumnKind, ColumnType, decimal

MOST_DIGITS = 38
"""Of a DECIMAL."""

FLOAT_DIGITS = 15
"""A FLOAT gives back every DECIMAL of so many digits."""

FLOAT_INTEGERS = 2**53
"""A FLOAT holds every INTEGER up to here."""

_INTEGER_DIGITS = 19
_NUMBERS = frozenset((ColumnKind.INTEGER, ColumnKind.DECIMAL, ColumnKind.FLOAT))


@dataclass(frozen=True)
class Held:
    """What a column holds. ``as_float``: a FLOAT would hold each of its numbers, too."""

    type: ColumnType
    as_float: bool = True


def join(one: Held, other: Held) -> Held:
    """The narrowest type that holds every value of both."""
    kinds = {one.type.kind, other.type.kind}
    if one.type == UNKNOWN:
        return other
    if other.type == UNKNOWN:
        return one
    if kinds <= _NUMBERS:
        return _number(one, other, one.as_float and other.as_float)
    if one.type == other.type:
        return one
    return Held(DATETIME if kinds == {ColumnKind.DATE, ColumnKind.DATETIME} else STRING)


def _number(one: Held, other: Held, as_float: bool) -> Held:
    """Exact as long as 38 digits hold both; else FLOAT if that loses nothing, else the digits as text."""
    if one.type == other.type:
        return replace(one, as_float=as_float)
    if FLOAT not in (one.type, other.type):
        whole = max(_whole_digits(one.type), _whole_digits(other.type))
        scale = max(one.type.scale, other.type.scale)
        if whole + scale <= MOST_DIGITS:
            return Held(decimal(whole + scale, scale), as_float)
    return Held(FLOAT if as_float else STRING)


def _whole_digits(type: ColumnType) -> int:
    return _INTEGER_DIGITS if type == INTEGER else type.precision - type.scale
