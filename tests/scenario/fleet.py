# SPDX-License-Identifier: Apache-2.0
"""What the scenario tests of the export path share: a simulated fleet, back ends that do as a
script says, pgweir between them, and a reader of its books. Built on tests/live/weir.py.

What was lost and what came twice is decided by the simulator and the sink, never by pgweir's own
word: each numeric cell that the simulator saw arrive (`values` of its report) is one point, and
every counter carries the number of its execution, so the sink's ledger sees each gap and each
double (docs/sim.md, docs/sink.md)."""

import concurrent.futures
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "live"))

import weir  # noqa: E402

SIM = os.environ.get("PGWEIR_SIM") or os.path.join(weir.ROOT, "build/dev/tools/sim/pgweir-sim")
PATIENCE = 120.0  # seconds for what takes one on a machine that has nothing else to do

SIDE_BY_SIDE = 3

WELL = "phases: [{name: well}]\n"


def wait_for(what, condition, seconds=PATIENCE):
    return weir.wait_for(what, condition, seconds)


class Sim(weir.Program):
    """`pgweir-sim serve --servers N`; server i answers at 127.1.0.1 + i."""

    def __init__(self, servers=4, *options, port=0):
        weir.need(SIM, "build it")
        self.servers = servers
        super().__init__([SIM, "serve", "--servers", str(servers), "--listen",
                          f"127.0.0.1:{port}", *options], "pgweir-sim")
        self.port = port
        mark = "listening on port "
        wait_for("the simulator to listen", lambda: mark in self.output() or not self.running())
        if mark not in self.output():
            text = self.output()
            self.close()
            raise AssertionError(f"the simulator did not start:\n{text}")
        self.port = int(self.output().split(mark)[1].split()[0])

    def finish(self):
        """Its report, after its end."""
        self.stop()
        text = self.output()
        return json.loads(text[text.index("{"):])


class Sink(weir.Sink):
    """pgweir-sink with a ledger, a script (text) that can be changed, and a second port where its
    report is whatever the script does to the first."""

    def __init__(self, script=WELL, *options, port=None):
        self.admin = weir.free_port()
        self.script_files = weir.Directory("script")
        self.ca_file = os.path.join(self.script_files.path, "ca.pem")
        path = os.path.join(self.script_files.path, "script.yaml")
        with open(path, "w") as file:
            file.write(script)
        super().__init__("--ledger", "--script", path, "--admin", f"127.0.0.1:{self.admin}",
                         *options, port=port, dump=False)

    def _listens(self):
        if not self.running():
            raise AssertionError(f"pgweir-sink ended with {self.process.returncode}")
        return "admin on port" in self.output()

    def tell(self, script):
        """Another script from now on. The report of what was before."""
        request = weir.urllib.request.Request(f"http://127.0.0.1:{self.admin}/script",
                                              data=script.encode(), method="POST")
        with weir.urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def report(self):
        if not self.running():
            raise AssertionError(f"pgweir-sink was ended from outside: {self.process.returncode}")
        return json.loads(weir.http(f"http://127.0.0.1:{self.admin}/report", 30)[1])

    def close(self):
        super().close()
        self.script_files.remove()


class Weir(weir.Weir):
    """`pgweir run` whose process can be killed and started again on the same files, under a
    `prefix` such as strace."""

    def __init__(self, text, prefix=(), env=None, program=None):
        weir.need(program or weir.BIN, "build it")
        self.admin_port = weir.free_port()
        self.files = weir.Directory("config")
        self.config_path = os.path.join(self.files.path, "config.yaml")
        with open(self.config_path, "w") as file:
            file.write(text.replace("{admin}", f"127.0.0.1:{self.admin_port}"))
        weir.Program.__init__(self, [*prefix, program or weir.BIN, "run", "--config",
                                     self.config_path], "pgweir", env)

    def value(self, name, **labels):
        return int(self.metrics().get(name, **labels))

    def exporter(self, name, exporter="otlp_http", **labels):
        return self.value(f"pgweir_exporter_{name}", exporter=exporter, **labels)

    def dropped(self, exporter="otlp_http", metrics=None):
        """{reason: points}, without those of 0."""
        samples = (metrics or self.metrics()).samples
        return {have["reason"]: int(value) for name, have, value in samples
                if name == "pgweir_exporter_dropped_points_total" and value > 0
                and have["exporter"] == exporter}

    def status(self, exporter="otlp_http"):
        """The exporter's part of /status."""
        return json.loads(self.get("/status")[1])["exporters"][exporter]

    def pending(self, exporter="otlp_http"):
        _, _, queued, spooled, _ = self.metrics().ledger(exporter)
        return queued + spooled

    def wait_exporter(self, name, least, exporter="otlp_http", seconds=PATIENCE, **labels):
        wait_for(f"{name} of {exporter} to be {least}", lambda: self.answers() and
                 self.exporter(name, exporter, **labels) >= least, seconds)

    def wait_drained(self, exporter="otlp_http", seconds=PATIENCE):
        wait_for(f"{exporter} to have settled all", lambda: self.pending(exporter) == 0, seconds)

    def wait_down(self, servers, seconds=PATIENCE):
        """Until no server answers any more and all points of theirs are in the books. (Each
        collection goes on to give two points, that the server is down.)"""
        wait_for("all servers to be down", lambda: json.loads(
            self.get("/status")[1])["targets"]["up"] == 0, seconds)
        goal = self.value("pgweir_scrapes_total") + 2 * servers
        wait_for("their last points", lambda: self.value("pgweir_scrapes_total") >= goal, seconds)

    def settled(self, sink, exporter="otlp_http", seconds=PATIENCE):
        """(metrics, the sink's report) of an instant when all is settled: nothing under way, and
        no request between the two readings."""
        def still():
            before = sink.report()
            metrics = self.metrics()
            _, _, queued, spooled, _ = metrics.ledger(exporter)
            after = sink.report()
            same = before["requests"] == after["requests"]
            # Nothing is on its way from a shard to the exporter, either.
            given = metrics.get("pgweir_points_collected_total")
            taken = metrics.get("pgweir_exporter_collected_points_total", exporter=exporter)
            return queued + spooled == 0 and given == taken and same and (metrics, after)
        return wait_for(f"{exporter} to have settled all", still, seconds)


