# SPDX-License-Identifier: Apache-2.0
"""Dead servers of a fleet: one of each kind among 1,000 that are well. Nothing changes for the
rest, the dead are asked ever more rarely, and what they lack is said by name."""

import json
import socket
import threading
import time

import fleet
import weir

SERVERS = 1000
INTERVAL = 2
WATCHED = 24


class Silent:
    """Takes connections and says nothing, ever; counts them."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.socket.getsockname()[1]
        self.taken = []
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self):
        while True:
            try:
                self.taken.append(self.socket.accept()[0])
            except OSError:
                return

    def close(self):
        self.socket.close()
        for taken in self.taken:
            taken.close()


class Dead(weir.Test):
    def read(self, run):
        """({name: (state, scrapes)}, metrics)."""
        return ({name: (entry["state"], entry["scrapes"]) for name, entry in run.targets().items()},
                run.metrics())

    def watch(self, run, silent):
        """The metrics after a while in which all went as it should."""
        before, start = self.read(run)
        began, asked = time.monotonic(), len(silent.taken)
        time.sleep(WATCHED)
        after, metrics = self.read(run)
        took = time.monotonic() - began
        for name in after:
            if name in ("silent", "closed"):
                self.assertEqual(after[name][0], "down", name)
                continue
            self.assertEqual(after[name][0], "up", name)
            scrapes = after[name][1] - before[name][1]
            self.assertAlmostEqual(scrapes, took / INTERVAL, delta=2, msg=name)
        lag = metrics.quantile("pgweir_schedule_lag_seconds", 0.99, since=start)
        self.assertLessEqual(lag, 0.1 * weir.SLOW)
        # Without a breaker: one attempt an interval.
        self.assertLessEqual(len(silent.taken) - asked, took / 4 + 2)
        return metrics

    def test_dead_among_a_thousand(self):
        silent, closed = Silent(), weir.Closed()
        self.addCleanup(silent.close)
        self.addCleanup(closed.close)
        with fleet.Sim(SERVERS) as sim, fleet.Sink() as sink:
            text = fleet.config(sim.port, SERVERS, fleet.otlp(sink.endpoint),
                                interval=f"{INTERVAL}s")
            text = text.replace("    targets:\n", "    targets:\n"
                                f"      - {{name: silent, endpoint: '127.0.0.1:{silent.port}'}}\n"
                                f"      - {{name: closed, endpoint: '127.0.0.1:{closed.port}'}}\n")
            text = text.replace("backoff_initial: 50ms, backoff_max: 200ms",
                                "backoff_initial: 250ms, backoff_max: 4s, connect_timeout: 2s")
            with fleet.Weir(text) as run:
                run.wait_live()
                fleet.wait_for("all that are well", lambda: json.loads(
                    run.get("/status")[1])["targets"]["up"] == SERVERS)
                # In one window of three the machine lets all be done in time.
                for left in (2, 1, 0):
                    try:
                        metrics = self.watch(run, silent)
                        break
                    except AssertionError:
                        if left == 0:
                            raise
                away = sum(int(value) for name, have, value in metrics.samples if name ==
                           "pgweir_target_circuit_breakers" and have["state"] != "closed")
                self.assertEqual(away, 2)
                values = sim.finish()
                run.wait_down(SERVERS)
                _, report = run.settled(sink)
                fleet.lossless(self, report, values)
                self.assertEqual(run.dropped(), {})


if __name__ == "__main__":
    fleet.main()
