# SPDX-License-Identifier: Apache-2.0
"""What PostgreSQL itself says, by plain SQL of our own: {(metric, attributes): value} for the
metrics that the OTel receiver defines, in its newer model. Written from the receiver's
documentation, not from pgweir's catalogue."""

import os

BGWRITER_16 = """
SELECT buffers_alloc, buffers_clean, buffers_checkpoint, buffers_backend, buffers_backend_fsync,
       maxwritten_clean, checkpoints_timed, checkpoints_req, checkpoint_write_time,
       checkpoint_sync_time FROM pg_stat_bgwriter"""
BGWRITER_17 = """
SELECT b.buffers_alloc, b.buffers_clean, c.buffers_written, NULL, NULL, b.maxwritten_clean,
       c.num_timed, c.num_requested, c.write_time, c.sync_time
FROM pg_stat_bgwriter b, pg_stat_checkpointer c"""
BGWRITER_NAMES = [
    ("postgresql.bgwriter.buffers.allocated", ()),
    ("postgresql.bgwriter.buffers.writes", (("source", "bgwriter"),)),
    ("postgresql.bgwriter.buffers.writes", (("source", "checkpoints"),)),
    ("postgresql.bgwriter.buffers.writes", (("source", "backend"),)),
    ("postgresql.bgwriter.buffers.writes", (("source", "backend_fsync"),)),
    ("postgresql.bgwriter.maxwritten", ()),
    ("postgresql.bgwriter.checkpoint.count", (("type", "scheduled"),)),
    ("postgresql.bgwriter.checkpoint.count", (("type", "requested"),)),
    ("postgresql.bgwriter.duration", (("type", "write"),)),
    ("postgresql.bgwriter.duration", (("type", "sync"),)),
]

DATABASE_COLUMNS = {
    "postgresql.commits": "xact_commit", "postgresql.rollbacks": "xact_rollback",
    "postgresql.blks_hit": "blks_hit", "postgresql.blks_read": "blks_read",
    "postgresql.deadlocks": "deadlocks", "postgresql.temp.io": "temp_bytes",
    "postgresql.temp_files": "temp_files", "postgresql.tup_deleted": "tup_deleted",
    "postgresql.tup_fetched": "tup_fetched", "postgresql.tup_inserted": "tup_inserted",
    "postgresql.tup_returned": "tup_returned", "postgresql.tup_updated": "tup_updated",
    "postgresql.db_size": "pg_database_size(datid)",
}

BLOCKS = {"heap_read": "heap_blks_read", "heap_hit": "heap_blks_hit", "idx_read": "idx_blks_read",
          "idx_hit": "idx_blks_hit", "toast_read": "toast_blks_read",
          "toast_hit": "toast_blks_hit", "tidx_read": "tidx_blks_read", "tidx_hit": "tidx_blks_hit"}

TABLE_COLUMNS = [
    ("postgresql.rows", (("state", "live"),), "n_live_tup"),
    ("postgresql.rows", (("state", "dead"),), "n_dead_tup"),
    ("postgresql.operations", (("operation", "ins"),), "n_tup_ins"),
    ("postgresql.operations", (("operation", "upd"),), "n_tup_upd"),
    ("postgresql.operations", (("operation", "del"),), "n_tup_del"),
    ("postgresql.operations", (("operation", "hot_upd"),), "n_tup_hot_upd"),
    ("postgresql.sequential_scans", (), "seq_scan"),
    ("postgresql.table.vacuum.count", (), "vacuum_count"),
    ("postgresql.table.size", (), "pg_relation_size(relid)"),
] + [("postgresql.blocks_read", (("source", source),), f"coalesce({column}, 0)")
     for source, column in BLOCKS.items()]

# Metrics that are off unless asked for.
OPTIONAL = ["postgresql.blks_hit", "postgresql.blks_read", "postgresql.deadlocks",
            "postgresql.sequential_scans", "postgresql.temp.io", "postgresql.temp_files",
            "postgresql.tup_deleted", "postgresql.tup_fetched", "postgresql.tup_inserted",
            "postgresql.tup_returned", "postgresql.tup_updated"]


