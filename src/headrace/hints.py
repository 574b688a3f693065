"""Guesses at what is wrong, for a person: from values that were rejected to the option that would take them.

Pure, and careful: a guess is drawn only from values that all agree, and says "looks like". None means that
nothing fits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import product

from headrace.model import ColumnCsvOptions, ColumnKind, ColumnType, CsvOptions, Cut, Reject

_NO_VALUE = frozenset({"null", "(null)", "none", "nil", "n/a", "#n/a", "na", "nan", "-", "--", "?", "\\n"})

_MARKS: tuple[tuple[str, str | None], ...] = (
    (",", None),
    (".", None),
    (".", ","),
    (",", "."),
    (".", " "),
    (",", " "),
    (".", "'"),
    (",", "'"),
)
"""Decimal and thousands separators, the likelier first."""

_DAYS = (
    ("yyyy-MM-dd", "%Y-%m-%d"),
    ("dd.MM.yyyy", "%d.%m.%Y"),
    ("dd/MM/yyyy", "%d/%m/%Y"),
    ("MM/dd/yyyy", "%m/%d/%Y"),
    ("dd-MM-yyyy", "%d-%m-%Y"),
    ("MM-dd-yyyy", "%m-%d-%Y"),
    ("yyyy/MM/dd", "%Y/%m/%d"),
    ("yyyy.MM.dd", "%Y.%m.%d"),
    ("yyyyMMdd", "%Y%m%d"),
    ("dd.MM.yy", "%d.%m.%y"),
    ("dd/MM/yy", "%d/%m/%y"),
    ("MM/dd/yy", "%m/%d/%y"),
    ("dd-MMM-yyyy", "%d-%b-%Y"),
    ("dd MMM yyyy", "%d %b %Y"),
    ("MMM dd, yyyy", "%b %d, %Y"),
)
_TIMES = (
    ("", ""),
    ("HH:mm", "%H:%M"),
    ("HH:mm:ss", "%H:%M:%S"),
    ("HH:mm:ss.SSS", "%H:%M:%S.%f"),
    ("hh:mm a", "%I:%M %p"),
    ("hh:mm:ss a", "%I:%M:%S %p"),
    ("HH.mm.ss", "%H.%M.%S"),
    ("HHmmss", "%H%M%S"),
)
_GLUES = (" ", "'T'", "")
_EPOCHS = {10: "seconds", 13: "milliseconds"}
_SEPARATORS = (";", "\t", "|", ",")
_SPOKEN = {"\t": "a tab"}


def likely(
    rejects: Sequence[Reject], type: ColumnType | None, csv: CsvOptions | None, overlong: Cut | None = None
) -> str | None:
    """The likely fix for rejects of one code and column; ``type`` is that of the column.

    ``csv`` are the options of the job, None where the chunk is no text; ``overlong`` counts strings that were
    too long.
    """
    if not rejects:
        return None
    first = rejects[0]
    if first.code == "too-long-for-column":
        return _length_of(overlong)
    if first.column is None:
        return _of_records(first.code, [r.raw or "" for r in rejects], csv or CsvOptions())
    values = [r.value.strip() for r in rejects if r.value is not None]
    if type is None or not values:
        return None
    return _of_values(values, type, (csv or CsvOptions()).of_column(first.column))


def separator_of(header: str, separator: str | None) -> str | None:
    """A guess from a header line that came out as one column."""
    found = [s for s in _SEPARATORS if s != (separator or ",") and s in header]
    return _looks_like("separatorSequence", found[0]) if len(found) == 1 else None


def _looks_like(option: str, value: str) -> str:
    return f"{option} looks like {_SPOKEN.get(value) or repr(value)}"


def _length_of(overlong: Cut | None) -> str:
    if overlong is None:
        return "raise fieldLength, or leave strictLengths out"
    values = "1 value is" if overlong.rows == 1 else f"{overlong.rows} values are"
    return (
        f"{values} longer than {overlong.length}, the longest has {overlong.longest} characters: "
        "raise fieldLength, or leave strictLengths out"
    )


# -- values --------------------------------------------------------------------------------------------


def _of_values(values: Sequence[str], type: ColumnType, options: ColumnCsvOptions) -> str | None:
    if all(v.lower() in _NO_VALUE for v in values):
        return f"'{values[0]}' means no value here: leave the field empty"
    match type.kind:
        case ColumnKind.INTEGER | ColumnKind.FLOAT | ColumnKind.DECIMAL:
            return _of_numbers(values, type, options) or _of_text(values)
        case ColumnKind.DATE | ColumnKind.DATETIME | ColumnKind.TIME:
            return _of_times(values, type.kind, options) or _of_text(values)
        case ColumnKind.BOOLEAN:
            return "these are no spellings of BOOLEAN: declare the column STRING"
        case ColumnKind.STRING:
            return "these bytes are no UTF-8: store the column as text"
        case _:
            return None


def _of_text(values: Sequence[str]) -> str | None:
    letters = re.compile(r"[^\W\d_]")
    return "the column is text: declare it STRING" if all(map(letters.search, values)) else None


def _of_numbers(values: Sequence[str], type: ColumnType, options: ColumnCsvOptions) -> str | None:
    point, thousands = options.decimal_separator or ".", options.thousands_separator
    if all(_number(point, thousands).fullmatch(v) for v in values):
        return _of_good_numbers(values, type, point)
    found = [marks for marks in _MARKS if marks != (point, thousands) and _are_written(values, *marks, point)]
    return " or ".join(_said(*marks, point) for marks in found[:2]) or None


def _number(point: str, thousands: str | None) -> re.Pattern[str]:
    whole = rf"\d{{1,3}}({re.escape(thousands)}\d{{3}})+|\d+" if thousands else r"\d+"
    return re.compile(rf"[+-]?({whole})({re.escape(point)}\d*)?")


def _are_written(values: Sequence[str], point: str, thousands: str | None, known: str) -> bool:
    """All values fit these marks, and none of the marks that are new is idle."""
    needed = [mark for mark in (thousands, point if point != known else None) if mark]
    fits = _number(point, thousands)
    return all(map(fits.fullmatch, values)) and all(any(m in v for v in values) for m in needed)


def _said(point: str, thousands: str | None, known: str) -> str:
    parts = [f"decimalSeparator '{point}'"] if point != known else []
    parts += [f"thousandSeparator '{thousands}'"] if thousands else []
    return " and ".join(parts)


def _of_good_numbers(values: Sequence[str], type: ColumnType, point: str) -> str | None:
    """The numbers can be read, but the column cannot hold them."""
    fractions = [v.partition(point)[2].rstrip("0") for v in values]
    if type.kind is ColumnKind.INTEGER and all(fractions):
        return "the column has fractions: declare it FLOAT, with decimals for money"
    if type.kind is ColumnKind.INTEGER and not any(fractions):
        return "the numbers are too large for INTEGER: declare the column STRING"
    if type.kind is ColumnKind.DECIMAL and all(len(f) > type.scale for f in fractions):
        return f"there are more than {type.scale} digits after the point: raise decimals"
    return None


def _of_times(values: Sequence[str], kind: ColumnKind, options: ColumnCsvOptions) -> str | None:
    if kind is not ColumnKind.TIME and (epoch := _epoch(values)):
        return f"the values look like {epoch} since 1970: declare the column INTEGER"
    found = [(java, date_only) for java, python, date_only in _patterns(kind) if _all_parse(values, python)]
    fresh = [(java, date_only) for java, date_only in found if java != options.date_format]
    if not fresh:
        return None
    names = " or ".join(java for java, _ in fresh[:2])
    if kind is ColumnKind.DATE and not fresh[0][1]:
        format = "" if names.startswith("yyyy-MM-dd") else f"; dateFormat looks like {names}"
        return f"the values have a time: declare the column DATETIME{format}"
    return f"dateFormat looks like {names}"


def _epoch(values: Iterable[str]) -> str | None:
    lengths = {len(v) if v.isdecimal() and v.isascii() else 0 for v in values}
    return _EPOCHS.get(lengths.pop()) if len(lengths) == 1 else None


def _patterns(kind: ColumnKind) -> Iterator[tuple[str, str, bool]]:
    """Java's pattern, Python's, and whether it has no time."""
    if kind is ColumnKind.TIME:
        yield from ((java, python, False) for java, python in _TIMES if java)
        return
    for (day, python), (time, python_time), glue in product(_DAYS, _TIMES, _GLUES):
        if time:
            yield f"{day}{glue}{time}", f"{python}{glue.strip(chr(39))}{python_time}", False
        elif glue == " ":
            yield day, python, True


def _all_parse(values: Sequence[str], python: str) -> bool:
    marks = _marks(re.sub("%.", "", python))
    if any(_marks(value) != marks for value in values):
        return False  # to try in earnest costs a hundred times as much
    try:
        for value in values:
            datetime.strptime(value, python)
    except ValueError:
        return False
    return True


def _marks(text: str) -> set[str]:
    return {char for char in text if not char.isalnum()}


# -- records -------------------------------------------------------------------------------------------


def _of_records(code: str, raws: Sequence[str], csv: CsvOptions) -> str | None:
    separator = csv.separator or ","
    match code:
        case "too-few-fields":
            return _of_few(raws, separator)
        case "too-many-fields":
            return f"a value holds the separator '{separator}': put it in quotes"
        case "undecodable" if (csv.charset or "utf-8").lower().startswith("utf"):
            return "charSet looks like windows-1252"
        case "text-after-quote" | "unclosed-quote":
            return _of_quotes(raws, csv)
        case "too-long":
            return "a quote or a line ending is missing before this line"
        case _:
            return None


def _of_few(raws: Sequence[str], separator: str) -> str | None:
    for other in _SEPARATORS:
        if other != separator and all(other in raw and separator not in raw for raw in raws):
            return _looks_like("separatorSequence", other)
    return None


def _of_quotes(raws: Sequence[str], csv: CsvOptions) -> str:
    quote = csv.quote if csv.quote is not None else '"'
    if csv.escape != "\\" and all(f"\\{quote}" in raw for raw in raws):
        return "escapeSequence looks like '\\'"
    return f"double a {quote} within quotes; where quotes are plain text, send an empty quoteSequence"
