"""A process that confined itself, tried from inside: what it may still do, and all that it may not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headrace import confinement, landlock, seccomp

LANDLOCK = pytest.mark.skipif(not landlock.version(), reason="the kernel has no Landlock")
SECCOMP = pytest.mark.skipif(not seccomp.available(), reason="no filter for this architecture")

SCRIPT = """
import json, os, resource, socket, sys, threading
from pathlib import Path
from headrace import confinement

folder, other = Path(sys.argv[1]), Path(sys.argv[2])
opened = (other / "opened").open()
confinement.confine([folder], [folder / "written"])

def tried(do):
    try:
        return str(do())
    except (OSError, ValueError) as error:
        return type(error).__name__

print(json.dumps({name: tried(eval("lambda: " + do)) for name, do in json.loads(sys.argv[3]).items()}))
"""


def confined(tmp_path: Path, **tries: str) -> dict[str, Any]:
    """What each expression gives, or the name of its error; ``folder`` may be read, ``other`` may not."""
    folder, other = tmp_path / "folder", tmp_path / "other"
    for made in (folder, other):
        made.mkdir()
        for name in ("file", "written", "opened"):
            (made / name).write_text("text")
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, folder, other, json.dumps(tries)],
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    found: dict[str, Any] = json.loads(run.stdout)
    return found


@LANDLOCK
def test_files(tmp_path: Path) -> None:
    found = confined(
        tmp_path,
        read="(folder / 'file').read_text()",
        listed="sorted(os.listdir(folder))",
        still_open="opened.read()",
        other="(other / 'file').read_text()",
        other_listed="os.listdir(other)",
        upwards="(folder / '..' / 'other' / 'file').read_text()",
        passwd="open('/etc/passwd').read()",
        proc="open('/proc/self/environ').read()",
        write="(folder / 'file').open('w')",
        append="(folder / 'file').open('a')",
        new="(folder / 'new').open('w')",
        written="os.close(os.open(folder / 'written', os.O_WRONLY))",
        written_read="(folder / 'written').read_text()",
        other_written="os.open(other / 'written', os.O_WRONLY)",
        folder="os.mkdir(folder / 'new')",
        pipe="os.mkfifo(folder / 'new')",
        symlink="os.symlink('/etc', folder / 'new')",
        hard_link="os.link(other / 'file', folder / 'new')",
        rename="os.rename(folder / 'file', folder / 'new')",
        remove="os.unlink(folder / 'file')",
        truncate="os.truncate(folder / 'file', 0)",
    )
    allowed = {
        "read": "text",
        "listed": "['file', 'opened', 'written']",
        "still_open": "text",
        "written": "None",
        "written_read": "text",
    }
    refused = found.keys() - allowed.keys()
    assert {name: found[name] for name in allowed} == allowed
    assert {found[name] for name in refused} == {"PermissionError"}, found


@SECCOMP
def test_everything_else(tmp_path: Path) -> None:
    found = confined(
        tmp_path,
        tcp="socket.socket(socket.AF_INET)",
        udp="socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
        unix="socket.socket(socket.AF_UNIX)",
        pair="socket.socketpair()",
        netlink="socket.socket(16, socket.SOCK_RAW)",
        program="os.execv('/bin/true', ['true'])",
        signal="os.kill(os.getppid(), 0)",
        group="os.killpg(0, 0)",
        watched="os.pidfd_open(os.getppid())",
        mode="os.chmod(folder / 'file', 0o777)",
        owner="os.chown(folder / 'file', 1, 1)",
        times="os.utime(folder / 'file')",
        attribute="os.setxattr(folder / 'file', 'user.a', b'b')",
    )
    assert set(found.values()) == {"PermissionError"}, found


def test_no_file_can_grow(tmp_path: Path) -> None:
    assert confined(tmp_path, limit="resource.getrlimit(resource.RLIMIT_FSIZE)") == {"limit": "(0, 0)"}


def test_nothing_can_be_had_back(tmp_path: Path) -> None:
    found = confined(
        tmp_path,
        wider="confinement.confine([Path('/')], []) or open('/etc/passwd').read()",
        root="os.setuid(0) or os.chroot('/')",
        limit="resource.setrlimit(resource.RLIMIT_FSIZE, (9, 9))",
    )
    assert not any("root:" in text for text in found.values()), found
    assert (found["root"], found["limit"]) == ("PermissionError", "ValueError")


@LANDLOCK
def test_threads_that_start_later_are_confined_too(tmp_path: Path) -> None:
    look = "open('/etc/passwd').read()"
    thread = f"[t := threading.Thread(target=lambda: got.append(tried(lambda: {look}))), t.start(), t.join()]"
    found = confined(tmp_path, seen=f"(lambda got: ({thread}, got)[1])([])")
    assert found == {"seen": "['PermissionError']"}


def test_a_process_of_several_threads_is_refused(tmp_path: Path) -> None:
    script = (
        "import threading; from headrace.confinement import confine; over = threading.Event(); "
        "threading.Thread(target=over.wait, daemon=True).start(); confine()"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "2 threads, where one can be confined" in run.stderr


def test_what_is_available_is_said() -> None:
    assert {wall.split()[0] for wall in confinement.available()} <= set(confinement.WALLS)


def test_numbers_of_calls_are_those_of_this_system() -> None:
    """As the C library's headers have them, where they are installed."""
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("no headers")
    lines = [line.split() for line in header.read_text().splitlines() if line.startswith("#define __NR_")]
    known = {words[1]: words[2] for words in lines}
    assert len(known) > 300
    there = {name: str(number) for name, (number, _) in seccomp._REFUSED.items() if f"__NR_{name}" in known}
    assert there == {name: known[f"__NR_{name}"] for name in there}
    assert len(seccomp._REFUSED) - len(there) < 10, "but for calls that are younger than the headers"
