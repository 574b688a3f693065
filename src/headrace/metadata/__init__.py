"""What the server knows beside the tables: pools, keys, jobs, chunks, the audit. SQLAlchemy Core over SQLite.

Every change of a state is a compare-and-swap whose row count is checked; what cannot be swapped raises.
"""

from headrace.metadata.database import Metadata

__all__ = ["Metadata"]
