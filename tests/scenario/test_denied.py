# SPDX-License-Identifier: Apache-2.0
"""What a process is denied: memory, at every place where it asks for some, and the processor, for
one of its threads. deny.c, preloaded, denies it; so these run with builds that have no sanitizer."""

import contextlib
import os
import random
import time

import fleet
import weir

DENY = os.environ.get("PGWEIR_DENY") or os.path.join(weir.ROOT, "build/release/tests/scenario/deny.so")
# Of the tens of thousands of allocations of a run this many are denied. The long form, 3000, draws
# others each time.
PLACES = int(os.environ.get("PGWEIR_PLACES", "60"))
SEED = os.environ.get("PGWEIR_SEED") or (random.randrange(1 << 32) if PLACES > 60 else 1)
OUT_OF_MEMORY = 71
SERVERS = 2


class Memory(weir.unittest.TestCase):
    """The n-th allocation fails, for an n of each size: once, and from then on. Whatever asked, be
    it pgweir, libpq, curl or the C library: the process goes on or ends itself and says why. It
    never crashes, and it leaves a spool that the next one reads."""

    def play(self, sim, sink, spool, deny, seconds=20):
        """One life; (exit code, output)."""
        more = fleet.FAST + ("    sending_queue: {queue_size: 4, num_consumers: 1}\n"
                             f"    spool: {{directory: {spool}, segment: 64KiB, "
                             "flush_interval: 20ms}\n")
        others = (fleet.otlp(sink.endpoint, "    compression: zstd\n", "otlp_http/zstd") +
                  f"  prometheusremotewrite:\n    endpoint: {sink.endpoint}/api/v1/write\n"
                  f"  prometheus:\n    endpoint: 127.0.0.1:{weir.free_port()}\n")
        text = fleet.config(sim.port, SERVERS, fleet.otlp(sink.endpoint, more) + others,
                            batch="{timeout: 20ms}", service="  shards: 1")
        with fleet.Weir(text, env={"LD_PRELOAD": DENY, **deny}) as run:
            before = sink.report()["requests"]
            with contextlib.suppress(AssertionError):
                fleet.wait_for("requests", lambda: not run.running() or
                               sink.report()["requests"] >= before + 4, 3)
            return run.stop(seconds), run.output()

    def test_denied_memory(self):
        weir.need(DENY, "build it")
        seed = int(SEED)
        chance = random.Random(seed)
        ends = {}
        with fleet.Folder() as folder, fleet.Sim(SERVERS) as sim, fleet.Sink() as sink:
            count_file = os.path.join(folder.path, "count")
            spool = os.path.join(folder.path, "spool")
            code, text = self.play(sim, sink, spool, {"DENY_MEMORY_COUNT": count_file})
            self.assertEqual(code, 0, text)
            with open(count_file) as file:
                asked = int(file.read())
            self.assertGreater(asked, 1000)
            for i in range(PLACES):
                # Early ones as often as late ones, in turn with all as often.
                at = int(asked ** chance.uniform(0, 1)) if i % 4 < 2 else chance.randint(1, asked)
                deny = f"{at}{'+' if i % 2 else ''}"
                with self.subTest(seed=seed, deny=deny):
                    code, text = self.play(sim, sink, spool, {"DENY_MEMORY": deny})
                    ends[code] = ends.get(code, 0) + 1
                    self.assertIn(code, (0, 1, 2, OUT_OF_MEMORY), text)
                    self.assertTrue(code == 0 or text.strip(), "it ended without a word")
                    self.assertNotIn("bug:", text)
            print(f"{PLACES} of {asked} allocations denied; exit codes {ends}")
            code, text = self.play(sim, sink, spool, {})
            self.assertEqual(code, 0, text)
            self.assertEqual(sink.report()["bad_bodies"], 0)
        self.assertIn(OUT_OF_MEMORY, ends)
        self.assertIn(0, ends)


class Processor(weir.unittest.TestCase):
    """One shard sleeps for 20 s in the middle of its work. The servers of the others are read as
    before, what they give is delivered, and /livez names the one that stands still. Its servers
    are read again afterwards, and not more often than once for what was missed."""

    INTERVAL, SLEEPS, FLEET = 0.5, 20, 8

    def scrapes(self, run):
        return {name: entry["scrapes"] for name, entry in run.targets().items()}

    def test_stalled_shard(self):
        weir.need(DENY, "build it")
        with fleet.Sim(self.FLEET) as sim, fleet.Sink() as sink:
            text = fleet.config(sim.port, self.FLEET, fleet.otlp(sink.endpoint),
                                interval=f"{self.INTERVAL}s", service="  shards: 2")
            deny = {"LD_PRELOAD": DENY, "DENY_CPU": f"shard-1:3:{self.SLEEPS}"}
            with fleet.Weir(text, env=deny) as run:
                run.wait_live()
                shard = {name: entry["shard"] for name, entry in run.targets().items()}
                awake = [name for name in shard if shard[name] == 0]
                asleep = [name for name in shard if shard[name] == 1]
                self.assertTrue(awake and asleep)
                time.sleep(5)  # it sleeps by now
                began, first = time.monotonic(), self.scrapes(run)
                delivered = run.exporter("delivered_points_total")
                status = fleet.wait_for("/livez to fail", lambda: (lambda answer: answer[0] != 200
                                        and answer)(run.get("/livez")), self.SLEEPS)
                self.assertEqual(status[0], 503)
                self.assertIn("shard 1 has not turned", status[1])
                second, took = self.scrapes(run), time.monotonic() - began
                for name in asleep:
                    self.assertEqual(second[name], first[name], name)
                expected = took / self.INTERVAL
                for name in awake:
                    again = second[name] - first[name]
                    # Half of them, were this process denied the processor, too, for a while.
                    self.assertTrue(expected / 2 <= again <= expected + 2, f"{name}: {again}")
                self.assertGreater(run.exporter("delivered_points_total"), delivered)
                fleet.wait_for("/livez to be well again", run.answers, self.SLEEPS)
                began, third = time.monotonic(), self.scrapes(run)
                time.sleep(4)
                fourth, took = self.scrapes(run), time.monotonic() - began
                for name in asleep:
                    again = fourth[name] - third[name]
                    self.assertGreaterEqual(again, 1, name)
                    self.assertLessEqual(again, took / self.INTERVAL + 2, name)
                values = sim.finish()
                run.wait_down(self.FLEET)
                _, report = run.settled(sink)
                fleet.lossless(self, report, values)
                self.assertEqual(run.dropped(), {})


if __name__ == "__main__":
    fleet.main()
