# SPDX-License-Identifier: Apache-2.0
"""Back ends that misbehave in every way the scripted sink knows, all at once, each before an
exporter of its own: what must not be lost is not lost, nothing comes twice but what the sink
excuses (its answer was lost), every drop is counted exactly, and none disturbs another."""

import os
import threading
import time

import fleet
import weir

SERVERS = 2
LATE_MS = 10000 * weir.SLOW  # who waited for another's outage or time limit is later than this
SLOW_RETRY = """    circuit_breaker: {pause: 250ms, pause_max: 2s}
"""


class Case:
    """A back end and the exporter before it. `drive()` runs in a thread of its own while all are
    at work and returns when the back end is well again; `check()` after the end."""

    script, options, more, lossless = fleet.WELL, (), fleet.FAST, True

    def __init__(self):
        self.name = "otlp_http/" + type(self).__name__.lower()
        self.metrics = None
        self.sink = fleet.Sink(self.script, *self.options)

    def exporter(self):
        return fleet.otlp(self.sink.endpoint, self.more, self.name)

    def value(self, name, **labels):
        """While it runs: now; then: at the end."""
        metrics = self.metrics or self.run.metrics()
        return int(metrics.get(f"pgweir_exporter_{name}", exporter=self.name, **labels))

    def dropped(self):
        return self.run.dropped(self.name, self.metrics)

    def wait_requests(self, result, count):
        self.run.wait_exporter("requests_total", count, self.name, result=result)

    def wait_hits(self, count):
        """Until `count` requests met a fault, then the back end is well."""
        fleet.wait_for(f"{count} faults of {self.name}",
                       lambda: self.sink.report()["phases"][0]["hits"] >= count)
        return self.sink.tell(fleet.WELL)

    def reason(self):
        return self.run.get("/health")[1]

    def drive(self):
        pass

    def end(self):
        """The sink's report when all is settled; what value() says is of then."""
        self.metrics, report = self.run.settled(self.sink, self.name)
        return report

    def check(self, test, report):
        pass


class Lost(Case):
    """The body arrives, the answer does not: on fresh and on reused connections (where libcurl
    would try again by itself), closed, reset, garbled, cut, or never."""

    script = """phases:
  - faults:
      - {do: lose, on: fresh, first: 3}
      - {do: lose, on: reused, every: 5, first: 40}
      - {do: lose, on: reused, how: reset, every: 7, first: 60}
      - {do: garbage, every: 9, first: 60}
      - {do: cut, every: 11, first: 60}
      - {do: lose, how: never, every: 13, first: 26}
"""
    more = fleet.FAST + "    timeout: 5s\n"

    def drive(self):
        def all_kinds():
            faults = self.sink.report()["phases"][0]["faults"]
            return all(fault["hits"] > 0 for fault in faults)
        fleet.wait_for("an answer lost in each way", all_kinds)
        self.sink.tell(fleet.WELL)

    def check(self, test, report):
        test.assertGreater(report["lost_answers"], 5)
        test.assertEqual(self.value("ambiguous_resends_total"), report["lost_answers"])
        test.assertEqual(report["ledger"]["doubled_excused"],
                         report["lost_answer_points"] - self.own_points(report))

    def own_points(self, report):
        """The points that tell a server is up, and the like, are not in the ledger."""
        return report["lost_answer_points"] - report["ledger"]["doubled"]


class Cruel(Case):
    """Answers in slices, connections closed without notice, reset or stalled while the body is on
    its way, never answered."""

    script = """phases:
  - faults:
      - {do: reset, bytes: 100, every: 5, first: 40}
      - {do: close, every: 3, first: 60}
      - {do: slow, slice: 8, interval: 5ms, every: 4, first: 60}
      - {do: stall, bytes: 100, every: 11, first: 11}
      - {do: blackhole, every: 13, first: 13}
"""
    more = fleet.FAST + "    timeout: 6s\n"

    def drive(self):
        def all_kinds():
            faults = self.sink.report()["phases"][0]["faults"]
            return all(fault["hits"] > 0 for fault in faults)
        fleet.wait_for("each fault once", all_kinds)
        self.sink.tell(fleet.WELL)

    def check(self, test, report):
        test.assertGreater(self.value("requests_total", result="retryable"), 2)
        test.assertEqual(report["lost_answers"], 0)
        test.assertEqual(report["ledger"]["doubled"], 0)


