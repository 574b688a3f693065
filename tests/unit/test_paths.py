"""Every spelling of a path is one path."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.web.paths import NormalPaths, normal_path

EXAMPLES = [
    ("", "/"),
    ("/", "/"),
    ("//", "/"),
    ("/healthz/", "/healthz"),
    ("/integration/api/v1/data-push/p/jobs/", "/integration/api/v1/data-push/p/jobs"),
    ("/data-ingestion//api/v1/data-push/p/jobs//", "/integration/api/v1/data-push/p/jobs"),
    ("/integration-hybrid/api", "/integration/api"),
    ("//data-ingestion/api", "/integration/api"),
    ("/api/data-ingestion", "/api/data-ingestion"),
    ("/Data-Ingestion/api", "/Data-Ingestion/api"),
    ("/data-ingestion-2/api", "/data-ingestion-2/api"),
    ("/data%2Dingestion/api", "/integration/api"),
    ("/tables/a%2Fb", "/tables/a%2Fb"),
    ("/tables/a%2fb%20c", "/tables/a%2Fb c"),
    ("/tables/100%25", "/tables/100%25"),
    ("/tables/%252F", "/tables/%252F"),
    ("/tables/Gr%C3%B6%C3%9Fe", "/tables/Größe"),
    ("/tables/../keys", "/tables/../keys"),
    ("/jobs?a=/b/", "/jobs"),
    ("/jobs%3Fa", "/jobs?a"),
]


@pytest.mark.parametrize(("raw", "expected"), EXAMPLES)
def test_a_path_becomes(raw: str, expected: str) -> None:
    assert normal_path(raw) == expected


segments = st.lists(st.text(min_size=1, max_size=6).filter(lambda s: s not in (".", "..")), max_size=5)
slashes = st.sampled_from(["/", "//", "///"])


@given(segments, st.data())
def test_each_segment_is_kept_however_it_is_spelled(names: list[str], data: st.DataObject) -> None:
    spelled = [quote(name, safe=data.draw(st.sampled_from(["", ":@$", " "]))) for name in names]
    raw = "".join(data.draw(slashes) + segment for segment in spelled) + data.draw(st.sampled_from(["", "/"]))
    first, *rest = normal_path(raw or "/").split("/")
    found = [unquote(segment) for segment in rest if segment]
    if names[:1] in (["data-ingestion"], ["integration-hybrid"]):
        names = ["integration", *names[1:]]
    assert (first, found) == ("", names)


@given(st.text(st.characters(max_codepoint=255, exclude_characters="?")))
def test_a_normal_path_is_normal(raw: str) -> None:
    once = normal_path(raw)
    assert once.startswith("/") and "//" not in once
    assert normal_path(quote(once, safe="/%")) == once


def through(scope: dict[str, Any]) -> dict[str, Any]:
    """The scope as the application behind sees it."""
    seen: list[dict[str, Any]] = []

    async def app(scope: Any, *_: Any) -> None:
        seen.append(scope)

    async def nothing(*_: Any) -> Any: ...

    asyncio.run(NormalPaths(app)(scope, nothing, nothing))
    return seen[0]


def test_only_the_path_of_a_request_is_changed() -> None:
    sent = {"type": "http", "method": "POST", "path": "/data-ingestion/a b/", "query_string": b"x=//"}
    assert through(sent) == {**sent, "path": "/integration/a b"}
    raw = {**sent, "raw_path": b"/data-ingestion/a%2Fb"}
    assert through(raw)["path"] == "/integration/a%2Fb"
    assert through({"type": "lifespan"}) == {"type": "lifespan"}
