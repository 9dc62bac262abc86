# SPDX-License-Identifier: Apache-2.0
"""The admin endpoint: answers, forms, the catalogue of own metrics, and no delay by collection."""

import json
import os
import shutil
import subprocess
import time

import weir


class Admin(weir.Test):
    @classmethod
    def setUpClass(cls):
        cls.pg = weir.Cluster()
        cls.addClassCleanup(cls.pg.close)
        cls.sink = weir.Sink(dump=False)
        cls.addClassCleanup(cls.sink.close)
        cls.run_ = weir.Weir(weir.config(weir.server(cls.pg, interval="200ms"),
                                         weir.otlp(cls.sink)))
        cls.addClassCleanup(cls.run_.close)
        cls.run_.wait_ready()
        cls.run_.wait_delivered()

    def test_collectors_health_answer(self):
        status, body = self.run_.get("/")
        answer = json.loads(body)
        self.assertEqual((status, answer["status"]), (200, "Server available"))
        self.assertIn("upSince", answer)
        self.assertIn("uptime", answer)

    def test_probes(self):
        for path in ("/livez", "/readyz", "/health"):
            self.assertEqual(self.run_.get(path)[0], 200, path)
        json.loads(self.run_.get("/health")[1])
        self.assertEqual(self.run_.get("/nosuch")[0], 404)

    def test_promtool_finds_nothing_to_say(self):
        tool = shutil.which("promtool") or weir.need(
            os.path.join(weir.CACHE, "promtool", "promtool"), "run tools/fetch-backends")
        text = self.run_.get("/metrics")[1]
        done = subprocess.run([tool, "check", "metrics"], input=text, capture_output=True,
                              text=True)
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))
        self.assertGreater(len(self.run_.metrics().names()), 40)

    def test_targets(self):
        [(name, target)] = self.run_.targets().items()
        self.assertEqual(name, self.pg.endpoint)
        self.assertEqual(target["state"], "up")
        self.assertEqual(target["error"], "")
        self.assertTrue(target["version"].startswith("15."), target)

    def test_status(self):
        code, body = self.run_.get("/status")
        status = json.loads(body)
        self.assertEqual((code, status["status"]), (200, "ok"))
        self.assertEqual(status["targets"]["up"], 1)
        self.assertIn(status["shards"][0]["loop"], ("io_uring", "epoll"))
        for stage in ("connect.duration", "statement.duration", "scrape.duration",
                      "schedule.lag", "ring.wait", "encode.duration", "batch.age",
                      "compress.duration", "request.duration", "delivery.age"):
            latest = status["stages"][stage]["last_minute"]
            self.assertGreater(latest["count"], 0, stage)
            self.assertLessEqual(latest["p50_ms"], latest["p99_ms"], stage)
            self.assertLessEqual(latest["p99_ms"], latest["max_ms"], stage)
        [exporter] = status["exporters"].values()
        self.assertTrue(exporter["healthy"])
        self.assertTrue(exporter["identity"]["holds"])
        self.assertGreater(exporter["identity"]["delivered"], 0)
        self.assertEqual(exporter["limiter"]["circuit_breaker"], "closed")

    def test_answers_at_once_while_collecting(self):
        took = []
        for _ in range(50):
            began = time.monotonic()
            self.run_.get("/metrics")
            took.append(time.monotonic() - began)
        # The slowest tell of the machine; who waited for collections would wait most times.
        self.assertLess(sorted(took)[40], 0.5 * weir.SLOW)

    def test_no_credential_anywhere(self):
        for path in ("/", "/health", "/metrics", "/targets", "/histograms", "/status"):
            self.assertNotIn(self.pg.password, self.run_.get(path)[1], path)


class States(weir.Test):
    def test_a_port_in_use_is_said(self):
        with weir.Cluster() as pg, weir.Sink(dump=False) as sink, weir.Weir(weir.config(
                weir.server(pg), weir.otlp(sink))) as first:
            first.wait_live()
            text = weir.config(weir.server(pg), weir.otlp(sink)).replace(
                "{admin}", f"127.0.0.1:{first.admin_port}")
            with weir.Weir(text) as second:
                self.assertEqual(second.wait(), 1)
                self.assertIn(str(first.admin_port), second.output())
            self.assertEqual(first.stop(), 0)


if __name__ == "__main__":
    weir.main()
