"""The protocol tus 1.0 as a client speaks it by hand, and connections that are cut."""

from __future__ import annotations

import base64
import hashlib
import socket
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

VERSION = {"Tus-Resumable": "1.0.0"}
PART = "application/offset+octet-stream"


def metadata(**pairs: str) -> str:
    return ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in pairs.items())


def checksum(data: bytes, algorithm: str = "sha1") -> dict[str, str]:
    digest = hashlib.new(algorithm, data).digest()
    return {"Upload-Checksum": f"{algorithm} {base64.b64encode(digest).decode()}"}


@dataclass
class Tus:
    """The uploads of a job, for one client."""

    api: httpx.Client
    pool: str
    job: str
    made: list[str] = field(default_factory=list)

    @property
    def path(self) -> str:
        return f"/api/v1/pools/{self.pool}/jobs/{self.job}/uploads"

    def post(self, length: int, content: bytes | None = None, **headers: str) -> httpx.Response:
        own = {**VERSION, "Upload-Length": str(length), **_spelled(headers)}
        if content is not None:
            own["Content-Type"] = PART
        return self.api.post(self.path, content=content, headers=own)

    def create(self, length: int, **headers: str) -> str:
        """The path of a new upload."""
        reply = self.post(length, **headers)
        assert reply.status_code == 201, reply.text
        assert reply.headers["Tus-Resumable"] == "1.0.0"
        return reply.headers["Location"]

    def patch(self, place: str, offset: int, data: bytes, **headers: str) -> httpx.Response:
        own = {**VERSION, "Upload-Offset": str(offset), "Content-Type": PART, **_spelled(headers)}
        return self.api.patch(place, content=data, headers=own)

    def head(self, place: str) -> httpx.Response:
        return self.api.head(place, headers=VERSION)

    def offset(self, place: str) -> int:
        reply = self.head(place)
        assert reply.status_code == 200, reply.status_code
        return int(reply.headers["Upload-Offset"])

    def end(self, place: str) -> httpx.Response:
        return self.api.delete(place, headers=VERSION)

    def cut(self, place: str, offset: int, data: bytes, *, says: int, **headers: str) -> None:
        """Says that so many bytes will come, sends these, and goes away."""
        with self.half_sent(place, offset, data, says=says, **headers) as connection:
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass

    def half_sent(self, place: str, offset: int, data: bytes, *, says: int, **headers: str) -> socket.socket:
        url = urlsplit(str(self.api.base_url))
        own: dict[str, Any] = {
            "Host": url.netloc,
            "Authorization": self.api.headers["Authorization"],
            **VERSION,
            "Content-Type": PART,
            "Upload-Offset": offset,
            "Content-Length": says,
            **_spelled(headers),
        }
        head = "\r\n".join([f"PATCH {place} HTTP/1.1", *(f"{n}: {v}" for n, v in own.items()), "", ""])
        connection = socket.create_connection((url.hostname, url.port), timeout=30)
        connection.sendall(head.encode() + data)
        return connection


def _spelled(headers: dict[str, str]) -> dict[str, str]:
    """``upload_checksum=…`` is the header Upload-Checksum."""
    return {name.replace("_", "-"): value for name, value in headers.items()}
