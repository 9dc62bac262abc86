# SPDX-License-Identifier: Apache-2.0
"""Back ends that are not ours take what we send: rotel prints it, VictoriaMetrics stores it and
gives the same values back."""

import json
import os
import subprocess
import urllib.parse

import oracle
import weir


class Backends(weir.Test):
    @classmethod
    def setUpClass(cls):
        cls.pg = weir.Cluster()
        cls.addClassCleanup(cls.pg.close)
        oracle.populate(cls.pg, "app")

    def deliver(self, exporter, scrapes=3):
        receiver = weir.server(self.pg, databases=["app"])
        with weir.Weir(weir.config(receiver, exporter)) as run:
            run.wait_delivered()
            run.wait_scrapes(scrapes)
            dropped = run.metrics().get("pgweir_exporter_dropped_points_total")
            self.assertEqual(run.stop(), 0)
        self.assertEqual(dropped, 0)

    def test_rotel_prints_what_it_received(self):
        program = weir.need(os.path.join(weir.CACHE, "rotel", "rotel-agent"),
                            "run tools/fetch-backends")
        http, grpc = weir.free_port(), weir.free_port()
        with weir.Program([program, "start", "--otlp-http-endpoint", f"127.0.0.1:{http}",
                           "--otlp-grpc-endpoint", f"127.0.0.1:{grpc}", "--exporter", "blackhole",
                           "--debug-log", "metrics", "--debug-log-verbosity", "detailed"],
                          "rotel") as rotel:
            self.wait_port(http)
            for compression in ("gzip", "none"):
                self.deliver(f"  otlp_http:\n    endpoint: http://127.0.0.1:{http}\n"
                             f"    compression: {compression}\n")
            text = rotel.output()
        table_size = self.pg.value("SELECT pg_relation_size('plain')", "app")
        for expected in ("postgresql.table.size", "postgresql.connection.max", "app|public",
                         'Odd "name" é', "service.instance.id"):
            self.assertIn(expected, text)
        self.assertRegex(text, rf"Value:\s*{table_size}\b")

    def wait_port(self, port):
        def listens():
            with weir.socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port)) == 0
        weir.wait_for(f"port {port}", listens)

    def test_victoriametrics_gives_the_same_values_back(self):
        program = weir.need(os.path.join(weir.CACHE, "victoria-metrics", "victoria-metrics"),
                            "run tools/fetch-backends")
        port = weir.free_port()
        storage = weir.Directory("vm")
        self.addCleanup(storage.remove)
        with weir.Program([program, f"-storageDataPath={storage.path}/data",
                           f"-httpListenAddr=127.0.0.1:{port}", "-search.latencyOffset=0s"],
                          "victoria-metrics"):
            self.wait_port(port)
            base = f"http://127.0.0.1:{port}"
            before = oracle.snapshot(self.pg, ["app"])
            self.deliver(f"  otlp_http:\n    endpoint: {base}/opentelemetry\n    compression: gzip\n")
            after = oracle.snapshot(self.pg, ["app"])
            weir.http(base + "/internal/force_flush")
            query = urllib.parse.urlencode({"match[]": '{__name__=~"postgresql.*"}'})
            status, body = weir.http(f"{base}/api/v1/export?{query}")
        self.assertEqual(status, 200)
        stored = {}
        for line in body.splitlines():
            series = json.loads(line)
            stored[self.stored_key(series["metric"])] = series["values"]
        checked = 0
        for key, low in before.items():
            if key[0] in oracle.OPTIONAL:
                continue
            low, high = sorted((low, after[key]))
            values = stored.get(self.stored_key({"__name__": key[0], **dict(key[1])}))
            self.assertIsNotNone(values, f"{key} is not stored; there is: {list(stored)[:5]}")
            for value in values:
                self.assertTrue(low - 1e-6 <= value <= high + 1e-6, f"{key}: {value}")
            checked += 1
        self.assertGreater(checked, 50)

    @staticmethod
    def stored_key(labels):
        """Name and point attributes, without the resource's; VictoriaMetrics may write dots as
        underscores."""
        keep = ("source", "type", "operation", "state", "db_namespace", "db_collection_name",
                "postgresql_index_name")
        found = {k.replace(".", "_"): v for k, v in labels.items()}
        return (found["__name__"].replace(".", "_"),
                tuple(sorted((k, v) for k, v in found.items() if k in keep)))


if __name__ == "__main__":
    weir.main()
