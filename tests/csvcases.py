"""CSV files of any kind that the options can express, with what they say: made from a number, many a second.

A case is one file in one dialect. It is written by a writer of our own, which uses every freedom that the
rules leave, or by Python's csv module. Each case knows its records, cell by cell (None is NULL), and its
rejects, each by line, code and place in bytes.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from headrace.csvrecords import Dialect
from headrace.model import CsvOptions

Cell = str | None
ENDING = re.compile(r"\r\n|\n|\r")

STATELESS = (
    "utf-8",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "utf-32",
    "cp1252",
    "latin-1",
    "gb18030",
    "shift_jis",
)
STATEFUL = ("utf-7", "iso2022_jp", "hz")
CHARSETS = (*("utf-8",) * 12, *STATELESS, *STATEFUL, "cp037", "koi8-r", "big5", "euc_kr", "ascii")
MARKED = {"utf-8": ("utf-8",), "utf-16": ("utf-16-le", "utf-16-be"), "utf-32": ("utf-32-le", "utf-32-be")}
"""Charsets whose files may begin with a mark, and how they are then encoded."""

SPOILT = {"utf-8": "\udcff", "cp1252": "\udc81", "ascii": "\udce9"}
"""A byte that the charset does not have, as Python escapes it."""

SEPARATORS = (
    ",",
    ";",
    "\t",
    "|",
    " ",
    "§",
    "→",
    "a",
    "||",
    "<|>",
    "::::",
    "\\,",
    ", ",
    "~,",
    "→→",
    "|'|",
    "\x01",
)
QUOTES = ('"', '"', '"', "'", "«", "`", "", "q")
ESCAPES = (None, None, '"', "\\", "\\", "^", "'", "»")
OWN_ENDINGS = ("~\n", "~~", "|", "\r\r", "<br>", "\x1e", "→")
LETTERS = (
    "a",
    "b",
    "0",
    "é",
    "ß",
    "Ж",
    "あ",
    "中",
    "한",
    "😀",
    "\x00",
    "\u2028",
    "\x85",
    "\ufeff",
    "x" * 30,
    ".",
)


@dataclass
class Case:
    dialect: Dialect
    charset: str
    """As the file is encoded; the dialect may leave the byte order to the file's mark."""
    names: list[str]
    data: bytes = b""
    rows: list[tuple[int, list[Cell]]] = field(default_factory=list)
    rejects: list[tuple[int, str, int]] = field(default_factory=list)
    """Line, code, place of the record in bytes."""

    @property
    def options(self) -> CsvOptions:
        d = self.dialect
        return CsvOptions(d.separator, d.quote or "", d.escape, d.line_ending, d.charset)


def case(number: int) -> Case:
    rng = Random(number)
    return _by_module(rng) if rng.random() < 0.25 else _by_hand(rng)


# -- dialects ------------------------------------------------------------------------------------------


def _dialect(rng: Random) -> Dialect:
    if rng.random() < 0.3:
        return Dialect(rng.choice(SEPARATORS[:4]), rng.choice(QUOTES[:4]))
    while True:
        try:
            found = Dialect(
                rng.choice(SEPARATORS[: rng.choice((4, 4, 99))]),
                rng.choice(QUOTES[: rng.choice((3, 99))]),
                rng.choice(ESCAPES),
                rng.choice((None, None, None, "\n", "\r\n", "\r", *OWN_ENDINGS)),
                rng.choice(CHARSETS),
            )
        except ValueError:
            continue
        if _writable(found):
            return found


def _writable(dialect: Dialect) -> bool:
    """Whether the charset has the marks, and no mark runs into the one after it."""
    ending = dialect.own_ending or ""
    marks = f"{dialect.separator}{dialect.quote}{dialect.escape}{ending}\r\n"
    if marks.encode(dialect.charset, "ignore").decode(dialect.charset, "ignore") != marks:
        return False
    return not ending or not _runs_into(dialect.separator, ending)


def _runs_into(text: str, mark: str) -> bool:
    """Whether a mark would be seen before it begins."""
    return (text + mark).find(mark) < len(text)


# -- a writer of our own -------------------------------------------------------------------------------


