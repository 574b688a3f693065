"""Guesses at a file from its first bytes."""

from __future__ import annotations

import pytest

from harness import parquet
from headrace.guessing import look_at
from headrace.model import FileType


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        ("a,b\n1,2\n", ","),
        ("a;b\n1,5;2\n3,5;4\n", ";"),
        ("a\tb\n1,x\t2\n", "\t"),
        ("a|b|c\n1|2|3\n", "|"),
        ('a,b\n"x;y;z",2\n"x;y;z",3\n', ","),
        ("only\n1\n2\n", ","),
        ("", ","),
    ],
)
def test_separators(text: str, separator: str) -> None:
    looks = look_at(text.encode())
    assert (looks.kind, looks.separator) == (FileType.CSV, separator)


@pytest.mark.parametrize(
    ("data", "charset", "value"),
    [
        ("a\nMüller\n".encode(), "UTF-8", "Müller"),
        ("a\nMüller\n".encode("utf-8-sig"), "UTF-8", "Müller"),
        ("a\nMüller\n".encode("windows-1252"), "windows-1252", "Müller"),
        ("a\nMüller\n".encode("utf-16"), "UTF-16", "Müller"),
        ("a\nx\nMü".encode()[:-1], "UTF-8", "x"),
    ],
)
def test_charsets(data: bytes, charset: str, value: str) -> None:
    looks = look_at(data)
    assert (looks.charset, looks.header, looks.rows[0]) == (charset, ("a",), (value,))


def test_the_person_is_right() -> None:
    looks = look_at(b"a;b\n1;2\n", separator=",")
    assert (looks.separator, looks.header) == (",", ("a;b",))
    assert look_at("a\né\n".encode(), charset="windows-1252").rows == (("Ã©",),)


def test_kinds() -> None:
    assert look_at(parquet({"a": [1]})).kind is FileType.PARQUET
    assert look_at(b"ARROW1\0\0...").kind is FileType.ARROW
    assert look_at(b'\n {"a": 1}\n').kind is FileType.NDJSON
    assert look_at(b"\x1f\x8b\x08...").kind is None


def test_columns_that_are_written_otherwise() -> None:
    looks = look_at(
        b"id;day;at;amount;name;iso\n"
        b"1;31.01.2024;31.01.2024 10:00;1.204,50;Ada;2024-01-31\n"
        b"2;28.02.2024;28.02.2024 11:30;7,25;Grace;2024-02-28\n"
    )
    assert looks.hints.keys() == {"day", "at", "amount"}
    assert looks.hints["day"] == "dateFormat looks like dd.MM.yyyy"
    assert looks.hints["amount"] == "decimalSeparator ',' and thousandSeparator '.'"


def test_a_record_that_the_sample_cuts_is_not_shown() -> None:
    assert look_at(b"a,b\n1,2\n3,").rows == (("1", "2"),)
    assert look_at(b'a,b\n1,2\n3,"x').rows == (("1", "2"),)


def test_many_rows_are_looked_at_and_some_shown() -> None:
    looks = look_at(b"a\n" + b"1\n" * 30_000)
    assert len(looks.rows) == 12


@pytest.mark.parametrize("data", [b"\0" * 100, bytes(range(256)) * 10, b'"' * 999, b"\xff\xfe\x00"])
def test_anything_can_be_looked_at(data: bytes) -> None:
    look_at(data)
