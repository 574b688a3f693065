"""A stand-in for pycelonis, which is not on the public index: what its page uses, with the requests it sends.

The requests themselves are those of ``contract.pycelonis``, which the tests of the contract hold to what
version 2.14.1 was seen to send and to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import pandas as pd

from contract.pycelonis import PyCelonis, chunk


@dataclass(frozen=True)
class Job:
    client: PyCelonis
    pool: str
    id: str

    def add_data_frame(self, frame: pd.DataFrame) -> None:
        assert self.client.add_chunk(self.pool, self.id, chunk(frame)).status_code < 300

    def delete_data_frame(self, frame: pd.DataFrame) -> None:
        assert self.client.add_chunk(self.pool, self.id, chunk(frame), "deleted").status_code < 300

    def execute(self) -> None:
        ended = self.client.execute(self.pool, self.id)
        assert ended["status"] == "DONE", ended["logs"]


@dataclass(frozen=True)
class Table:
    client: PyCelonis
    pool: str
    name: str

    def append(self, frame: pd.DataFrame) -> None:
        self.client.push(self.pool, self.name, frame, type="DELTA")

    def upsert(self, frame: pd.DataFrame, keys: Sequence[str]) -> None:
        self.client.push(self.pool, self.name, frame, type="DELTA", keys=list(keys))


@dataclass(frozen=True)
class Pool:
    client: PyCelonis
    id: str

    def create_table(
        self, frame: pd.DataFrame, name: str, drop_if_exists: bool = False, force: bool = False
    ) -> Table:
        return Table(self.client, self.id, self.client.create_table(self.id, name, frame)["name"])

    def create_data_push_job(self, name: str, type_: str, keys: Sequence[str] | None = None) -> Job:
        return Job(self.client, self.id, self.client.create_job(self.id, name, type=type_, keys=keys))


class Pools(list[tuple[str, Pool]]):
    def find(self, name: str) -> Pool:
        [found] = [pool for called, pool in self if called == name]
        return found


def modules(client: PyCelonis) -> dict[str, ModuleType]:
    """By their names in an installation of pycelonis; they send by this client, whoever asks."""

    def get_celonis(base_url: str, api_token: str, key_type: str) -> SimpleNamespace:
        assert base_url.startswith("https://"), "PyCelonisValueError"
        assert client.client.base_url == base_url
        assert (f"AppKey {api_token}", key_type) == (client.client.headers["authorization"], "APP_KEY")
        client.get("/api/cloud")

        def get_data_pools() -> Pools:
            listed = client.get("/integration/api/pools")
            return Pools((pool["name"], Pool(client, pool["id"])) for pool in listed)

        return SimpleNamespace(data_integration=SimpleNamespace(get_data_pools=get_data_pools))

    pycelonis, service = ModuleType("pycelonis"), ModuleType("service")
    pycelonis.get_celonis = get_celonis  # type: ignore[attr-defined]
    service.JobType = SimpleNamespace(REPLACE="REPLACE", DELTA="DELTA")  # type: ignore[attr-defined]
    return {
        "pycelonis": pycelonis,
        "pycelonis.service": ModuleType("pycelonis.service"),
        "pycelonis.service.data_ingestion": ModuleType("pycelonis.service.data_ingestion"),
        "pycelonis.service.data_ingestion.service": service,
    }
