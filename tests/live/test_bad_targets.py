# SPDX-License-Identifier: Apache-2.0
"""Bad servers among good ones: each is named with its cause, none delays the good, and each comes
back by itself when its cause is gone."""

import signal
import time

import weir

INTERVAL_S = 0.5


class BadTargets(weir.Test):
    @classmethod
    def setUpClass(cls):
        cls.good = weir.Cluster()
        cls.addClassCleanup(cls.good.close)
        cls.frozen = weir.Cluster()
        cls.addClassCleanup(cls.frozen.close)
        cls.full = weir.Cluster()
        cls.addClassCleanup(cls.full.close)
        cls.closed = weir.Closed()
        cls.addClassCleanup(cls.closed.close)

    def receiver(self):
        good, wrong = self.good, weir.secret("wrong")
        return f"""    username: monitor
    password: {good.password}
    collection_interval: {INTERVAL_S}s
    initial_delay: 100ms
    timeout: 3s
    session: {{connect_timeout: 2s, backoff_max: 2s}}
    tls: {{insecure: true}}
    targets:
      - {{name: good-1, endpoint: '{good.endpoint}'}}
      - {{name: wrong-password, endpoint: '{good.endpoint}', password: {wrong}}}
      - {{name: no-database, endpoint: '{good.endpoint}', database: nosuch}}
      - {{name: closed-port, endpoint: '127.0.0.1:{self.closed.port}'}}
      - {{name: no-name, endpoint: 'nosuch.invalid:5432'}}
      - {{name: frozen, endpoint: '{self.frozen.endpoint}', password: {self.frozen.password}}}
      - {{name: full, endpoint: '{self.full.endpoint}', password: {self.full.password}}}
      - {{name: good-2, endpoint: '{good.endpoint}'}}
"""

    def gaps(self, points, name, since_ns):
        """Seconds between collections of a target."""
        times = sorted({p.time_ns for p in points if p.name == "postgresql.connection.max" and
                        p.resource.get("who") == name and p.time_ns > since_ns})
        return [(b - a) / 1e9 for a, b in zip(times, times[1:])]

    def test_bad_ones_are_named_and_harm_nobody(self):
        receiver = self.receiver()
        for name in ("good-1", "good-2", "frozen", "full"):
            receiver = receiver.replace(
                f"{{name: {name},", f"{{name: {name}, attributes: {{who: {name}}},")
        self.full.sql("ALTER ROLE monitor CONNECTION LIMIT 0")
        with weir.Sink() as sink, \
                weir.Weir(weir.config(receiver, weir.otlp(sink), "  shards: 1\n")) as run:
            weir.wait_for("the good targets", lambda: run.answers() and all(
                run.targets()[name]["state"] == "up" for name in ("good-1", "good-2", "frozen")))
            self.frozen.signal_all(signal.SIGSTOP)
            self.addCleanup(self.frozen.signal_all, signal.SIGCONT)
            frozen_ns = time.time_ns()
            time.sleep(6 * weir.SLOW)
            weir.wait_for("the frozen one to be down",
                          lambda: run.targets()["frozen"]["state"] == "down")
            targets = run.targets()
            for name, words in {"wrong-password": ["password authentication failed"],
                                "no-database": ['"nosuch"', "does not exist"],
                                "closed-port": ["refused", str(self.closed.port)],
                                "no-name": ["nosuch.invalid"],
                                "full": ["too many connections"]}.items():
                self.assertEqual(targets[name]["state"], "down", name)
                for word in words:
                    self.assertIn(word, targets[name]["error"], name)
            self.assertNotEqual(targets["frozen"]["error"], "")
            for name in ("good-1", "good-2"):
                self.assertEqual(targets[name]["state"], "up", targets[name])

            self.frozen.signal_all(signal.SIGCONT)
            self.full.sql("ALTER ROLE monitor CONNECTION LIMIT -1")
            self.good.sql("CREATE DATABASE nosuch")
            for name in ("frozen", "full", "no-database"):
                weir.wait_for(f"{name} to come back",
                              lambda: run.targets()[name]["state"] == "up", 15)
            self.assertEqual(run.stop(), 0)
            points = sink.points()
        for name in ("good-1", "good-2"):
            gaps = self.gaps(points, name, frozen_ns)
            self.assertGreater(len(gaps), 8, f"{name}: {gaps}")
            # A fifth of them may be late for reasons of the machine's own.
            self.assertLess(sorted(gaps)[len(gaps) * 4 // 5], 2 * INTERVAL_S * weir.SLOW,
                            f"{name} was delayed: {gaps}")

    def test_login_failures_are_not_hammered(self):
        pg = self.good
        receiver = weir.server(pg, "    session: {backoff_initial: 500ms, backoff_max: 5s}\n",
                               interval="100ms").replace(pg.password, weir.secret("wrong"))
        before = pg.log().count("password authentication failed")
        with weir.Sink() as sink, weir.Weir(weir.config(receiver, weir.otlp(sink))) as run:
            run.wait_live()
            time.sleep(4)
            self.assertEqual(run.stop(), 0)
        failures = pg.log().count("password authentication failed") - before
        self.assertGreater(failures, 0)
        self.assertLess(failures, 9, "every collection tried to log in")


if __name__ == "__main__":
    weir.main()
