"""Where a line stands in its file: reading from there gives the line, in any charset, however it is cut."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.csvrecords import Dialect, Places, lines, places
from headrace.csvrecords.dialect import ENDING

CODECS = ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "shift_jis", "gb18030", "utf-7"]
CODECS += ["iso2022_jp", "hz", "big5hkscs", "euc_jisx0213", "unicode_escape", "cp500"]
TEXT = st.text(st.sampled_from(list('ab";\n\n\r~|éß→あ中😀\ufeff')), max_size=40)


def spelled(text: str, charset: str) -> str:
    """The text as the charset can hold it."""
    return text.encode(charset, "ignore").decode(charset, "ignore").lstrip("\ufeff")


def places_of(data: bytes, dialect: Dialect, wanted: list[int], block: int) -> list[int]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "BLOCK", block)
        patch.setattr(places, "_STEP", 5)
        found = Places(io.BytesIO(data), dialect)
        return [found.of_line(number) for number in wanted]


@given(TEXT, st.sampled_from(CODECS), st.sampled_from([None, "~|", "~~"]), st.data())
def test_what_stands_there_is_the_line(
    text: str, charset: str, ending: str | None, data: st.DataObject
) -> None:
    text = spelled(text, charset)
    file = text.encode(charset)
    pattern = re.compile(re.escape(ending)) if ending else ENDING
    starts = [0, *(match.end() for match in pattern.finditer(text) if match.end() < len(text))]
    # the characters of a run of UTF-7 share their bytes: within one no line can be read by itself
    whole = [
        n
        for n, at in enumerate(starts, 1)
        if charset != "utf-7" or not at or text[at] not in "~éß→あ中😀\ufeff"
    ]
    wanted = data.draw(st.lists(st.sampled_from(whole), unique=True).map(sorted))
    dialect = Dialect(line_ending=ending, charset=charset)
    found = places_of(file, dialect, wanted, data.draw(st.integers(4, 50)))
    for number, at in zip(wanted, found, strict=True):
        assert file[at:].decode(dialect.codec(file)) == text[starts[number - 1] :]


@pytest.mark.parametrize(("behind", "at"), [(";", 7), ("a", 8), ("\n", 7)])
@pytest.mark.parametrize("block", [4, 7, 100])
def test_a_line_behind_a_run_of_utf_7(behind: str, at: int, block: int) -> None:
    """The decoder gives the run only with the byte behind it, which is the next line's or a hyphen."""
    dialect = Dialect(line_ending="~~", charset="utf-7")
    assert places_of(f"~~{behind}".encode("utf-7"), dialect, [2], block) == [at]


@pytest.mark.parametrize("mark", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le"])
def test_a_byte_order_mark_counts(mark: str) -> None:
    head = "\ufeff".encode(mark)
    file = head + "a,b\r\nä,b\r\n".encode(mark)
    charset = mark.removesuffix("-le").removesuffix("-be")
    line = len("a,b\r\n".encode(mark))
    assert places_of(file, Dialect(charset=charset), [1, 2], 1 << 20) == [len(head), len(head) + line]


@pytest.mark.parametrize("block", [1, 2, 3, 5, 100])
@pytest.mark.parametrize(
    ("data", "charset", "value", "at"),
    [
        (b"a,b\n1,\xff\n", "utf-8", 0xFF, 6),
        (b"a,b\n1,\xe2\x82\n", "utf-8", 0xE2, 6),
        ("é,é\né,".encode() + b"\xc3", "utf-8", 0xC3, 9),
        (b"a,b\n\xe9,\x81", "cp1252", 0x81, 6),
        (b"a,b\n\x82\xa0,\x82", "shift_jis", 0x82, 7),
        (b"a,b\n\x82\xa0,\x82\n", "shift_jis", 0x82, 7),
        ("a\n\u3042".encode("utf-16-le") + b"\x00\xdc\n\x00", "utf-16-le", 0x00, 6),
        (b"\xff\xfe" + "a\nb".encode("utf-16-le") + b"\n", "utf-16", 0x0A, 8),
        (b"\x00\x00\x00a\x00\x00\x00\n\x00\x11\x00\x00", "utf-32-be", 0x00, 8),
    ],
)
def test_a_byte_that_the_charset_does_not_have(
    data: bytes, charset: str, value: int, at: int, block: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "BLOCK", max(block, 4) if charset == "utf-16" else block)
        found = Places(io.BytesIO(data), Dialect(charset=charset))
        found.of_line(2)
        assert found.undecodable() == (value, at)


@given(st.binary(max_size=60), st.integers(1, 9))
def test_any_bytes_have_their_places(data: bytes, block: int) -> None:
    """In UTF-8 a line break is one byte, whatever stands around it."""
    starts = [match.end() for match in re.finditer(rb"\r\n|\n|\r", data) if match.end() < len(data)]
    wanted = list(range(2, len(starts) + 2))
    assert places_of(data, Dialect(), wanted, block) == starts
