"""What a handler may reach: the services, and who is asking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from headrace.access import Access, authorize
from headrace.model import Key, Permission
from headrace.pools import Pools
from headrace.pushes import Pushes
from headrace.replays import Replays


@dataclass(frozen=True)
class Services:
    pushes: Pushes
    replays: Replays
    pools: Pools
    access: Access
    ready: Callable[[], bool]


def the_services(request: Request) -> Services:
    found = request.app.state.services
    assert isinstance(found, Services)
    return found


async def services(request: Request) -> Services:
    return the_services(request)  # async: for a plain function the framework would take a thread


async def asking(request: Request) -> Key:
    """The key of the request, put there by its route's rule."""
    key = request.state.key
    assert isinstance(key, Key)
    return key


Use = Annotated[Services, Depends(services)]
Asking = Annotated[Key, Depends(asking)]


def needs(permission: Permission | None, *, basic: bool = False) -> Callable[[Request], None]:
    """The rule of a route: a key, with this permission for the pool in the path. None: any key."""

    def rule(request: Request) -> None:
        key = the_services(request).access.authenticate(request.headers.get("authorization"), basic=basic)
        if permission is not None:
            authorize(key, permission, request.path_params.get("pool_id"))
        request.state.key = key

    return rule