class Hint(Case):
    """429 and 503 with each form of Retry-After. (An absurd one would be waited for, an hour:
    tests/control.)"""

    script = """phases:
  - faults:
      - {do: status, status: 503, every: 3, first: 24,
         retry_after: [1s, date 1s, none, past, negative, fraction, garbage, empty]}
      - {do: status, status: 429, every: 2, first: 16,
         retry_after: [1s, date 1s, none, past, negative, fraction, garbage, empty]}
"""
    # Half of all answers are refusals: what a limit learnt from that is would take minutes here.
    more = fleet.FAST + "    rate_limit: {adaptive: false}\n"

    def drive(self):
        self.wait_hits(16)

    def check(self, test, report):
        test.assertEqual(self.value("ambiguous_resends_total"), 0)
        test.assertGreaterEqual(report["refused"], 12)
        test.assertGreaterEqual(self.value("throttled_requests_total"), 5)
        test.assertEqual(self.value("requests_total", result="retryable"), report["refused"])


class Unauthorised(Case):
    """401 until somebody cures it: held, said, and asked for no more often than auth_pause."""

    script = "phases: [{answer: ['401']}]\n"

    def drive(self):
        fleet.wait_for("/health to tell", lambda: "authentication failed" in self.reason())
        fleet.wait_for("/status to tell", lambda: "authentication failed" == self.run.status(
            self.name)["limiter"]["circuit_breaker"])
        before, began = self.sink.report()["requests"], time.monotonic()
        time.sleep(2)
        self.requests = self.sink.report()["requests"] - before
        # A probe each 200 ms, with jitter and for good measure twice that.
        self.most = 2 * (time.monotonic() - began) / 0.2 + 2
        self.sink.tell(fleet.WELL)

    def check(self, test, report):
        test.assertLessEqual(self.requests, self.most)
        test.assertGreater(report["phases"][0]["requests"], 0)
        test.assertGreater(self.value("circuit_breaker_trips_total"), 0)


class Certificate(Case):
    """TLS that is not what it should be: held, said, nothing sent, and good again by itself."""

    def __init__(self):
        super().__init__()
        self.said = {}

    @property
    def options(self):
        self.ca = os.path.join(weir.tempfile.mkdtemp(prefix="pgweir-ca-"), "ca.pem")
        return ("--tls", "--tls-ca-out", self.ca)

    script = "phases: [{tls: expired}]\n"

    def exporter(self):
        more = self.more + f"    tls: {{ca_file: {self.ca}}}\n"
        return fleet.otlp(self.sink.endpoint.replace("http:", "https:"), more, self.name)

    def drive(self):
        for kind in ("expired", "wrong_host", "untrusted", "abort", "plain"):
            self.sink.tell(f"phases: [{{name: {kind}, tls: {kind}}}]\n")
            self.wait_requests("retryable", self.value("requests_total", result="retryable") + 2)
            self.said[kind] = self.reason()
        self.sink.tell(fleet.WELL)

    def check(self, test, report):
        for kind in ("expired", "wrong_host", "untrusted"):
            test.assertIn("certificate not accepted", self.said[kind], kind)
        test.assertNotIn("certificate not accepted", self.said["plain"])
        test.assertEqual(report["ledger"]["doubled"], 0)
        test.assertEqual(self.value("ambiguous_resends_total"), 0)


class Dropping(Case):
    """A few answers that are final. `reason` is the only one, and exact."""

    lossless, answers, reason_name = False, 3, "permanent_error"

    def drive(self):
        self.wait_hits(self.answers)

    def expected(self, report):
        return report["points"] - report["taken_points"]

    def check(self, test, report):
        test.assertEqual(self.dropped(), {self.reason_name: self.expected(report)})
        test.assertEqual(report["phases"][0]["faults"], [])
        test.assertEqual(self.value("requests_total", result="retryable"), 0)
        test.assertEqual(report["ledger"]["doubled"], 0)
        test.assertEqual(self.value("requests_total", result="ok") +
                         self.value("requests_total", result="permanent"), report["requests"])


class Redirect(Dropping):
    """Not followed, least of all to a file."""

    script = """phases:
  - faults:
      - {do: redirect, first: 2, location: 'file:///etc/passwd'}
      - {do: redirect, status: 301, first: 1, location: 'http://127.0.0.1:1/'}
"""

    def drive(self):
        fleet.wait_for("/health to tell", lambda: "redirects are not followed" in self.reason())
        super().drive()


class Bad(Dropping):
    """400: this body will never be right."""

    script = "phases: [{faults: [{do: status, status: 400, first: 3, text: no such metric}]}]\n"


