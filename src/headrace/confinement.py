"""A process gives up, for ever, what it does not need of the operating system.

* Landlock: it reads the folders that it is given and nothing else, and writes nowhere but where it is told.
* seccomp: no socket of any kind, no other program, no signal to another process.
* No privilege can be gained, and those of root are dropped: all but reading what other users own.
* No file can grow: the limit of a file's size is zero, on any Unix.

What the system lacks is left out; ``available`` says what there is, so that the server can say what there
is not. What is there and does not work is an error: the process must end then.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from headrace import landlock, seccomp

WALLS = ("landlock", "seccomp")
"""What a system should have, for queries to be confined by it."""

_PR_SET_NO_NEW_PRIVS, _PR_CAPBSET_DROP = 38, 24
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_VERSION_3 = 0x20080522
_DAC_READ_SEARCH = 2
"""A server of root may keep its data below a folder of somebody else."""


def available() -> tuple[str, ...]:
    """The walls that this system has, by name."""
    if platform.system() != "Linux":
        return ()
    version = landlock.version()
    found = [f"landlock {version}" if version else "", "seccomp" if seccomp.available() else ""]
    return tuple(filter(None, found))


def confine(reads: Sequence[Path] = (), writes: Sequence[Path] = ()) -> None:
    """From now on: read below ``reads``, write into what is there below ``writes``, nothing else.

    Open files stay open. The process must have one thread, for the others would not be held. Cannot be
    undone; a second time can only take more away. Raises OSError, RuntimeError.
    """
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if platform.system() != "Linux":
        return
    if (threads := len(os.listdir("/proc/self/task"))) > 1:  # noqa: PTH208  paths are not needed
        raise RuntimeError(f"{threads} threads, where one can be confined")
    libc = ctypes.CDLL(None, use_errno=True)
    _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    if os.geteuid() == 0:
        _drop_capabilities(libc)
    if landlock.version():
        landlock.restrict(reads, writes)
    if seccomp.available():
        seccomp.restrict()


def libraries() -> list[Path]:
    """Where modules and shared objects come from, for a process that has yet to import some."""
    paths = sysconfig.get_paths()
    found = {Path(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.partition("/")[2]
        if ".so" in path:
            found.add(Path("/" + path).parent)
    return sorted(path for path in found if path.exists())


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    number = _CAPSET.get(platform.machine())
    if number is None:
        return
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for capability in range(last + 1):
        if capability != _DAC_READ_SEARCH:
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # refused to a root that is none
    status = Path("/proc/self/status").read_text()
    held = int(status.partition("CapPrm:")[2].split()[0], 16) & 1 << _DAC_READ_SEARCH
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    # effective, permitted, inheritable; then their high halves
    sets = struct.pack("=6I", held, held, 0, 0, 0, 0)
    _checked(libc.syscall(number, header, sets))


def _checked(result: int) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
