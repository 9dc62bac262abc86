# SPDX-License-Identifier: Apache-2.0
"""pgweir-load as a whole: a real collector, simulated servers, our sink; good runs and bad ones.

Environment: PGWEIR_LOAD (the program), PGWEIR_SCENARIOS (perf/scenarios)."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

LOAD = os.environ["PGWEIR_LOAD"]
SCENARIOS = os.environ["PGWEIR_SCENARIOS"]
NUMBER = re.compile(r"-?[0-9.]+(e[+-]?[0-9]+)?")
LAST_LINE = ["servers", "lag_p99_ms", "age_p99_ms", "points_per_s", "lost", "doubled",
             "cpu_us_per_point", "rss_kib_per_server"]


def children_of(directory):
    """Processes whose command line names the directory."""
    found = []
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                line = file.read()
        except OSError:
            continue
        if name.isdigit() and int(name) != os.getpid() and directory.encode() in line:
            found.append(line)
    return found


class Test(unittest.TestCase):
    maxDiff = 4000

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="pgweir-load-test-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def load(self, *arguments, seconds=60):
        done = subprocess.run([LOAD, *arguments], capture_output=True, text=True, timeout=seconds,
                              cwd=self.directory)
        for text in (done.stdout, done.stderr):
            self.assertNotIn("Sanitizer", text)
            self.assertNotIn("runtime error", text)
        return done

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def last_line(self, done):
        pairs = [pair.split("=", 1) for pair in done.stdout.splitlines()[-1].split(" ")]
        self.assertEqual([key for key, _ in pairs], LAST_LINE, done.stdout + done.stderr)
        return dict(pairs)

    def result(self):
        with open(os.path.join(self.directory, "out", "result.json")) as file:
            return json.load(file)

    def run_all(self, *arguments, code=0):
        done = self.load(*arguments, "--out", "out")
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        self.assertEqual(children_of(self.directory), [])
        return done

    # ------------------------------------------------------------------ good runs

    def test_steady(self):
        done = self.run_all("steady", "--servers", "50", "--interval", "1s", "--for", "5s",
                            "--slo", "age p99 < 30 s, loss = 0, doubled = 0")
        line = self.last_line(done)
        self.assertEqual((line["servers"], line["lost"], line["doubled"]), ("50", "0", "0"))
        for key, value in line.items():
            self.assertTrue(NUMBER.fullmatch(value), f"{key}={value}")
        self.check_schema(self.result(), line)
        with open(os.path.join(self.directory, "out", "summary.txt")) as file:
            self.assertEqual(file.read(), done.stdout)
        with open(os.path.join(self.directory, "out", "report.html")) as file:
            self.assertIn("</html>", file.read())
        self.assertIn("steady, about", done.stderr)  # lines where there is no terminal
        # and it is the same as itself
        same = self.load("compare", "out/result.json", "out/result.json")
        self.assertEqual(same.returncode, 0, same.stdout + same.stderr)

    def check_schema(self, result, line):
        self.assertEqual(result["version"], 1)
        self.assertEqual(result["name"], "steady")
        self.assertRegex(result["started"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertIn("--servers 50", result["command"])
        self.assertEqual(set(result["machine"]), {"cpu", "cores", "kernel", "memory_mib"})
        options, summary = result["options"], result["summary"]
        self.assertEqual(options["servers"], 50)
        self.assertEqual(options["interval_ms"], 1000)
        self.assertEqual(options["groups"], ["core"])
        self.assertEqual(options["compression"], "gzip")
        self.assertAlmostEqual(summary["lag_p99_ms"], float(line["lag_p99_ms"]), delta=0.01)
        # 50 servers, once a second: the window begins and ends between collections; two seconds of
        # a machine that does something else are no fault
        due = 50 * summary["seconds"]
        self.assertTrue(due - 150 <= summary["scrapes"] + summary["skipped"] <= due + 50, summary)
        self.assertGreater(summary["scrapes"], 0)
        self.assertGreater(summary["points"], 200 * summary["scrapes"])
        self.assertEqual(summary["connections"], 50)
        self.assertEqual(summary["rejected"], 0)
        self.assertIsNone(summary["syscalls_per_scrape"])
        self.assertGreater(summary["lag_max_ms"], summary["lag_p50_ms"])
        self.assertGreater(summary["cpu_cores"], 0)
        self.assertGreater(summary["rss_mib"], summary["rss_baseline_mib"])
        threads = {row["thread"] for row in result["cpu"]}
        self.assertLessEqual({"shard-0", "pgweir-worker", "admin"}, threads)
        self.assertEqual({row["program"] for row in result["others"]},
                         {"pgweir-sim", "pgweir-sink"})
        for name in ("lag", "age", "scrape", "delivery"):
            histogram = result["histograms"][name]
            self.assertEqual(histogram["count"], sum(n for _, n in histogram["buckets"]))
            self.assertGreater(histogram["count"], 0)
        self.assertAlmostEqual(result["histograms"]["lag"]["count"], summary["scrapes"], delta=50)
        self.assertEqual([phase["name"] for phase in result["phases"]], ["warm-up", "steady"])
        self.assertGreaterEqual(len(result["timeline"]), 3)
        for moment in result["timeline"]:
            self.assertLessEqual({"t", "servers", "points_per_s", "lag_p99_ms", "age_p99_ms",
                                  "cpu_cores", "rss_mib", "connections", "phase"}, set(moment))
        self.assertTrue(all(check["ok"] for check in result["checks"]))
        self.assertIn("nothing lost", [check["name"] for check in result["checks"]])
        self.assertEqual(result["steps"], [])
        self.assertIsNone(result["slopes"])

    def test_everything_encrypted(self):
        """TLS and SCRAM to the servers, TLS to the back end, another compressor."""
        done = self.run_all("soak", "--servers", "10", "--interval", "500ms", "--for", "3s",
                            "--warmup", "1s", "--tls", "--auth", "scram", "--backend-tls",
                            "--compression", "zstd", "--rss-baseline-kib", "20000",
                            "--groups", "core,tables", "--tables", "12", "--quiet")
        line = self.last_line(done)
        self.assertEqual((line["lost"], line["doubled"]), ("0", "0"))
        self.assertEqual(done.stderr, "")
        result = self.result()
        self.assertLessEqual({"rss_kib_per_h", "descriptors_per_h", "lag_ms_per_h"},
                             set(result["slopes"]))
        self.assertEqual(result["summary"]["rss_baseline_mib"], 20000 / 1024)

    # ------------------------------------------------------------------ what must be found out

    def test_losses_are_found(self):
        """The back end takes all but three points of each request, which is no error that anybody
        sees, then refuses whole requests for good; and a condition is stated that cannot hold."""
        path = self.write("faulty.yaml", """
