"""One way to the server: who is asking, what is tried again, and errors as the server raised them.

A request that changes something may have had its effect although its answer was lost. So only what may be
repeated is repeated here; who sends chunks or executes a job asks the server first (``Lost``).
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from itertools import count
from threading import Event
from typing import Any

import httpx

from headrace.errors import HeadraceError, Internal, known_errors

_PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds between tries; the last one again and again until the patience ends."""

_NO_ANSWER = frozenset({500, 502, 504})
"""Statuses after which the request may have had its effect all the same."""

_LONGEST_PAUSE = 3600.0


class Lost(Exception):
    """No answer came, or none that counts: the request may or may not have had its effect."""


class Calls:
    """HTTP requests of one client.

    ``key`` is an application key (sent as ``AppKey``), or a personal key or an OAuth token (``Bearer``);
    ``scheme`` says which, where the key does not. ``patience``: seconds for which a server that is busy,
    limits us or does not answer is asked again. Thread-safe.
    """

    def __init__(
        self, url: str, key: str, *, scheme: str | None = None, verify: Any = True, patience: float = 300.0
    ) -> None:
        self.url = url.rstrip("/")
        self.patience = patience
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"{scheme or _scheme_of(key)} {key}"},
            verify=verify,
            timeout=httpx.Timeout(30.0, read=600.0, write=600.0),
        )

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        """The JSON of an answer. Raises what the server says, once it says it for good."""
        return self.repeatable("GET", path, params=_given(params)).json()

    def repeatable(self, method: str, path: str, **more: Any) -> httpx.Response:
        """A request that may be sent twice: again after a lost answer, too."""
        deadline = time.monotonic() + self.patience
        for attempt in count():
            try:
                return self.once(method, path, **more)
            except Lost as error:
                pause(attempt, deadline, error)
        raise AssertionError("unreachable")

    def once(self, method: str, path: str, *, stopping: Event | None = None, **more: Any) -> httpx.Response:
        """A request whose effect counts: again only while the server refuses it for now. Raises Lost.

        When ``stopping`` is set it is not tried again.
        """
        deadline = time.monotonic() + self.patience
        for attempt in count():
            try:
                reply = self._http.request(method, path, **more)
            except httpx.ConnectError as error:  # nothing was sent
                if _is_for_good(error):
                    raise
                pause(attempt, deadline, error, stopping=stopping)
                continue
            except httpx.TransportError as error:
                raise Lost(str(error) or type(error).__name__) from error
            if reply.is_success:
                return reply
            refused = error_of(reply)
            if reply.status_code in _NO_ANSWER:
                raise Lost(str(refused)) from refused
            if isinstance(refused, Internal) or not refused.retry:
                raise refused
            pause(attempt, deadline, refused, reply.headers, stopping)
        raise AssertionError("unreachable")

    def streamed(self, path: str, **params: Any) -> Iterator[bytes]:
        """The body of an answer while it comes. It is asked for again only as long as nothing of it came.

        Whole only if the iterator ends by itself; raises Lost when the answer breaks off.
        """
        deadline = time.monotonic() + self.patience
        for attempt in count():
            try:
                with self._http.stream("GET", path, params=_given(params)) as reply:
                    if reply.is_success:
                        yield from reply.iter_bytes()
                        return
                    reply.read()
            except httpx.ConnectError as error:
                if _is_for_good(error):
                    raise
                pause(attempt, deadline, error)
                continue
            except httpx.TransportError as error:
                raise Lost(f"The answer broke off: {error}") from error
            refused = error_of(reply)
            if isinstance(refused, Internal) or not refused.retry:
                raise refused
            pause(attempt, deadline, refused, reply.headers)


def _is_for_good(error: httpx.ConnectError) -> bool:
    """A certificate that is not trusted, or no TLS at all, will be no other one in a moment."""
    return "SSL" in str(error)


def pause(
    attempt: int,
    deadline: float,
    error: Exception,
    headers: Mapping[str, str] | None = None,
    stopping: Event | None = None,
) -> None:
    """Wait before the next try, or raise the error, the server's own if there is one, if it is too late."""
    said = (headers or {}).get("retry-after", "")
    seconds = float(said) if said.isdigit() else _PAUSES[min(attempt, len(_PAUSES) - 1)]
    seconds = min(seconds, _LONGEST_PAUSE) * random.uniform(1.0, 1.2)  # no secret  # nosec B311
    if time.monotonic() + seconds > deadline:
        raise error.__cause__ if isinstance(error.__cause__, HeadraceError) else error
    if stopping is None:
        time.sleep(seconds)
    elif stopping.wait(seconds):
        raise error


def error_of(reply: httpx.Response) -> HeadraceError:
    """The error that the server raised, from its problem or from the vendor's two shapes."""
    try:
        body = reply.json()
    except ValueError:
        body = {}
    body = body if isinstance(body, dict) else {}
    first = (body.get("errors") or [{}])[0]
    code = body.get("code") or first.get("errorCode") or body.get("shortMessage")
    message = body.get("detail") or first.get("error") or body.get("message") or reply.reason_phrase
    attribute = body.get("attribute") or first.get("attribute")
    hint = body.get("hint") or first.get("additionalInfo")
    by_code = {cls.code: cls for cls in reversed(known_errors())}
    by_status = {cls.status: cls for cls in reversed(known_errors())}
    kind = by_code.get(str(code)) or by_status.get(reply.status_code) or Internal
    error = kind(f"{message} (HTTP {reply.status_code})")
    error.attribute = attribute
    error.hint = hint
    return error


def _scheme_of(key: str) -> str:
    """A personal key says so, and a token has three parts; every other key is of an application."""
    return "Bearer" if key.startswith("hr_usr_") or key.count(".") == 2 else "AppKey"


def _given(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}
