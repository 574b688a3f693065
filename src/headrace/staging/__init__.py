"""The story of one chunk: from raw bytes to checked, typed Parquet.

``look`` is the cheap check before a chunk is accepted; ``stage`` does the work afterwards, in a child
process, because a hostile file may crash a parser or eat its memory. In the order of the work:

``looking``       what is it, which columns has it
``stager``        the children, as the server sees them
``story``         one chunk, in a child
``engine``        its one engine
``tasks``         what it is given, and its scratch files
``signatures``    what bytes surely are
``csvfiles``      what a CSV needs
``parquetfiles``  what a Parquet file needs
``checksums``     whether its pages are as they were written
``arrowfiles``    what Arrow needs: to be Parquet
``arrowbatches``  rows of Arrow, written for the engine
``ndjsonfiles``   what NDJSON needs
``jsonrecords``   one line of it
``fields``        what becomes of each column
``inferring``     types that are guessed
``amounts``       decimals that take more digits, or become FLOAT
``writing``       the straight way and the careful way
``rejects``       what could not be stored
"""

from headrace.staging.stager import Stager
from headrace.staging.tasks import StageTask

__all__ = ["StageTask", "Stager"]
