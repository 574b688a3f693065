"""The Python client. It speaks the Data Push API, and so works with Headrace and with the original service.

::

    from headrace import Client

    pool = Client("http://127.0.0.1:8080", key).pool("My pool")
    pool.push("orders/*.csv", table="orders", keys=["id"], mode="delta")
    pool.table("orders").to_pandas()

It shares nothing with the server but the errors, which are raised here as they were raised there.
"""

from __future__ import annotations

from typing import Any

from headrace.client.calls import Calls, Lost
from headrace.client.pools import Found, How, Pool, Table
from headrace.client.pushing import Pushed
from headrace.errors import LoadFailed, NotFound

__all__ = ["Client", "Found", "How", "LoadFailed", "Lost", "Pool", "Pushed", "Table"]


class Client:
    """A server and a key for it. ``verify``: as of httpx; False takes a self-signed certificate.

    ``patience``: seconds for which a server that is busy or does not answer is asked again.
    """

    def __init__(
        self, url: str, key: str, *, scheme: str | None = None, verify: Any = True, patience: float = 300.0
    ) -> None:
        self._calls = Calls(url, key, scheme=scheme, verify=verify, patience=patience)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._calls.close()

    def pools(self) -> dict[str, str]:
        """The pools that the key may see: their names by id."""
        return {pool["id"]: pool["name"] for pool in self._calls.get("/integration/api/pools")}

    def gc(self, *, dry_run: bool = False) -> dict[str, int]:
        """Let go of what is old enough, as the server does every hour: how much of each kind.

        ``dry_run``: how much it would be. Needs the permission of an administrator.
        """
        found = (
            self._calls.get("/api/v1/gc") if dry_run else self._calls.repeatable("POST", "/api/v1/gc").json()
        )
        return {gone["kind"]: gone["count"] for gone in found}

    def pool(self, id_or_name: str) -> Pool:
        """A pool by its id or its name. Raises NotFound."""
        pools = self.pools()
        named = [id for id, name in pools.items() if id_or_name in (id, name)]
        if len(named) != 1:
            raise NotFound(f"{len(named) or 'No'} pools are called {id_or_name}.")
        return Pool(self._calls, named[0])

    def create_pool(self, name: str, *, id: str | None = None) -> Pool:
        """A new pool, with this id if one is given; needs the permission of an administrator."""
        body = {"name": name, **({"id": id} if id else {})}
        made = self._calls.once("POST", "/integration/api/pools", json=body).json()
        return Pool(self._calls, made["id"])

    def delete_pool(self, pool_id: str) -> None:
        """A pool with all of its tables; needs the permission of an administrator. Raises Conflict."""
        self._calls.repeatable("DELETE", f"/integration/api/pools/{pool_id}")

    def whoami(self) -> dict[str, Any]:
        """Who the server takes us for. Raises Unauthorized."""
        asking: dict[str, Any] = self._calls.get("/api/cloud")
        return asking
