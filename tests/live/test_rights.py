# SPDX-License-Identifier: Apache-2.0
"""A role without rights: the statements it may not run fail softly, are named and counted by
SQLSTATE, said once, and everything else is delivered. Right back when the right is granted."""

import weir


class Rights(weir.Test):
    def setUp(self):
        self.pg = weir.Cluster()
        self.addCleanup(self.pg.close)
        self.pg.sql(f"CREATE ROLE poor LOGIN PASSWORD '{self.pg.password}'; "
                    "REVOKE SELECT ON pg_stat_bgwriter FROM PUBLIC")

    def test_a_statement_that_may_not_run_costs_only_itself(self):
        receiver = weir.server(self.pg, interval="1s").replace("username: monitor",
                                                                  "username: poor")
        with weir.Sink() as sink, weir.Weir(weir.config(receiver, weir.otlp(sink))) as run:
            run.wait_delivered()
            run.wait_scrapes(6)
            metrics = run.metrics()
            [target] = run.targets().values()
            self.assertEqual(run.stop(), 0)
            output = run.output()
            names = {p.name for p in sink.points()}
        errors = metrics.values("pgweir_statement_errors_total", "query")
        self.assertIn("bgwriter", " ".join(errors))
        self.assertGreater(metrics.get("pgweir_statement_errors_total", sqlstate="42501"), 0)
        self.assertEqual(target["state"], "degraded")
        self.assertIn("bgwriter", target["error"])
        self.assertIn("42501", output)
        said = [line for line in output.splitlines() if "42501" in line and "query=bgwriter" in line]
        self.assertEqual(len(said), 1, "said once, not in every collection:\n" + "\n".join(said))
        self.assertNotIn("postgresql.bgwriter.buffers.allocated", names)
        for name in ("postgresql.commits", "postgresql.connection.max", "postgresql.backends"):
            self.assertIn(name, names)

    def test_no_statement_of_ours_needs_more_than_pg_monitor(self):
        self.pg.sql("GRANT SELECT ON pg_stat_bgwriter TO PUBLIC")
        with weir.Sink() as sink, weir.Weir(weir.config(
                weir.server(self.pg, interval="1s"), weir.otlp(sink))) as run:
            run.wait_delivered()
            run.wait_scrapes(4)
            self.assertEqual(run.metrics().values("pgweir_statement_errors_total", "query"), {})
            self.assertEqual(run.stop(), 0)

    def connections(self):
        """Those to the server that are open on our side: a backend lingers until it notices."""
        with open("/proc/net/tcp") as file:
            rows = [line.split() for line in file][1:]
        return sum(row[2] == f"0100007F:{self.pg.port:04X}" and row[3] == "01" for row in rows)

    def test_session_guards_and_budget(self):
        """What the database sees of us: name, read-only, time limits, no more than 2 sessions."""
        for name in ("a", "b", "c"):
            self.pg.sql(f"CREATE DATABASE {name}")
        receiver = weir.server(self.pg, interval="1s", databases=["postgres", "a", "b", "c"])
        with weir.Sink(dump=False) as sink, weir.Weir(
                weir.config(receiver, weir.otlp(sink))) as run:
            run.wait_delivered()
            sessions, queries, before = 0, set(), 0
            until = weir.time.monotonic() + 5
            while weir.time.monotonic() < until or not queries:
                rows = self.pg.sql("SELECT translate(query, E'\\n', ' ') FROM pg_stat_activity "
                                   "WHERE application_name LIKE 'pgweir%'")
                queries |= {row[0] for row in rows}
                now = self.connections()
                # Twice: the list is not of one instant, and one may take another's place meanwhile.
                sessions, before = max(sessions, min(before, now)), now
                weir.time.sleep(0.05)
            self.assertEqual(run.stop(), 0)
        self.assertGreater(sessions, 0)
        self.assertLessEqual(sessions, 2)
        self.assertTrue(any("pgweir" in query for query in queries), queries)


if __name__ == "__main__":
    weir.main()
