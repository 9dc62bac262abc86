# SPDX-License-Identifier: Apache-2.0
"""Counters as deltas, beside the same counters as they stand: three exporters in one pipeline see the
same collections of a server that works, forgets its statistics and restarts. Each delta is the
difference of two readings, begins where the one before ended, and their sum is what was added."""

import json
import os
import time

import weir

MONOTONIC, OTHER_SUM, HISTOGRAM = "monotonic", "sum", "histogram"


def text_map(pairs):
    return tuple(sorted((pair["key"], json.dumps(pair["value"], sort_keys=True))
                        for pair in pairs))


class Reading:
    __slots__ = ("start", "time", "value", "delta")

    def __init__(self, point, delta):
        self.start = int(point.get("startTimeUnixNano", 0))
        self.time = int(point["timeUnixNano"])
        self.delta = delta
        if "asInt" in point:
            self.value = int(point["asInt"])
        elif "asDouble" in point:
            self.value = float(point["asDouble"])
        else:
            self.value = int(point["count"])

    def __repr__(self):
        return f"{self.value} [{self.start}, {self.time}]"


def series_of(path):
    """{(kind, resource, name, attributes): [Reading]} of a file of OTLP/JSON lines."""
    found = {}
    with open(path) as file:
        for line in file:
            for resource in json.loads(line)["resourceMetrics"]:
                who = text_map(resource["resource"]["attributes"])
                for metric in resource["scopeMetrics"][0]["metrics"]:
                    [data] = [metric[key] for key in ("sum", "gauge", "exponentialHistogram")
                              if key in metric]
                    kind = ("gauge" if "gauge" in metric else
                            HISTOGRAM if "exponentialHistogram" in metric else
                            MONOTONIC if data["isMonotonic"] else OTHER_SUM)
                    for point in data["dataPoints"]:
                        key = kind, who, metric["name"], text_map(point.get("attributes", []))
                        found.setdefault(key, []).append(
                            Reading(point, data.get("aggregationTemporality") == 1))
    return found


def config(pg, sink, directory, key):
    text = weir.config(weir.server(pg, interval="200ms"), f"""  file/sums:
    path: {directory}/sums
  file/deltas:
    path: {directory}/deltas
    temporality: delta
  newrelic:
    api_key: {key}
    endpoint: {sink.endpoint}
    temporality: delta
""")
    return (text.replace("exporters: [file/sums]", "exporters: [file/sums, file/deltas, newrelic]")
            .replace("own_metrics: {enabled: false}", "own_metrics: {enabled: true, interval: 1s}"))


def work(pg, seconds):
    end = time.monotonic() + seconds * weir.SLOW
    while time.monotonic() < end:
        pg.sql("INSERT INTO t SELECT generate_series(1, 50); DELETE FROM t WHERE i < 10;"
               "SELECT count(*) FROM t;")
        time.sleep(0.05)


