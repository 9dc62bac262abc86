# SPDX-License-Identifier: Apache-2.0
"""Which databases' tables arrive: those listed, each once, whichever is the maintenance database;
what concerns the whole server comes from that one alone."""

import collections

import weir

SIZE = "postgresql.table.size"
SERVER_WIDE = "postgresql.connection.max"


class Databases(weir.Test):
    @classmethod
    def setUpClass(cls):
        cls.pg = weir.Cluster()
        cls.addClassCleanup(cls.pg.close)
        for name in ("a", "b"):
            cls.pg.sql(f"CREATE DATABASE {name}")
        for name in ("postgres", "a", "b"):
            cls.pg.sql(f"CREATE TABLE of_{name} (x int)", name)

    def collect(self, settings):
        """({table: databases it was reported from}, all points) of a few collections."""
        receiver = weir.server(self.pg, settings, interval="500ms")
        with weir.Sink() as sink, weir.Weir(weir.config(receiver, weir.otlp(sink))) as run:
            run.wait_delivered()
            run.wait_scrapes(9)
            [target] = run.targets().values()
            self.assertEqual((target["state"], target["error"]), ("up", ""))
            self.assertEqual(run.stop(), 0)
            points = sink.points()
        tables = collections.defaultdict(set)
        for point in points:
            if point.name == SIZE:
                tables[point.attributes["db.collection.name"]].add(
                    point.attributes["db.namespace"].split("|")[0])
        twice = [key for key, count in collections.Counter(
            (p.key(), p.time_ns) for p in points).items() if count > 1]
        self.assertEqual(twice, [], "a point came twice")
        return dict(tables), points

    def test_listed_databases_and_another_for_the_server(self):
        tables, points = self.collect("    database: postgres\n    databases: [a, b]\n")
        self.assertEqual(tables, {"of_a": {"a"}, "of_b": {"b"}})
        self.assertIn(SERVER_WIDE, {p.name for p in points})

    def test_the_maintenance_database_is_listed_last(self):
        tables, points = self.collect("    database: b\n    databases: [a, b]\n")
        self.assertEqual(tables, {"of_a": {"a"}, "of_b": {"b"}})
        sizes = collections.Counter(p.attributes["db.collection.name"]
                                    for p in points if p.name == SIZE)
        server_wide = sum(p.name == SERVER_WIDE for p in points)
        self.assertLessEqual(abs(sizes["of_b"] - server_wide), 1,
                             "b was collected more often than the server")

    def test_first_of_the_list(self):
        tables, _ = self.collect("    databases: [a, b]\n")
        self.assertEqual(tables, {"of_a": {"a"}, "of_b": {"b"}})

    def test_named_twice_is_collected_once(self):
        tables, points = self.collect("    databases: [a, b, b]\n")
        self.assertEqual(tables, {"of_a": {"a"}, "of_b": {"b"}})
        sizes = collections.Counter(p.attributes["db.collection.name"]
                                    for p in points if p.name == SIZE)
        self.assertLessEqual(abs(sizes["of_a"] - sizes["of_b"]), 1)

    def test_only_the_maintenance_database(self):
        tables, _ = self.collect("    database: a\n")
        self.assertEqual(tables, {"of_a": {"a"}})


if __name__ == "__main__":
    weir.main()
