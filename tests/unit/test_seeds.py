"""Seed files of three kinds, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.testing.seeds import BadSeed, read_seed

KINDS = {
    "seed.yaml": "pools: {P: {tables: {t: {keys: [a], inferTypes: true, rows: [{a: 1}]}}}}",
    "seed.json": '{"pools":{"P":{"tables":{"t":{"keys":["a"], "inferTypes": true, "rows": [{"a": 1}]}}}}}',
    "seed.toml": '[pools.P.tables.t]\nkeys = ["a"]\ninferTypes = true\nrows = [{a = 1}]\n',
}


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_says_the_same(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(KINDS[name])
    seed, folder = read_seed(tmp_path / name)
    table = seed.pools["P"].tables["t"]
    assert (table.rows, table.keys, table.model_extra) == ([{"a": 1}], ["a"], {"inferTypes": True})
    assert folder == tmp_path


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("seed.yaml", "pools: {P: {tables: {t: {}}}}", "pools.P.tables.t: .*rows or a file"),
        ("seed.yaml", "pools: {P: {tables: {t: {rows: [{a: 1}], file: x.csv}}}}", "rows or a file"),
        ("seed.yaml", "pools: {P: {table: {}}}", "pools.P.table: "),
        ("seed.yaml", "pools: [", "expected"),
        ("seed.yaml", "- 1", "the top"),
        ("seed.json", "{", "seed.json"),
        ("seed.toml", "=", "seed.toml"),
        ("seed.txt", "", "a seed is a"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BadSeed, match=said):
        read_seed(tmp_path / name)
