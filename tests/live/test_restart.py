# SPDX-License-Identifier: Apache-2.0
"""Servers that die: between collections, in the middle of a result, and sessions that are ended.
Counters that began again carry a new start time; half a result is never delivered."""

import contextlib
import random
import socket
import struct
import threading
import time

import oracle
import weir


class Cutter:
    """A proxy to the server that resets the connection after a number of bytes, when armed."""

    def __init__(self, port):
        self.port, self.left, self.cuts = port, None, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.port))
                threading.Thread(target=self._pump, args=(client, server, False),
                                 daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client, True),
                                 daemon=True).start()

    def _pump(self, source, to, results):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if results and self.left is not None:
                    if len(data) >= self.left:
                        to.sendall(data[:self.left])
                        self._reset(to, source)
                        return
                    self.left -= len(data)
                to.sendall(data)
        for s in (source, to):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    def _reset(self, *sockets):
        self.left, self.cuts = None, self.cuts + 1
        for s in sockets:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RD)  # wakes the other pump, which would keep it open
            s.close()

    def close(self):
        self.listener.close()


BACKOFF = "    session: {backoff_initial: 100ms, backoff_max: 300ms}\n"


class Restart(weir.Test):
    def setUp(self):
        self.pg = weir.Cluster()
        self.addCleanup(self.pg.close)
        oracle.populate(self.pg, "app")

    def test_counters_start_anew_after_a_crash(self):
        receiver = weir.server(self.pg, BACKOFF, interval="1s", databases=["app"])
        with weir.Sink() as sink, weir.Weir(weir.config(receiver, weir.otlp(sink))) as run:
            run.wait_delivered()
            run.wait_scrapes(3)
            self.pg.kill()
            weir.wait_for("the target to be down", lambda: list(
                run.targets().values())[0]["state"] == "down")
            crashed_ns = time.time_ns()
            self.pg.start()
            weir.wait_for("the target to be up", lambda: list(
                run.targets().values())[0]["state"] == "up")
            run.wait_scrapes(3)
            self.assertEqual(run.stop(), 0)
            points = sink.points()
        commits = [p for p in points if p.name == "postgresql.commits" and
                   p.attributes["db.namespace"] == "app"]
        before = {p.start_ns for p in commits if p.time_ns < crashed_ns}
        after = {p.start_ns for p in commits if p.time_ns > crashed_ns}
        self.assertEqual((len(before), len(after)), (1, 1), (before, after))
        self.assertGreater(min(after), max(before))
        self.assertGreater(min(after), crashed_ns - 2_000_000_000)
        for a, b in zip(commits, commits[1:]):
            if a.start_ns == b.start_ns:
                self.assertLessEqual(a.value, b.value, "a counter went back without a new start")

    def test_statistics_reset_is_a_new_start(self):
        receiver = weir.server(self.pg, interval="1s", databases=["app"])
        with weir.Sink() as sink, weir.Weir(weir.config(receiver, weir.otlp(sink))) as run:
            run.wait_delivered()
            run.wait_scrapes(3)
            reset_ns = time.time_ns()
            self.pg.sql("SELECT pg_stat_reset()", "app")
            run.wait_scrapes(4)
            self.assertEqual(run.stop(), 0)
            points = sink.points()
        series = [p for p in points if p.name == "postgresql.commits" and
                  p.attributes["db.namespace"] == "app"]
        self.assertLess(series[-1].value, series[0].value)
        self.assertGreater(series[-1].start_ns, series[0].start_ns)
        self.assertGreater(series[-1].start_ns, reset_ns - 1_000_000_000)

    def test_a_result_cut_in_the_middle_is_not_delivered_in_part(self):
        tables = 60
        self.pg.sql(f"""DO $$ BEGIN FOR i IN 1..{tables} LOOP
            EXECUTE format('CREATE TABLE t%s (id int)', i); END LOOP; END $$""", "app")
        expected = {2 * int(self.pg.value("SELECT count(*) FROM pg_stat_user_tables", "app"))}
        proxy = Cutter(self.pg.port)
        self.addCleanup(proxy.close)
        receiver = weir.server(self.pg, BACKOFF, interval="500ms", databases=["app"]).replace(
            self.pg.endpoint, proxy.endpoint)
        random.seed(1)
        with weir.Sink() as sink, weir.Weir(weir.config(receiver, weir.otlp(sink))) as run:
            run.wait_delivered()
            for _ in range(12):
                cuts = proxy.cuts
                proxy.left = random.randrange(1, 40000)
                weir.wait_for("a cut", lambda: proxy.cuts > cuts)
                time.sleep(0.3)
            weir.wait_for("the target to be up", lambda: list(
                run.targets().values())[0]["state"] == "up")
            run.wait_scrapes(2)
            lost = run.metrics().get("pgweir_connections_closed_total", reason="lost")
            self.assertEqual(run.stop(), 0)
            points = sink.points()
        self.assertGreater(lost, 0)
        rows = {}
        for p in points:
            if p.name == "postgresql.rows":
                rows[p.time_ns] = rows.get(p.time_ns, 0) + 1
        self.assertEqual(set(rows.values()), expected, "a part of a result was delivered")

    def test_sessions_ended_by_an_administrator(self):
        receiver = weir.server(self.pg, BACKOFF, interval="500ms", databases=["app"])
        with weir.Sink() as sink, weir.Weir(weir.config(receiver, weir.otlp(sink))) as run:
            run.wait_delivered()
            for _ in range(10):
                self.pg.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                            "WHERE application_name LIKE 'pgweir%'")
                time.sleep(0.15)
            run.wait_scrapes(3)
            weir.wait_for("the target to be up", lambda: list(
                run.targets().values())[0]["state"] == "up")
            self.assertEqual(run.stop(), 0)


if __name__ == "__main__":
    weir.main()
