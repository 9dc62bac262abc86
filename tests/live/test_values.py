# SPDX-License-Identifier: Apache-2.0
"""Delivered values equal what plain SQL says, point by point, decoded by Google's protoc. Counters
that the collection itself moves are bracketed by a snapshot before and one after; on a quiet
server nearly all are equal in both, and then the point must be equal, too."""

import socket
import time
import uuid

import oracle
import weir

NAMESPACE = uuid.UUID("4d63009a-8d0f-11ee-aad7-4c796ed8e320")
DATABASES = ["app", "quiet"]


def enable(names):
    return "    metrics:\n" + "".join(f"      {name}: {{enabled: true}}\n" for name in names)


def collect(pg, more, major=15, databases=DATABASES):
    """(snapshot before, points collected in between, snapshot after)."""
    receiver = weir.server(pg, enable(oracle.OPTIONAL) + more, interval="500ms",
                           databases=databases)
    with weir.Sink() as sink, weir.Weir(weir.config(receiver, weir.otlp(sink))) as run:
        run.wait_delivered()
        run.wait_scrapes(2)
        before, began_ns = oracle.snapshot(pg, databases, major), time.time_ns()
        run.wait_scrapes(2 * len(databases) + 2)
        ended_ns = time.time_ns()
        after = oracle.snapshot(pg, databases, major)
        errors = run.metrics().values("pgweir_statement_errors_total", "query")
        if run.stop() != 0:
            raise AssertionError(f"exit code {run.process.returncode}")
        points = [p for p in sink.points() if began_ns < p.time_ns < ended_ns]
    if errors:
        raise AssertionError(f"statements failed: {errors}")
    return before, points, after


class Values(weir.Test):
    @classmethod
    def setUpClass(cls):
        cls.pg = weir.Cluster()
        cls.addClassCleanup(cls.pg.close)
        oracle.populate(cls.pg, "app")
        oracle.populate(cls.pg, "quiet")
        cls.before, cls.points, cls.after = collect(cls.pg, "")

    def test_every_expected_point_arrives_with_the_right_value(self):
        seen = {}
        for point in self.points:
            seen.setdefault(point.key(), []).append(point)
        exact = 0
        for key, low in self.before.items():
            self.assertIn(key, seen)
            high = self.after[key]
            low, high = min(low, high), max(low, high)
            exact += low == high
            for point in seen[key]:
                self.assertTrue(low - 1e-6 <= point.value <= high + 1e-6,
                                f"{point}: SQL says {low} to {high}")
        self.assertGreater(exact, 0.8 * len(self.before), "the server was not quiet")

    def test_nothing_else_arrives_under_these_names(self):
        names = {name for name, _ in self.before}
        extra = {p.key() for p in self.points if p.name in names} - set(self.before)
        self.assertEqual(extra, set())

    def test_kinds_and_units_are_the_receivers(self):
        facts = oracle.receiver_facts()
        checked = 0
        for point in self.points:
            if point.name not in facts:
                continue
            instrument, value, monotonic, unit = facts[point.name]
            self.assertEqual((point.instrument, point.monotonic, point.unit, point.is_int),
                             (instrument, monotonic, unit, value == "int"), point.name)
            if instrument == "sum":
                self.assertEqual(point.temporality, "AGGREGATION_TEMPORALITY_CUMULATIVE")
            checked += 1
        self.assertGreater(checked, len(self.before))

    def test_counters_have_one_start_before_their_time(self):
        starts = {}
        for point in self.points:
            if point.monotonic:
                self.assertGreater(point.start_ns, 0, point)
                self.assertLessEqual(point.start_ns, point.time_ns, point)
                starts.setdefault(point.key(), set()).add(point.start_ns)
        self.assertTrue(starts)
        for key, values in starts.items():
            self.assertEqual(len(values), 1, f"{key} started more than once: {values}")

    def test_a_series_has_one_point_per_time(self):
        seen = set()
        for point in self.points:
            self.assertNotIn((point.key(), point.time_ns), seen, point)
            seen.add((point.key(), point.time_ns))

    def test_the_resource_is_the_server(self):
        resources = {tuple(sorted(p.resource.items())) for p in self.points}
        self.assertEqual(len(resources), 1, "one resource per server")
        resource = dict(resources.pop())
        self.assertEqual(resource["server.port"], self.pg.port)
        seed = f"{socket.gethostname()}:{self.pg.port}"
        self.assertEqual(resource["service.instance.id"], str(uuid.uuid5(NAMESPACE, seed)))
        self.assertIn("server.address", resource)


class Legacy(weir.Test):
    """The receiver's older model: entities are resources."""

    @classmethod
    def setUpClass(cls):
        cls.pg = weir.Cluster()
        cls.addClassCleanup(cls.pg.close)
        oracle.populate(cls.pg, "app")
        cls.before, cls.points, cls.after = collect(cls.pg, "    model: legacy\n",
                                                    databases=["app"])

    @staticmethod
    def semconv_key(point):
        """The key the same point has in the newer model."""
        attributes = dict(point.attributes)
        database = point.resource.get("postgresql.database.name")
        table = point.resource.get("postgresql.table.name")
        index = point.resource.get("postgresql.index.name")
        if database is not None:
            attributes["db.namespace"] = database
        if index is not None:
            attributes["postgresql.index.name"] = index
        if table is not None:
            schema, _, name = table.rpartition(".")
            attributes["db.collection.name"] = name
            attributes["db.namespace"] = f"{database}|{schema}"
        return point.name, tuple(sorted(attributes.items()))

    def test_values(self):
        seen = {}
        for point in self.points:
            seen.setdefault(self.semconv_key(point), []).append(point)
        for key, low in self.before.items():
            if key[0].startswith("postgresql.index."):
                continue  # the older model's index resources do not name the schema
            self.assertIn(key, seen)
            low, high = sorted((low, self.after[key]))
            for point in seen[key]:
                self.assertTrue(low - 1e-6 <= point.value <= high + 1e-6,
                                f"{point}: SQL says {low} to {high}")

    def test_indexes(self):
        rows = self.pg.sql("SELECT relname, indexrelname, pg_relation_size(indexrelid) "
                           "FROM pg_stat_user_indexes", "app")
        sizes = {(p.resource["postgresql.table.name"], p.resource["postgresql.index.name"]): p.value
                 for p in self.points if p.name == "postgresql.index.size"}
        self.assertEqual(sizes, {(table, index): int(size) for table, index, size in rows})

    def test_resources(self):
        host = socket.gethostname()
        for point in self.points:
            self.assertEqual(point.resource["service.instance.id"], f"{host}:{self.pg.port}")
            self.assertNotIn("server.address", point.resource)
            self.assertNotIn("db.namespace", point.attributes)


if __name__ == "__main__":
    weir.main()
