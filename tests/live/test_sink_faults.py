# SPDX-License-Identifier: Apache-2.0
"""A back end that misbehaves. Whatever it does: collected = delivered + queued + dropped in every
reading of /metrics, every lost point has a reason, and nothing hangs."""

import contextlib
import threading
import time

import weir

EXPORTER = "otlp_http"
RETRY = """    timeout: 20s
    retry_on_failure:
      initial_interval: 100ms
      max_interval: 300ms
      max_elapsed_time: 2s
    sending_queue:
      queue_size: 20
"""


PATIENT = RETRY.replace("max_elapsed_time: 2s", "max_elapsed_time: 60s").replace(
    "queue_size: 20", "queue_size: 1000")


class Ledger:
    """Reads the books every 50 ms and insists that they balance."""

    def __init__(self, run):
        self.run, self.readings, self.errors = run, 0, []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch)

    def _watch(self):
        while not self.over.wait(0.05):
            with contextlib.suppress(OSError):
                collected, *where = self.run.metrics().ledger(EXPORTER)
                self.readings += 1
                if collected != sum(where):
                    self.errors.append((collected, where))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


class SinkFaults(weir.Test):
    @classmethod
    def setUpClass(cls):
        cls.pg = weir.Cluster()
        cls.addClassCleanup(cls.pg.close)

    def start(self, endpoint, more=RETRY):
        exporter = f"  otlp_http:\n    endpoint: {endpoint}\n{more}"
        return weir.Weir(weir.config(weir.server(self.pg, interval="200ms"), exporter,
                                     "  shutdown_timeout: 2s\n"))

    def suffer(self, *options, until, more=RETRY):
        """Runs against a sink with these options until the metrics are as they should become;
        (those metrics, the sink's report a moment later)."""
        with weir.Sink(*options) as sink, self.start(sink.endpoint, more) as run:
            run.wait_live()
            with Ledger(run) as ledger:
                weir.wait_for("readings of the books", lambda: ledger.readings > 5)
                metrics = weir.wait_for("what this sink does to the books",
                                        lambda: self.such(run.metrics(), until))
                report = sink.report()
            self.assertEqual(ledger.errors, [], "books that do not balance")
            self.assertIn(run.stop(), (0, 1))
        return metrics, report

    def reasons(self, metrics):
        found = metrics.values("pgweir_exporter_dropped_points_total", "reason")
        return {reason for reason, value in found.items() if value > 0}

    def delivered(self, metrics):
        return metrics.get("pgweir_exporter_delivered_points_total")

    @staticmethod
    def such(metrics, condition):
        return metrics if condition(metrics) else None

    def requests(self, metrics, result):
        return metrics.get("pgweir_exporter_requests_total", result=result)

    def test_healthy(self):
        metrics, _ = self.suffer(until=lambda now: self.requests(now, "ok") >= 5, more=PATIENT)
        self.assertGreater(self.delivered(metrics), 0)
        self.assertEqual(self.reasons(metrics), set())

    def test_slow(self):
        metrics, _ = self.suffer("--delay", "300", more=PATIENT,
                                 until=lambda now: self.requests(now, "ok") >= 5)
        self.assertGreater(self.delivered(metrics), 0)
        self.assertEqual(self.reasons(metrics), set())

    def test_permanent_answers_are_not_retried(self):
        for code in ("400", "500"):
            with self.subTest(code):
                metrics, _ = self.suffer("--answer", code, more=PATIENT, until=lambda now: (
                    self.requests(now, "permanent") >= 5))
                self.assertEqual(self.delivered(metrics), 0)
                self.assertEqual(self.reasons(metrics), {"permanent_error"})
                self.assertEqual(self.requests(metrics, "retryable"), 0)
                self.assertEqual(metrics.get("pgweir_exporter_last_status"), int(code))

    def test_unauthorised_is_said_with_the_cure(self):
        with weir.Sink("--answer", "401") as sink, self.start(sink.endpoint) as run:
            run.wait_live()
            weir.wait_for("401 in /health", lambda: "401" in run.get("/health")[1])
            self.assertIn("degraded", run.get("/health")[1])
            metrics = run.metrics()
            self.assertEqual(self.delivered(metrics), 0)
            self.assertIn("401", run.output())
            run.stop()

    def test_too_large(self):
        metrics, _ = self.suffer("--answer", "413",
                                 until=lambda now: "too_large" in self.reasons(now))
        self.assertEqual(self.delivered(metrics), 0)
        # A batch is halved until its parts are small: more than a queue of 20 holds.
        self.assertIn("too_large", self.reasons(metrics))
        self.assertLessEqual(self.reasons(metrics), {"too_large", "queue_full"})

    def test_retryable_answers_are_retried_then_given_up(self):
        for code in ("429", "503"):
            with self.subTest(code):
                metrics, _ = self.suffer("--answer", code, until=lambda now: (
                    self.requests(now, "retryable") > 2 and
                    "retry_expired" in self.reasons(now)))
                self.assertEqual(self.delivered(metrics), 0)
                self.assertLessEqual(self.reasons(metrics), {"retry_expired", "queue_full"})

    def test_a_retry_that_succeeds_loses_nothing_and_doubles_nothing(self):
        metrics, report = self.suffer("--answer", "503,429,502,504,200", more=PATIENT,
                                      until=lambda now: self.requests(now, "ok") > 2)
        self.assertEqual(self.reasons(metrics), set())
        self.assertGreaterEqual(report["accepted_points"], self.delivered(metrics))
        self.assertGreater(self.delivered(metrics), 0)

    def test_retry_after_is_obeyed(self):
        end = time.monotonic() + 4
        metrics, report = self.suffer("--answer", "429", "--retry-after", "2", until=lambda now: (
            time.monotonic() > end and self.requests(now, "retryable") > 0))
        self.assertLessEqual(report["requests"], 25,
                             "requests went on although the sink asked for 2 s of peace")
        self.assertEqual(self.delivered(metrics), 0)

    def test_garbage_in_the_answer_harms_nobody(self):
        metrics, _ = self.suffer("--garbage", until=lambda now: (
            self.resends(now) > 0 and self.reasons(now)))
        self.assertEqual(self.delivered(metrics), 0)
        self.assertLessEqual(self.reasons(metrics), {"retry_expired", "queue_full"})

    def resends(self, metrics):
        return metrics.get("pgweir_exporter_ambiguous_resends_total")

    def test_lost_answers_are_sent_again_and_counted(self):
        metrics, _ = self.suffer("--close-early", until=lambda now: self.resends(now) > 0)
        self.assertEqual(self.delivered(metrics), 0)

    def test_partial_success_counts_what_was_rejected(self):
        # A server that cannot be read still gives two points: no request has fewer.
        def rejected(metrics):
            return metrics.get("pgweir_exporter_dropped_points_total", reason="rejected")
        # Both are read of an instant when no request is being settled: then they are equal.
        metrics, _ = self.suffer("--reject", "2", more=PATIENT, until=lambda now: (
            self.requests(now, "ok") >= 5 and rejected(now) == 2 * self.requests(now, "ok")))
        self.assertEqual(self.reasons(metrics), {"rejected"})

    def test_an_outage_loses_nothing(self):
        with weir.Closed() as closed, \
                self.start(f"http://127.0.0.1:{closed.port}", PATIENT) as run:
            run.wait_live()
            with Ledger(run) as ledger:
                weir.wait_for("points in the queue", lambda: run.metrics().get(
                    "pgweir_exporter_queued_points") > 100)
                time.sleep(1)
                with weir.Sink(port=closed.port) as sink:
                    collected = run.metrics().ledger(EXPORTER)[0]
                    weir.wait_for("the backlog to arrive", lambda: run.metrics().ledger(
                        EXPORTER)[1] >= collected)
                    metrics = run.metrics()
                    self.assertEqual(run.stop(), 0)
                    points = sink.points()
            self.assertEqual(ledger.errors, [])
        keys = [(p.key(), p.time_ns) for p in points]
        self.assertEqual(len(keys), len(set(keys)), "a point arrived twice")
        times = sorted({p.time_ns for p in points if p.name == "postgresql.connection.max"})
        self.assertGreaterEqual(len(times), metrics.get("pgweir_scrapes_total", result="ok"))
        self.assertEqual(self.reasons(metrics), set())
        gaps = sorted(b - a for a, b in zip(times, times[1:]))
        self.assertLess(gaps[len(gaps) // 2] / 1e9, 0.4 * weir.SLOW, "most collections are late")

    def test_a_full_queue_drops_and_counts(self):
        more = RETRY.replace("max_elapsed_time: 2s", "max_elapsed_time: 60s").replace(
            "queue_size: 20", "queue_size: 2")
        with weir.Closed() as closed, self.start(f"http://127.0.0.1:{closed.port}", more) as run:
            run.wait_live()
            with Ledger(run) as ledger:
                weir.wait_for("drops", lambda: run.metrics().get(
                    "pgweir_exporter_dropped_points_total", reason="queue_full") > 0)
                weir.wait_for("/health to fail", lambda: run.get("/health")[0] == 503)
            self.assertEqual(ledger.errors, [])
            self.assertEqual(run.stop(40), 1)


if __name__ == "__main__":
    weir.main()
