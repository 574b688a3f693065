"""What the server knows beside the tables: pools, keys, jobs, chunks, the audit.

SQLAlchemy Core over SQLite or PostgreSQL; what the two say differently stands in ``dialects.py``.

Every change of a state is a compare-and-swap whose row count is checked; what cannot be swapped raises.
"""

from headrace.metadata.database import Metadata, postgres_version
from headrace.postgres import CannotOpen

__all__ = ["CannotOpen", "Metadata", "postgres_version"]
