"""What a server wrote and synced, as strace saw it, and the disk as a loss of power may leave it.

``Disk`` is told each system call in its order. It knows what the programs see, and what is durable: bytes
that were written before an fsync of their file, names that were given before an fsync of their folder.
Everything else may be there after a loss of power or not, whole or in part, in any order.
"""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
CALLS = (
    "openat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,fallocate,lseek,rename,renameat,renameat2,link,"
    "linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,fsync,fdatasync,copy_file_range,sendfile,sendto,sendmsg"
)
COMMAND = ("strace", "-D", "-f", "-y", "-xx", "-s", "100000000", "-e", "signal=none", "-e", f"trace={CALLS}")


# -- the disk ------------------------------------------------------------------------------------------


@dataclass
class Inode:
    """``pending``: what was written since the last sync, as (offset, bytes), or (length, None) for a cut."""

    data: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def write(self, offset: int, data: bytes | None) -> None:
        self.pending.append((offset, data))
        _write(self.data, offset, data)

    def sync(self) -> None:
        self.durable, self.pending = bytearray(self.data), []


def _write(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
    content.extend(bytes(max(0, offset - len(content))))
    if data is not None:
        content[offset : offset + len(data)] = data


@dataclass
class Disk:
    """Everything below ``root``. A path without an inode is a folder."""

    root: Path
    names: dict[Path, Inode | None] = field(default_factory=dict)
    durable: dict[Path, Inode | None] = field(default_factory=dict)
    pending: list[dict[Path, Inode | bool | None]] = field(default_factory=list)
    """Names given or (False) taken since the last sync of their folder; a renaming is one step."""

    def __post_init__(self) -> None:
        self.names[self.root] = self.durable[self.root] = None

    def give(self, step: dict[Path, Inode | bool | None]) -> None:
        self.pending.append(step)
        _give(self.names, step)

    def sync(self, path: Path) -> None:
        inode = self.names[path]
        if inode is not None:
            inode.sync()
            return
        now = [step for step in self.pending if any(name.parent == path for name in step)]
        for step in now:
            _give(self.durable, step)
            self.pending.remove(step)

    # -- after a loss of power -------------------------------------------------------------------------

    def only_what_is_synced(self, _: random.Random) -> dict[Path, bytes | None]:
        return self._reachable({p: None if i is None else bytes(i.durable) for p, i in self.durable.items()})

    def all_but_the_end(self, chance: random.Random) -> dict[Path, bytes | None]:
        """All came to the disk, but of the last write of each file only some sectors."""
        return self._reachable({p: self._torn(i, chance, 1.0) for p, i in self.names.items()})

    def some(self, chance: random.Random) -> dict[Path, bytes | None]:
        """Of what is not synced some came to the disk."""
        names = dict(self.durable)
        for step in self.pending:
            if chance.random() < 0.5:
                _give(names, step)
        return self._reachable({p: self._torn(i, chance, 0.5) for p, i in names.items()})

    def _reachable(self, files: dict[Path, bytes | None]) -> dict[Path, bytes | None]:
        """What lies in folders that are there."""
        above = set(self.root.parents)
        return {path: data for path, data in files.items() if set(path.parents) - above <= files.keys()}

    @staticmethod
    def _torn(inode: Inode | None, chance: random.Random, share: float) -> bytes | None:
        if inode is None:
            return None
        content = bytearray(inode.durable)
        for number, (offset, data) in enumerate(inode.pending, 1):
            if chance.random() >= share:
                continue
            if data is not None and (share < 1 or number == len(inode.pending)):
                sectors = chance.randrange(-(-len(data) // SECTOR) + 1)
                data = data[: sectors * SECTOR - offset % SECTOR] if sectors else b""  # noqa: PLW2901
            _write(content, offset, data)
        return bytes(content)


def _give(names: dict[Path, Inode | None], step: dict[Path, Inode | bool | None]) -> None:
    for path, inode in step.items():
        if isinstance(inode, bool):
            names.pop(path, None)
        else:
            names[path] = inode


def put(files: dict[Path, bytes | None], root: Path) -> None:
    """Make the folder what a loss of power left."""
    shutil.rmtree(root)
    for path, data in sorted(files.items()):
        if path == root or root in path.parents:
            path.mkdir(exist_ok=True) if data is None else path.write_bytes(data)


# -- the record ----------------------------------------------------------------------------------------

_LINE = re.compile(r"(\d+) +(.*)")
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+)(<.*>)?.*")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_HANDLE = re.compile(r"-?\w+<([^<>]*)>")


@dataclass(frozen=True)
class Call:
    """A call that went well: its strings, the paths of its handles, its plain numbers."""

    name: str
    arguments: str
    result: int

    @property
    def texts(self) -> list[bytes]:
        return [_bytes(text) for text in _TEXT.findall(self.arguments)]

    @property
    def handles(self) -> list[str]:
        return [_bytes(path).decode() for path in _HANDLE.findall(self.arguments)]

    @property
    def numbers(self) -> list[int]:
        return [int(n) for n in re.findall(r", (-?\d+)(?=,|$)", self.arguments)]


def _bytes(hexes: str) -> bytes:
    return bytes.fromhex(hexes.replace("\\x", "")) if hexes.startswith("\\x") else hexes.encode()


def calls(record: Path) -> Iterator[Call]:
    """In the order in which they ended."""
    begun: dict[str, str] = {}
    for line in record.read_text().splitlines():
        found = _LINE.fullmatch(line)
        assert found is not None, line
        thread, text = found.groups()
        if text.endswith(" <unfinished ...>"):
            begun[thread] = text.removesuffix(" <unfinished ...>")
            continue
        if text.startswith("<... "):
            text = begun.pop(thread) + text.partition(" resumed>")[2]
        call = _CALL.fullmatch(text)
        if call and int(call[3]) >= 0:
            yield Call(call[1], call[2], int(call[3]))


class Replay:
    """Tells a disk one call after the other; ``answered`` hears the first bytes of each answer over HTTP."""

    def __init__(self, root: Path, answered: Callable[[bytes], None]) -> None:
        self.disk = Disk(root)
        self._answered = answered
        self._places: dict[str, int] = {}

    def tell(self, call: Call) -> bool:
        """Whether it changed what a loss of power would leave."""
        if act := getattr(self, f"_{call.name}", None):
            return bool(act(call))
        return False

    def _here(self, path: str | Path) -> bool:
        return self.disk.root in Path(path).parents

    def _openat(self, call: Call) -> bool:
        folder, *_ = call.handles
        path = Path(folder) / call.texts[0].decode()
        if not self._here(path) or "O_DIRECTORY" in call.arguments:
            return False
        inode = self.disk.names.get(path)
        if inode is None and "O_CREAT" in call.arguments:
            self.disk.give({path: Inode()})
        elif inode is not None and "O_TRUNC" in call.arguments and inode.data:
            inode.write(0, None)
        self._places[str(path)] = -1 if "O_APPEND" in call.arguments else 0
        return "O_CREAT" in call.arguments or "O_TRUNC" in call.arguments

    def _write(self, call: Call) -> bool:
        path, data = call.handles[0], b"".join(call.texts)[: call.result]
        if not self._here(path):
            if path.startswith("socket") and data.startswith(b"HTTP/1.1"):
                self._answered(data)
            return False
        inode = self._inode(path)
        place = self._places.get(path, 0)
        place = len(inode.data) if place < 0 else place
        inode.write(place, data)
        self._places[path] = place + len(data)
        return True

    _writev = _sendto = _sendmsg = _write

    def _pwrite64(self, call: Call) -> bool:
        path = call.handles[0]
        if self._here(path):
            self._inode(path).write(call.numbers[-1], b"".join(call.texts)[: call.result])
        return self._here(path)

    _pwritev = _pwritev2 = _pwrite64

    def _lseek(self, call: Call) -> bool:
        self._places[call.handles[0]] = call.result
        return False

    def _ftruncate(self, call: Call) -> bool:
        path, length = call.handles[0], call.numbers[-1]
        if self._here(path):
            inode = self._inode(path)
            inode.write(length, None) if length < len(inode.data) else inode.write(length, b"")
        return self._here(path)

    def _fallocate(self, call: Call) -> bool:
        return False

    def _rename(self, call: Call) -> bool:
        old, new = self._both(call)
        if self._here(old) and old in self.disk.names:
            assert self.disk.names[old] is not None, "a folder was renamed"
            self.disk.give({old: False, new: self.disk.names[old]})
        return self._here(old)

    _renameat = _renameat2 = _rename

    def _link(self, call: Call) -> bool:
        old, new = self._both(call)
        if self._here(new):
            self.disk.give({new: self.disk.names[old]})
        return self._here(new)

    _linkat = _link

    def _unlink(self, call: Call) -> bool:
        folder = call.handles[0] if call.handles else "/"
        path = Path(folder) / call.texts[0].decode()
        if path in self.disk.names:
            self.disk.give({path: False})
        return self._here(path)

    _unlinkat = _rmdir = _unlink

    def _mkdir(self, call: Call) -> bool:
        folder = call.handles[0] if call.handles else "/"
        path = Path(folder) / call.texts[0].decode()
        if self._here(path):
            self.disk.give({path: None})
        return self._here(path)

    _mkdirat = _mkdir

    def _fsync(self, call: Call) -> bool:
        path = Path(call.handles[0])
        if path == self.disk.root or self._here(path):
            self.disk.sync(path)
        return False

    _fdatasync = _fsync

    def _copy_file_range(self, call: Call) -> bool:
        assert not any(map(self._here, call.handles)), "a copy is not recorded"
        return False

    _sendfile = _copy_file_range

    def _both(self, call: Call) -> tuple[Path, Path]:
        folders = call.handles or ["/", "/"]
        old, new = (Path(f) / t.decode() for f, t in zip(folders * 2, call.texts, strict=False))
        return old, new

    def _inode(self, path: str) -> Inode:
        inode = self.disk.names[Path(path)]
        assert inode is not None, path
        return inode


def differences(disk: Disk) -> list[str]:
    """Where the record is not what really lies there."""
    real = {Path(folder) / f for folder, _, files in os.walk(disk.root) for f in files}
    known = {path for path, inode in disk.names.items() if inode is not None}
    other = [p for p, inode in disk.names.items() if inode and p in real and p.read_bytes() != inode.data]
    return [str(p) for p in sorted((real ^ known) | set(other))]
