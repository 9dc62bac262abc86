# SPDX-License-Identifier: Apache-2.0
"""The disk behind the queue, as a whole program: back ends away, kill -9, disks that fail, stops in
the middle. What was lost and doubled is the sink's verdict against the simulator's."""

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time

import fleet
import spool_rounds
import weir

SERVERS = 2
AWAY = "phases: [{name: away, answer: ['503']}]\n"


def spool(folder, more="", queue="{queue_size: 3, num_consumers: 2}"):
    return (fleet.FAST + f"    sending_queue: {queue}\n"
            f"    spool: {{directory: {folder}, segment: 64KiB, flush_interval: 50ms{more}}}\n")


class Rig:
    """A fleet, a back end, pgweir between them with a spool, and its books read all the time."""

    def __init__(self, script=AWAY, exporter=None, more="", folder=None, service="", **options):
        self.own = None if folder else fleet.Folder()
        self.folder = folder or self.own.path
        self.sim, self.sink = fleet.Sim(SERVERS), fleet.Sink(script)
        text = fleet.config(self.sim.port, SERVERS, (exporter or self.exporter)(more),
                            service=service)
        self.run = fleet.Weir(text, **options)
        self.books = fleet.Books(self.run)

    def exporter(self, more):
        return fleet.otlp(self.sink.endpoint, spool(self.folder, more))

    def __enter__(self):
        self.run.wait_live()
        self.books.thread.start()
        return self

    def __exit__(self, kind, error, trace):
        self.books.close()
        for program in (self.run, self.sim, self.sink):
            program.__exit__(kind, error, trace)
        if self.own:
            self.own.__exit__()
        if error is None:
            self.books.check()

    def spooled(self, points=2000):
        self.run.wait_exporter("spooled_points", points)

    def finish(self, test, lossless=True):
        """The back end is well, the fleet goes: (metrics, report) when all is settled."""
        self.sink.tell(fleet.WELL)
        self.values = self.sim.finish()
        self.run.wait_down(SERVERS)
        metrics, report = self.run.settled(self.sink)
        if lossless:
            fleet.lossless(test, report, self.values)
            test.assertEqual(self.run.dropped(metrics=metrics), {})
            test.assertEqual(report["ledger"]["doubled"], 0)
        return metrics, report

    def working(self):
        return self.run.value("pgweir_spool_working") == 1

    def broken(self, test):
        """Until the spool says that its disk fails: seen on /health, and nothing ends."""
        fleet.wait_for("the spool to fail", lambda: not self.working())
        health = fleet.wait_for("/health to tell", lambda: "spool: " in self.run.get("/health")[1]
                                and json.loads(self.run.get("/health")[1]))
        test.assertNotEqual(health["status"], "ok")
        test.assertTrue(self.run.status()["spool"]["trouble"])

    def mended(self):
        fleet.wait_for("the spool to work again", self.working)


class Roomy(Rig):
    """Memory for all there is: while the disk fails nothing need be given up."""

    def exporter(self, more):
        return fleet.otlp(self.sink.endpoint, spool(self.folder, more,
                                                    "{queue_size: 1000, num_consumers: 2}"))