class _Writer:
    def __init__(self, rng: Random, made: Case) -> None:
        self.rng, self.case, self.dialect = rng, made, made.dialect
        self.text: list[str] = []
        self.line = 1
        self.place = 0
        endings = ("\n", "\r\n", "\n\r\n"[:1]) if rng.random() < 0.3 else (rng.choice(("\n", "\r\n", "\r")),)
        self.endings = [self.dialect.own_ending] if self.dialect.own_ending else list(endings)
        quote, escape = self.dialect.quote or "", self.dialect.escape or ""
        special = [quote, escape, *self.dialect.separator, *(self.dialect.own_ending or ""), " ", "\t", "\\"]
        breaks = ["\n", "\r", "\r\n"] if quote else []
        self.alphabet = [c for c in (*special, *special, *breaks, *LETTERS) if c and _has(made.charset, c)]

    def cell(self) -> Cell:
        rng = self.rng
        kind = rng.random()
        if kind < 0.12:
            return None
        if kind < 0.2:
            return "" if self.dialect.quote else None
        if kind < 0.5:
            found = rng.choice(("x", "12", "some text", "0.5", "-"))
        else:
            found = "".join(rng.choices(self.alphabet, k=rng.randrange(1, 7)))
        return found if self.dialect.quote or self.bare_enough(found) else "z"

    def bare_enough(self, cell: str) -> bool:
        """Whether it may stand without quotes."""
        dialect, ending = self.dialect, self.dialect.own_ending
        if not cell or (dialect.quote and cell.lstrip(" ").startswith(dialect.quote)):
            return False
        if ending:
            if _runs_into(cell, ending) or _runs_into(cell + dialect.separator, ending):
                return False
        elif "\n" in cell or "\r" in cell:
            return False
        return not _runs_into(cell, dialect.separator)

    def spelled(self, cell: Cell) -> str:
        if cell is None:
            return ""
        if not self.dialect.quote or (self.bare_enough(cell) and self.rng.random() < 0.6):
            return cell
        blanks = "" if " " in self.dialect.separator else self.rng.choice(("", "", "", " ", "  "))
        return blanks + self.quoted(cell) + blanks

    def quoted(self, cell: str) -> str:
        quote, escape = self.dialect.quote or "", self.dialect.own_escape
        if escape:
            cell = cell.replace(escape, escape * 2)
        inner = cell.replace(quote, (escape if escape and self.rng.random() < 0.5 else quote) + quote)
        return quote + inner + quote

    def put(self, text: str, ending: str | None = None) -> tuple[int, int]:
        """Write a record; its line and its place."""
        at = self.line, self.place
        text += self.rng.choice(self.endings) if ending is None else ending
        self.text.append(text)
        own = self.dialect.own_ending
        self.line += text.count(own) if own else len(ENDING.findall(text))
        self.place += _size(text, self.case.charset)
        return at

    def record(self, cells: list[Cell]) -> str:
        return self.dialect.separator.join(map(self.spelled, cells))

    def good(self) -> None:
        cells = [self.cell() for _ in self.case.names]
        text = self.record(cells)
        if self.rng.random() < 0.03 and text:
            text += self.dialect.separator * self.rng.choice((1, 2))  # empty fields too many
        line, _ = self.put(text)
        if text or len(cells) == 1:
            self.case.rows.append((line, cells))

    def blank(self) -> None:
        line, _ = self.put("", self.endings[-1])
        if len(self.case.names) == 1:
            self.case.rows.append((line, [None]))

    def short(self) -> None:
        if len(self.case.names) > 1:
            cells = [self.cell() for _ in self.case.names[1:]]
            self.refused(self.record([*cells[:-1], "x"]), "too-few-fields")

    def long(self) -> None:
        more = self.rng.choice([["x"], [None, "x"], [""] if self.dialect.quote else ["x"]])
        self.refused(self.record([*(self.cell() for _ in self.case.names), *more]), "too-many-fields")

    def after_quote(self) -> None:
        if self.dialect.quote:
            rest = [self.dialect.separator + self.spelled("x")] * self.rng.randrange(2)
            self.refused(
                "".join([self.quoted("x"), "é" if _has(self.case.charset, "é") else "z", *rest]),
                "text-after-quote",
            )

    def spoilt(self) -> None:
        if bad := SPOILT.get(self.case.charset):
            cells = [self.cell() for _ in self.case.names]
            cells[self.rng.randrange(len(cells))] = "k" + bad
            self.refused(self.record(cells), "undecodable")

    def unclosed(self) -> None:
        """At the end of the file only: it swallows the rest."""
        if self.dialect.quote:
            self.refused(self.dialect.quote + self.rng.choice(("", "x", "x x")), "unclosed-quote", "")

    def refused(self, text: str, code: str, ending: str | None = None) -> None:
        line, place = self.put(text, ending)
        self.case.rejects.append((line, code, place))


