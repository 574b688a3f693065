"""``headrace pools``: made, looked at, deleted."""

from __future__ import annotations

import httpx
import pytest

from commands.running import done, next_of
from harness import run_job

pytestmark = pytest.mark.usefixtures("there")


def test_the_life_of_a_pool(api: httpx.Client) -> None:
    made = done("pools", "create", "of the shell", "-o", "json").json
    assert made["id"] in done("pools", "ls").out
    assert {"id": made["id"], "name": "of the shell"} in done("pools", "ls", "-o", "json").json
    run_job(api, made["id"], "t", [b"a\n1\n"], fileType="CSV")
    told = done("pools", "show", "of the shell", "-o", "json").json
    assert (told["tables"], told["status"]) == (["t"], "DONE")
    refused = done("pools", "delete", made["id"], code=2)
    assert next_of(refused) == f"pools delete {made['id']} --yes"
    done("pools", "delete", "of the shell", "--yes")
    assert made["id"] not in done("pools", "ls", "-o", "csv").out


def test_a_pool_that_is_not_there() -> None:
    assert next_of(done("pools", "show", "nothing", code=1)) == "pools ls"
