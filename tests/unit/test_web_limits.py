"""What is refused of a body before anybody reads it."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidRequest
from headrace.web.limits import FewUploads, SmallRequests, refuse_deep

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='ab"\\[]{}é', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('a[{"\\', max_size=3), inner, max_size=3)
    ),
    max_leaves=20,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


def is_refused(body: bytes, most: int) -> bool:
    try:
        refuse_deep(body, most)
    except InvalidRequest:
        return True
    return False


@given(JSON, st.integers(0, 6), st.booleans())
def test_depth_is_what_the_parser_would_find(value: Any, most: int, ascii: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii).encode()
    assert is_refused(body, most) == (depth(value) > most)


@given(st.binary(max_size=60), st.integers(0, 3))
def test_whatever_is_sent_is_looked_at(body: bytes, most: int) -> None:
    assert not is_refused(body, most) or re.search(rb"[\[{]", body)


def answered(app: Any, path: str, *parts: bytes, headers: Any = ()) -> tuple[int, bytes]:
    """Status and body of one request, whose body comes in these parts."""
    messages = [
        {"type": "http.request", "body": part, "more_body": n < len(parts) - 1}
        for n, part in enumerate(parts)
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app({"type": "http", "path": path, "headers": list(headers)}, receive, send))
    return sent[0]["status"], b"".join(m.get("body", b"") for m in sent)


async def echo(_scope: Any, receive: Any, send: Any) -> None:
    message = await receive()
    assert not message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


def is_chunk(scope: Any) -> bool:
    return bool(scope["path"].endswith("/chunk"))


def small(**limits: Any) -> SmallRequests:
    return SmallRequests(echo, **{"max_bytes": 100, "max_depth": 9, "except_for": is_chunk, **limits})


def test_a_body_is_handed_on_whole() -> None:
    assert answered(small(), "/p", b"ab", b"", b"c") == (200, b"abc")
    assert answered(small(), "/p", b"x" * 100) == (200, b"x" * 100)


@pytest.mark.parametrize("parts", [[b"x" * 101], [b"x" * 60, b"x" * 60], [b"x" * 60] * 9])
def test_a_body_that_is_too_large(parts: list[bytes]) -> None:
    assert answered(small(), "/p", *parts)[0] == 413


def test_a_length_is_enough_to_refuse() -> None:
    assert answered(small(), "/p", headers=[(b"content-length", b"101")])[0] == 413


def test_chunks_go_by() -> None:
    assert answered(small(), "/a/chunk", b"x" * 101) == (200, b"x" * 101)


def test_what_was_held_is_let_go() -> None:
    """A hundred requests one after the other are no load, however they end."""
    limited = small()
    for n in range(100):
        assert answered(limited, "/p", b"x" * (100 + n % 2))[0] in (200, 413)
    assert limited._held == 0


@pytest.mark.parametrize(
    "body", [b'{"a": NaN}', b"[Infinity]", b"[1e999]", b'"\\ud800"', b"[" * 10 + b"]" * 10]
)
def test_what_nobody_can_store(body: bytes) -> None:
    assert answered(small(), "/p", body)[0] == 400


@pytest.mark.parametrize(
    "body", [b'"NaN"', b'{"a": "Infinity"}', b"1e300", b'"\\ud83d\\ude00"', b"{NaN", b"\\u"]
)
def test_what_only_looks_like_it(body: bytes) -> None:
    assert answered(small(), "/p", body) == (200, body)


def test_uploads_are_counted_down_again_whatever_happens() -> None:
    async def fails(_scope: Any, _receive: Any, _send: Any) -> None:
        raise RuntimeError

    few = FewUploads(fails, most=1, of=is_chunk)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            answered(few, "/chunk", b"")
    assert FewUploads(echo, most=0, of=is_chunk)._most == 0
    assert answered(FewUploads(echo, most=0, of=is_chunk), "/chunk", b"")[0] == 503
    assert answered(FewUploads(echo, most=0, of=is_chunk), "/other", b"a") == (200, b"a")
