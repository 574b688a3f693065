"""Reading NDJSON: one JSON object a line, nothing of it lost.

A number is kept as it is spelled, a list or an object as its text: both would lose digits as Python's values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, BinaryIO, NoReturn

LONGEST_LINE = 64 << 20
_RAW = 2000
_MARK = b"\xef\xbb\xbf"
_SPACE = re.compile(r"[ \t\n\r]*")


class Number(str):
    """A JSON number as it is spelled."""

    __slots__ = ()


class Nested(str):
    """A list or an object as its JSON text."""

    __slots__ = ()


class MalformedLine(ValueError):
    """A line is no record; ``code`` never changes, the message is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


Pairs = list[tuple[str, Any]]
"""The members of an object in their order: text, Number, bool, None or Nested."""


@dataclass(frozen=True)
class Line:
    """``offset``: where it begins in the file, in bytes. ``whole`` is False where it is too long to keep."""

    number: int
    offset: int
    data: bytes
    whole: bool = True

    @property
    def raw(self) -> str:
        return self.data[: 4 * _RAW].decode("utf-8", "replace")[:_RAW].rstrip("\r\n")


def lines_of(file: BinaryIO) -> Iterator[Line]:
    """The lines that are not blank."""
    number = offset = 0
    while data := file.readline(LONGEST_LINE + 1):
        number += 1
        start, size, whole = offset, len(data), len(data) <= LONGEST_LINE
        end = data
        while not whole and not end.endswith(b"\n") and (end := file.readline(1 << 20)):
            size += len(end)
        offset += size
        data = data.removeprefix(_MARK) if number == 1 else data
        if not data.isspace() and data:
            yield Line(number, start, data if whole else data[: 4 * _RAW], whole)


def record_of(line: Line) -> Pairs:
    """The members of the object that a line is. Raises MalformedLine."""
    if not line.whole:
        raise MalformedLine("too-long", f"the record has more than {LONGEST_LINE} bytes")
    try:
        text = line.data.decode()
        pairs = _DECODER.decode(text)
        if not isinstance(pairs, _Object):
            raise MalformedLine("malformed-json", "the line is JSON, but no object")
    except UnicodeDecodeError as error:
        raise MalformedLine(
            "undecodable", f"byte {line.offset + error.start} of the file is no UTF-8"
        ) from error
    except json.JSONDecodeError as error:
        raise MalformedLine("malformed-json", f"{error.msg} at character {error.pos + 1}") from error
    except RecursionError as error:
        raise MalformedLine("malformed-json", "the lists and objects are nested too deeply") from error
    if any(isinstance(value, list) for _, value in pairs):
        pairs = _Object(_with_texts(pairs, text))
    _refuse_half_characters(pairs, text)
    return pairs


class _Object(list[tuple[str, Any]]):
    """An object's members, told from a list."""


def _no_number(word: str) -> NoReturn:
    raise MalformedLine("malformed-json", f"{word} is no JSON number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_Object, parse_int=Number, parse_float=Number, parse_constant=_no_number
)


def _with_texts(pairs: Pairs, text: str) -> Pairs:
    """The members with lists and objects as the text that stands in the line."""
    texts = _texts(text)
    return [
        (key, Nested(raw) if isinstance(value, list) else value)
        for (key, value), raw in zip(pairs, texts, strict=True)
    ]


def _texts(text: str) -> Iterator[str]:
    """The text of each value of an object that is known to be well formed."""
    at = text.index("{")
    while text[at] != "}":
        _, at = scanstring(text, text.index('"', at) + 1)
        start = _skip(text, text.index(":", at) + 1)
        _, at = _DECODER.scan_once(text, start)  # type: ignore[attr-defined]
        yield text[start:at]
        at = _skip(text, at)


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()


def _refuse_half_characters(pairs: Pairs, text: str) -> None:
    if "\\u" not in text:
        return
    for key, value in pairs:
        try:
            key.encode()
            if isinstance(value, str):
                value.encode()
        except UnicodeEncodeError as error:
            raise MalformedLine(
                "malformed-json", f"half a character (a lone surrogate) in {key!a}"
            ) from error
