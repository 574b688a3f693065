"""``headrace maintain``: upkeep now, where the server would do it now and then."""

from __future__ import annotations

from headrace.commands.asking import PoolName, ProfileName
from headrace.commands.asking import pool as chosen_pool
from headrace.commands.ending import Code, Stop
from headrace.commands.output import plain
from headrace.commands.settled import DataDir, settled


def maintain(pool: PoolName = None, data_dir: DataDir = None, profile: ProfileName = None) -> None:
    """Make small files one and drop old versions, of a pool or of all tables of a data folder.

    A pool is looked after by its server, which an administrator may ask for; a folder only while no server
    uses it. The server does so by itself every few loads: this is for the moment after many small pushes.
    """
    if data_dir is not None:
        if pool is not None:
            raise Stop("give --pool or --data-dir, not both.", code=Code.USAGE)
        _of_folder(settled(data_dir=data_dir))
        return
    with chosen_pool(profile, pool, patience=3600.0) as there:
        for name in there.maintain():
            print(plain(name))


def _of_folder(settings: object) -> None:
    from headrace import folders, server  # noqa: PLC0415  slow to import
    from headrace.settings import Settings  # noqa: PLC0415

    assert isinstance(settings, Settings)
    try:
        server.upkeep(settings, lambda line: print(plain(line)))
    except folders.CannotStart as error:
        raise Stop(str(error), then="headrace maintain --pool <pool>") from error
