"""Where a lake's files are, and the walls around who reads them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from headrace.tables.catalogs import Catalog


@dataclass(frozen=True)
class LakeFiles:
    """One pool's lake: its catalog, the folder of its data, and what else its readers may see."""

    catalog: Catalog | None
    """None: nobody shall know; a child that reads has a copy."""
    data: Path
    more: tuple[Path, ...] = ()
    rejects_in: Path | None = None
    """None: beside the data."""

    @property
    def rejects(self) -> Path:
        """The folder of what could not be stored, beside the lake."""
        return self.rejects_in or self.data.parent / "rejects"


class Wall(StrEnum):
    """What holds users' SQL in. Each is there always; tests take some away to see what the others do."""

    GATE = "gate"  # says what SQL may mean
    ENGINE = "engine"  # its settings say what may be opened and changed
    SYSTEM = "system"  # the process can reach nothing else, whatever the engine does
