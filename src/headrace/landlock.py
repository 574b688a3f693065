"""Linux's Landlock: a process gives up what it does not need of the file system and the network, for ever.

What is not named afterwards cannot be opened, made, changed, removed or linked, not even by root. The rules
are of folders and files as they are now, not of their names. Calls of the kernel, for no library of Python
has them: https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_ASK_VERSION = 1
_RULE_PATH_BENEATH = 1

_WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 14
_FILE_ACCESS = _WRITE_FILE | _READ_FILE | _TRUNCATE
_FS_BITS = {1: 13, 2: 14, 3: 15, 5: 16}
"""From this version on so many kinds of access to files are known."""

_TCP_SINCE, _SCOPES_SINCE = 4, 6
_BIND_AND_CONNECT = 0b11
_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11

_libc = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """Of the kernel's Landlock; 0: it has none, or it is switched off."""
    found: int = _libc.syscall(_CREATE_RULESET, None, 0, _ASK_VERSION)
    return max(0, found)


def restrict(reads: Iterable[Path], writes: Iterable[Path]) -> None:
    """From now on this thread may read below ``reads`` and write into files below ``writes``, no more.

    No TCP (version 4), no signals and abstract sockets to processes outside (version 6). Threads that run
    already are not held; those that start later are. Needs ``no_new_privs``. Raises OSError.
    """
    known = version()
    files = _known_access(known)
    ruleset = _ruleset(known, files)
    try:
        for path in reads:
            _allow(ruleset, path, files & (_READ_FILE | _READ_DIR))
        for path in writes:
            _allow(ruleset, path, files & (_WRITE_FILE | _TRUNCATE))
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _known_access(known: int) -> int:
    return (1 << max(bits for since, bits in _FS_BITS.items() if since <= known)) - 1


def _ruleset(known: int, files: int) -> int:
    fields = [files]
    if known >= _TCP_SINCE:
        fields.append(_BIND_AND_CONNECT)
    if known >= _SCOPES_SINCE:
        fields.append(_ABSTRACT_SOCKETS_AND_SIGNALS)
    handled = struct.pack(f"={len(fields)}Q", *fields)
    return _call(_CREATE_RULESET, handled, len(handled), 0)


def _allow(ruleset: int, path: Path, access: int) -> None:
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        allowed = access if path.is_dir() else access & _FILE_ACCESS
        _call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, struct.pack("=Qi", allowed, handle), 0)
    finally:
        os.close(handle)


def _call(number: int, *args: int | bytes) -> int:
    result: int = _libc.syscall(number, *args)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"Landlock: {os.strerror(code)}")
    return result
