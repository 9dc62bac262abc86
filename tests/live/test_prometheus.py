# SPDX-License-Identifier: Apache-2.0
"""Remote write to a real Prometheus and a real VictoriaMetrics, and a real Prometheus that scrapes:
what PromQL gives back is what PostgreSQL says, and a back end that was away gets everything, in
order."""

import json
import os
import re
import signal
import subprocess
import urllib.parse

import oracle
import weir


UNITS = {"By": "bytes", "s": "seconds", "ms": "milliseconds"}


def prometheus_name(metric):
    """The name of an OTel metric in Prometheus: by the specification, not by pgweir's code."""
    instrument, _, monotonic, unit = oracle.receiver_facts()[metric]
    words = metric.replace("_", ".").split(".")
    if unit in UNITS and UNITS[unit] not in words:
        words.append(UNITS[unit])
    if instrument == "sum" and monotonic:
        words.append("total")
    elif instrument == "gauge" and unit == "1":
        words.append("ratio")
    return "_".join(words)


def prometheus_labels(attributes):
    return tuple(sorted((name.replace(".", "_"), value) for name, value in attributes))


class Backend(weir.Program):
    """A Prometheus or a VictoriaMetrics with data of its own, which may be stopped and started."""

    def __init__(self, kind, storage, port, scrape=None):
        self.url = f"http://127.0.0.1:{port}"
        if kind == "prometheus":
            program = weir.need(os.path.join(weir.CACHE, kind, kind), "run tools/fetch-backends")
            configuration = os.path.join(storage.path, "prometheus.yml")
            with open(configuration, "w") as file:
                file.write(scrape or "global: {}\n")
            command = [program, f"--config.file={configuration}",
                       f"--storage.tsdb.path={storage.path}/data",
                       f"--web.listen-address=127.0.0.1:{port}",
                       "--web.enable-remote-write-receiver"]
            ready = "/-/ready"
        else:
            program = weir.need(os.path.join(weir.CACHE, kind, kind), "run tools/fetch-backends")
            command = [program, f"-storageDataPath={storage.path}/data",
                       f"-httpListenAddr=127.0.0.1:{port}", "-search.latencyOffset=0s"]
            ready = "/health"
        super().__init__(command, kind)
        weir.wait_for(f"{kind} to be ready", lambda: self._answers(ready), 40)

    def _answers(self, path):
        if not self.running():
            raise AssertionError(f"{self.name} ended:\n{self.output()[-2000:]}")
        try:
            return weir.http(self.url + path)[0] == 200
        except OSError:
            return False

    def query(self, promql):
        """[(labels, samples)] of an instant query; a vector's are one sample each."""
        if self.name != "prometheus":
            weir.http(self.url + "/internal/force_flush")
        status, body = weir.http(f"{self.url}/api/v1/query?" +
                                 urllib.parse.urlencode({"query": promql}))
        if status != 200:
            raise AssertionError(f"{promql}: {status} {body}")
        return [(series["metric"], series.get("values") or [series["value"]])
                for series in json.loads(body)["data"]["result"]]


