"""A client that goes away before its query has begun: it is cancelled as soon as it has."""

from __future__ import annotations

import asyncio
from typing import Any

from headrace.errors import NotFound
from headrace.web.api import _when_gone


class Gone:
    async def receive(self) -> dict[str, Any]:
        return {"type": "http.disconnect"}


def test_a_query_that_begins_after_its_client_has_gone_is_cancelled() -> None:
    tries: list[int] = []

    def cancel() -> None:
        tries.append(len(tries))
        if len(tries) < 3:
            raise NotFound

    asyncio.run(asyncio.wait_for(_when_gone(Gone(), cancel), 30))  # type: ignore[arg-type]
    assert len(tries) == 3
