"""Date patterns, held against what DuckDB really reads."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.datepatterns import DatePattern, UnsupportedPattern, not_special, read_pattern

CONNECTION = duckdb.connect(config={"threads": "1"})
CONNECTION.execute("SET TimeZone = 'UTC'")


def read(pattern: str, *texts: str | None) -> list[datetime | None]:
    """The texts as one column, so that a state left over from one row would spoil the next."""
    rows = ", ".join("(?)" for _ in texts)
    sql = f"SELECT {read_pattern(pattern).sql('t')} FROM (VALUES {rows}) x(t)"
    return [row[0] for row in CONNECTION.execute(sql, list(texts)).fetchall()]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


EXAMPLES = [
    ("yyyy-MM-dd", "2024-02-29", "2024-02-29"),
    ("uuuu-MM-dd", "0001-01-01", "0001-01-01"),
    ("y-M-d", "2024-2-9", "2024-02-09"),
    ("yyyyMMdd", "20240229", "2024-02-29"),
    ("dd.MM.yy", "01.02.68", "2068-02-01"),
    ("dd.MM.yy", "01.02.69", "1969-02-01"),
    ("d/M/yyyy H:m:s", "1/2/2024 3:4:5", "2024-02-01 03:04:05"),
    ("dd/LL/yyyy", "01/02/2024", "2024-02-01"),
    ("yyyy-D", "2024-60", "2024-02-29"),
    ("yyyyDDD", "2024366", "2024-12-31"),
    ("dd MMM yyyy", "05 Mar 2024", "2024-03-05"),
    ("MMM d, yyyy h:mm:ss a", "SEP 5, 2024 12:00:00 AM", "2024-09-05"),
    ("MMMM d, yyyy hh:mm a", "December 5, 2024 12:30 pm", "2024-12-05 12:30"),
    ("MMM yyyy", "May 2024", "2024-05-01"),
    ("yyyy-MM-dd kk:mm", "2024-01-31 24:30", "2024-01-31 00:30"),
    ("yyyy-MM-dd kk:mm", "2024-01-31 23:30", "2024-01-31 23:30"),
    ("EEE, d MMM yyyy", "Sat, 3 Feb 2024", "2024-02-03"),
    ("EEEE d MMMM yyyy", "Saturday 3 February 2024", "2024-02-03"),
    ("yyyy-MM-dd'T'HH:mm:ss.SSS", "2024-02-29T11:22:33.123", "2024-02-29 11:22:33.123"),
    ("yyyy-MM-dd'T'HH:mm:ss.SSS", "2024-02-29T11:22:33.5", "2024-02-29 11:22:33.5"),
    ("yyyyMMddHHmmssSSS", "20240229112233123", "2024-02-29 11:22:33.123"),
    ("yyyy-MM-dd HH:mm:ss,SSSSSS", "2024-02-29 11:22:33,123456", "2024-02-29 11:22:33.123456"),
    ("yyyy-MM-dd HH:mm:ss.SSSSSSSSS", "9999-12-31 00:00:00.000000000", "9999-12-31"),
    ("yyyy-MM-dd HH:mm:ss.SSSSSSSSS", "1500-01-01 10:00:00.123456000 ", "1500-01-01 10:00:00.123456"),
    ("yyyy-MM-dd HH:mm:ss.SSSSSSSXXX", "2024-01-01 10:00:00.1234560+01:00", "2024-01-01 09:00:00.123456"),
    ("yyyy-MM-dd HH:mm:ss.SSSSSSSXXX", "2024-01-01 10:00:00.1234560Z", "2024-01-01 10:00:00.123456"),
    ("yyyy-MM-dd'T'HH:mm:ssXXX", "2024-02-29T11:22:33Z", "2024-02-29 11:22:33"),
    ("yyyy-MM-dd'T'HH:mm:ssXXX", "2024-02-29T11:22:33+01:00", "2024-02-29 10:22:33"),
    ("yyyy-MM-dd'T'HH:mm:ssX", "2024-02-29T11:22:33-05", "2024-02-29 16:22:33"),
    ("yyyy-MM-dd'T'HH:mm:ssZ", "2024-02-29T11:22:33-0530", "2024-02-29 16:52:33"),
    ("yyyy-MM-dd'T'HH:mm:ssxxx", "2024-02-29T11:22:33+00:00", "2024-02-29 11:22:33"),
    ("yyyy-MM-dd'T'HH:mm:ss'Z'", "2024-02-29T11:22:33Z", "2024-02-29 11:22:33"),
    ("EEE MMM dd HH:mm:ss zzz yyyy", "Sat Feb 03 10:00:00 CET 2024", "2024-02-03 09:00:00"),
    ("EEE MMM dd HH:mm:ss zzz yyyy", "Sat Feb 03 10:00:00 GMT+01:00 2024", "2024-02-03 09:00:00"),
    ("EEE MMM dd HH:mm:ss zzz yyyy", "Sat Jul 06 10:00:00 CEST 2024", "2024-07-06 08:00:00"),
    ("yyyy-MM-dd HH:mm z", "2024-07-01 10:00 EDT", "2024-07-01 14:00"),
    ("dd.MM.yyyy", "01.01.0001", "0001-01-01"),
    ("ddMMyyyy", "01012024", "2024-01-01"),
    ("d.M.y", "1.2.24", "0024-02-01"),
    ("yyyy-MM-dd HH:mm VV", "2024-07-01 10:00 Europe/Berlin", "2024-07-01 08:00"),
    ("yyyy-MM-dd[ HH:mm[:ss[.SSS]]]", "2024-02-29", "2024-02-29"),
    ("yyyy-MM-dd[ HH:mm[:ss[.SSS]]]", "2024-02-29 01:02", "2024-02-29 01:02"),
    ("yyyy-MM-dd[ HH:mm[:ss[.SSS]]]", "2024-02-29 01:02:03.004", "2024-02-29 01:02:03.004"),
    ("yyyy-MM-dd HH:mm[XXX][XX][X]", "2024-02-29 01:02+01", "2024-02-29 00:02"),
    ("yyyy-MM-dd HH:mm[XXX][XX][X]", "2024-02-29 01:02", "2024-02-29 01:02"),
    ("dd.MM.yyyy;yyyy-MM-dd", "2024-02-29", "2024-02-29"),
    ("dd.MM.yyyy || dd.MM.yy", "01.02.24", "2024-02-01"),
    ("dd.MM.yyyy;dd.MM.yy", "01.02.2013", "2013-02-01"),
    ("ddMMyyyy;ddMMyyHH", "01022013", "2013-02-01"),
    ("d MMM yyyy 'o''clock' H", "1 Feb 2024 o'clock 5", "2024-02-01 05:00"),
    ("''yyyy'' 'at; 100%'", "'2024' at; 100%", "2024-01-01"),
    ("yyyy'年'MM|dd", "2024年02|03", "2024-02-03"),
    ("yyyy%m", "2024%30", "2024-01-01 00:30"),
    ("HH:mm:ss", "23:59:58", "1900-01-01 23:59:58"),
]


@pytest.mark.parametrize(("pattern", "text", "expected"), EXAMPLES)
def test_reads(pattern: str, text: str, expected: str) -> None:
    assert read(pattern, text) == [at(expected)]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("dd.MM.yyyy", "30.02.2024"),
        ("dd.MM.yyyy", "29.02.2023"),
        ("yyyy-MM-dd", "2024-13-01"),
        ("yyyy-MM-dd", "2024-01-01 00:00"),
        ("yyyy-MM-dd HH:mm", "2024-01-01"),
        ("yyyy-MM-dd HH:mm", "2024-01-01 24:00"),
        ("hh:mm a", "13:00 PM"),
        ("hh:mm a", "00:00 AM"),
        ("dd.MM.yy", "01.02.2024"),
        ("HH:mm:ss.SSS", "00:00:00"),
        ("HH:mm:ss.SSS", "00:00:00.1234"),
        ("HH:mm:ss.SSSSSS", "00:00:00.1234567"),
        ("yyyy-MM-dd HH:mmxxx", "2024-01-01 00:00Z"),
        ("yyyy-MM-dd HH:mmXXX", "2024-01-01 00:00"),
        ("MMM yyyy", "Foo 2024"),
        ("dd.MM.yyyy", "01.02.24"),
        ("dd.MM.yyyy", "01.02.224"),
        ("yyyy-MM-dd'T'HH:mmXXX", "24-02-01T10:00+0100"),
        ("yyyy", ""),
        ("yyyy", "epoch"),
        ("yyyy", " Infinity"),
        ("yyyy", "-infinity\t"),
    ],
)
def test_refuses(pattern: str, text: str) -> None:
    assert read(pattern, text) == [None]


def test_null_stays_null() -> None:
    assert read("yyyy", None, "2024") == [None, datetime(2024, 1, 1)]


def test_rows_do_not_colour_each_other() -> None:
    pattern = "yyyy-MM-dd HH:mm[:ss.SSSSSSSSS][z][XXX]"
    texts = {
        "2024-07-01 10:00 Europe/Berlin": "2024-07-01 08:00",
        "2024-07-01 10:00": "2024-07-01 10:00",
        "2024-07-01 10:00+03:00": "2024-07-01 07:00",
        "2024-07-01 10:00:00.5 America/New_York": "2024-07-01 14:00:00.5",
        "2024-07-01 10:00:00.5+01": "2024-07-01 09:00:00.5",
        "2024-07-01 10:00:00.5": "2024-07-01 10:00:00.5",
        "2024-07-01 10:00Z": "2024-07-01 10:00",
    }
    column = [text for first in texts for second in texts for text in (first, second)]
    assert read(pattern, *column) == [at(texts[text]) for text in column]


@pytest.mark.parametrize(
    ("pattern", "part", "position"),
    [
        ("YYYY-MM-dd", "YYYY", 1),
        ("yyyy-ww", "ww", 6),
        ("yyyy 'W'W", "W", 9),
        ("G yyyy", "G", 1),
        ("yyyy QQQ", "QQQ", 6),
        ("yyyyTHH", "T", 5),
        ("yyyyy", "yyyyy", 1),
        ("MMMMM", "MMMMM", 1),
        ("HH SSSSSSSSSS", "SSSSSSSSSS", 4),
        ("yyyy;  F", "F", 8),
        ("yyyy'T", "'", 5),
        ("yyyy[-MM", "[", 5),
        ("yyyy]", "]", 5),
        ("yyyy[ M][ d][ H][ m][ s][ S][ a]", "[", 29),
        ("XXX z yyyy", "XXX z yyyy", 1),
        ("", "", 1),
        (" ; ", " ; ", 1),
        ("'no date' 100%", "'no date' 100%", 1),
    ],
)
def test_names_what_it_cannot_read(pattern: str, part: str, position: int) -> None:
    with pytest.raises(UnsupportedPattern) as caught:
        read_pattern(pattern)
    assert (caught.value.part, caught.value.position) == (part, position)
    assert repr(pattern) in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "zoned"),
    [("yyyy", False), ("yyyy z", True), ("yyyy[X]", True), ("yyyy'Z'", True), ("yyyy' Zeit'", False)],
)
def test_knows_whether_values_carry_a_zone(pattern: str, zoned: bool) -> None:
    assert read_pattern(pattern).has_zone is zoned


def test_groups() -> None:
    assert read_pattern("yyyy[XXX]") == DatePattern(
        ("%YZ", "%Y"), offset=("%Y%z",), year=r"(^|[^\d+])\d{4}($|\D)", has_zone=True
    )


def test_special_words() -> None:
    words = ["epoch", "EPOCH ", "inf", "-Infinity", "\tinfinity\n", "epochs", "2024", "information"]
    found = [CONNECTION.execute(f"SELECT {not_special('?')}", [word]).fetchone() for word in words]
    assert found == [(False,)] * 5 + [(True,)] * 3


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("dd.MM.YYYY", "write 'y' for the year"),
        ("yyyy-MM-ddTHH:mm", "write 'T' in quotes"),
        ("yyyy-'W'ww", "write month and day"),
        ("yyyy 'Q'q", "write the month as 'MM'"),
        ("MMMMM yyyy", "write 'MM', 'MMM' or 'MMMM'"),
        ("dd.MM.yyyy KK:mm a", "write 'hh' with 'a'"),
        ("yyyy-MM-dd HH:mm O", "write a zone as 'XXX'"),
    ],
)
def test_says_what_to_write_instead(pattern: str, said: str) -> None:
    with pytest.raises(UnsupportedPattern, match="is not supported .*" + re.escape(said)):
        read_pattern(pattern)


# -- what Java reads -----------------------------------------------------------------------------------

JAVA_DATES = Path(__file__).with_name("java_dates.tsv")
"""Pattern, text and what ``java.time`` makes of it, by tests/java/JavaDates.java."""


def java_cases() -> list[tuple[str, str, datetime | None]]:
    lines = (line.split("\t") for line in JAVA_DATES.read_text().splitlines())
    return [(pattern, text, None if said == "-" else at(said)) for pattern, text, said in lines]


def test_no_text_is_another_moment_than_in_java() -> None:
    """We read all that Java reads, and mostly the same; where not, the module says so."""
    cases = java_cases()
    by_pattern: dict[str, list[tuple[str, datetime | None]]] = {}
    for pattern, text, said in cases:
        by_pattern.setdefault(pattern, []).append((text, said))
    ours = [found for pattern, of in by_pattern.items() for found in read(pattern, *(t for t, _ in of))]
    more = 0
    for (pattern, text, said), found in zip(cases, ours, strict=True):
        if said is None:
            more += found is not None
        elif found is None:  # a 30 February that Java moves to the 28th, and a zone without its half
            assert text in ("19940229111605902", "Sat Dec 31 06:54:32 ET 2050"), (pattern, text)
        elif found != said:
            assert ("yy" in re.findall("y+", pattern) and found.year + 100 == said.year) or " IST " in text
    read_by_java = sum(said is not None for *_, said in cases)
    print(f"{len(cases)} texts, of which Java reads {read_by_java}, and we {more} more")


@pytest.mark.skipif(not shutil.which("javac"), reason="there is no Java that compiles")
def test_java_still_says_so(tmp_path: Path) -> None:
    source = Path(__file__).parents[1] / "java" / "JavaDates.java"
    subprocess.run(["javac", "-d", tmp_path, source], check=True)
    said = subprocess.run(["java", "-cp", tmp_path, "JavaDates"], check=True, capture_output=True, text=True)
    assert said.stdout == JAVA_DATES.read_text()


# -- what Java would write, is read back ---------------------------------------------------------------


def _offset(moment: datetime, colon: str) -> str:
    minutes = int((moment.utcoffset() or timedelta()).total_seconds()) // 60
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02}{colon}{rest:02}"


def _zulu(moment: datetime, colon: str) -> str:
    return _offset(moment, colon) if moment.utcoffset() else "Z"


MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

JAVA: dict[str, Callable[[datetime], str]] = {
    "yyyy": lambda d: f"{d.year:04}",
    "uuuu": lambda d: f"{d.year:04}",
    "MM": lambda d: f"{d.month:02}",
    "M": lambda d: str(d.month),
    "MMM": lambda d: MONTHS[d.month - 1][:3],
    "MMMM": lambda d: MONTHS[d.month - 1],
    "dd": lambda d: f"{d.day:02}",
    "d": lambda d: str(d.day),
    "DDD": lambda d: f"{d.timetuple().tm_yday:03}",
    "EEE": lambda d: DAYS[d.weekday()],
    "HH": lambda d: f"{d.hour:02}",
    "H": lambda d: str(d.hour),
    "kk": lambda d: f"{d.hour or 24:02}",
    "hh": lambda d: f"{d.hour % 12 or 12:02}",
    "h": lambda d: str(d.hour % 12 or 12),
    "a": lambda d: "AM" if d.hour < 12 else "PM",
    "mm": lambda d: f"{d.minute:02}",
    "m": lambda d: str(d.minute),
    "ss": lambda d: f"{d.second:02}",
    "s": lambda d: str(d.second),
    "SSSSSS": lambda d: f"{d.microsecond:06}",
    "SSSSSSSSS": lambda d: f"{d.microsecond:06}000",
    "XXX": lambda d: _zulu(d, ":"),
    "XX": lambda d: _zulu(d, ""),
    "xxx": lambda d: _offset(d, ":"),
    "Z": lambda d: _offset(d, ""),
    "z": lambda d: "UTC" if not d.utcoffset() else "GMT" + _offset(d, ":"),
}

DATES = st.sampled_from(
    [
        ("yyyy", "-", "MM", "-", "dd"),
        ("dd", ".", "MM", ".", "yyyy"),
        ("uuuu", "MM", "dd"),
        ("EEE", ", ", "d", " ", "MMM", " ", "yyyy"),
        ("MMMM", " ", "d", ", ", "yyyy"),
        ("d", "/", "M", "/", "yyyy"),
        ("yyyy", "DDD"),
    ]
)
TIMES = st.sampled_from(
    [
        ("HH", ":", "mm", ":", "ss", ".", "SSSSSS"),
        ("HH", "mm", "ss", "SSSSSS"),
        ("H", ".", "m", ".", "s", ",", "SSSSSSSSS"),
        ("hh", ":", "mm", ":", "ss", ".", "SSSSSS", " ", "a"),
        ("a", " ", "h", ":", "m", ":", "s", ".", "SSSSSSSSS"),
        ("kk", "%", "mm", "%", "ss", "%", "SSSSSS"),
    ]
)
ZONES = st.sampled_from([(), ("XXX",), ("XX",), ("xxx",), (" ", "Z"), (" ", "z")])
GAPS = st.sampled_from([" ", "T", "'", " at ", "]["])
MOMENTS = st.builds(
    lambda moment, minutes: moment.replace(tzinfo=timezone(timedelta(minutes=minutes))),
    st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31)),
    st.integers(-14 * 60, 14 * 60),
)


@settings(max_examples=150, deadline=None)
@given(DATES, GAPS, TIMES, ZONES, st.lists(MOMENTS, min_size=1, max_size=4))
def test_reads_what_java_writes(
    date: tuple[str, ...], gap: str, time: tuple[str, ...], zone: tuple[str, ...], moments: list[datetime]
) -> None:
    parts = (*date, gap, *time, *zone)
    pattern = "".join(part if part in JAVA else "'" + part.replace("'", "''") + "'" for part in parts)
    texts = ["".join(JAVA.get(part, lambda _, p=part: p)(moment) for part in parts) for moment in moments]
    expected = [(m.astimezone(UTC) if zone else m).replace(tzinfo=None) for m in moments]
    assert read(pattern, *texts) == expected
