# SPDX-License-Identifier: Apache-2.0
"""`pgweir once`: the first thing a new user types, in its three forms and with its failures."""

import json
import os
import shutil
import subprocess

import oracle
import weir


class Once(weir.Test):
    @classmethod
    def setUpClass(cls):
        cls.pg = weir.Cluster()
        cls.addClassCleanup(cls.pg.close)
        oracle.populate(cls.pg, "app")

    def test_table(self):
        code, out, err = weir.once("once", self.pg.dsn("app"))
        self.assertEqual((code, err), (0, ""))
        for expected in ("postgresql.connection.max", "50", "postgresql.rows", "plain"):
            self.assertIn(expected, out)

    def test_a_plain_dsn_to_a_server_without_tls(self):
        """What a newcomer types, on a server as Debian installs it but without a certificate."""
        port = self.pg.port
        place = f"monitor:{self.pg.password}@%s:{port}/app"
        for dsn in (f"postgresql://{place % 'localhost'}", f"postgresql://{place % '127.0.0.1'}",
                    f"host={self.pg.directory.path} port={port} user=monitor dbname=app"):
            with self.subTest(dsn.split("@")[-1]):
                code, out, err = weir.once("once", dsn)
                self.assertEqual((code, err), (0, ""))
                self.assertIn("postgresql.connection.max", out)
        code, _, err = weir.once("once", f"postgresql://{place % 'localhost'}?sslmode=require")
        self.assertEqual(code, 1)
        for word in ("SSL", "sslmode=disable"):
            self.assertIn(word, err)

    def test_prometheus(self):
        code, out, err = weir.once("once", self.pg.dsn("app"), "--format", "prometheus")
        self.assertEqual((code, err), (0, ""))
        metrics = weir.Metrics(out)
        self.assertEqual([value for name, _, value in metrics.samples
                          if name.startswith("postgresql_connection_max")], [50.0])
        tool = shutil.which("promtool") or os.path.join(weir.CACHE, "promtool", "promtool")
        weir.need(tool, "run tools/fetch-backends")
        done = subprocess.run([tool, "check", "metrics"], input=out, capture_output=True, text=True)
        self.assertNotIn("error", (done.stdout + done.stderr).lower())

    def test_otlp_json(self):
        code, out, err = weir.once("once", self.pg.dsn("app"), "--format", "otlp-json")
        self.assertEqual((code, err), (0, ""))
        values = []
        for document in self.documents(out):
            for resource in document["resourceMetrics"]:
                for scope in resource["scopeMetrics"]:
                    for metric in scope["metrics"]:
                        if metric["name"] == "postgresql.connection.max":
                            values += [p["asInt"] for p in metric["gauge"]["dataPoints"]]
        self.assertEqual([int(value) for value in values], [50])

    @staticmethod
    def documents(text):
        """JSON documents one after the other, however they are laid out."""
        decoder, at = json.JSONDecoder(), 0
        while at < len(text.rstrip()):
            document, end = decoder.raw_decode(text, at)
            yield document
            at = end + len(text[end:]) - len(text[end:].lstrip())

    def test_failures_are_said(self):
        wrong, closed = weir.secret("wrong"), weir.Closed()
        self.addCleanup(closed.close)
        for dsn, words in (
                (self.pg.dsn("app", password=wrong), ["password authentication failed"]),
                (self.pg.dsn("nosuch"), ["nosuch"]),
                (f"postgresql://monitor@127.0.0.1:{closed.port}/postgres", ["refused"]),
                ("postgresql://monitor@nosuch.invalid/postgres", ["nosuch.invalid"])):
            with self.subTest(words[0]):
                code, _, err = weir.once("once", dsn, seconds=60)
                self.assertEqual(code, 1, err)
                for word in words:
                    self.assertIn(word, err)

    def test_bad_dsn(self):
        code, _, err = weir.once("once", "postgresql://[")
        self.assertIn(code, (1, 2))
        self.assertNotEqual(err, "")


if __name__ == "__main__":
    weir.main()