def number(text):
    return float(text) if "." in text else int(text)


def key(metric, *attributes):
    return metric, tuple(sorted(attributes))


def instance(pg, major, databases):
    found = {key("postgresql.connection.max"): int(pg.value("SHOW max_connections")),
             key("postgresql.database.count"): len(databases)}
    row = pg.sql(BGWRITER_17 if major >= 17 else BGWRITER_16)[0]
    for (metric, attributes), value in zip(BGWRITER_NAMES, row):
        if value != "":
            found[key(metric, *attributes)] = number(value)
    return found


def database_level(pg, databases):
    found = {}
    columns = ", ".join(DATABASE_COLUMNS.values())
    for name in databases:
        row = pg.sql(f"SELECT {columns} FROM pg_stat_database WHERE datname = '{name}'")[0]
        for metric, value in zip(DATABASE_COLUMNS, row):
            found[key(metric, ("db.namespace", name))] = int(value)
    return found


def tables_of(pg, database):
    found = {}
    columns = ", ".join(column for _, _, column in TABLE_COLUMNS)
    rows = pg.sql(f"""SELECT s.schemaname, s.relname, {columns} FROM pg_stat_user_tables s
                      JOIN pg_statio_user_tables io USING (relid)""", database)
    for schema, table, *values in rows:
        where = [("db.namespace", f"{database}|{schema}"), ("db.collection.name", table)]
        for (metric, attributes, _), value in zip(TABLE_COLUMNS, values):
            found[key(metric, *attributes, *where)] = int(value)
    found[key("postgresql.table.count", ("db.namespace", database))] = len(rows)
    for schema, table, index, scans, size in pg.sql(
            """SELECT schemaname, relname, indexrelname, idx_scan, pg_relation_size(indexrelid)
               FROM pg_stat_user_indexes""", database):
        where = [("db.namespace", f"{database}|{schema}"), ("db.collection.name", table),
                 ("postgresql.index.name", index)]
        found[key("postgresql.index.scans", *where)] = int(scans)
        found[key("postgresql.index.size", *where)] = int(size)
    return found


def snapshot(pg, databases, major=15):
    """Everything, as of now."""
    found = instance(pg, major, databases)
    found.update(database_level(pg, databases))
    for name in databases:
        found.update(tables_of(pg, name))
    return found


def receiver_facts():
    """{metric: (instrument, "int"|"double", monotonic, unit)} of the OTel receiver."""
    facts = {}
    path = os.path.join(os.path.dirname(__file__), "otel_receiver.tsv")
    with open(path) as file:
        for line in file:
            if not line.startswith("#"):
                name, instrument, value, monotonic, unit = line.rstrip("\n").split("\t")
                facts[name] = (instrument, value, monotonic == "true", unit)
    return facts


def populate(pg, database="app"):
    """A database with tables of several kinds and some history."""
    pg.sql(f"CREATE DATABASE {database}")
    pg.sql("""
        CREATE SCHEMA sales;
        CREATE TABLE sales.orders (id int PRIMARY KEY, note text);
        CREATE INDEX orders_note ON sales.orders (left(note, 10));
        CREATE TABLE plain (v int);
        CREATE TABLE "Odd ""name"" é" (id int PRIMARY KEY);
        CREATE TABLE empty ();
        INSERT INTO sales.orders SELECT i, repeat('x', i) FROM generate_series(1, 500) i;
        INSERT INTO sales.orders SELECT 1000, string_agg(md5(i::text), '')
            FROM generate_series(1, 5000) i;
        INSERT INTO plain SELECT generate_series(1, 1000);
        UPDATE plain SET v = v + 1 WHERE v <= 100;
        DELETE FROM plain WHERE v > 900;
        SELECT count(*) FROM plain;
        SELECT note FROM sales.orders WHERE id = 7;
        VACUUM plain;
        SET enable_seqscan = off;
        SELECT length(note) FROM sales.orders WHERE id = 1000;
        SET work_mem = '64kB';
        SELECT count(*) FROM (SELECT i FROM generate_series(1, 50000) i ORDER BY i DESC) s;
    """, database)
    pg._psql("SELECT 1/0", database, check=False)