class Delta(weir.Test):
    @classmethod
    def setUpClass(cls):
        with weir.Cluster() as pg, weir.Sink() as sink:
            pg.sql("CREATE TABLE t (i int)")
            files = weir.Directory("delta")
            cls.addClassCleanup(files.remove)
            text = config(pg, sink, files.path, weir.secret("key"))
            with weir.Weir(text) as run:
                run.wait_delivered()
                work(pg, 1.5)
                pg.sql("SELECT pg_stat_reset()")  # every counter of the database
                work(pg, 1.5)
                pg.stop()
                pg.start()
                work(pg, 1.5)
                # Both drop the same, each at its own pace: read when neither is behind.
                cls.metrics = weir.wait_for("books of equal drops", lambda: cls.same(run.metrics()))
                if run.stop() != 0:
                    raise AssertionError(f"exit code {run.process.returncode}")
            cls.sums = series_of(os.path.join(files.path, "sums"))
            cls.deltas = series_of(os.path.join(files.path, "deltas"))
            cls.arrived = sink.points()

    @staticmethod
    def same(metrics):
        first, second = (metrics.get("pgweir_exporter_dropped_points_total", exporter=exporter)
                         for exporter in ("file/deltas", "newrelic"))
        return metrics if first == second else None

    def counters(self):
        return [key for key in self.sums if key[0] in (MONOTONIC, HISTOGRAM)]

    def expected(self, key):
        """(start, time, value) of each delta that the readings of a counter give."""
        readings = self.sums[key]
        for before, now in zip(readings, readings[1:]):
            reset = now.value < before.value or (
                0 < before.start < now.start and now.start >= before.time)
            if key[0] == HISTOGRAM and now.value >= before.value:
                reset = False
            start = now.start if reset and before.time <= now.start < now.time else before.time
            yield start, now.time, now.value if reset else now.value - before.value

    def test_each_delta_is_the_difference_of_two_readings(self):
        self.assertGreater(len(self.counters()), 50)
        for key in self.counters():
            given = [(r.start, r.time, r.value) for r in self.deltas.get(key, [])]
            first = self.sums[key][0]
            if given and given[0][1] == first.time:  # it counts since after pgweir began
                self.assertEqual(given.pop(0), (first.start, first.time, first.value), key)
            self.assertEqual(given, list(self.expected(key)), key)

    def test_sums_of_deltas(self):
        moved = 0
        for key in self.counters():
            readings, total = self.sums[key], 0
            fell = any(a.value > b.value or a.start != b.start
                       for a, b in zip(readings, readings[1:]))
            if fell or len(readings) < 2:
                continue
            total = sum(r.value for r in self.deltas[key] if r.time > readings[0].time)
            self.assertAlmostEqual(total, readings[-1].value - readings[0].value, 6, key)
            moved += total > 0
        self.assertGreater(moved, 5)

    def test_temporality(self):
        for key, readings in self.deltas.items():
            self.assertEqual({r.delta for r in readings}, {key[0] in (MONOTONIC, HISTOGRAM)}, key)
        for readings in self.sums.values():
            self.assertEqual({r.delta for r in readings}, {False})

    def test_everything_else_is_as_it_was(self):
        others = {key for key in self.sums if key[0] not in (MONOTONIC, HISTOGRAM)}
        own = {key for key in others if key[2].startswith("pgweir.")}  # of two exporters, apart
        self.assertGreater(len(others - own), 10)
        for key in others - own:
            self.assertEqual([(r.time, r.value) for r in self.deltas[key]],
                             [(r.time, r.value) for r in self.sums[key]], key)

    def test_counters_began_anew(self):
        for exporter in ("file/deltas", "newrelic"):
            self.assertGreater(self.metrics.get("pgweir_exporter_delta_resets_total",
                                                exporter=exporter), 10)
            self.assertEqual(self.metrics.get("pgweir_exporter_delta_forgotten_total",
                                              exporter=exporter), 0)

    def test_the_books_balance(self):
        for exporter in ("file/sums", "file/deltas", "newrelic"):
            collected, *rest = self.metrics.ledger(exporter)
            self.assertEqual(collected, sum(rest))
        dropped = {exporter: self.metrics.get("pgweir_exporter_dropped_points_total",
                                              exporter=exporter)
                   for exporter in ("file/sums", "file/deltas", "newrelic")}
        first = self.metrics.get("pgweir_exporter_dropped_points_total", exporter="file/deltas",
                                 reason="first_value")
        self.assertEqual(dropped, {"file/sums": 0, "file/deltas": first, "newrelic": first})
        self.assertGreater(first, 20)
        self.assertLessEqual(first, self.metrics.get("pgweir_exporter_delta_series",
                                                     exporter="file/deltas"))

    def test_what_arrives_over_http_is_the_same(self):
        def of_server(key):
            return not key[2].startswith("pgweir.")

        arrived = {}
        for p in self.arrived:
            if p.name.startswith("pgweir."):
                continue
            self.assertEqual(p.temporality, "AGGREGATION_TEMPORALITY_DELTA" if p.monotonic else
                             "AGGREGATION_TEMPORALITY_CUMULATIVE" if p.instrument == "sum" else "")
            arrived.setdefault((p.name, len(p.attributes)), []).append((p.time_ns, p.value))
        written = {}
        for key, readings in self.deltas.items():
            if of_server(key):
                written.setdefault((key[2], len(key[3])), []).extend(
                    (r.time, r.value) for r in readings)
        self.assertEqual({k: sorted(v) for k, v in arrived.items()},
                         {k: sorted(v) for k, v in written.items()})


if __name__ == "__main__":
    weir.main()