name: faulty
servers: 20
interval: 500ms
warmup: 1500ms
rss_baseline_kib: 1
slo: points_per_s > 1e9
phases:
  - {name: fine, for: 500ms}
  - {name: partial, for: 4s, sink: "phases: [{faults: [{do: partial, rejected: 3}]}]"}
  - {name: refused, for: 4s, sink: "phases: [{answer: ['400']}]"}
  - {name: fine, for: 500ms, sink: "phases: [{name: fine}]"}
""")
        done = self.run_all("run", path, code=1)
        summary = self.result()["summary"]
        self.assertGreater(summary["rejected"], 0)
        self.assertEqual(summary["rejected"] % 3, 0)
        refused = summary["dropped"] - summary["rejected"]
        self.assertGreater(refused, 0)
        # the collector's count includes pgweir.* points, of which the ledger keeps no account
        self.assertGreater(summary["lost"], summary["rejected"])
        self.assertLessEqual(summary["lost"], summary["dropped"])
        self.assertGreater(summary["lost"], 0.9 * summary["dropped"])
        self.assertEqual(summary["doubled"], 0)
        self.assertIn("FAILED       nothing lost", done.stdout)
        self.assertIn("FAILED       points_per_s > 1e9", done.stdout)
        self.assertEqual([phase["name"] for phase in self.result()["phases"]],
                         ["warm-up", "fine", "partial", "refused", "fine"])

    # ------------------------------------------------------------------ bad usage, bad ends

    def test_usage(self):
        bad = self.write("bad.yaml", "servers: 10\nintervall: 1s\n")
        future = self.write("future.yaml", "servers: 10\n"
                                           "needs: [{what: a crystal ball, key: crystal_ball}]\n")
        for arguments, message in (
                ([], "Examples:"),
                (["stedy"], 'did you mean "steady"'),
                (["steady", "--serverz", "1"], "--serverz: unknown flag"),
                (["steady", "--servers"], "--servers: needs a value"),
                (["steady", "--servers", "x"], '--servers: "x" is not a whole number'),
                (["steady", "extra"], "takes flags only"),
                (["run"], "name one scenario file"),
                (["run", bad], 'bad.yaml:2:1: unknown key "intervall": did you mean "interval"?'),
                (["run", "/nonexistent.yaml"], "/nonexistent.yaml: No such file"),
                (["run", future], "needs a collector with: a crystal ball"),
                (["burst", "--burst-how", "interval"], "needs a collector that takes a new"),
                (["compare", "one"], "name two results"),
                (["compare", "a", "b"], "a: "),
                (["plan", "--servers", "10", "--model", "/nonexistent"], "/nonexistent"),
                (["plan", "--servers", "10", "--groups", "sizes"], "the model knows core"),
                (["plan", "--servers", "10", "--databases", "3"], "has seen one database"),
                (["plan", "--servers", "10", "--shards", "2"], "--shards: the model knows no"),
                (["knee", "--for", "60s"], "--for: a knee has steps: give --knee-step"),
                (["ramp", "--servers", "9"], "--servers: a ramp tries many numbers"),
                (["steady", "--outage-how", "reset"], "--outage-how: has no effect on a run"),
        ):
            done = self.load(*arguments)
            self.assertEqual((done.returncode, done.stdout), (2, ""), arguments)
            self.assertIn(message, done.stderr, arguments)
        for command in ("", "steady", "run", "knee", "ramp", "fit", "plan", "compare"):
            done = self.load(*command.split(), "--help")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("Example", done.stdout)

    def test_plan(self):
        """From the model that comes with it."""
        plan = ["plan", "--interval", "10s", "--tables", "200", "--tls", "--servers"]
        small, large = self.load(*plan, "2000"), self.load(*plan, "20000")
        figures = []
        for done in (small, large):
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            for word in ("binds ", "± ", "try it       pgweir-load steady --servers"):
                self.assertIn(word, done.stdout)
            figures.append({key: float(value) for key, value in (
                pair.split("=") for pair in done.stdout.splitlines()[-1].split())})
        self.assertEqual(figures[1]["connections"], 20000)
        self.assertAlmostEqual(figures[1]["points_per_s"], 10 * figures[0]["points_per_s"],
                               delta=figures[1]["points_per_s"] / 1000)
        for key in ("cores", "memory_mib"):
            self.assertGreater(figures[1][key], 5 * figures[0][key])
            self.assertLess(figures[1][key], 10 * figures[0][key])  # a part is the program's own

    def test_a_collector_that_dies(self):
        done = self.load("steady", "--servers", "5", "--interval", "500ms", "--for", "3s",
                         "--collector", "echo broken >&2; exit 3; {config} {targets} {backend}",
                         "--out", "out")
        self.assertEqual(done.returncode, 1)
        self.assertIn("collector ended with exit code 3", done.stderr)
        self.assertIn("broken", done.stderr)
        self.assertEqual(children_of(self.directory), [])

    def test_interrupted(self):
        process = subprocess.Popen([LOAD, "steady", "--servers", "5", "--out", self.directory],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 30
        while not any(b"pgweir\0run" in line for line in children_of(self.directory)):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 1)
        self.assertIn("interrupted", errors)
        self.assertEqual(children_of(self.directory), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
