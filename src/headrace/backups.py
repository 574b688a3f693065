"""Copies of a data folder, also of one that a server is using, and back.

A copy is of one moment. For that moment the metadata are held: no job is claimed or ended, no chunk comes in
(clients wait), nothing is dropped. Then the catalogs are copied, and after them every file that they name is
pinned by a hard link, so that upkeep may remove it as soon as the server goes on. What was being loaded is a
RUNNING job of the copy, with or without its receipt: the next start makes it good, as after a crash.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from headrace import __version__
from headrace.durable import sync
from headrace.errors import Conflict, NotFound
from headrace.metadata.holding import Held, held
from headrace.model import now
from headrace.tables.catalogcopy import copy_catalog
from headrace.tables.catalogfiles import NamedFile, files_named, forget_what_goes, move

LABEL = "backup.json"
"""Says of a folder that it is a whole backup: it is written last."""

_METADATA = "metadata.sqlite"
_ALONE = ("admin-key", "tls-cert.pem", "tls-key.pem")
"""Files of the folder that are copied as they are, if they are there."""


class NotWhole(Exception):
    """A file that belongs to the data is missing, or is not as it was; the message names it."""


@dataclass(frozen=True)
class Label:
    """What a backup says of itself."""

    made_at: str
    version: str
    pools: int
    files: int
    bytes: int


def make(folder: Path, target: Path, *, link: bool = False, told: Callable[[str], None] = print) -> Label:
    """Copy the data folder into a new one. Raises Conflict, NotFound, Busy, NotWhole.

    ``link``: Parquet files become hard links, which cost no room, on the same file system only.
    """
    folder, target = folder.resolve(), target.absolute()
    if not (folder / _METADATA).is_file():
        raise NotFound(f"There is no server's folder at {folder}.")
    with _new_folder(target) as unfinished, _pins(folder) as pins:
        with held(folder / _METADATA) as moment:
            pools = _hold_all(folder, unfinished, pins, moment)
        told("The catalogs are copied, and a server that runs goes on; the files are copied now.")
        files, size = _settle(pins, unfinished, link=link)
        _check_against(folder, unfinished)
        label = Label(now().isoformat(timespec="seconds"), __version__, len(pools), files, size)
        (unfinished / LABEL).write_text(json.dumps(asdict(label), indent=2) + "\n")
        _sync_all(unfinished)
    return label


def restore(backup: Path, folder: Path) -> Label:
    """Make a data folder of a backup, anywhere. Raises Conflict, NotFound, NotWhole."""
    backup, folder = backup.resolve(), folder.absolute()
    label = read_label(backup)
    with _new_folder(folder) as unfinished:
        for path in _files_below(backup):
            _copy(path, unfinished / path.relative_to(backup))
        (unfinished / LABEL).unlink()
        for catalog in _catalogs(unfinished):
            final = folder / catalog.parent.relative_to(unfinished) / "data"
            (catalog.parent / "data").mkdir(exist_ok=True)
            move(catalog, final)
        for missing in missing_files(unfinished, folder):
            raise NotWhole(f"The backup is not whole: {missing}.")
        _sync_all(unfinished)
    return label


def read_label(backup: Path) -> Label:
    """Raises NotFound."""
    try:
        return Label(**json.loads((backup / LABEL).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise NotFound(
            f"{backup} is no whole backup: it has no {LABEL} as 'headrace backup' writes it."
        ) from error


def missing_files(folder: Path, believed: Path | None = None) -> Iterator[str]:
    """What a catalog names and is not there in its size; ``believed``: where the folder is going to be."""
    for catalog in _catalogs(folder):
        for named in files_named(catalog):
            path = folder / _below(named.path, believed or folder)
            if problem := _problem(path, named):
                yield problem


def _problem(path: Path, named: NamedFile) -> str | None:
    try:
        size = path.stat().st_size
    except OSError:
        return f"{path} is missing"
    return None if size == named.bytes else f"{path} has {size} bytes, not {named.bytes}"


# -- one moment ----------------------------------------------------------------------------------------


def _hold_all(folder: Path, target: Path, pins: Path, moment: Held) -> list[str]:
    """The catalogs first, then the files that they name, then what else the moment has."""
    pools = [pool for pool in moment.pools() if _catalog(folder, pool).is_file()]
    for pool in pools:
        copy = _catalog(target, pool)
        copy.parent.mkdir(parents=True)
        copy_catalog(_catalog(folder, pool), copy)
        moment.check_time()
    for pool in pools:
        for named in files_named(_catalog(target, pool)):
            _pin(named.path, folder, pins)
        for file in _files_below(folder / "pools" / pool / "rejects"):
            with suppress(NotWhole):  # of a job that was deleted just now
                _pin(file, folder, pins)
        moment.check_time()
    for job, chunk in moment.chunks():
        _pin(folder / "chunks" / job / chunk, folder, pins)
    for name in _ALONE:
        if (folder / name).exists():
            _pin(folder / name, folder, pins)
    moment.copy(target / _METADATA)
    return pools


def _pin(path: Path, folder: Path, pins: Path) -> None:
    pin = pins / _below(path, folder)
    pin.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, pin)
    except FileNotFoundError as error:
        raise NotWhole(f"{path} is missing, and belongs to the data.") from error


@contextmanager
def _pins(folder: Path) -> Iterator[Path]:
    """A place on the file system of the data, for links that keep files alive."""
    pins = folder / "temp" / f"backup-{uuid4().hex}"
    pins.mkdir(parents=True)
    try:
        yield pins
    finally:
        shutil.rmtree(pins, ignore_errors=True)


# -- files ---------------------------------------------------------------------------------------------


def _settle(pins: Path, target: Path, *, link: bool) -> tuple[int, int]:
    """Every pinned file in its place; how many, and their bytes."""
    files = size = 0
    for pin in _files_below(pins):
        place = target / pin.relative_to(pins)
        if link and pin.suffix == ".parquet":
            _link(pin, place)
        else:
            _copy(pin, place)
        files, size = files + 1, size + pin.stat().st_size
    return files, size


def _link(pin: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(pin, place)
    except OSError as error:
        raise Conflict(f"{place} cannot be a link: {error.strerror}. Leave --link away.") from error


def _copy(source: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, place)


def _check_against(folder: Path, copy: Path) -> None:
    for catalog in _catalogs(copy):
        (catalog.parent / "data").mkdir(exist_ok=True)
        forget_what_goes(catalog)
    for missing in missing_files(copy, folder):
        raise NotWhole(f"The copy is not whole: {missing}.")


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """A folder that appears when it is whole, readable by its owner alone."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Conflict(f"{target} is there already, and is not empty.")
    unfinished = target.with_name(f"{target.name}.{uuid4().hex[:8]}.part")
    unfinished.mkdir(mode=0o700, parents=True)
    try:
        yield unfinished
        unfinished.replace(target)
        sync(target.parent)
    except BaseException:
        with suppress(OSError):
            shutil.rmtree(unfinished)
        raise


def _sync_all(folder: Path) -> None:
    for top, _, names in os.walk(folder):
        for name in names:
            sync(Path(top) / name)
        sync(Path(top))


def _below(path: Path, folder: Path) -> Path:
    try:
        return path.relative_to(folder)
    except ValueError as error:
        raise NotWhole(f"{path} does not lie in {folder}: the folder was moved. Move it back.") from error


def _catalog(folder: Path, pool: str) -> Path:
    return folder / "pools" / pool / "catalog.sqlite"


def _catalogs(folder: Path) -> list[Path]:
    return sorted(folder.glob("pools/*/catalog.sqlite"))


def _files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
