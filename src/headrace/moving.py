"""Moving house: what a data folder has, into a database of PostgreSQL and a store of objects.

Nothing of the folder is changed before all has been compared. Each step leaves a mark in the new database: a
move that was broken off goes on where it was, and no server starts on the new place until it is whole. Then
the old databases are set aside in the folder, so that no server starts on them either.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from headrace.durable import sha256_of, sync
from headrace.errors import Conflict, NotFound
from headrace.metadata.database import newest_revision
from headrace.metadata.holding import revision_of
from headrace.metadata.moving import (
    WHOLE,
    Books,
    Marks,
    copy_table,
    make_tables,
    mark,
    rows_of,
    table_names,
)
from headrace.objects import Objects
from headrace.tables.catalogcopy import copy_catalog
from headrace.tables.catalogfiles import files_named, forget_what_goes, move
from headrace.tables.catalogmoves import CatalogMoves, counts_of_file, digest_of_file

MOVED = "moved.json"
"""Says of a folder that its databases are elsewhere."""

ASIDE = ".moved"
"""What the names of the old databases end with."""

_METADATA, _CATALOG = "metadata.sqlite", "catalog.sqlite"


class Different(Exception):
    """What has moved is not what it was; the message names all of it."""


@dataclass(frozen=True)
class IntoStore:
    """Files of one kind that lie below ``folder`` and belong into the store, each as one object."""

    kind: str
    folder: Path
    pattern: str
    key: Callable[[Path], str]
    objects: Objects = field(repr=False)
    besides: Callable[[Path], str] | None = None
    """An empty object that stands beside it."""

    def all(self) -> list[Path]:
        found = sorted(self.folder.glob(self.pattern))
        return [path for path in found if path.is_file() and path.name[0] != "." and path.suffix != ".part"]

    def copy(self) -> int:
        """All that are not there yet; answers how many there are."""
        there: dict[str, dict[str, int]] = {}
        for file in self.all():
            key = self.key(file)
            top = key.partition("/")[0]
            if top not in there:
                there[top] = {found.key: found.size for found in self.objects.found(top)}
            if self.besides:
                self.objects.put(self.besides(file), b"", overwrite=True)
            if there[top].get(key) != file.stat().st_size:
                self.objects.put(key, file, overwrite=True)
        return len(self.all())

    def differences(self, temp: Path) -> Iterator[str]:
        """Each is read back."""
        for file in self.all():
            back = temp / "read-back"
            self.objects.fetch(self.key(file), back)
            if not back.exists():
                yield f"{self.kind}: {file} is missing there"
            elif sha256_of(file) != sha256_of(back):
                yield f"{self.kind}: {file} has other bytes there"
            back.unlink(missing_ok=True)


@dataclass(frozen=True)
class Amount:
    """So much of a kind would go, or has gone."""

    what: str
    count: int
    bytes: int | None = None


@dataclass
class Move:
    """``files`` are the kinds that go into the store, none without one. ``told`` hears of each step."""

    folder: Path
    temp: Path
    url: str = field(repr=False)
    catalogs: Callable[[], CatalogMoves]
    files: Sequence[IntoStore]
    told: Callable[[str], None]
    place: Callable[[str], str] | None = None
    """Where the data of a pool's tables go, among the files; None: they stay."""

    claim: Callable[[str], None] | None = None
    """Makes the store that of an installation. Raises CannotReach."""

    # -- what there is ---------------------------------------------------------------------------------

    def amounts(self) -> list[Amount]:
        """What would go. Nothing is changed anywhere."""
        self._refuse_stranger()
        with closing(Books(self.folder / _METADATA)) as books:
            rows = [Amount(f"rows of {name}", count) for name, count in books.counts().items()]
            pools = books.pools()
        catalogs = [self._catalog(pool) for pool in pools]
        there = [path for path in catalogs if path.is_file()]
        named = [file for path in there for file in files_named(path)]
        data = Amount(
            "files of tables" + ("" if self.place else ", which stay where they are"),
            len(named),
            sum(file.bytes for file in named),
        )
        sizes = {kind.kind: [file.stat().st_size for file in kind.all()] for kind in self.files}
        kinds = [Amount(f"{kind}, into the store", len(found), sum(found)) for kind, found in sizes.items()]
        return [
            *rows,
            Amount("catalogs of pools", len(there), sum(p.stat().st_size for p in there)),
            *kinds,
            data,
        ]

    # -- the move --------------------------------------------------------------------------------------

    def run(self) -> None:
        """Raises Conflict, NotFound, Different. May be repeated until it returns."""
        with closing(Marks(self.url)) as marks, marks.alone():
            if marks.done(WHOLE):
                raise Conflict("The folder has moved already: start a server with this database_url.")
            if not (marks.done("compared") and (self.folder / MOVED).exists()):
                self._refuse_stranger()
                self._copy_and_compare(marks)
                self._note(marks)
            self._set_aside(marks)

    def _refuse_stranger(self) -> None:
        path = self.folder / _METADATA
        if not path.is_file():
            raise NotFound(f"There is no server's folder with {_METADATA} at {self.folder}.")
        if revision_of(path) != newest_revision():
            raise Conflict(
                f"{path} is of another version of Headrace: start this one on the folder once, and stop it."
            )

    def _copy_and_compare(self, marks: Marks) -> None:
        with ExitStack() as stack:
            books = stack.enter_context(closing(Books(self.folder / _METADATA)))
            marks.begin(books.installation())
            if self.claim:
                self.claim(books.installation())
            self.told("begun: no server starts on the new database until all is there")
            make_tables(self.url)
            pools = [pool for pool in books.pools() if self._catalog(pool).is_file()]
            self._copy_rows(books, marks)
            moves = stack.enter_context(closing(self.catalogs()))
            self._copy_catalogs(moves, pools, marks)
            self._copy_files(marks)
            self._compare(books, moves, pools, marks)

    def _copy_rows(self, books: Books, marks: Marks) -> None:
        for name in table_names():
            step = f"rows of {name}"
            if not marks.done(step):
                copy_table(books, marks, name, step)
                self.told(f"{step}: copied")

    def _copy_catalogs(self, moves: CatalogMoves, pools: Sequence[str], marks: Marks) -> None:
        for pool in pools:
            step = f"catalog of {pool}"
            if not marks.done(step):
                marked = partial(mark, step=step, said=digest_of_file(self._copied(pool)))
                moves.copy(pool, self._led(pool), self._new_data(pool), marked)
                self.told(f"{step}: copied")

    def _copy_files(self, marks: Marks) -> None:
        for kind in self.files:
            if not marks.done(kind.kind):
                count = kind.copy()
                marks.add(kind.kind)
                self.told(f"{kind.kind}: {count} files copied")

    # -- comparing -------------------------------------------------------------------------------------

    def _compare(self, books: Books, moves: CatalogMoves, pools: Sequence[str], marks: Marks) -> None:
        differences = [
            *self._other_rows(books, marks),
            *(line for pool in pools for line in self._other_lake(moves, pool, marks)),
            *(line for kind in self.files for line in kind.differences(self.temp)),
        ]
        if differences:
            raise Different("What has moved is not what it was:\n" + "\n".join(differences))
        self.told("All was compared, and is the same.")

    def _other_rows(self, books: Books, marks: Marks) -> Iterator[str]:
        for name in table_names():
            here, there = rows_of(books.engine, name), rows_of(marks.engine, name)
            if here != there:
                yield f"rows of {name}: {here} here, {there} there"

    def _other_lake(self, moves: CatalogMoves, pool: str, marks: Marks) -> Iterator[str]:
        copy, back = self._copied(pool), self.temp / "back"
        if marks.said(f"catalog of {pool}") != digest_of_file(copy):
            yield f"catalog of {pool}: it was changed here since it was copied"
            return
        moves.copy_back(pool, back)
        yield from _different(f"catalog of {pool}", counts_of_file(self._led(pool)), counts_of_file(back))
        here = moves.contents_of_file(copy, self._data(pool))
        there = moves.contents(pool, self._new_data(pool))
        yield from _different(f"tables of {pool}", here, there)
        self.told(f"tables of {pool}: {len(here)} read on both sides")

    # -- the end ---------------------------------------------------------------------------------------

    def _note(self, marks: Marks) -> None:
        """From now on no server starts on what is here: only so what was compared stays the same."""
        note = self.folder / MOVED
        note.write_text(json.dumps({"to": "the database of database_url", "back": _BACK}, indent=2) + "\n")
        sync(note)
        sync(self.folder)
        self.told("noted in the folder")
        if not marks.done("compared"):
            marks.add("compared")

    def _set_aside(self, marks: Marks) -> None:
        if (self.folder / _METADATA).exists():
            with closing(Books(self.folder / _METADATA)) as books:
                books.settle()
        for path in [self.folder / _METADATA, *self.folder.glob(f"pools/*/{_CATALOG}")]:
            _rename(path)
        for data in self.folder.glob("pools/*/data") if self.place else ():
            _rename(data)
        self.told(f"what was left here is set aside, under names that end with {ASIDE}")
        marks.add(WHOLE)

    def _catalog(self, pool: str) -> Path:
        return self.folder / "pools" / pool / _CATALOG

    def _data(self, pool: str) -> str:
        return f"{self.folder / 'pools' / pool / 'data'}/"

    def _new_data(self, pool: str) -> str:
        return self.place(pool) if self.place else self._data(pool)

    def _led(self, pool: str) -> Path:
        """A copy of its catalog that leads to where its data will be."""
        led = self.temp / f"{pool}.led"
        if not led.exists():
            shutil.copyfile(self._copied(pool), led)
            if self.place:
                forget_what_goes(led)
                move(led, self.place(pool))
        return led

    def _copied(self, pool: str) -> Path:
        copy = self.temp / pool
        if not copy.exists():
            copy_catalog(self._catalog(pool), copy)
        return copy


_BACK = (
    f"Stop every server, give back the names of all that ends with {ASIDE} (metadata.sqlite, and in pools/*/ "
    "catalog.sqlite and data), delete this file and the new database, and start without database_url. What "
    "was pushed since is lost; once a server has looked after tables at the new place, files that the old "
    "catalogs name are gone."
)


def refuse_moved(folder: Path) -> None:
    """Raises Conflict for a folder whose databases are elsewhere."""
    if (folder / MOVED).exists():
        raise Conflict(
            f"{folder} has moved to a database: set database_url. How to go back is told in {folder / MOVED}."
        )


def _rename(path: Path) -> None:
    for end in ("-wal", "-shm", ""):  # the last one says that all of them have gone
        old = path.with_name(path.name + end)
        if old.exists():
            old.rename(path.with_name(path.name + ASIDE + end))
    sync(path.parent)


Name = TypeVar("Name")


def _different(what: str, here: Mapping[Name, object], there: Mapping[Name, object]) -> Iterator[str]:
    for name in sorted({*here, *there}, key=str):
        if here.get(name) != there.get(name):
            yield f"{what}, {name}: {here.get(name)} here, {there.get(name)} there"
