# SPDX-License-Identifier: Apache-2.0
"""`pgweir spool ls|verify|export` beside a running collector, after its end, and on a damaged copy;
what is exported is sent by hand, as --help says, and the sink's ledger finds nothing missing."""

import os
import re
import shutil
import struct
import subprocess
import urllib.request

import fleet
import weir

SERVERS = 2
AWAY = "phases: [{name: away, answer: ['503']}]\n"
ENCODINGS = {"gzip": ".gz", "zstd": ".zst", "none": ""}


def spool(*arguments, code=0):
    """(stdout, stderr) of `pgweir spool …`."""
    run = subprocess.run([weir.BIN, "spool", *arguments], capture_output=True, timeout=120)
    if run.returncode != code:
        raise AssertionError(f"{arguments}: {run.returncode}\n{run.stdout[-2000:]}{run.stderr}")
    return run.stdout, run.stderr.decode()


def waiting(folder):
    """(batches, points) that `verify` says are waiting."""
    text = spool("verify", folder)[0].decode()
    return tuple(int(n) for n in re.search(r"(\d+) of them waiting with (\d+) points", text).groups())


class Backlog:
    """A collector whose back end is away; used, ended by kill -9, its spool left."""

    def __init__(self, folder, compression="gzip", until=3000):
        self.folder, self.compression, self.until = folder, compression, until

    def run(self, beside):
        more = (f"    compression: {self.compression}\n" + fleet.FAST +
                f"    spool: {{directory: {self.folder}, segment: 64KiB, flush_interval: 50ms}}\n")
        with fleet.Sim(SERVERS) as sim, fleet.Sink(AWAY) as sink:
            text = fleet.config(sim.port, SERVERS, fleet.otlp(sink.endpoint, more))
            with fleet.Weir(text) as run:
                run.wait_live()
                run.wait_exporter("queued_points", self.until)
                beside()
                self.report = sim.finish()
                run.wait_down(SERVERS)
                fleet.wait_for("all to be written",
                               lambda: waiting(self.folder)[1] >= self.report["values"])
                fleet.kill(run)


def send(sink, body, encoding):
    headers = {"Content-Type": "application/x-protobuf"}
    if encoding != "none":
        headers["Content-Encoding"] = encoding
    request = urllib.request.Request(sink.endpoint + "/v1/metrics", body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200


class Command(weir.Test):
    def check_beside(self):
        """Any time, also while batches are written."""
        def sound():
            """What is just being written is sound soon."""
            text = spool("ls", self.folder)[0].decode()
            self.assertIn("otlp_http", text)
            return "no record" not in text and re.search(
                r"\.segment +\d+ +\d+ +\d+ +\d+ +\d+s", text)
        for _ in range(5):
            fleet.wait_for("a list of sound files", sound, 10)
            batches, points = waiting(self.folder)
            self.assertGreater(batches, 1)
            self.assertGreaterEqual(points, 2000)

    def backlog(self, folder, compression="gzip"):
        self.folder = folder
        backlog = Backlog(folder, compression)
        backlog.run(self.check_beside)
        return backlog.report

    def test_files_are_sent_again(self):
        for encoding, suffix in ENCODINGS.items():
            with self.subTest(encoding), fleet.Folder() as folder, fleet.Folder() as out:
                collected = self.backlog(folder.path, encoding)
                own = os.path.join(folder.path, "otlp_http")
                batches, points = waiting(own)
                to = os.path.join(out.path, "batches")
                said = spool("export", own, "--to", to)[1]
                self.assertIn(f"{batches} batches with {points} points", said)
                names = sorted(os.listdir(to))
                self.assertEqual(len(names), batches)
                with fleet.Sink() as sink:
                    for name in names:
                        self.assertTrue(name.endswith(".pb" + suffix), name)
                        with open(os.path.join(to, name), "rb") as file:
                            send(sink, file.read(), encoding)
                    report = sink.report()
                self.assertEqual(report["taken_points"], points)
                fleet.lossless(self, report, collected)
                spool("export", own, "--to", to, code=1)  # nothing is overwritten

    def test_plain_stream(self):
        with fleet.Folder() as folder:
            collected = self.backlog(folder.path)
            stream = spool("export", folder.path, "--plain")[0]
            with fleet.Sink() as sink:
                while stream:
                    size, = struct.unpack(">I", stream[:4])
                    send(sink, stream[4:4 + size], "none")
                    stream = stream[4 + size:]
                fleet.lossless(self, sink.report(), collected)

    def test_records_and_damage(self):
        with fleet.Folder() as folder, fleet.Folder() as copy:
            self.backlog(folder.path)
            batches, points = waiting(folder.path)
            rows = re.findall(r"batch (\d+) +(\d+) points +(\d+) bytes gzip",
                              spool("ls", folder.path, "--records")[0].decode())
            self.assertEqual((len(rows), sum(int(row[1]) for row in rows)), (batches, points))
            whole = os.path.join(copy.path, "whole")
            shutil.copytree(os.path.join(folder.path, "otlp_http"), whole)
            self.assertEqual(waiting(whole), (batches, points))
            segments = sorted(name for name in os.listdir(whole) if name.endswith(".segment"))
            self.assertGreater(len(segments), 1)
            with open(os.path.join(whole, segments[0]), "r+b") as file:
                file.seek(64 + 80 + 10)  # in the first body
                byte = file.read(1)
                file.seek(-1, os.SEEK_CUR)
                file.write(bytes([byte[0] ^ 1]))
            text = spool("verify", whole, code=1)[0].decode()
            self.assertIn("DAMAGED", text)
            self.assertIn(f"at byte 64: batch {rows[0][0]} with {rows[0][1]} points: its body is not "
                          "what was written", text)
            said = spool("export", whole, "--to", os.path.join(copy.path, "out"), code=1)[1]
            self.assertIn(f"{batches - 1} batches with {points - int(rows[0][1])} points", said)
            os.unlink(os.path.join(whole, segments[1]))
            text = spool("verify", whole, code=1)[0].decode()
            self.assertRegex(text, r"missing: \d+ batches with \d+ points")

    def test_usage(self):
        cases = [((), 2, "Examples:"), (("ls",), 2, "which directory"),
                 (("frob", "x"), 2, "ls, verify or export"), (("ls", "/", "--frob"), 2, "--frob"),
                 (("ls", "/nowhere"), 1, "No such file"), (("ls", "/proc/self"), 1, "no spool here"),
                 (("export", "/"), 2, "--to FOLDER or --plain"),
                 (("export", "/", "--to", "/x", "--plain"), 2, "--to FOLDER or --plain"),
                 (("verify", "/", "--records"), 2, "--records is of ls")]
        for arguments, code, text in cases:
            with self.subTest(arguments):
                self.assertIn(text, spool(*arguments, code=code)[1])
        self.assertIn("curl", spool("--help")[0].decode())


if __name__ == "__main__":
    fleet.main()