class Books:
    """Reads /metrics every 50 ms and insists, for each exporter, that
    collected + recovered = delivered + queued + spooled + dropped."""

    def __init__(self, run, *exporters):
        self.run, self.exporters = run, exporters or ("otlp_http",)
        self.readings, self.errors = 0, []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def _read(self):
        with contextlib.suppress(OSError):
            metrics = self.run.metrics()
            for exporter in self.exporters:
                collected, *where = metrics.ledger(exporter)
                if collected != sum(where):
                    self.errors.append((exporter, collected, where))
            self.readings += 1

    def _watch(self):
        while not self.over.wait(0.05):
            self._read()

    def close(self):
        self.over.set()
        self.thread.join()

    def check(self):
        if self.errors:
            raise AssertionError(f"books that do not balance: {self.errors[:5]}")
        if self.readings == 0:
            raise AssertionError("the books were never read")

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, error, trace):
        self.close()
        if error is None:
            self._read()
            self.check()


class Folder:
    """A temporary directory of ours."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="pgweir-spool-")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


# What makes the tests short: small pauses everywhere. The laws are the same.
FAST = """    retry_on_failure: {initial_interval: 50ms, max_interval: 300ms}
    circuit_breaker: {pause: 50ms, pause_max: 500ms, auth_pause: 200ms}
"""


def otlp(endpoint, more=FAST, name="otlp_http"):
    return f"  {name}:\n    endpoint: {endpoint}\n{more}"


def config(port, servers, exporters, interval="200ms", batch="{timeout: 50ms}", service=""):
    """A fleet of simulated servers and any exporters (YAML, indented by 2), in one pipeline."""
    names = [line.strip().rstrip(":") for line in exporters.splitlines()
             if line.startswith("  ") and line[2] != " "]
    targets = "\n".join(
        f"      - {{endpoint: '127.1.{(i + 1) // 256}.{(i + 1) % 256}:{port}', "
        f"attributes: {{server: s{i}}}}}" for i in range(servers))
    return f"""receivers:
  postgresql:
    username: monitor
    collection_interval: {interval}
    initial_delay: 100ms
    timeout: 20s
    connections: 1
    databases: [postgres]
    tls: {{insecure: true}}
    session: {{backoff_initial: 50ms, backoff_max: 200ms}}
    targets:
{targets}
processors:
  batch: {batch}
exporters:
{exporters}
extensions:
  health_check: {{endpoint: '{{admin}}'}}
service:
  extensions: [health_check]
  own_metrics: {{enabled: false}}
  tuner: {{mode: off}}
{service}
  pipelines:
    metrics: {{receivers: [postgresql], processors: [batch], exporters: [{', '.join(names)}]}}
"""


def lossless(test, report, fleet=None):
    """The sink's verdict: nothing missing, nothing twice that is not excused. `fleet`: the
    simulator's report; an answer it calls void, as pgweir had not said Terminate yet, may have been
    read all the same."""
    ledger = report["ledger"]
    test.assertEqual(ledger["gaps"], 0, ledger["gap_examples"])
    test.assertEqual(ledger["doubled"], ledger["doubled_excused"], ledger["doubled_examples"])
    test.assertEqual((ledger["unproven"], ledger["undecided"], report["bad_bodies"]), (0, 0, 0))
    if fleet is not None:
        arrived(test, ledger["distinct"], fleet)


def arrived(test, points, fleet, told=None):
    """All that the simulator's answers gave, and no more; `told` is what to say where not."""
    test.assertGreaterEqual(points, fleet["values"], told)
    test.assertLessEqual(points, fleet["values"] + fleet["void_values"], told)


def kill(run):
    """kill -9, and not a second later."""
    run.signal(signal.SIGKILL)
    run.wait()


NOT_HERE = "NOT TESTED on this machine: "


def not_here(test, reason):
    """Skips what a machine does not allow (mounts, ptrace); main() says so and is content."""
    test.skipTest(NOT_HERE + reason)


def _one(name):
    done = subprocess.run([sys.executable, sys.argv[0], name], capture_output=True, text=True)
    sys.stderr.write(done.stdout + done.stderr)
    return done.returncode


def _side_by_side():
    """Every test in a process of its own, some at once: they mostly wait."""
    suite = weir.unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    names = [test.id().split(".", 1)[1] for group in suite for test in group]
    with concurrent.futures.ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        codes = list(pool.map(_one, names))
    print(f"{len(codes)} tests, {sum(code not in (0, 77) for code in codes)} failed",
          file=sys.stderr)
    sys.exit(1 if set(codes) - {0, 77} or not codes else 77 if 77 in codes else 0)


def main():
    """All tests side by side, or, with arguments, as unittest does."""
    if len(sys.argv) == 1:
        _side_by_side()
    result = weir.unittest.main(module="__main__", exit=False, verbosity=2).result
    reasons = [reason for _, reason in result.skipped]
    for reason in reasons:
        print(f"*** {reason}", file=sys.stderr)
    if not result.wasSuccessful() or result.testsRun == 0:
        sys.exit(1)
    if any(not reason.startswith(NOT_HERE) for reason in reasons):
        sys.exit(1 if weir.REQUIRE_ALL else 77)
