"""celonis/content-cli: pushes no data; it pages through the pools and reads data sources."""

from __future__ import annotations

from contract.sending import Wire, json_200


def test_pools_come_in_pages(wire: Wire, owner_key: str, pool: str) -> None:
    auth = {"Authorization": f"Bearer {owner_key}"}
    seen = []
    total = json_200(wire("GET", "/integration/api/pools/paged?limit=2&page=0", headers=auth))["totalCount"]
    for page in range((total + 1) // 2):
        reply = json_200(wire("GET", f"/integration/api/pools/paged?limit=2&page={page}", headers=auth))
        assert reply["pageNumber"] == page
        assert len(reply["content"]) <= 2
        seen += [p["id"] for p in reply["content"]]
    assert len(seen) == len(set(seen)) == total
    assert pool in seen


def test_data_sources_of_a_pool(wire: Wire, owner_key: str, pool: str) -> None:
    auth = {"Authorization": f"Bearer {owner_key}"}
    assert json_200(wire("GET", f"/integration/api/pools/{pool}/data-sources", headers=auth)) == []