class Part(Dropping):
    """Partial success: what was rejected is counted, nothing is sent again."""

    script = "phases: [{faults: [{do: partial, rejected: 2, first: 3, text: too old}]}]\n"
    reason_name = "rejected"

    def expected(self, report):
        return 3 * 2  # no request has fewer points

    def check(self, test, report):
        super().check(test, report)
        test.assertEqual(self.value("requests_total", result="ok"), report["requests"])
        test.assertIn("too old", self.run.output())


class Huge(Dropping):
    """An answer nobody can need: not read to its end, not asked for again."""

    script = "phases: [{faults: [{do: huge, bytes: 5MiB, first: 3}]}]\n"

    def expected(self, report):
        return report["taken_points"] - self.value("delivered_points_total")


class Large(Case):
    """413: in halves until they fit."""

    script = "phases: [{faults: [{do: status, status: 413, larger_than: 8KiB}]}]\n"

    def drive(self):
        self.run.wait_exporter("bodies_split_total", 20, self.name)

    def check(self, test, report):
        test.assertEqual(self.value("requests_total", result="retryable"), 0)
        test.assertEqual(report["ledger"]["doubled"], 0)


class Away(Case):
    """An outage: a few probes, then everything."""

    lossless, more = True, SLOW_RETRY

    def drive(self):
        fleet.wait_for("the outage", lambda: self.sink.report()["phase"] == "out")
        self.run.wait_exporter("circuit_breaker_trips_total", 1, self.name)
        fleet.wait_for("its end", lambda: self.sink.report()["phase"] == "well")
        self.run.wait_exporter("circuit_breaker", 1, self.name, state="closed")

    def check(self, test, report):
        out = next(phase for phase in report["phases"] if phase["name"] == "out")
        test.assertLessEqual(out["requests"], 20)
        test.assertEqual(report["ledger"]["doubled"], 0)
        test.assertGreater(self.value("circuit_breaker_trips_total"), 0)
        test.assertEqual(self.value("circuit_breaker", state="closed"), 1)


class Refused(Away):
    script = """begin: request
phases: [{name: calm, for: 1s}, {name: out, for: 10s, connections: refuse}, {name: well}]
"""


class Overloaded(Away):
    script = """begin: request
phases: [{name: calm, for: 1s}, {name: out, for: 10s, answer: ['503']}, {name: well}]
"""

    def check(self, test, report):
        super().check(test, report)
        out = next(phase for phase in report["phases"] if phase["name"] == "out")
        test.assertGreaterEqual(out["requests"], 3)


class Healthy(Case):
    """Beside all the others: everything, at once."""

    def check(self, test, report):
        test.assertEqual(self.value("requests_total", result="retryable"), 0)
        test.assertEqual(report["ledger"]["doubled"], 0)
        test.assertLess(report["age"]["p50_ms"], LATE_MS)


class Relic(Healthy):
    def __init__(self):
        super().__init__()
        self.name = "newrelic"

    def exporter(self):
        return (f"  newrelic:\n    endpoint: {self.sink.endpoint}\n"
                f"    api_key: {weir.secret('key')}\n")


class Remote(Case):
    def __init__(self):
        super().__init__()
        self.name = "prometheusremotewrite"

    def exporter(self):
        # Servers on loopback addresses are told apart by the attribute their targets were given.
        return (f"  {self.name}:\n    endpoint: {self.sink.endpoint}/api/v1/write\n"
                "    resource_to_telemetry_conversion: {enabled: true}\n"
                "    target_info: {enabled: false}\n")

    def check(self, test, report):
        test.assertEqual(report["ledger"]["doubled"], 0)
        test.assertEqual(report["remote_write"]["samples"], self.value("delivered_points_total"))
        test.assertEqual(self.value("delivered_points_total"),
                         self.value("collected_points_total"))
        test.assertLess(report["age"]["p50_ms"], LATE_MS)


class Dead(Case):
    """Nobody ever listens: held on disk, and no reason to be late for anybody."""

    lossless = False

    def __init__(self):
        super().__init__()
        self.folder, self.closed = fleet.Folder(), weir.Closed()
        self.more = fleet.FAST + (f"    sending_queue: {{queue_size: 4}}\n"
                                  f"    spool: {{directory: {self.folder.path}}}\n")

    def exporter(self):
        return fleet.otlp(f"http://127.0.0.1:{self.closed.port}", self.more, self.name)

    def end(self):
        self.metrics = self.run.metrics()

    def check(self, test, report):
        test.assertEqual(self.dropped(), {})
        test.assertGreater(self.value("spooled_points"), 0)
        self.folder.__exit__()
        self.closed.close()


