"""Our own reading of CSV: a header from the first bytes, and a rewriting that DuckDB can surely read.

DuckDB reads the normal file directly (``direct_dialect`` says which). This folder is the slow, exact way
for all others: charsets, long separators, own line endings, backslash escapes, and files with bad records,
each of which must be named. In the order of the work:

``dialect``    how a file is written
``direct``     which files DuckDB reads as we do
``ends``       how long their records may be
``lines``      bytes to lines
``records``    lines to records
``rewriting``  records to plain CSV
``places``     where a line stands, in bytes

  If the escape is another character, escape + quote is a quote, escape + escape is the escape, and the
  escape before anything else is an ordinary character.
* Spaces before the opening and after the closing quote are ignored. Between a closing and a new opening quote
  they belong to the field: ``"x"  "y"`` is ``x  y``, as DuckDB reads it. Anything else after the closing
  quote makes the record malformed; the record then ends with that physical line.
* A quote or an escape in an unquoted field is an ordinary character.
* An empty unquoted field is None, ``""`` is the empty string.
* A blank line is skipped, but is a record of one None where one column is expected. The first record is the
  header; blank lines before it are skipped.
* Empty unquoted fields beyond the expected width are dropped, as DuckDB does.
* Any of ``\\n``, ``\\r\\n`` and ``\\r`` ends a record, also in one file, unless the dialect says another
  ending.
* A quote that is never closed would swallow the rest of the file. Such a record is reported at the line where
  it starts, and reading resumes at the next physical line. The same goes for records above 64 Mi characters.
* Bytes that the charset does not have spoil the record in which they stand, and no other.
"""

from headrace.csvrecords.dialect import Dialect
from headrace.csvrecords.direct import direct_dialect, read_directly
from headrace.csvrecords.places import Places
from headrace.csvrecords.records import Fields, MalformedRecord, first_record
from headrace.csvrecords.rewriting import BadRecord, plain_record, records_of, rewrite

__all__ = [
    "BadRecord",
    "Dialect",
    "Fields",
    "MalformedRecord",
    "Places",
    "direct_dialect",
    "first_record",
    "plain_record",
    "read_directly",
    "records_of",
    "rewrite",
]
