"""Whether files of a lake's tables still are the bytes that were written: no engine would notice others.

The checksums of a pool are lines of one file beside its catalog, added before the commit that names the
data. A file is compared with its line when somebody is about to read it, for the first time in this process
or since it looks changed; one without a line gets it then: it is of an older version, or of a crash. The
lines need no sync, for what a power loss takes of them is one of those.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from headrace.durable import checksum
from headrace.errors import TableDamaged

NAME = "checksums"

_Look = tuple[int, int, int]
"""Of a file, as the system shows it: whoever writes to it changes that."""

_NOTHING: _Look = (0, 0, 0)


class Sums:
    """Those of one lake; ``data`` is the folder of its files. For all threads.

    Whoever adds lines holds the writer lock of the lake, or only tells what is so already.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._path = data.parent / NAME
        self._lock = threading.Lock()
        self._read: _Look = _NOTHING
        self._known: dict[str, int] = {}
        self._expected: dict[str, int] = {}
        self._seen: dict[str, _Look] = {}

    def expect(self, file: Path, checksum: int) -> None:
        """That of a file which is going to be noted: it need not be read for it."""
        with self._lock:
            self._expected[self._name(file)] = checksum

    def forget_expected(self, path: Path) -> None:
        """Of a file, or of all in a folder."""
        gone = self._name(path)
        with self._lock:
            self._expected = {
                name: crc
                for name, crc in self._expected.items()
                if name != gone and not name.startswith(f"{gone}/")
            }

    def note(self, files: Iterable[Path]) -> None:
        """New files, before anything refers to them."""
        with self._lock:
            known = {file: self._expected.pop(self._name(file), None) for file in files}
        sums = {self._name(file): checksum(file) if crc is None else crc for file, crc in known.items()}
        self._add(sums)
        with self._lock:
            self._seen |= {name: _look(self._data / name) for name in sums}

    def check(self, files: Iterable[Path]) -> None:
        """Raises TableDamaged. A file that is not there is the engine's matter."""
        for file in files:
            with suppress(FileNotFoundError):
                self._check(file)

    def keep_only(self, files: Collection[Path]) -> None:
        """Forget all others, under the writer lock."""
        kept = set(map(self._name, files))
        with self._lock:
            self._learn()
            if self._known.keys() <= kept:
                return
            self._known = {name: crc for name, crc in self._known.items() if name in kept}
            self._seen = {name: look for name, look in self._seen.items() if name in kept}
            unfinished = self._path.with_name(f"{NAME}.new")
            unfinished.write_text("".join(_lines(self._known)))
            unfinished.replace(self._path)

    def _check(self, file: Path) -> None:
        name, look = self._name(file), _look(file)
        with self._lock:
            if self._seen.get(name) == look:
                return
            self._learn()
            known = self._known.get(name)
        crc = checksum(file)
        if known is None:
            self._add({name: crc})
        elif crc != known:
            raise TableDamaged(
                f"The disk has changed {name}, a file of the pool's tables: no row of it can be trusted. "
                "Put back the file, or the pool, from a backup; a REPLACE makes its table anew."
            )
        with self._lock:
            self._seen[name] = look

    def _name(self, file: Path) -> str:
        return str(file.relative_to(self._data))

    # -- the file ----------------------------------------------------------------------------------------

    def _add(self, sums: Mapping[str, int]) -> None:
        if not sums:
            return
        # what a crash has left of a line ends before ours
        text = "\n" + "".join(_lines(sums))
        with self._path.open("a", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)

    def _learn(self) -> None:
        """What is new in the file; another process may have made it anew, or added to it."""
        try:
            now = _look(self._path)
        except FileNotFoundError:
            now = _NOTHING
        if now == self._read:
            return
        if now[0] != self._read[0]:
            self._known, self._read = {}, _NOTHING
        if now != _NOTHING:
            with self._path.open("rb") as file:
                file.seek(self._read[2])
                self._known |= dict(_parsed(file.read()))
        self._read = now


def _look(file: Path) -> _Look:
    stat = file.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _lines(sums: Mapping[str, int]) -> Iterator[str]:
    """The sum of the line itself, that of the file, its name."""
    for name, crc in sums.items():
        said = f"{crc:08x} {name}"
        yield f"{_own(said):08x} {said}\n"


def _parsed(data: bytes) -> Iterator[tuple[str, int]]:
    for line in data.decode("utf-8", errors="surrogateescape").split("\n"):
        own, _, said = line.partition(" ")
        with suppress(ValueError):
            if int(own, 16) == _own(said):
                crc, _, name = said.partition(" ")
                yield name, int(crc, 16)


def _own(said: str) -> int:
    return zlib.crc32(said.encode("utf-8", errors="surrogateescape"))
