# SPDX-License-Identifier: Apache-2.0
"""The end of a run, on both loops: SIGTERM delivers what was collected and exits 0; a second signal
ends at once; a deadline bounds the drain and what is left is counted."""

import re
import signal
import time

import weir


class Stop(weir.Test):
    @classmethod
    def setUpClass(cls):
        cls.pg = weir.Cluster()
        cls.addClassCleanup(cls.pg.close)

    def run_with(self, sink, service="", exporter="", interval="200ms"):
        return weir.Weir(weir.config(weir.server(self.pg, interval=interval),
                                     weir.otlp(sink, exporter), service))

    def final_books(self, run):
        """(delivered, dropped) as the last log line says."""
        line = [line for line in run.output().splitlines() if "delivered_points" in line][-1]
        return tuple(int(re.search(name + r'"?\s*[=:]\s*"?(\d+)', line)[1])
                     for name in ("delivered_points", "dropped_points"))

    def drains(self, service):
        with weir.Sink("--delay", "300") as sink, self.run_with(sink, service) as run:
            run.wait_delivered()
            used_uring = run.metrics().get("pgweir_loop_io_uring")
            self.assertEqual(run.stop(), 0)
            delivered, dropped = self.final_books(run)
            self.assertEqual(dropped, 0)
            self.assertEqual(delivered, sink.report()["accepted_points"])
            self.assertEqual(delivered, len(sink.points()))
            return used_uring

    def test_drains_on_epoll(self):
        self.assertEqual(self.drains("  loop: epoll\n"), 0)

    def test_drains_on_io_uring(self):
        with weir.Sink(dump=False) as sink, self.run_with(sink) as run:
            run.wait_live()
            available = weir.wait_for("a shard", lambda: run.metrics().get(
                "pgweir_loop_turns_total") > 0) and run.metrics().get("pgweir_loop_io_uring") > 0
        if not available:
            self.skipTest("this kernel or container forbids io_uring")
        self.assertGreaterEqual(self.drains("  loop: io_uring\n"), 1)

    def test_drains_with_two_shards(self):
        self.drains("  shards: 2\n")

    def test_interrupt_is_like_terminate(self):
        with weir.Sink() as sink, self.run_with(sink) as run:
            run.wait_delivered()
            run.signal(signal.SIGINT)
            self.assertEqual(run.wait(), 0)

    def test_signal_sent_twice_is_one(self):
        """timeout(1) and others send it to the process and to its group."""
        with weir.Sink() as sink, self.run_with(sink) as run:
            run.wait_delivered()
            run.signal(signal.SIGINT)  # of the same one sent twice the kernel may make one
            run.signal(signal.SIGTERM)
            self.assertEqual(run.wait(), 0)

    def test_second_signal_ends_at_once(self):
        with weir.Sink("--delay", "60000") as sink, \
                self.run_with(sink, "  shutdown_timeout: 60s\n", "    timeout: 60s\n") as run:
            run.wait_live()
            weir.wait_for("points in the queue", lambda: run.metrics().get(
                "pgweir_exporter_queued_points") > 0)
            run.signal(signal.SIGTERM)
            weir.wait_for("the stop", lambda: "stopping: delivering" in run.output())
            time.sleep(0.7)
            self.assertTrue(run.running(), "it should still be waiting for the sink")

            def ended():
                """Asks again: what it gets right behind the first it takes for the same signal, and
                when it came to the first only it knows."""
                run.signal(signal.SIGTERM)
                return not run.running()
            weir.wait_for("its end", ended, step=0.7)
            self.assertEqual(run.wait(), 1)
            self.assertIn("second signal: ended at once", run.output())

    def test_deadline_bounds_the_drain_and_counts_the_rest(self):
        with weir.Sink("--delay", "60000") as sink, \
                self.run_with(sink, "  shutdown_timeout: 1s\n", "    timeout: 60s\n") as run:
            run.wait_live()
            weir.wait_for("points in the queue", lambda: run.metrics().get(
                "pgweir_exporter_queued_points") > 0)
            began = time.monotonic()
            run.signal(signal.SIGTERM)
            self.assertEqual(run.wait(30), 1, "something was lost, so the exit code says so")
            self.assertLess(time.monotonic() - began, 20 * weir.SLOW)
            self.assertGreater(self.final_books(run)[1], 0)


if __name__ == "__main__":
    weir.main()