class Prometheus(weir.Test):
    @classmethod
    def setUpClass(cls):
        cls.pg = weir.Cluster()
        cls.addClassCleanup(cls.pg.close)
        oracle.populate(cls.pg, "app")

    def storage(self):
        storage = weir.Directory("tsdb")
        self.addCleanup(storage.remove)
        return storage

    def exporter(self, url, more=""):
        return f"  prometheusremotewrite:\n    endpoint: {url}/api/v1/write\n{more}"

    def test_prometheus_gives_the_same_values_back(self):
        self.check_values("prometheus")

    def test_victoriametrics_gives_the_same_values_back(self):
        self.check_values("victoria-metrics")

    @staticmethod
    def samples(series):
        return sum(len(samples) for labels, samples in series
                   if labels["__name__"] != "target_info")

    def check_values(self, kind):
        with Backend(kind, self.storage(), weir.free_port()) as backend:
            before = oracle.snapshot(self.pg, ["app"])
            receiver = weir.server(self.pg, databases=["app"])
            exporter = self.exporter(backend.url, "    external_labels: {fleet: one}\n")
            with weir.Weir(weir.config(receiver, exporter)) as run:
                run.wait_delivered()
                run.wait_scrapes(3)
                self.assertEqual(run.stop(), 0)
                delivered = int(re.search(r"delivered_points=(\d+)", run.output())[1])
            after = oracle.snapshot(self.pg, ["app"])
            # VictoriaMetrics shows what came in last a while later.
            weir.wait_for("all points to be found", lambda: self.samples(
                backend.query('{__name__!=""}[5m]')) >= delivered)
            stored = backend.query('{__name__=~"postgresql_.+"}[5m]')
            everything = backend.query('{__name__!=""}[5m]')
            info = backend.query("target_info[5m]")
            joined = backend.query("last_over_time(postgresql_connection_max[5m]) * on (instance) "
                                   "group_left (server_address) last_over_time(target_info[5m])")
            log = backend.output()
        self.check_series(before, after, stored)
        self.assertEqual(self.samples(everything), delivered)
        self.assertEqual(len(info), 1)
        self.assertEqual(len(info[0][1]), 1)  # once a minute
        self.assertIn("server_address", info[0][0])
        self.assertEqual(len(joined), 1)
        self.assertEqual(joined[0][0]["server_address"], info[0][0]["server_address"])
        self.assertNotIn("ut of order", log)

    def check_series(self, before, after, stored):
        found = {}
        for labels, samples in stored:
            name = labels.pop("__name__")
            labels.pop("job", None)
            self.assertEqual(labels.pop("fleet"), "one")
            self.assertRegex(labels.pop("instance"), "^[0-9a-f-]{36}$")
            found[name, tuple(sorted(labels.items()))] = samples
        checked = 0
        for key, low in before.items():
            if key[0] in oracle.OPTIONAL:
                continue
            low, high = sorted((low, after[key]))
            samples = found.get((prometheus_name(key[0]), prometheus_labels(key[1])))
            self.assertIsNotNone(samples, f"{key} is not stored; there is: {list(found)[:5]}")
            for _, value in samples:
                self.assertTrue(low - 1e-6 <= float(value) <= high + 1e-6, f"{key}: {value}")
            checked += 1
        self.assertGreater(checked, 50)

    def test_prometheus_scrapes_the_same_values(self):
        plain, safe, token = weir.free_port(), weir.free_port(), weir.secret("token")
        storage = self.storage()
        key = os.path.join(storage.path, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x", "-addext",
                        "subjectAltName=IP:127.0.0.1", "-days", "2", "-keyout", key,
                        "-out", key[:-7] + "cert.pem"], check=True, capture_output=True)
        exporter = f"""  prometheus/plain:
    endpoint: 127.0.0.1:{plain}
    const_labels: {{fleet: one}}
  prometheus/safe:
    endpoint: 127.0.0.1:{safe}
    const_labels: {{fleet: one}}
    enable_open_metrics: true
    send_timestamps: true
    bearer_token: {token}
    tls: {{cert_file: {key[:-7]}cert.pem, key_file: {key}}}
"""
        scrape = f"""global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: plain
    honor_labels: true
    static_configs: [{{targets: ['127.0.0.1:{plain}']}}]
  - job_name: safe
    honor_labels: true
    scheme: https
    authorization: {{credentials: {token}}}
    tls_config: {{ca_file: {key[:-7]}cert.pem}}
    static_configs: [{{targets: ['127.0.0.1:{safe}']}}]
"""
        text = weir.config(weir.server(self.pg, databases=["app"]), exporter)
        before = oracle.snapshot(self.pg, ["app"])
        with weir.Weir(text.replace("[prometheus/plain]", "[prometheus/plain, prometheus/safe]")
                       ) as run:
            run.wait_delivered()
            with Backend("prometheus", storage, weir.free_port(), scrape) as backend:
                weir.wait_for("both to be scraped",
                              lambda: len(backend.query("sum_over_time(up[1m]) > 2")) == 2)
                stored = {job: backend.query(f'{{__name__=~"postgresql_.+",job="{job}"}}[1m]')
                          for job in ("plain", "safe")}
                info = backend.query('target_info{job="safe"}')
                log = backend.output()
            answer = weir.http(f"http://127.0.0.1:{plain}/metrics")[1]
            self.assertEqual(run.metrics().get("pgweir_exporter_dropped_points_total"), 0)
            self.assertEqual(run.stop(), 0)
        after = oracle.snapshot(self.pg, ["app"])
        for job, series in stored.items():
            self.check_series(before, after, series)
        self.assertEqual(len(info), 1)
        self.assertNotIn("duplicate", log)
        self.check_format(answer)

    def check_format(self, answer):
        """promtool reads it; what it does not like are names that OTel gives."""
        promtool = weir.need(os.path.join(weir.CACHE, "promtool", "promtool"),
                             "run tools/fetch-backends")
        done = subprocess.run([promtool, "check", "metrics"], input=answer, capture_output=True,
                              text=True)
        dislikes = [line for line in done.stderr.splitlines()
                    if 'should not have "_count" suffix' not in line
                    and 'use base unit "seconds" instead' not in line]
        self.assertEqual(dislikes, [])
        self.assertIn(done.returncode, (0, 3))

    def test_a_back_end_that_was_away_gets_everything_in_order(self):
        storage, port = self.storage(), weir.free_port()
        backend = Backend("prometheus", storage, port)
        self.addCleanup(lambda: backend.close())
        receiver = weir.server(self.pg, databases=["app"])
        exporter = self.exporter(backend.url, "    retry_on_failure: {initial_interval: 100ms}\n"
                                 "    circuit_breaker: {pause: 100ms, pause_max: 500ms}\n")
        with weir.Weir(weir.config(receiver, exporter)) as run:
            run.wait_delivered()
            backend.signal(signal.SIGKILL)
            backend.wait()
            run.wait_scrapes(3)
            backend.close()
            backend = Backend("prometheus", storage, port)
            run.wait_scrapes(2)
            self.assertEqual(run.stop(), 0)
            text = run.output()
        self.assertIn("not delivering", text)
        self.assertIn("dropped_points=0", text)
        everything = backend.query('{__name__!=""}[5m]')
        self.assertEqual(sum(len(samples) for labels, samples in everything
                             if labels["__name__"] != "target_info"),
                         int(re.search(r"delivered_points=(\d+)", text)[1]))
        for _, samples in everything:
            times = [time for time, _ in samples]
            self.assertEqual(times, sorted(set(times)))
        self.assertNotIn("ut of order", backend.output())


if __name__ == "__main__":
    weir.main()
