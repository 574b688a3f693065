"""The rule of a route, as data, and what holds every request to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from headrace.errors import Unauthorized
from headrace.model import Key, Permission
from headrace.permissions import authorize
from headrace.web.context import Services, the_services
from headrace.web.noting import the_noted

OPEN = "open"
"""No key: what tells whether the server lives, and how a client comes by a token."""

ANY = "any key"


@dataclass(frozen=True)
class Endpoint:
    """One route and its rule.

    A ``{pool_id}`` in the path is checked against the pools of the key; below it, the table in the path, or
    the tables of the job in the path, against the tables of the key. Every other route of a pool concerns all
    of it, and is closed to a key of single tables, unless it is ``narrowed``: its handler shows and takes
    only what the key sees. A route of the ``whole_server`` is closed to every key that is bound. To what is
    ``scraped`` a scraper of metrics may come without a key.
    """

    method: str
    path: str
    handler: Callable[..., Any]
    needs: Permission | str
    tag: str
    narrowed: bool = False
    whole_server: bool = False
    scraped: bool = False

    @property
    def action(self) -> str:
        """Its word in the audit."""
        return self.handler.__name__.replace("_", "-")

    @property
    def changes(self) -> bool:
        return self.method not in ("GET", "HEAD", "OPTIONS") and self.needs is not Permission.READ

    @property
    def of_table(self) -> bool:
        return "/tables/{name:part}" in self.path

    @property
    def of_job(self) -> bool:
        return "/jobs/{job_id:part}" in self.path


Identify = Callable[[Request, Services], Key]
"""Who is asking. Raises Unauthorized, Forbidden."""


def by_header(request: Request, services: Services) -> Key:
    return services.access.authenticate(_authorization(request))


def by_header_or_basic(request: Request, services: Services) -> Key:
    return services.access.authenticate(_authorization(request), basic=True)


def guard(route: Endpoint, identify: Identify = by_header) -> Callable[[Request], None]:
    """What lets a request into the route, or raises Unauthorized or Forbidden; the audit hears of it."""

    def rule(request: Request) -> None:
        _note(route, request)
        if route.needs == OPEN:
            return
        services = the_services(request)
        if route.scraped and _scrapes(request, services):
            return
        key = identify(request, services)
        request.state.key = the_noted(request).actor = key
        if isinstance(route.needs, Permission):
            _authorize(route, route.needs, key, request.path_params, services)

    return rule


def _note(route: Endpoint, request: Request) -> None:
    noted, path = the_noted(request), request.path_params
    noted.action, noted.changes = route.action, route.changes
    noted.waits = route.changes and route.needs is Permission.ADMIN
    noted.pool_id, noted.job_id = path.get("pool_id"), path.get("job_id")
    noted.subject = next(
        (path[name] for name in ("name", "connection_id", "key_id", "upload_id") if name in path), None
    )


def _scrapes(request: Request, services: Services) -> bool:
    forwarded = any(name in request.headers for name in ("forwarded", "x-forwarded-for"))
    return services.scrapers.admit(_authorization(request), the_noted(request).peer, forwarded=forwarded)


def _authorization(request: Request) -> str | None:
    sent = request.headers.getlist("authorization")
    if len(sent) > 1:
        raise Unauthorized("There is more than one Authorization header.")
    return sent[0] if sent else None


def _authorize(
    route: Endpoint, needs: Permission, key: Key, path: dict[str, Any], services: Services
) -> None:
    pool_id = path.get("pool_id")
    authorize(key, needs, pool_id, whole_server=route.whole_server)
    if key.tables is None or pool_id is None:
        return
    if route.of_table:
        authorize(key, needs, pool_id, path["name"])
    elif route.of_job:
        for name in services.pushes.tables(pool_id, path["job_id"]):
            authorize(key, needs, pool_id, name)
    elif not route.narrowed:
        authorize(key, needs, pool_id, whole_pool=True)
