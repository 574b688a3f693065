"""Seed files: pools with tables that are there before a test begins.

::

    pools:
      Sales:
        id: 8b5f9a4e-8f0c-4f1c-a6b5-0d5f6c1d2e3f      # if it matters; else a new one
        tables:
          orders:
            keys: [id]
            rows:
              - {id: 1, customer: Ada}
          items:
            file: items/*.csv                          # beside the seed file; CSV or Parquet

The same as JSON or TOML. Every other field of a table is one of the push job, as the API names it.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from headrace.client import Client, Pool


class BadSeed(ValueError):
    """The seed is not one; the message says where."""


class SeedTable(BaseModel):
    model_config = ConfigDict(extra="allow")

    rows: list[dict[str, Any]] | None = None
    file: str | None = None
    keys: list[str] = []

    @model_validator(mode="after")
    def _of_one_kind(self) -> SeedTable:
        if (not self.rows and not self.file) or (self.rows and self.file):
            raise ValueError("a table has rows or a file")
        return self


class SeedPool(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str | None = None
    tables: dict[str, SeedTable] = {}


class Seed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    pools: dict[str, SeedPool]


def read_seed(source: str | Path | Mapping[str, Any]) -> tuple[Seed, Path]:
    """The seed, and the folder that its files are in. Raises BadSeed, FileNotFoundError."""
    if isinstance(source, Mapping):
        return _checked(source, "The seed"), Path.cwd()
    path = Path(source)
    return _checked(_parsed(path), str(path)), path.parent


def plant(seed: Seed, folder: Path, client: Client) -> None:
    """Make the pools, and push their tables."""
    for name, pool in seed.pools.items():
        made = client.create_pool(name, id=pool.id)
        for table, wanted in pool.tables.items():
            _push(made, table, wanted, folder)


def _push(pool: Pool, name: str, wanted: SeedTable, folder: Path) -> None:
    data = str(folder / wanted.file) if wanted.file else _table(wanted.rows or [])
    pool.push(data, table=name, keys=wanted.keys, **(wanted.model_extra or {}))


def _table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """With every column that any row has."""
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def _parsed(path: Path) -> Any:
    text = path.read_text()
    try:
        match path.suffix.lower():
            case ".toml":
                return tomllib.loads(text)
            case ".json":
                return json.loads(text)
            case ".yaml" | ".yml":
                return _of_yaml(text)
    except ValueError as error:  # each of them raises a kind of it
        raise BadSeed(f"{path}: {error}") from error
    raise BadSeed(f"{path}: a seed is a .yaml, .json or .toml file.")


def _of_yaml(text: str) -> Any:
    try:
        import yaml  # noqa: PLC0415  an extra
    except ImportError as error:
        raise BadSeed("A seed in YAML needs PyYAML: install headrace[testing], or write JSON.") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadSeed(str(error)) from error


def _checked(value: Any, what: str) -> Seed:
    try:
        return Seed.model_validate(value)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'the top'}: {e['msg']}" for e in error.errors())
        raise BadSeed(f"{what}: {faults}") from error
