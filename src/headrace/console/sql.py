"""SELECTs over the tables of a pool. The page works without a script; with one it can cancel and scroll."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import Form, Request, Response
from fastapi.responses import JSONResponse

from headrace.console.plots import Plot, plot_of
from headrace.console.rendering import part
from headrace.errors import HeadraceError
from headrace.model import CHANGE_DATE, Key, Pool
from headrace.tables import Answer
from headrace.web import api
from headrace.web.context import Asking, Services, Use

_SHOWN = 200
"""Rows that the page has itself; a script shows them all."""


@dataclass(frozen=True)
class SqlPage:
    pool: Pool
    sql: str
    words: str
    """What completes: the tables of the pool and their columns, as JSON."""
    answer: Answer | None = None
    plot: Plot | None = None
    problem: str = ""

    @property
    def rows(self) -> Sequence[Sequence[object]]:
        return self.answer.rows[:_SHOWN] if self.answer else ()


def sql_page(pool_id: str, use: Use, key: Asking, table: str | None = None) -> SqlPage:
    sql = f'SELECT *\nFROM "{table.replace(chr(34), chr(34) * 2)}"\nLIMIT 100' if table else ""
    return SqlPage(use.pools.get(pool_id), sql, _words(pool_id, use, key))


async def run_on_page(pool_id: str, use: Use, key: Asking, sql: Annotated[str, Form()] = "") -> SqlPage:
    """For who has no script."""
    return await to_thread.run_sync(partial(_run, pool_id, use, key, sql), limiter=api.READING)


def _run(pool_id: str, use: Services, key: Key, sql: str) -> SqlPage:
    pool, words = use.pools.get(pool_id), _words(pool_id, use, key)
    try:
        answer = use.pools.query(pool_id, key, sql, None, None)
    except HeadraceError as error:
        return SqlPage(pool, sql, words, problem=error.message)
    return SqlPage(pool, sql, words, answer, plot_of(answer))


async def run_query(
    pool_id: str,
    use: Use,
    key: Asking,
    request: Request,
    sql: Annotated[str, Form()] = "",
) -> Response:
    """The rows as JSON with their picture, for the script of the page; the query ends when that goes away."""
    sent = api.Query_(sql=sql, maxRows=None, timeoutSeconds=None, queryId=None)
    try:
        answer = await api.answer_of(pool_id, sent, use, key, request)
        plot = plot_of(answer)
        drawn = part("plot.html", plot=plot) if plot else ""
        return JSONResponse({**api.shown_answer(answer), "plot": drawn})
    except HeadraceError as error:
        told = {"problem": error.message, "code": error.code, "hint": error.hint}
        return JSONResponse(told, status_code=error.status)


def _words(pool_id: str, use: Services, key: Key) -> str:
    tables = {
        _spelled(t.ref.name, t.ref.connection_id): [*(c.name for c in t.columns), CHANGE_DATE]
        for t in use.pools.all_tables(pool_id, key)
    }
    return json.dumps(tables, ensure_ascii=False)


def _spelled(name: str, connection: str | None) -> str:
    return name if connection is None else f"{connection}.{name}"
