"""What users' SQL may say. Every refusal here was once an idea of how to get out."""

from __future__ import annotations

import pytest

from headrace.errors import QueryRefused
from headrace.model import TableRef
from headrace.tables import sqlgate

TABLES = [
    TableRef("orders"),
    TableRef("Items"),
    TableRef('a/b.c "quoted" é😀'),
    TableRef("/etc/known.csv"),
    TableRef("lines", "conn-1"),
    TableRef("loads", "headrace"),
    TableRef("x", "system"),
]

WANTED = [
    "SELECT 1",
    "select * from orders;",
    "  -- a remark\n /* another */ (SELECT * FROM orders) ; -- the end",
    "FROM orders",
    "TABLE orders",
    "VALUES (1, 'a'), (2, 'b')",
    'SELECT * FROM ORDERS o JOIN items i USING (id) LEFT JOIN "conn-1".lines l ON l.id = o.id',
    'SELECT * FROM main."orders"',
    'SELECT count(*) FROM "a/b.c ""quoted"" é😀"',
    'SELECT * FROM "/etc/known.csv"',
    "SELECT * FROM orders AT (VERSION => 3)",
    "SELECT * FROM orders AS o AT (TIMESTAMP => now() - INTERVAL 1 DAY) WHERE o.id > 1",
    "WITH a AS (SELECT * FROM orders), b AS (SELECT * FROM a) SELECT * FROM a JOIN b USING (id)",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9) SELECT * FROM n",
    "WITH a AS MATERIALIZED (SELECT 1 x) SELECT (SELECT max(x) FROM a), x IN (SELECT x FROM a) FROM a",
    "WITH a AS (SELECT 1 x) SELECT * FROM (WITH b AS (FROM a) SELECT * FROM a, b) AS q",
    "SELECT *, row_number() OVER (PARTITION BY a ORDER BY b DESC NULLS LAST) AS n FROM orders QUALIFY n = 1",
    "SELECT sum(a) FILTER (b > 1) OVER w FROM orders WINDOW w AS (ORDER BY c ROWS 3 PRECEDING)",
    "SELECT a, count(*), grouping(a) FROM orders GROUP BY ROLLUP (a) HAVING count(*) > 1 ORDER BY ALL",
    "SELECT * EXCLUDE (a) REPLACE (lower(b) AS b) FROM orders WHERE a LIKE 'x%' OR b ILIKE '_y'",
    "SELECT COLUMNS('a.*'), COLUMNS(c -> c LIKE 'f%') FROM orders",
    "SELECT CASE WHEN a THEN 1 END, a::DECIMAL(10, 2), TRY_CAST(b AS DATE), a BETWEEN 1 AND 2 FROM orders",
    "SELECT extract(year FROM d), d AT TIME ZONE 'UTC', current_date, date_trunc('month', d) FROM orders",
    "SELECT [x * 2 FOR x IN l IF x > 1], {'a': 1}, MAP {'k': 1}, l[1:2], j->>'$.a', name.upper() FROM orders",
    "SELECT * FROM range(10) r, generate_series(1, 3) g, unnest([1, 2]) u, LATERAL (SELECT r + 1) z",
    "SELECT * FROM orders o, json_each(o.doc) UNION ALL BY NAME SELECT * FROM orders EXCEPT SELECT 1",
    "SELECT DISTINCT ON (a) a, string_agg(b, ',' ORDER BY c), median(d) FROM orders LIMIT 10 OFFSET 5",
    "SELECT * FROM orders USING SAMPLE 10 ROWS",
    "SELECT * FROM orders ASOF JOIN items ON orders.t >= items.t SEMI JOIN orders x ON x.id = items.id",
    "SELECT formatReadableSize(10), regexp_replace(a, 'x', 'y'), coalesce(a, b), nullif(a, b) FROM orders",
    "SELECT '; DROP TABLE orders', 'read_csv(''/etc/passwd'')'",
]

