# SPDX-License-Identifier: Apache-2.0
"""A Collector's configuration file runs unchanged: postgresql + batch + otlp_http + health_check."""

import json
import os

import oracle
import weir

FILE = os.path.join(os.path.dirname(__file__), "collector.yaml")


class CollectorFile(weir.Test):
    def run_file(self, text):
        with weir.Cluster() as pg, weir.Sink() as sink:
            oracle.populate(pg, "app")
            health = f"127.0.0.1:{weir.free_port()}"
            key = weir.secret("key")
            env = {"POSTGRESQL_ENDPOINT": pg.endpoint, "POSTGRESQL_PASSWORD": pg.password,
                   "OTLP_ENDPOINT": sink.endpoint, "API_KEY": key, "HEALTH_ENDPOINT": health}
            with weir.Weir(text, env) as run:
                run.admin_port = int(health.rpartition(":")[2])
                run.wait_live()
                run.wait_delivered()
                run.wait_scrapes(2)
                status, body = run.get("/")
                self.assertEqual(status, 200)
                self.assertEqual(json.loads(body)["status"], "Server available")
                self.assertEqual(run.stop(), 0)
                output = run.output()
            return {p.name for p in sink.points()}, output

    def test_runs_unchanged(self):
        with open(FILE) as file:
            names, output = self.run_file(file.read())
        for name in ("postgresql.commits", "postgresql.rows", "postgresql.deadlocks",
                     "postgresql.bgwriter.checkpoint.count", "postgresql.db_size",
                     "postgresql.index.scans", "postgresql.connection.max"):
            self.assertIn(name, names)
        self.assertNotIn("postgresql.table.vacuum.count", names, "disabled in the file")
        warned = [line for line in output.splitlines() if " warn " in line and
                  "has no effect" in line]
        self.assertEqual(len(warned), 2, warned)
        for line, key in zip(warned, ("connection_pool", "metrics")):
            self.assertEqual(line.count("effect"), 1, line)
            self.assertIn(key + " has no effect here: ", line)

    def test_old_alias_runs_with_a_warning(self):
        with open(FILE) as file:
            names, output = self.run_file(file.read().replace("otlp_http", "otlphttp"))
        self.assertIn("postgresql.commits", names)
        self.assertIn("otlphttp", output)


if __name__ == "__main__":
    weir.main()