class Memory(weir.Test):
    def test_a_tiny_queue_costs_nothing(self):
        """Row 21: three batches in memory, the rest on disk, then everything arrives."""
        with Rig() as rig:
            rig.spooled(10000)
            self.assertLessEqual(rig.run.value("pgweir_exporter_queue_batches"), 4)
            self.assertNotEqual(rig.run.get("/health")[0], 503, "nothing is lost: not failing")
            rig.finish(self)
            self.assertEqual(rig.run.stop(), 0)

    def test_a_slow_back_end_delays_no_collection(self):
        """Row 21: answers after 3 s; collections keep their time on one shard."""
        with Rig("phases: [{latency: 3s}]\n", service="  shards: 1\n") as rig:
            rig.run.wait_scrapes(40, fleet.PATIENCE)
            rig.spooled(1)
            lag = rig.run.metrics().quantile("pgweir_schedule_lag_seconds", 0.5)
            self.assertLess(lag, 0.1 * weir.SLOW)
            rig.finish(self)
            self.assertEqual(rig.run.stop(), 0)

    def test_stopped_in_the_middle(self):
        """Row 30: SIGTERM while the back end is away: ended soon, 0, and the next run delivers."""
        with fleet.Folder() as folder:
            with Rig(folder=folder.path) as rig:
                rig.spooled()
                begun = time.monotonic()
                self.assertEqual(rig.run.stop(60), 0)
                self.assertLess(time.monotonic() - begun, 10 * weir.SLOW)
                values = rig.sim.finish()
            with Rig(fleet.WELL, folder=folder.path) as rig:
                metrics, report = rig.finish(self, lossless=False)
                self.assertGreater(metrics.get("pgweir_exporter_recovered_points_total"), 2000)
                self.assertEqual(rig.run.dropped(metrics=metrics), {})
                ledger = report["ledger"]
                self.assertEqual((ledger["gaps"], ledger["doubled"]), (0, 0))
                both = {key: values[key] + rig.values[key] for key in ("values", "void_values")}
                fleet.arrived(self, ledger["distinct"], both)

    def test_stopped_in_catch_up(self):
        """SIGTERM while a back end takes its time with a backlog that lasts for longer: what leaves
        is answered before the end, so that nothing comes twice in the next run."""
        with fleet.Folder() as folder, fleet.Sink(AWAY) as sink:
            more = spool(folder.path, queue="{queue_size: 3, num_consumers: 1}")
            with fleet.Sim(SERVERS) as sim, fleet.Weir(fleet.config(
                    sim.port, SERVERS, fleet.otlp(sink.endpoint, more),
                    service="  shutdown_timeout: 8s")) as run:
                run.wait_live()
                run.wait_exporter("spooled_points", 20000)
                values = sim.finish()
                run.wait_down(SERVERS)
                sink.tell("phases: [{latency: {uniform: [500ms, 900ms]}}]\n")
                run.wait_exporter("delivered_points_total", 1)
                begun = time.monotonic()
                self.assertEqual(run.stop(60), 0)
                self.assertLess(time.monotonic() - begun, 20 * weir.SLOW)
            before = sink.report()["ledger"]["distinct"]
            self.assertLess(before, values["values"] / 3, "most of it is to come")
            sink.tell(fleet.WELL)
            with fleet.Weir(fleet.config(sim.port, SERVERS, fleet.otlp(sink.endpoint, more))) as run:
                run.wait_live()
                _, report = run.settled(sink)
                fleet.lossless(self, report, values)
                self.assertEqual(report["ledger"]["doubled"], 0)

    def test_one_process_a_directory(self):
        """Row 30: the second says which directory, and ends as from any start error."""
        with Rig() as rig:
            text = fleet.config(rig.sim.port, SERVERS, rig.exporter(""))
            with fleet.Weir(text) as second:
                code = second.wait(60)
                self.assertEqual(code, 1)
                self.assertIn(rig.folder, second.output())
            rig.finish(self)
            self.assertEqual(rig.run.stop(), 0)


class Kill(weir.Test):
    def test_rounds(self):
        """Row 29, short form; soak_export.py has a thousand."""
        game = spool_rounds.play(self, 5, random.randrange(1 << 30))
        self.assertGreater(game.kills_away, 1)


