"""Requests exactly as a client writes them, and what every client needs of the replies."""

from __future__ import annotations

from typing import Any

import httpx


class Wire:
    """Sends what it is given: adds no key, repairs no slash, follows no redirect."""

    def __init__(self, client: httpx.Client, url: str) -> None:
        self.client = client
        self.url = url

    def __call__(self, method: str, path: str, **request: Any) -> httpx.Response:
        return self.client.request(method, self.url + path, **request)


def multipart(data: bytes, boundary: str, *part_headers: str) -> bytes:
    """A form of one part with these header lines, byte for byte."""
    head = "\r\n".join((f"--{boundary}", *part_headers, "", ""))
    return head.encode() + data + f"\r\n--{boundary}--\r\n".encode()


def requests_upload(filename: str, data: bytes) -> dict[str, Any]:
    """``requests.post(files={"file": open(...)})``: a part without a type, a boundary of 32 hex digits."""
    boundary = "0f3bd9c3a0a84bb5b4a1e6d0a9f7c2de"
    disposition = f'Content-Disposition: form-data; name="file"; filename="{filename}"'
    return {
        "content": multipart(data, boundary, disposition),
        "headers": {"Content-Type": f"multipart/form-data; boundary={boundary}"},
    }


def with_headers(request: dict[str, Any], **headers: str) -> dict[str, Any]:
    return {**request, "headers": {**request.get("headers", {}), **headers}}


def assert_empty_200(reply: httpx.Response) -> None:
    """Exactly 200 and no body: Spring finds no converter for one, axios and Flask refuse a 201."""
    assert (reply.status_code, reply.content) == (200, b"")


def json_200(reply: httpx.Response) -> Any:
    """Exactly 200 and JSON said so: pycelonis raises on any other content type."""
    assert reply.status_code == 200, f"{reply.status_code} {reply.text}"
    assert reply.headers["content-type"].startswith("application/json")
    return reply.json()
