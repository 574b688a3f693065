"""The console without a browser: for what a page refuses, and for what it says to who has no script."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from harness import RunningServer


@contextmanager
def door(server: RunningServer) -> Iterator[httpx.Client]:
    """Somebody who has not signed in; redirects are not followed."""
    with server.client("") as client:
        yield client


@contextmanager
def inside(server: RunningServer, key: str) -> Iterator[httpx.Client]:
    with door(server) as client:
        assert sign_in(client, key).status_code == 303
        yield client


def sign_in(client: httpx.Client, key: str, **more: str) -> httpx.Response:
    proof = proof_of(client, "/console/sign-in")
    return client.post("/console/sign-in", data={"key": key, "csrf": proof, **more})


def answered(
    client: httpx.Client, method: str, path: str, form: dict[str, str] | None = None
) -> tuple[int, str]:
    """Its status and its text; of a stream, the beginning."""
    with client.stream(method, path, data=form) as reply:
        if reply.headers.get("content-type", "").startswith("text/event-stream"):
            return reply.status_code, next(reply.iter_text())
        return reply.status_code, reply.read().decode(errors="replace")


def proof_of(client: httpx.Client, path: str) -> str:
    """What the forms of a page carry."""
    found = client.get(path).text.partition('name="csrf" value="')[2].partition('"')[0]
    assert found, f"{path} has no form"
    return found
