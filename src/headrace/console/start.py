"""The first page: what this server is, how to push to it, how it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import Request

from headrace.console.charts import Bar, day_chart
from headrace.model import JobStatus, Pool
from headrace.overview import Disk
from headrace.web.context import Asking, Use


@dataclass(frozen=True)
class Snippet:
    name: str
    title: str
    text: str


@dataclass(frozen=True)
class StartPage:
    url: str
    pools: Sequence[Pool]
    chosen: Pool | None
    snippets: Sequence[Snippet]
    disk: Disk
    waiting: Mapping[JobStatus, int]
    bars: Sequence[Bar]
    day: int
    failed: int


def start(request: Request, use: Use, key: Asking, pool: str | None = None) -> StartPage:
    pools = use.pools.list(key)
    chosen = next((p for p in pools if p.id == pool), pools[0] if pools else None)
    url = f"{request.url.scheme}://{request.url.netloc}"
    hours = use.overview.day(key)
    return StartPage(
        url,
        pools,
        chosen,
        snippets(url, chosen.id if chosen else "POOL_ID", secure=request.url.scheme == "https"),
        use.overview.disk(),
        use.overview.waiting(key),
        day_chart(hours),
        sum(hour.total for hour in hours),
        sum(hour.jobs.get(JobStatus.ERROR, 0) for hour in hours),
    )


def snippets(url: str, pool_id: str, *, secure: bool) -> list[Snippet]:
    """The same push, four times; the key comes from the environment, never from a page."""
    filled = {"URL": url, "POOL": pool_id, "VERIFY": ", verify=False" if secure else ""}
    filled |= {"INSECURE": " -k" if secure else ""}
    return [Snippet(name, title, _filled(text, filled)) for name, title, text in _SNIPPETS]


def _filled(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"<{name}>", value)
    return text.strip("\n")


_CURL = """
export HEADRACE_KEY=…   # an application key
jobs=<URL>/api/v1/pools/<POOL>/jobs
auth="Authorization: AppKey $HEADRACE_KEY"

job=$(curl -sSf<INSECURE> -H "$auth" -H "Content-Type: application/json" $jobs \\
  -d '{"targetName": "orders", "fileType": "CSV"}' \\
  | python3 -c "import json, sys; print(json.load(sys.stdin)['id'])")
curl -sSf<INSECURE> -H "$auth" $jobs/$job/chunks -F file=@orders.csv
curl -sSf<INSECURE> -H "$auth" -X POST $jobs/$job/execute
"""

_PYTHON = """
import os
from headrace import Client

with Client("<URL>", os.environ["HEADRACE_KEY"]<VERIFY>) as client:
    pushed = client.pool("<POOL>").push("orders.csv", table="orders")
"""

_CLI = """
# on the machine of the server: a key that may only push to this pool
headrace keys create loader --permission push --pool <POOL>
"""

_PYCELONIS = """
import os
from pycelonis import get_celonis

celonis = get_celonis(base_url="<URL>", api_token=os.environ["HEADRACE_KEY"], key_type="APP_KEY")
pool = celonis.data_integration.get_data_pool("<POOL>")
pool.create_table(df, "orders", drop_if_exists=True)
"""

_SNIPPETS = (
    ("curl", "curl", _CURL),
    ("python", "Python", _PYTHON),
    ("cli", "Command line", _CLI),
    ("pycelonis", "pycelonis", _PYCELONIS),
)