class Hanging(Dead):
    """Takes connections and never answers."""

    script = "phases: [{connections: blackhole}]\n"

    def exporter(self):
        return fleet.otlp(self.sink.endpoint, self.more, self.name)


class AllAtOnce(weir.Test):
    def guarded(self, case):
        try:
            case.drive()
        except Exception as error:  # told in the main thread
            self.troubles.append(f"{case.name}: {error!r}")

    def together(self, kinds, more=""):
        """All cases beside each other; (run's exit code, seconds it took to stop)."""
        self.troubles = []
        with fleet.Sim(SERVERS) as sim:
            cases = []
            try:
                for kind in kinds:
                    cases.append(kind())
                return self._together(sim, cases, more)
            finally:
                for case in cases:
                    case.sink.close()

    def _together(self, sim, cases, more):
        text = fleet.config(sim.port, SERVERS, "".join(c.exporter() for c in cases) + more)
        with fleet.Weir(text) as run:
            run.wait_live()
            for case in cases:
                case.run = run
            with fleet.Books(run, *(case.name for case in cases)):
                threads = [threading.Thread(target=self.guarded, args=(c,)) for c in cases]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                self.assertEqual(self.troubles, [])
                values = sim.finish()
                run.wait_down(SERVERS)
                for case in cases:
                    self.judge(case, values)
            begun = time.monotonic()
            code = run.stop(30)
            return code, time.monotonic() - begun

    def judge(self, case, values):
        with self.subTest(case.name):
            report = case.end()
            if case.lossless:
                fleet.lossless(self, report, values)
                self.assertEqual(case.dropped(), {})
            case.check(self, report)

    def test_bad_answers(self):
        code, _ = self.together([Lost, Cruel, Hint, Unauthorised, Certificate, Redirect, Bad, Part,
                                 Huge, Large, Healthy])
        self.assertEqual(code, 0)

    def test_outages_beside_the_healthy(self):
        with fleet.Folder() as folder:
            path = os.path.join(folder.path, "file")
            beside = f"  file:\n    path: {path}\n    format: proto\n"
            code, seconds = self.together([Refused, Overloaded, Dead, Hanging, Healthy, Relic,
                                           Remote], beside)
            self.assertGreater(os.path.getsize(path), 0)
        self.assertEqual(code, 0, "what is left is on disk")
        self.assertLess(seconds, 15 * weir.SLOW)


class HiddenLimit(weir.Test):
    """A limit nobody was told of, which falls and rises, below a ceiling of ours. (Its size and
    what of it is used: perf/ and tests/control, with all the time it takes.)"""

    CEILING, AT_ONCE = 25, 10  # the latter: num_consumers
    SCRIPT = """begin: request
phases:
  - {name: wide, for: 4s, requests_per_s: 30}
  - {name: narrow, for: 6s, requests_per_s: 8}
  - {name: well}
"""

    def test_it_is_found_and_the_ceiling_kept(self):
        more = fleet.FAST + f"    rate_limit: {{requests_per_second: {self.CEILING}}}\n"
        with fleet.Sim(4) as sim, fleet.Sink(self.SCRIPT) as sink:
            text = fleet.config(sim.port, 4, fleet.otlp(sink.endpoint, more),
                                batch="{send_batch_size: 700, timeout: 500ms}")
            with fleet.Weir(text) as run:
                run.wait_live()
                with fleet.Books(run):
                    fleet.wait_for("the limit to be gone",
                                   lambda: sink.report()["phase"] == "well")
                    values = sim.finish()
                    run.wait_down(4)
                    metrics, report = run.settled(sink, seconds=150)
                self.check(run, metrics, report, values)
                self.assertEqual(run.stop(), 0)

    def check(self, run, metrics, report, values):
        fleet.lossless(self, report, values)
        self.assertEqual(run.dropped(metrics=metrics), {})
        phases = {phase["name"]: phase for phase in report["phases"]}
        self.assertEqual(report["refused"], metrics.get("pgweir_exporter_throttled_requests_total"))
        self.assertGreater(phases["narrow"]["over_limit"], 0, "the limit was never met")
        self.assertLess(report["refused"], 0.2 * report["requests"])
        # Sent evenly; but where a program stood still, all that was on its way arrives in a heap.
        self.assertLessEqual(phases["wide"]["over_limit"], self.AT_ONCE)
        for name, phase in phases.items():
            self.assertLessEqual(phase["requests"],
                                 1.1 * self.CEILING * phase["seconds"] + self.AT_ONCE, name)
        self.assertEqual(metrics.get("pgweir_exporter_circuit_breaker_trips_total"), 0)


if __name__ == "__main__":
    fleet.main()
