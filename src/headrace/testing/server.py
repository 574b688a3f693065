"""A server of somebody's tests: a process of its own, on a port and in a folder of its own."""

from __future__ import annotations

import os
import ssl
import subprocess  # the server itself, by a list of words  # nosec B404
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from headrace.client import Client, Pool
from headrace.testing.faults import Faults
from headrace.testing.seeds import plant, read_seed

_READY = "Headrace is ready at "
_STOP_SECONDS = 30.0
_SETTINGS = {"test_faults": "true", "staging_processes": 1, "drain_seconds": 0}
"""What is under way at the end is nobody's any more."""


class CannotStart(Exception):
    """The server did not come up; the message has what it said."""


class Server:
    """``seed``: pools and tables to begin with; ``tls``: HTTPS, trusted by way of ``certificate``.

    ``settings`` are those of docs/settings.md, by their names. Nothing that is set in the environment of the
    tests counts.
    """

    def __init__(
        self,
        *,
        seed: str | Path | Mapping[str, Any] | None = None,
        tls: bool = False,
        settings: Mapping[str, Any] | None = None,
        start_seconds: float = 60.0,
    ) -> None:
        self._seed = read_seed(seed) if seed is not None else None
        self._tls = tls
        self._settings = {**_SETTINGS, **(settings or {})}
        self._start_seconds = start_seconds
        self._process: subprocess.Popen[str] | None = None
        self._open: list[Client | httpx.Client] = []
        self.url = ""

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> Server:
        """Returns when the server takes requests and has its seed. Raises CannotStart."""
        self._folder = tempfile.TemporaryDirectory(prefix="headrace-testing-")
        try:
            self.url = self._started()
            self._http, self._client = self.http(), self.client()
            self.faults = Faults(self._http)
            if self._seed:
                self._plant()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ends the process; its folder goes. May be repeated."""
        while self._open:
            self._open.pop().close()
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout
            process.stdout.close()
        self.url = ""
        self._folder.cleanup()

    # -- who asks --------------------------------------------------------------------------------------

    @property
    def data_dir(self) -> Path:
        return Path(self._folder.name) / "data"

    @property
    def key(self) -> str:
        """The administrator's key: the header is ``Authorization: AppKey <key>``."""
        return (self.data_dir / "admin-key").read_text().strip()

    @property
    def certificate(self) -> Path | None:
        """What clients have to trust, if the server speaks HTTPS: ``verify`` of requests and httpx."""
        return self.data_dir / "tls-cert.pem" if self._tls else None

    @property
    def log(self) -> str:
        """What the server said."""
        return self._log_file.read_text(errors="replace")

    def client(self, key: str | None = None) -> Client:
        """A client of Headrace, the administrator's unless there is another key.

        It is closed with the server, at the latest.
        """
        client = Client(self.url, key or self.key, verify=_verify(self.certificate))
        self._open.append(client)
        return client

    def http(self, key: str | None = None) -> httpx.Client:
        """The bare requests, with the key in their header; closed with the server, at the latest."""
        headers = {"Authorization": f"AppKey {key or self.key}"}
        verify = _verify(self.certificate)
        client = httpx.Client(base_url=self.url, headers=headers, verify=verify, timeout=60, trust_env=False)
        self._open.append(client)
        return client

    def new_key(self, permissions: Sequence[str] = ("push",), **more: Any) -> str:
        """The secret of a new application key, or of what ``kind`` says."""
        body = {"name": "of a test", "permissions": list(permissions), **more}
        return str(self._http.post("/api/v1/keys", json=body).raise_for_status().json()["key"])

    # -- what is there ---------------------------------------------------------------------------------

    def pool(self, name: str | None = None) -> Pool:
        """A new, empty pool; its requests go through the administrator's client."""
        return self._client.create_pool(name or f"pool-{uuid4()}")

    def reset(self) -> None:
        """Everything as after the start, the seed included: pools, keys, jobs, audit; no fault is left."""
        self._http.post("/api/v1/testing/reset").raise_for_status()

    # -- starting --------------------------------------------------------------------------------------

    @property
    def _log_file(self) -> Path:
        return Path(self._folder.name) / "server.log"

    def _started(self) -> str:
        command = [sys.executable, "-m", "headrace", "serve", "--data-dir", str(self.data_dir)]
        command += ["--host", "127.0.0.1", "--port", "0", *(["--tls"] if self._tls else [])]
        with self._log_file.open("w") as log:
            self._process = subprocess.Popen(  # nosec B603
                command, stdout=subprocess.PIPE, stderr=log, env=self._environment(), text=True
            )
        too_late = threading.Timer(self._start_seconds, self._process.kill)
        too_late.start()
        try:
            assert self._process.stdout
            for line in self._process.stdout:
                if line.startswith(_READY):
                    return line.removeprefix(_READY).strip()
        finally:
            too_late.cancel()
        raise CannotStart(f"The server ended with code {self._process.wait()}:\n{self.log}")

    def _environment(self) -> dict[str, str]:
        outer = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
        return {**outer, **{f"HEADRACE_{name.upper()}": str(v) for name, v in self._settings.items()}}

    def _plant(self) -> None:
        assert self._seed
        plant(*self._seed, self._client)
        self._http.post("/api/v1/testing/mark").raise_for_status()


def _verify(certificate: Path | None) -> Any:
    """Of httpx, which wants no path any more."""
    return ssl.create_default_context(cafile=certificate) if certificate else True