REFUSED = [
    "",
    ";",
    "-- SELECT 1",
    "SELECT",
    "SELECT 1; SELECT 2",
    "SELECT 1; IMPORT DATABASE '/tmp/x'",
    "SELECT 1; ATTACH '/srv/other/catalog.sqlite' AS x (TYPE sqlite)",
    # other statements
    "INSERT INTO orders VALUES (1)",
    "WITH a AS (SELECT 1) INSERT INTO orders SELECT * FROM a",
    "DELETE FROM orders",
    "UPDATE orders SET a = 1",
    "DROP TABLE orders",
    "CREATE TEMP TABLE t AS SELECT 1",
    "CREATE MACRO f() AS 1",
    "ATTACH 'ducklake:sqlite:/srv/other/catalog.sqlite' AS x",
    "DETACH lake",
    "USE memory",
    "COPY orders TO '/tmp/x.csv'",
    "COPY (SELECT 1) TO '/tmp/x.csv'",
    "EXPORT DATABASE '/tmp/x'",
    "IMPORT DATABASE '/tmp/x'",
    "PRAGMA database_list",
    "PRAGMA import_database('/tmp/x')",
    "SET memory_limit = '1TB'",
    "RESET memory_limit",
    "INSTALL httpfs",
    "LOAD '/tmp/x.duckdb_extension'",
    "CALL duckdb_settings()",
    "BEGIN",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "EXPLAIN SELECT 1",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '/tmp/x'",
    "CHECKPOINT",
    "VACUUM",
    "SET VARIABLE x = 1",
    "DESCRIBE orders",
    "SHOW TABLES",
    "SUMMARIZE orders",
    "FROM (DESCRIBE orders)",
    "FROM (SHOW ALL TABLES)",
    "PIVOT orders ON a USING sum(b)",
    "FROM (PIVOT orders ON a IN (1) USING sum(b))",
    "FROM (UNPIVOT orders ON filename)",
    # tables
    "SELECT * FROM secrets",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM '/etc/passwd.csv'",
    "SELECT * FROM 'data/*.parquet'",
    'SELECT * FROM "https://example.org/x.parquet"',
    "SELECT * FROM lake.main.orders",
    "SELECT * FROM memory.main.orders",
    "SELECT * FROM headrace.loads",
    "SELECT * FROM HEADRACE.Loads",
    "SELECT * FROM lake.headrace.loads",
    "SELECT * FROM system.x",
    "SELECT * FROM lines",
    'SELECT * FROM "conn-2".lines',
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM pg_catalog.pg_class",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM duckdb_tables",
    "SELECT * FROM __ducklake_metadata_lake.ducklake_data_file",
    "SELECT * FROM __ducklake_metadata_lake.main.ducklake_snapshot",
    # names of WITH queries
    'WITH "/etc/passwd.csv" AS (SELECT 1) SELECT * FROM "/etc/passwd.csv"',
    "WITH duckdb_settings AS (SELECT 1) SELECT * FROM duckdb_settings",
    "WITH pg_class AS (SELECT 1) SELECT 1",
    "WITH sqlite_master AS (SELECT 1) SELECT 1",
    "SELECT * FROM (WITH hidden AS (SELECT 1) SELECT * FROM hidden) q, hidden",
    "WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a",
    "WITH a AS (SELECT * FROM a) SELECT * FROM a",
    "WITH a AS (SELECT 1) SELECT * FROM main.a",
    # table functions
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_parquet('data/main/*/*.parquet')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM Read_JSON_Auto('/etc/passwd')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM parquet_metadata('x.parquet')",
    "SELECT * FROM sqlite_scan('/srv/other/catalog.sqlite', 'ducklake_table')",
    "SELECT * FROM sqlite_query('__ducklake_metadata_lake', 'select 1')",
    "SELECT * FROM sqlite_attach('/srv/other/catalog.sqlite')",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('duckdb_settings')",
    "SELECT * FROM json_execute_serialized_sql('{}')",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_databases()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM pragma_database_size()",
    "SELECT * FROM ducklake_snapshots('lake')",
    "SELECT * FROM ducklake_list_files('lake', 'orders')",
    "SELECT * FROM lake.snapshots()",
    "SELECT * FROM which_secret('x', 's3')",
    "SELECT * FROM orders, LATERAL (SELECT * FROM read_csv('/etc/passwd'))",
    "SELECT (SELECT max(column0) FROM read_csv('/etc/passwd'))",
    "SELECT * FROM range((SELECT count(*) FROM glob('/*')))",
    "SELECT * FROM test_all_types()",
    # functions, in every place that takes one
    "SELECT getenv('HOME')",
    "SELECT current_setting('temp_directory')",
    "SELECT Current_Setting('temp_directory')",
    "SELECT main.current_setting('temp_directory')",
    "SELECT system.main.current_setting('temp_directory')",
    "SELECT getvariable('x')",
    "SELECT nextval('s')",
    "SELECT currval('s')",
    "SELECT pg_get_viewdef(1)",
    "SELECT has_table_privilege('x', 'y')",
    "SELECT json_serialize_plan('SELECT * FROM read_csv(''/etc/passwd'')')",
    "SELECT json_serialize_sql('SELECT 1')",
    "SELECT write_log('x')",
    "SELECT sleep_ms(100000)",
    "SELECT setseed(0.5)",
    "SELECT current_query()",
    "SELECT finalize('x')",
    "SELECT read_text('/etc/passwd')",
    "SELECT no_such_function(1)",
    "SELECT 1 WHERE current_setting('a') = 'b'",
    "SELECT 1 FROM orders GROUP BY getenv('a')",
    "SELECT 1 FROM orders HAVING getenv('a') > 1",
    "SELECT 1 FROM orders QUALIFY getenv('a') > 1",
    "SELECT 1 ORDER BY getenv('a')",
    "SELECT 1 LIMIT getenv('a')",
    "SELECT 1 OFFSET getenv('a')",
    "SELECT DISTINCT ON (getenv('a')) 1",
    "SELECT sum(getenv('a')) FILTER (a) FROM orders",
    "SELECT sum(a) FILTER (getenv('a')) FROM orders",
    "SELECT sum(a ORDER BY getenv('a')) FROM orders",
    "SELECT sum(a) OVER (PARTITION BY getenv('a')) FROM orders",
    "SELECT sum(a) OVER (ORDER BY b ROWS getenv('a') PRECEDING) FROM orders",
    "SELECT lag(a, 1, getenv('a')) OVER () FROM orders",
    "SELECT getenv('a') OVER () FROM orders",
    "SELECT * REPLACE (getenv('a') AS a) FROM orders",
    "SELECT COLUMNS(c -> getenv(c)) FROM orders",
    "SELECT [getenv(x) FOR x IN l] FROM orders",
    "SELECT CASE WHEN a THEN getenv('a') END FROM orders",
    "SELECT {'a': getenv('a')}",
    "SELECT * FROM orders JOIN items ON getenv('a')",
    "VALUES (getenv('a'))",
    "SELECT 1 UNION SELECT getenv('a')",
    "SELECT * FROM orders AT (VERSION => getenv('a'))",
    "SELECT EXISTS (SELECT getenv('a'))",
    "SELECT a IN (SELECT getenv('a')) FROM orders",
    "SELECT ? ",
    "SELECT $1",
    # columns that tell paths
    "SELECT filename FROM orders",
    "SELECT o.FileName FROM orders o",
    'SELECT "filename" FROM orders',
    "SELECT filename.lower() FROM orders",
    "SELECT o.filename.lower() FROM orders o",
    "SELECT filename[1:9] FROM orders",
    "SELECT rowid FROM orders",
    "SELECT snapshot_id FROM orders",
    "SELECT file_row_number FROM orders",
    "SELECT * FROM orders a JOIN orders b USING (filename)",
    "SELECT 1 FROM orders ORDER BY filename",
    # size and depth
    "SELECT 1 -- " + "x" * sqlgate.MAX_SQL_BYTES,
    "SELECT '" + "é" * (sqlgate.MAX_SQL_BYTES // 2) + "'",
    "SELECT " + "NOT " * 4000 + "true",
    "SELECT \ud800",
]


@pytest.mark.parametrize("sql", WANTED)
def test_wanted(sql: str) -> None:
    sqlgate.check(sql, TABLES)


@pytest.mark.parametrize("sql", REFUSED, ids=lambda sql: ascii(sql[:60]))
def test_refused(sql: str) -> None:
    with pytest.raises(QueryRefused) as refusal:
        sqlgate.check(sql, TABLES)
    assert len(refusal.value.message) < 300


def test_refusal_names_what_it_refuses() -> None:
    with pytest.raises(QueryRefused, match=r'no table "conn-2"."lines" in this pool'):
        sqlgate.check('SELECT * FROM "conn-2".lines', TABLES)
    with pytest.raises(QueryRefused, match=r"function getenv\(\) is not allowed"):
        sqlgate.check("SELECT getenv('x')", TABLES)
    with pytest.raises(QueryRefused, match="syntax error"):
        sqlgate.check("SELECT FROM WHERE", TABLES)


def test_functions_are_those_that_were_looked_through() -> None:
    """A new engine brings new functions: read them, then write their number here."""
    allowed = sqlgate.functions()
    assert len([name for name in allowed if not name.startswith("icu_collate_")]) == 576
    assert not [name for name in allowed if name.startswith(("read_", "duckdb_", "pg_", "query", "glob"))]
