"""A server with something to see: two pools, jobs that went well and badly, long names, a stranger."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx

from harness import RunningServer, create_job, create_pool, new_key, run_job

ORDERS = {
    "tableName": "orders",
    "columns": [
        {"columnName": "id", "columnType": "INTEGER"},
        {"columnName": "customer", "columnType": "STRING", "fieldLength": 80},
        {"columnName": "amount", "columnType": "FLOAT", "decimals": 2},
        {"columnName": "day", "columnType": "DATE"},
    ],
}
LONG = "a_table_whose_name_somebody_has_chosen_to_say_everything_there_is_to_say_about_the_rows_in_it_2024_v2"
WRONG_DATES = (
    b"id,customer,amount,day\n1,Ada,12.50,31.01.2024\n2,Grace,7.25,28.02.2024\n3,Edsger,9.99,24.12.2023\n"
)


def orders(first: int, count: int) -> bytes:
    names = ("Ada", "Grace", "Edsger", "Barbara", "Donald")
    lines = [
        f"{i},{names[i % 5]},{i * 1.25:.2f},2024-{1 + i % 12:02}-{1 + i % 28:02}" for i in _some(first, count)
    ]
    return ("id,customer,amount,day\n" + "\n".join(lines) + "\n").encode()


def _some(first: int, count: int) -> range:
    return range(first, first + count)


@dataclass
class Stage:
    """``pool`` has everything, ``empty`` nothing, ``secret`` is somebody else's."""

    server: RunningServer
    api: httpx.Client
    pool: str = field(init=False)
    empty: str = field(init=False)
    secret: str = field(init=False)
    jobs: dict[str, str] = field(default_factory=dict)

    def open(self) -> Stage:
        self.pool = create_pool(self.api, "Order to cash")
        self.empty = create_pool(self.api, "Nothing here yet")
        self.secret = create_pool(self.api, "zugzwang payroll")
        self._good()
        self._bad()
        self.stranger = new_key(self.api, permissions=["admin"], pools=[self.secret], name="a stranger")
        self.reader = new_key(self.api, permissions=["read"], pools=[self.pool], name="a reader")
        self.pusher = new_key(self.api, permissions=["push"], pools=[self.pool], name="a pusher")
        return self

    def _good(self) -> None:
        csv = {"fileType": "CSV", "tableSchema": ORDERS}
        first = [orders(1, 400), orders(401, 300)]
        self.jobs["replaced"] = run_job(self.api, self.pool, "orders", first, **csv)["id"]
        delta = {**csv, "type": "DELTA", "keys": ["id"]}
        self.jobs["updated"] = run_job(self.api, self.pool, "orders", [orders(600, 300)], **delta)["id"]
        self.jobs["long"] = run_job(self.api, self.pool, LONG, [b"a,b\n1,2\n"], fileType="CSV")["id"]
        self.jobs["new"] = create_job(self.api, self.pool, "customers", **csv)["id"]

    def _bad(self) -> None:
        csv = {"fileType": "CSV", "tableSchema": {**ORDERS, "tableName": "invoices"}}
        wrong = WRONG_DATES + b'4,Barbara,"1.204,50",2024-02-30\n5,Donald\n'
        self.jobs["failed"] = run_job(self.api, self.pool, "invoices", [WRONG_DATES], **csv)["id"]
        many = {**csv, "maxRejectedRows": 10}
        self.jobs["rejects"] = run_job(
            self.api, self.pool, "invoices", [wrong + orders(10, 90)[23:]], **many
        )["id"]

    def at(self, path: str, pool: str | None = None) -> str:
        return f"/console/pools/{pool or self.pool}{path}"

    def pages(self) -> dict[str, str]:
        """Every page that can be opened by its address, by its name."""
        jobs = self.jobs
        return {
            "start": "/console",
            "jobs": self.at("/jobs"),
            "job": self.at(f"/jobs/{jobs['updated']}"),
            "job-new": self.at(f"/jobs/{jobs['new']}"),
            "job-clone": self.at(f"/jobs/{jobs['failed']}/clone"),
            "job-undo": self.at(f"/jobs/{jobs['long']}/undo"),
            "job-failed": self.at(f"/jobs/{jobs['failed']}"),
            "errors": self.at(f"/jobs/{jobs['rejects']}/rejects"),
            "tables": self.at("/tables"),
            "table": self.at("/tables/orders"),
            "sql": self.at("/sql"),
            "import": self.at("/import"),
            "keys": "/console/keys",
            "upkeep": "/console/upkeep",
            "pool-upkeep": self.at("/upkeep"),
            "settings": "/console/settings",
            "audit": "/console/audit",
            "jobs-empty": self.at("/jobs", self.empty),
            "tables-empty": self.at("/tables", self.empty),
            "jobs-none": self.at("/jobs?table=no_such_table"),
            "not-found": self.at("/jobs/none"),
        }
