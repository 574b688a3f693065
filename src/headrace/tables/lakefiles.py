"""Where a lake's files are, and the walls around who reads them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from headrace.tables.catalogs import Catalog
from headrace.tables.lakedata import LakeData


@dataclass(frozen=True)
class LakeSeen:
    """What a child that reads a lake knows of it: ``data`` as its engine names it, and what it may open."""

    data: str
    folder: Path | None
    """Of the data; None: it asks for each piece."""
    rejects: Path
    more: tuple[Path, ...] = ()

    @property
    def folders(self) -> list[Path]:
        """All that its engine may open, there or not."""
        return [*([self.folder] if self.folder else []), self.rejects, *self.more]


@dataclass(frozen=True)
class LakeFiles:
    """One pool's lake: its catalog, its data, and what else its readers may see."""

    catalog: Catalog
    data: LakeData
    rejects: Path
    """The folder of what could not be stored."""
    more: tuple[Path, ...] = ()

    def seen(self) -> LakeSeen:
        served = self.data.served
        return LakeSeen(
            served.place if served else self.data.place, self.data.folder, self.rejects, self.more
        )


class Wall(StrEnum):
    """What holds users' SQL in. Each is there always; tests take some away to see what the others do."""

    GATE = "gate"  # says what SQL may mean
    ENGINE = "engine"  # its settings say what may be opened and changed
    SYSTEM = "system"  # the process can reach nothing else, whatever the engine does
