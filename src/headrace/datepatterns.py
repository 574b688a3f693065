"""Java date patterns (``java.time.format.DateTimeFormatter``, ``SimpleDateFormat``) for DuckDB's strptime.

One Java pattern becomes several strptime formats: one for each way through its optional parts ``[...]``
and for each way to write a zone. Several patterns in one text are separated by ``;`` or ``||``; the first
that fits a value wins.

Where we read more, or less, than Java does (``tests/unit/java_dates.tsv`` holds us against it):

* fewer digits than the pattern says are accepted (``d.M`` for ``dd.MM``, ``.5`` for ``.SSS``), but for the
  year; more digits are not. So are more spaces, also around the value, and names in any case;
* ``yy`` is 1969 to 2068, as people mean it; for Java's ``DateTimeFormatter`` it is 2000 to 2099;
* 30 February is no day; Java would take the last one of the month;
* ``h`` without ``a`` is the hour as written, 1 to 12; ``a`` beside ``H`` refuses hours above 12;
* the name of the day is read, but not compared with the date; names are English;
* zone names are those that ICU knows (``CET``, ``UTC``, ``Europe/Berlin``; ``IST`` is India's), and the usual
  ones of summer time (``CEST``, ``EDT``);
* day 366 (``D``) of a common year is the next 1 January, as DuckDB has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_MOST_FORMATS = 100  # each one is tried on every value that no earlier one fits

_QUOTED = r"'(?:[^']|'')*+'"
_ALTERNATIVE = re.compile(rf"(?:{_QUOTED}|(?<!\|)\|(?!\|)|[^;|])+")
_TOKEN = re.compile(rf"{_QUOTED}|([A-Za-z])\1*|[^A-Za-z']", re.ASCII)

_OFFSET = ("%z", "Z")
_NAME = ("%Z", "%z", "GMT%z", "Z")
_ZONES = frozenset(_NAME)

_FIELDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("y", "yyy", "yyyy", "uuuu"), ("%Y",)),
    "yy": ("%y",),
    **dict.fromkeys(("M", "MM", "L", "LL"), ("%m",)),
    **dict.fromkeys(("MMM", "LLL"), ("%b",)),
    **dict.fromkeys(("MMMM", "LLLL"), ("%B",)),
    **dict.fromkeys(("d", "dd"), ("%d",)),
    **dict.fromkeys(("D", "DD", "DDD"), ("%j",)),
    **dict.fromkeys(("E", "EE", "EEE"), ("%a",)),
    "EEEE": ("%A",),
    **dict.fromkeys(("H", "HH"), ("%H",)),
    **dict.fromkeys(("k", "kk"), ("%H", "24")),  # 24 as a literal leaves the hour at 0
    **dict.fromkeys(("h", "hh"), ("%I",)),
    "a": ("%p",),
    **dict.fromkeys(("m", "mm"), ("%M",)),
    **dict.fromkeys(("s", "ss"), ("%S",)),
    **dict.fromkeys(("S", "SS", "SSS"), ("%g",)),  # up to 3 digits, as a fraction
    **dict.fromkeys(("SSSS", "SSSSS", "SSSSSS"), ("%f",)),
    **dict.fromkeys(("SSSSSSS", "SSSSSSSS", "SSSSSSSSS"), ("%n",)),
    **dict.fromkeys(("X", "XX", "XXX", "XXXX", "XXXXX", "Z", "ZZ", "ZZZ", "ZZZZZ"), _OFFSET),
    **dict.fromkeys(("x", "xx", "xxx", "xxxx", "xxxxx"), ("%z",)),
    **dict.fromkeys(("z", "zz", "zzz", "VV"), _NAME),
}

_SUMMER = {
    **{"WEST": "+01:00", "CEST": "+02:00", "EEST": "+03:00", "AEDT": "+11:00", "NZDT": "+13:00"},
    **{"ADT": "-03:00", "EDT": "-04:00", "CDT": "-05:00", "MDT": "-06:00", "PDT": "-07:00"},
}
"""Names of summer time that ICU does not know."""

_HINTS = {
    "Y": " (the year of the week; write 'y' for the year)",
    "T": " (write 'T' in quotes for the letter)",
    **dict.fromkeys("wW", " (a week is no day; write month and day as 'MM' and 'dd')"),
    **dict.fromkeys("Qq", " (a quarter is no day; write the month as 'MM')"),
    **dict.fromkeys("ec", " (the number of the day of the week; write its name as 'EEE')"),
    "F": " (the week of the month; write the day as 'dd')",
    "G": " (eras; leave it out, or write 'AD' in quotes)",
    "K": " (hours from 0 to 11; write 'hh' with 'a')",
    "B": " (parts of the day; write 'a')",
    **dict.fromkeys("AnN", " (write the time as 'HH:mm:ss.SSS')"),
    **dict.fromkeys("Ovz", " (write a zone as 'XXX', 'z' or 'VV')"),
    "V": " (write 'VV')",
    "p": " (padding; spaces need none)",
    **dict.fromkeys("yu", " (write 'yyyy' or 'yy')"),
    **dict.fromkeys("ML", " (write 'MM', 'MMM' or 'MMMM')"),
    "E": " (write 'EEE' or 'EEEE')",
    "S": " (at most 9 of them)",
}

_DATED = frozenset(fragment for fragments in _FIELDS.values() for fragment in fragments if "%" in fragment)

_Format = tuple[str, ...]
"""The fragments of one strptime format."""


class UnsupportedPattern(ValueError):
    """The date pattern has a part that we cannot read; ``position`` counts from 1."""

    def __init__(self, pattern: str, part: str, position: int, reason: str = "is not supported") -> None:
        self.pattern, self.part, self.position = pattern, part, position
        super().__init__(f"date pattern {pattern!r}: {part!r} at position {position} {reason}")


@dataclass(frozen=True)
class DatePattern:
    """strptime formats, grouped: DuckDB reads the formats of one call right only if all are of one kind.

    A call whose formats mix ``%z`` with others carries the offset of one row into the next, and one with
    ``%n`` yields TIMESTAMP_NS, which loses the years after 2262. Groups may be empty.
    """

    naive: tuple[str, ...] = ()  # without a zone, or with a literal Z: the value is UTC
    nanos: tuple[str, ...] = ()  # the same with %n
    offset: tuple[str, ...] = ()  # with %z
    named: tuple[str, ...] = ()  # with %Z
    year: str | None = None
    """A pattern of the four digits of a year, where each has them: strptime would take 24 for the year 24."""
    has_zone: bool = False
    """Whether the values may say a zone, and so are moments rather than times on a wall clock."""

    def sql(self, column: str) -> str:
        """SQL that reads the text ``column`` (an SQL expression): a TIMESTAMP in UTC, NULL if no format fits.

        Needs ``SET TimeZone = 'UTC'``. strptime takes 'epoch' and 'infinity' as 1900-01-01 whatever the
        format is, so these come out as NULL.
        """
        there = f"regexp_matches({column}, '{self.year}')" if self.year else not_special(column)
        if self.named:
            column = _in_summer(column)
        readings = [f"try_strptime({column}, {_sql_list(self.naive)})"] if self.naive else []
        if self.nanos:  # with an offset of our own: TIMESTAMPTZ has the years that TIMESTAMP_NS lacks
            readings.append(_moment(f"rtrim({column}) || '+00'", [f"{form}%z" for form in self.nanos]))
        readings += [_moment(column, group) for group in (self.offset, self.named) if group]
        return f"CASE WHEN {there} THEN coalesce({', '.join(readings)}) END"


def not_special(column: str) -> str:
    """SQL condition: the text ``column`` is none of the words that DuckDB takes for a date.

    strptime and ``CAST(… AS TIMESTAMP)`` know 'epoch' and 'infinity'; casts know 'inf' too.
    """
    return rf"NOT regexp_full_match({column}, '(?i)\s*(epoch|-?inf(inity)?)\s*')"


def _in_summer(column: str) -> str:
    for name, offset in _SUMMER.items():
        column = f"replace({column}, '{name}', '{offset}')"
    return column


def _moment(column: str, formats: Iterable[str]) -> str:
    return f"make_timestamp(epoch_us(try_strptime({column}, {_sql_list(formats)})))"


def _sql_list(formats: Iterable[str]) -> str:
    return "[" + ", ".join("'" + form.replace("'", "''") + "'" for form in formats) + "]"


def read_pattern(pattern: str) -> DatePattern:
    """The strptime formats of one or several Java patterns.

    Raises UnsupportedPattern for letters without a counterpart, unbalanced quotes or brackets, and more
    than 100 formats.
    """
    found = list(_all_formats(pattern))
    if not found:
        raise UnsupportedPattern(pattern, pattern, 1, "holds no date")
    groups: dict[str, list[str]] = {}
    for form in _yy_first(dict.fromkeys("".join(fragments) for fragments in found)):
        groups.setdefault(_group(form), []).append(form)
    zoned = any(not _ZONES.isdisjoint(fragments) for fragments in found)
    return DatePattern(
        **{name: tuple(forms) for name, forms in groups.items()}, year=_year(pattern, found), has_zone=zoned
    )


def _year(pattern: str, formats: Iterable[_Format]) -> str | None:
    """Four digits and no more, or, where other digits touch them, more."""
    years = re.findall(r"y+|u+", re.sub(_QUOTED, "", pattern))
    if any(len(letters) < 3 for letters in years) or not all("%Y" in fragments for fragments in formats):
        return None
    alone = r"(^|[^\d+])\d{4}($|\D)"
    touched = any(re.search(r"%[dmjHIMSgfn]%Y|%Y%[dmjHIMSgfn]", "".join(fragments)) for fragments in formats)
    return rf"{alone}|\d{{5,}}" if touched else alone


def _group(form: str) -> str:
    specifiers = re.findall(r"%(.)", form)
    kinds = {"Z": "named", "z": "offset", "n": "nanos"}
    return next((group for letter, group in kinds.items() if letter in specifiers), "naive")


def _yy_first(formats: Iterable[str]) -> list[str]:
    """%Y would take the two digits that are meant for %y; %y never takes four, unless digits follow it."""
    return sorted(formats, key=lambda form: re.search(r"%y(?!%[^%])", form) is None)


def _all_formats(pattern: str) -> Iterator[_Format]:
    for alternative in _ALTERNATIVE.finditer(pattern):
        formats = _sequence(pattern, _tokens(pattern, alternative))
        yield from (form for form in formats if not _DATED.isdisjoint(form))


def _tokens(pattern: str, alternative: re.Match[str]) -> Iterator[tuple[str, int]]:
    """The parts of one pattern, each with its position from 1; spaces around the pattern are dropped."""
    text = alternative.group()
    at, end = len(text) - len(text.lstrip()), len(text.rstrip())
    while at < end:
        token = _TOKEN.match(text, at, end)
        if token is None:
            raise UnsupportedPattern(
                pattern, "'", alternative.start() + at + 1, "opens a quote without an end"
            )
        yield token.group(), alternative.start() + at + 1
        at = token.end()


def _sequence(pattern: str, tokens: Iterator[tuple[str, int]], opened: int | None = None) -> list[_Format]:
    """Every format of the tokens up to the bracket that closes the one at ``opened``, the longest first."""
    formats: list[_Format] = [()]
    for token, position in tokens:
        if token == "]" and opened:  # nosec B105
            return formats
        if token == "[":  # nosec B105
            variants = [*_sequence(pattern, tokens, position), ()]
        else:
            variants = _fragments(pattern, token, position)
        formats = _joined(formats, variants)
        if len(formats) > _MOST_FORMATS:
            raise UnsupportedPattern(pattern, token, position, "is one optional part too many")
    if opened:
        raise UnsupportedPattern(pattern, "[", opened, "has no end")
    return formats


def _joined(heads: list[_Format], tails: list[_Format]) -> list[_Format]:
    """Every head with every tail, but never two zones: ``[XXX][X]`` means one or the other."""
    both = dict.fromkeys(head + tail for head in heads for tail in tails)
    return [form for form in both if sum(fragment in _ZONES for fragment in form) < 2]


def _fragments(pattern: str, token: str, position: int) -> list[_Format]:
    if token[0] == "'":
        return [(_literal(token[1:-1].replace("''", "'") or "'"),)]
    if not (token.isascii() and token.isalpha()):
        if token in "[]":  # nosec B105
            raise UnsupportedPattern(pattern, token, position, "has no beginning")
        return [(_literal(token),)]
    if token not in _FIELDS:
        raise UnsupportedPattern(pattern, token, position, "is not supported" + _HINTS.get(token[0], ""))
    return [(fragment,) for fragment in _FIELDS[token]]


def _literal(text: str) -> str:
    return text.replace("%", "%%")
