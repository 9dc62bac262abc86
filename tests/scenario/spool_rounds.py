# SPDX-License-Identifier: Apache-2.0
"""kill -9, again and again, on one spool directory, each round with a fleet of its own whose
counters begin anew. Every other round pgweir dies

- while it collects and nobody takes anything: at least what was on disk before the kill is
  recovered, nothing of it arrived before, and there is no gap: what is lost is the end, which no
  disk had yet (one batch of it at most half written: the kill was in the middle, and its points are
  told as corrupt);
- while a back end that takes its time takes what was all on disk: everything arrives, exactly; what
  comes twice was not acknowledged yet.

Then it starts once more without a fleet, and all that it recovers must arrive: books that balance
at every reading, no damage, nothing dropped."""

import os
import random
import re
import socket
import time

import fleet
import weir

SERVERS = 3
AWAY = "phases: [{connections: refuse}]\n"
# So that a kill finds requests in flight and, however late it comes, something that is left.
SLOW = "phases: [{latency: {uniform: [1ms, 100ms]}, faults: [{do: blackhole, after: 20}]}]\n"
BREAKER = "    circuit_breaker: {pause: 20ms, pause_max: 100ms}\n"


class Rounds:
    def __init__(self, test, folder, seed, longest=1.5):
        self.test, self.folder, self.longest = test, folder, longest
        self.random = random.Random(seed)
        self.keeper = socket.socket()  # of the port of every round's fleet: nobody else gets it
        self.keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.keeper.bind(("", 0))
        self.port = self.keeper.getsockname()[1]
        self.doubled = self.recovered = self.kills_away = 0

    def exporter(self, sink):
        # Small segments: files come and go within a round. Batches in memory: few.
        return fleet.otlp(sink.endpoint, "    retry_on_failure: {initial_interval: 20ms}\n"
                          + BREAKER + "    sending_queue: {queue_size: 4, num_consumers: 2}\n"
                          + "    spool: {segment: 64KiB, size: 64MiB, flush_interval: 20ms, "
                          + f"directory: {self.folder}}}\n")

    def weir(self, sink):
        return fleet.Weir(fleet.config(self.port, SERVERS, self.exporter(sink), interval="100ms",
                                       batch="{timeout: 20ms}"))

    def collecting(self, sink):
        """Killed while it writes."""
        sink.tell(AWAY)
        with fleet.Sim(SERVERS, port=self.port) as sim, self.weir(sink) as run:
            run.wait_live()
            run.wait_exporter("collected_points_total", 3000)
            time.sleep(self.random.uniform(0, self.longest))
            on_disk = run.status()["spool"]["points"]
            fleet.kill(run)
            sim.finish()
        recovered, doubled = self.after(sink, torn=1)
        self.test.assertGreaterEqual(recovered, on_disk)
        self.test.assertGreater(on_disk, 0)
        self.test.assertEqual(doubled, 0)
        self.kills_away += 1

    def delivering(self, sink):
        """Killed while it reads, sends, acknowledges and removes."""
        sink.tell(AWAY)
        before = sink.report()["ledger"]["distinct"]
        with fleet.Sim(SERVERS, port=self.port) as sim, self.weir(sink) as run:
            run.wait_live()
            run.wait_exporter("collected_points_total", 30000)
            collected = sim.finish()
            run.wait_down(SERVERS)
            least = run.pending()
            fleet.wait_for("all to be on disk", lambda: run.status()["spool"]["points"] >= least)
            sink.tell(SLOW)
            run.wait_exporter("delivered_points_total", 1)
            time.sleep(self.random.uniform(0, self.longest / 3))
            metrics = run.metrics()
            fleet.kill(run)
            said = run.output()
        self.test.assertEqual(run.dropped(metrics=metrics), {}, said)
        arrived = sink.report()["ledger"]["distinct"] - before
        recovered, doubled = self.after(sink)
        fleet.arrived(self.test, sink.report()["ledger"]["distinct"] - before, collected,
                      f"{least} on disk, then {metrics.ledger('otlp_http')}; {arrived} arrived "
                      f"before the kill; {recovered} recovered, {doubled} came twice\n{said}")

    def after(self, sink, torn=0):
        """The life after the kill, at most `torn` batches half written; (points recovered, points
        that came twice)."""
        sink.tell(fleet.WELL)
        before = sink.report()["ledger"]
        with self.weir(sink) as run:
            run.wait_live()
            with fleet.Books(run):
                metrics, report = run.settled(sink)
            dropped = run.dropped(metrics=metrics)
            found = sum(map(int, re.findall(r" corrupt_batches=(\d+)", run.output())))
            self.test.assertLessEqual(found, torn, run.output())
            self.test.assertEqual(set(dropped), {"spool_corrupt"} if found else set())
            self.test.assertEqual(run.stop(), 0)
            recovered = int(metrics.get("pgweir_exporter_recovered_points_total"))
            self.test.assertGreater(recovered, 0, run.output())
        after = report["ledger"]
        # Of the ledger: points that tell whether a server is up are not in it.
        grown, doubled = (after[key] - before[key] for key in ("points", "doubled"))
        self.test.assertEqual(after["gaps"], 0, after["gap_examples"])
        self.test.assertEqual((after["unproven"], after["undecided"]), (0, 0))
        self.test.assertEqual(report["bad_bodies"], 0)
        self.test.assertLessEqual(grown, recovered)
        self.test.assertLessEqual(doubled, grown)
        self.recovered += recovered
        self.doubled += doubled
        return recovered, doubled


def play(test, rounds, seed, tell=None):
    """`rounds` rounds of both kinds, in turn; the Rounds."""
    with fleet.Folder() as folder, fleet.Sink() as sink:
        game = Rounds(test, folder.path, seed)
        for i in range(rounds):
            (game.delivering if i % 2 else game.collecting)(sink)
            if tell:
                tell(i + 1, game)
        game.keeper.close()
        test.assertGreater(game.recovered, 0)
        files = [name for _, _, names in os.walk(folder.path) for name in names]
        test.assertLess(len(files), 20, "files of what is delivered stay behind")
    return game
