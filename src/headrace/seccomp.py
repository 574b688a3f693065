"""Linux's seccomp: a process gives up calls of the system that it has no need of, for ever.

What Landlock does not hold: every kind of socket, other programs, other processes, the kernel's own doors.
The filter is a list of what is refused, for an engine's threads and memory need many calls that no list of
ours would get right for every C library.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterator

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050001  # errno 1: EPERM
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4  # in what the kernel shows to the filter
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_X32 = 0x40000000
"""From this number on the calls of x86_64 are those of another convention."""

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_REFUSED = {
    # sockets: what is open stays open
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    # other programs
    "execve": (59, 221),
    "execveat": (322, 281),
    # other processes
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    # ways around: these do what others do, or change what the walls stand on
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_by_handle_at": (304, 265),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    # metadata of files, which Landlock leaves to the file's own rights
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "utimensat": (280, 88),
    "futimesat": (261, None),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
}
"""Numbers on x86_64 and on aarch64."""

_libc = ctypes.CDLL(None, use_errno=True)


def available() -> bool:
    return platform.system() == "Linux" and platform.machine() in _ARCHITECTURES


def restrict() -> None:
    """This thread and those it will start lose the calls. Needs ``no_new_privs``. Raises OSError."""
    steps = list(_filter(_ARCHITECTURES[platform.machine()], _numbers()))
    program = b"".join(struct.pack("=HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(steps), ctypes.addressof(buffer))
    if _libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, header, 0, 0):
        code = ctypes.get_errno()
        raise OSError(code, f"seccomp: {os.strerror(code)}")


def _numbers() -> list[int]:
    column = list(_ARCHITECTURES).index(platform.machine())
    return [number for numbers in _REFUSED.values() if (number := numbers[column]) is not None]


def _filter(architecture: int, numbers: list[int]) -> Iterator[tuple[int, int, int, int]]:
    """Steps of (what, how many to skip if so, if not, a number); jumps go to the last step, which refuses."""
    tests = len(numbers) + 1
    yield _LOAD, 0, 0, _ARCHITECTURE_AT
    yield _IF_EQUAL, 0, tests + 2, architecture
    yield _LOAD, 0, 0, _NUMBER_AT
    yield _IF_AT_LEAST, tests, 0, _X32
    for at, number in enumerate(numbers):
        yield _IF_EQUAL, len(numbers) - at, 0, number
    yield _RETURN, 0, 0, _ALLOW
    yield _RETURN, 0, 0, _REFUSE