class Disk(weir.Test):
    """Rows 27 and 28. Whatever the disk does: the process lives, says so, and goes on by itself
    when it works again; the books balance; nothing is lost that is not counted."""

    def limit(self, run, kind, soft):
        """A limit of the running process; returns the one before."""
        _, hard = resource.prlimit(run.process.pid, kind)
        return resource.prlimit(run.process.pid, kind, (soft, hard))

    def test_efbig(self):
        with Roomy() as rig:
            rig.run.wait_exporter("queued_points", 1000)
            before = self.limit(rig.run, resource.RLIMIT_FSIZE, 4 << 10)
            rig.broken(self)
            rig.run.wait_scrapes(6)
            self.limit(rig.run, resource.RLIMIT_FSIZE, before[0])
            rig.mended()
            rig.finish(self)
            self.assertEqual(rig.run.stop(), 0)

    def test_enospc(self):
        with fleet.Folder() as folder:
            mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs",
                                      folder.path], capture_output=True, text=True)
            if mounted.returncode != 0:
                fleet.not_here(self, f"no mount here: {mounted.stderr.strip()}")
            try:
                self.on_small_disk(folder.path)
            finally:
                subprocess.run(["umount", "-l", folder.path], check=True)

    def on_small_disk(self, path):
        ballast = os.path.join(path, "ballast")
        with Roomy(folder=path) as rig:
            rig.run.wait_exporter("queued_points", 500)
            full = os.open(ballast, os.O_WRONLY | os.O_CREAT)
            with contextlib.suppress(OSError):
                while True:
                    os.write(full, b"x" * 4096)
            os.close(full)
            rig.broken(self)
            os.unlink(ballast)
            rig.mended()
            rig.finish(self)
            self.assertEqual(rig.run.stop(), 0)

    def test_read_only(self):
        """No new files for a while. Root may do anything, so it is somebody else who runs."""
        user = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")
        root = os.getuid() == 0
        if root and subprocess.run([*user, weir.BIN, "version"], capture_output=True).returncode:
            fleet.not_here(self, "as root, and pgweir cannot be run as postgres here")
        with fleet.Folder() as folder:
            if root:
                shutil.chown(folder.path, "postgres", "postgres")
            with Roomy(folder=folder.path, prefix=user if root else ()) as rig:
                rig.run.wait_exporter("queued_points", 500)
                own = os.path.join(folder.path, "otlp_http")
                os.chmod(own, 0o500)
                rig.broken(self)
                os.chmod(own, 0o700)
                rig.mended()
                rig.finish(self)
                self.assertEqual(rig.run.stop(), 0)

    def test_directory_gone(self):
        """What was on disk alone is lost, and counted; the rest goes on in a new directory."""
        with Rig() as rig:
            rig.spooled()
            own = os.path.join(rig.folder, "otlp_http")
            inode = os.stat(own).st_ino

            def gone():
                """Files come into it until it is gone; then it is another one."""
                with contextlib.suppress(FileNotFoundError):
                    if os.stat(own).st_ino != inode:
                        return True
                    shutil.rmtree(own, ignore_errors=True)
                return not os.path.isdir(own) or os.stat(own).st_ino != inode
            fleet.wait_for("the directory to be gone", gone)
            rig.run.wait_scrapes(6)
            fleet.wait_for("a spool that works", lambda: rig.working() and os.path.isdir(own))
            metrics, report = rig.finish(self, lossless=False)
            lost = rig.run.dropped(metrics=metrics)
            self.assertEqual(report["ledger"]["doubled"], 0)
            self.assertLessEqual(set(lost), {"spool_corrupt"})
            self.assertEqual(metrics.get("pgweir_exporter_delivered_points_total"),
                             report["taken_points"])
            self.assertEqual(rig.run.stop(), 0)

    def test_eio(self):
        """fdatasync fails a few times in a row, as on a dying disk: written anew elsewhere."""
        if shutil.which("strace") is None:
            fleet.not_here(self, "no strace")
        probe = subprocess.run(["strace", "-f", "-e", "inject=fdatasync:error=EIO:when=3..5",
                                "true"], capture_output=True, text=True)
        if probe.returncode != 0:
            fleet.not_here(self, f"no ptrace here: {probe.stderr.strip()[-200:]}")
        prefix = ("strace", "-D", "-f", "-o", "/dev/null", "-e", "trace=fdatasync",
                  "-e", "inject=fdatasync:error=EIO:when=3..5")
        with Roomy(prefix=prefix, env={"ASAN_OPTIONS": "detect_leaks=0"}) as rig:
            fleet.wait_for("failed syncs", lambda: rig.run.value("pgweir_spool_errors_total") > 1)
            rig.mended()
            rig.run.wait_scrapes(6)
            rig.finish(self)
            self.assertEqual(rig.run.stop(), 0)


class Process(weir.Test):
    def test_no_descriptors(self):
        """Row 17: none left for a while; what is connected goes on, all comes back."""
        with Roomy(fleet.WELL) as rig:
            rig.run.wait_delivered(1000)
            open_now = len(os.listdir(f"/proc/{rig.run.process.pid}/fd"))
            soft, hard = resource.prlimit(rig.run.process.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(rig.run.process.pid, resource.RLIMIT_NOFILE, (3, hard))
            rig.sink.tell("phases: [{name: cut, for: 2s, drop_connections: true, "
                          "answer: ['503']}, {name: well}]\n")
            fleet.wait_for("the worst to be over", lambda: rig.sink.report()["phase"] == "well")
            time.sleep(1)
            self.assertTrue(rig.run.running())
            resource.prlimit(rig.run.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
            rig.run.wait_delivered(rig.run.exporter("delivered_points_total") + 1000,
                                   seconds=fleet.PATIENCE)
            self.assertLessEqual(len(os.listdir(f"/proc/{rig.run.process.pid}/fd")), open_now + 8)
            rig.finish(self)
            self.assertEqual(rig.run.stop(), 0)

    def test_suspended(self):
        """Row 30: 5 s asleep; no heap of collections afterwards, nothing lost or doubled."""
        with Rig(fleet.WELL) as rig:
            rig.run.wait_delivered(1000)
            rig.books.close()  # nobody answers meanwhile
            before = rig.run.value("pgweir_scrapes_total")
            rig.run.signal(signal.SIGSTOP)
            time.sleep(5)
            rig.run.signal(signal.SIGCONT)
            begun = time.monotonic()
            rig.run.wait_scrapes(2 * SERVERS, fleet.PATIENCE)
            after, seconds = rig.run.value("pgweir_scrapes_total"), time.monotonic() - begun
            self.assertLess(after - before, SERVERS * (seconds / 0.2 + 8), "made up for")
            rig.finish(self)
            self.assertEqual(rig.run.stop(), 0)


if __name__ == "__main__":
    fleet.main()