def _by_hand(rng: Random) -> Case:
    dialect = _dialect(rng)
    charset, mark = dialect.charset, ""
    if charset in MARKED:
        marked = rng.random() < 0.5
        mark = "\ufeff" if marked else ""
        charset = rng.choice(MARKED[charset]) if marked else dialect.codec()
    made = Case(dialect, charset, _names(rng, rng.choice((1, 1, 2, 2, 3, 5)), plain=not dialect.quote))
    writer = _Writer(rng, made)
    if mark:
        writer.put(mark, "")
    while rng.random() < 0.05:
        writer.put("")
    writer.put(writer.record([*made.names]))
    kinds: list[Callable[[], None]] = [writer.good] * 30 + [writer.blank] * 2
    if rng.random() < 0.3:
        kinds += [writer.short, writer.long, writer.after_quote, writer.spoilt] * 3
    for _ in range(rng.choice((0, 1, 2, 3, 3, 5, 8))):
        rng.choice(kinds)()
    if rng.random() < 0.02:
        writer.unclosed()
    text = "".join(writer.text)
    if rng.random() < 0.3 and len(made.rows) + len(made.rejects):
        text = _without_last_ending(text, made)
    made.data = text.encode(charset, "surrogateescape" if dialect.charset in SPOILT else "strict")
    return made


def _without_last_ending(text: str, made: Case) -> str:
    own = made.dialect.own_ending
    for ending in [own] if own else ["\r\n", "\n", "\r"]:
        if text.endswith(ending):
            cut = text.removesuffix(ending)
            # a blank line without an end is no line
            return text if not cut or cut.endswith(own or ("\n", "\r")) else cut
    return text


def _names(rng: Random, width: int, *, plain: bool = False) -> list[str]:
    odd = not plain and rng.random() < 0.2
    return [f"{rng.choice(('c', 'Name ', '_', 'n.', 'sel')) if odd else 'c'}{n}" for n in range(width)]


def _has(charset: str, text: str) -> bool:
    return text.encode(charset, "ignore").decode(charset, "ignore") == text


def _size(text: str, charset: str) -> int:
    return len(text.encode(charset, "surrogateescape" if charset in SPOILT else "strict"))


# -- Python's csv module -------------------------------------------------------------------------------


def _by_module(rng: Random) -> Case:
    """All that the module can write and our options can express."""
    while True:
        dialect = _dialect(rng)
        if len(dialect.separator) == 1 and dialect.quote and not dialect.separator.isalnum():
            break
    charset = dialect.codec() if dialect.charset in MARKED else dialect.charset
    made = Case(dialect, charset, _names(rng, rng.choice((1, 2, 3, 6))))
    writer = _Writer(rng, made)
    ending, escape = writer.endings[0], dialect.own_escape
    # where not all is quoted the module escapes outside of quotes, too
    all_quoted = bool(escape) or bool(dialect.own_ending) or rng.random() < 0.4
    rows = [
        [_for_module(writer.cell(), ending, all_quoted) for _ in made.names] for _ in range(rng.randrange(6))
    ]
    out = io.StringIO(newline="")
    options = {"escapechar": escape, "doublequote": rng.random() < 0.5} if escape else {}
    module = csv.writer(
        out,
        delimiter=dialect.separator,
        quotechar=dialect.quote,
        lineterminator=ending,
        quoting=csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL,
        **options,  # type: ignore[arg-type]
    )
    line = 1
    for row in ([*made.names], *rows):
        before = out.tell()
        module.writerow(row)
        if row is not made.names and line > 1:
            single = len(row) == 1  # an empty line would be none, so the module quotes it
            cells = [cell if all_quoted or cell or single else None for cell in row]
            made.rows.append((line, [("" if cell is None and all_quoted else cell) for cell in cells]))
        text = out.getvalue()[before:]
        line += text.count(ending) if dialect.own_ending else len(ENDING.findall(text))
    made.data = out.getvalue().encode(charset)
    return made


def _for_module(cell: Cell, ending: str, all_quoted: bool) -> str:
    """It leaves a line break that is not its own without quotes, and nobody could tell it from an ending."""
    cell = cell or ""
    if all_quoted:
        return cell
    return cell if ending == "\r\n" else cell.replace("\r" if ending == "\n" else "\n", " ")
