# SPDX-License-Identifier: Apache-2.0
"""pgweir-sink over real sockets: what it takes, what it refuses, its books."""

import gzip
import os
import socket
import subprocess
import tempfile
import threading
import time
import zlib

from rig import Client, Sink, otlp, weir

BODY = otlp.step_request(1)  # 4 points


class Taking(weir.Test):
    def test_every_encoding(self):
        zstd = subprocess.run(["zstd", "-q", "-c"], input=BODY, capture_output=True, check=True).stdout
        packed = [(None, BODY), ("identity", BODY), ("gzip", gzip.compress(BODY)),
                  ("deflate", zlib.compress(BODY)), ("zstd", zstd),
                  ("snappy", otlp.snappy_block(BODY)), ("snappy", otlp.snappy_framed(BODY)),
                  ("x-snappy-framed", otlp.snappy_framed(BODY))]
        with Sink() as sink, Client(sink) as client:
            for encoding, body in packed:
                answer = client.post(body, encoding=encoding)
                self.assertEqual((answer.status, answer.body), (200, b""), encoding)
            report = sink.report()
        self.assertEqual(report["requests"], len(packed))
        self.assertEqual(report["accepted_points"], 4 * len(packed))
        self.assertEqual(report["body_bytes"], len(BODY) * len(packed))
        self.assertEqual(report["metric_names"], 2)
        self.assertEqual(report["bad_bodies"], 0)

    def test_what_is_refused(self):
        rows = [
            (415, b"{}", {"content_type": "application/json"}, b"JSON is not read here"),
            (415, b"", {"content_type": "text/plain"}, b"Content-Type"),
            (415, BODY, {"encoding": "br"}, b"gzip, deflate, zstd and snappy"),
            (400, BODY, {"encoding": "gzip"}, b"gzip"),
            (400, BODY[:-1], {}, b"cut short"),
            (400, otlp.request([otlp.metric("", [otlp.point(1, 1)])]), {}, b"without a name"),
            (404, BODY, {"path": "/v2/metrics"}, b""),
            (404, b"", {"path": "/report/x", "method": "GET"}, b""),
        ]
        with Sink() as sink, Client(sink) as client:
            for status, body, more, text in rows:
                answer = client.post(body, **more)
                self.assertEqual(answer.status, status, more)
                self.assertIn(text, answer.body)
            report = sink.report()
        self.assertEqual(report["bad_bodies"], 6)
        self.assertEqual((report["refused"], report["accepted"]), (6, 0))
        self.assertEqual(report["phases"][0]["answered"], {"400": 3, "415": 3})

    def test_requests_in_odd_shapes(self):
        with Sink() as sink:
            with Client(sink) as client:  # two at once, one in single bytes, one chunked
                client.send(BODY)
                client.send(BODY)
                self.assertEqual([client.answer().status, client.answer().status], [200, 200])
                head = f"POST /v1/metrics HTTP/1.1\r\ncontent-type: application/x-protobuf\r\n" \
                       f"Content-Length: {len(BODY)}\r\n\r\n".encode()
                for byte in head + BODY[:50]:
                    client.socket.sendall(bytes([byte]))
                client.socket.sendall(BODY[50:])
                self.assertEqual(client.answer().status, 200)
                head = b"POST /v1/metrics HTTP/1.1\r\ncontent-type: application/x-protobuf\r\n" \
                       b"Transfer-Encoding: chunked\r\n\r\n"
                client.socket.sendall(head + b"10\r\n" + BODY[:16] + b"\r\n")
                client.socket.sendall(b"%x\r\n" % len(BODY[16:]) + BODY[16:] + b"\r\n0\r\n\r\n")
                self.assertEqual(client.answer().status, 200)
                client.send(b"", headers=["Expect: 100-continue"], length=len(BODY))
                while b"\r\n\r\n" not in client.rest:
                    client._receive()
                self.assertTrue(client.rest.startswith(b"HTTP/1.1 100 "))
                client.rest = b""
                client.socket.sendall(BODY)
                self.assertEqual(client.answer().status, 200)
                self.assertEqual(client.post(BODY, headers=["Connection: close"]).status, 200)
                self.assertEqual(client.ended(), "closed")
            with Client(sink) as client:
                self.assertEqual(client.post(BODY, version="HTTP/1.0").status, 200)
                self.assertEqual(client.ended(), "closed")
            for text, status in ((b"nonsense\r\n\r\n", 400), (b"A" * 40000, 431),
                                 (b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413)):
                with Client(sink) as client:
                    client.socket.sendall(text)
                    self.assertEqual(client.answer().status, status)
            report = sink.report()
        self.assertEqual(report["accepted"], 7)

    def test_large_bodies(self):
        """Through every buffer: 20 MB in one request, on several connections at once."""
        body = b"".join(otlp.step_request(step) for step in range(1, 30001))
        results = []

        def post(sink):
            with Client(sink, timeout=30) as client:
                results.append(client.post(body).status)

        with Sink("--count-only") as sink:
            threads = [threading.Thread(target=post, args=(sink,)) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            report = sink.report()
        self.assertEqual(results, [200] * 3)
        self.assertEqual(report["points"], 3 * 4 * 30000)
        self.assertEqual(report["age"]["count"], 0)

    def test_remote_write(self):
        now = int(time.time() * 1000)
        body = otlp.write_request([
            ({"__name__": "pg_commits_total", "instance": "db-1"}, [(now - 1000, 1.25), (now, 2.5)]),
            ({"__name__": "pg_size", "instance": "db-1"}, [(now, 7)])])
        write = {"path": "/api/v1/write", "encoding": "snappy"}
        with Sink("--ledger") as sink, Client(sink) as client:
            self.assertEqual(client.post(otlp.snappy_block(body), **write).status, 204)
            self.assertEqual(client.post(otlp.snappy_block(body), **write).status, 204)
            unsorted = otlp.field(1, otlp.labels([("b", "1"), ("__name__", "m")]) +
                                  otlp.field(2, otlp.varint(16) + otlp.varint(now)))
            answer = client.post(otlp.snappy_block(unsorted), **write)
            self.assertEqual((answer.status, answer.body), (400, b"labels are not sorted"))
            answer = client.post(otlp.snappy_block(body), **write, content_type="application/"
                                 "x-protobuf;proto=io.prometheus.write.v2.Request")
            self.assertEqual(answer.status, 415)
            report = sink.report()
        self.assertEqual(report["remote_write"],
                         {"requests": 4, "series": 5, "samples": 7, "stale": 0})
        self.assertEqual(report["ledger"]["distinct"], 3)
        self.assertEqual(report["ledger"]["doubled"], 3)
        self.assertLess(report["age"]["max_ms"], 60000 * weir.SLOW)

    def test_log_and_dump(self):
        with tempfile.TemporaryDirectory() as path:
            log = os.path.join(path, "log")
            with Sink("--log", log, "--dump", path, "--answer", "503,200") as sink, \
                    Client(sink) as client:
                for body in (b"", BODY, BODY):
                    client.post(gzip.compress(body), encoding="gzip")
            with open(log, "rb") as file:
                self.assertEqual(file.read(), 2 * (len(BODY).to_bytes(4, "big") + BODY))
            self.assertEqual(sorted(os.listdir(path)), ["000002.bin", "000003.bin", "log"])


class Books(weir.Test):
    def test_ledger(self):
        with Sink("--ledger") as sink, Client(sink) as client:
            for step in (1, 2, 5, 4):  # 3 is missing, 4 is late
                client.post(otlp.step_request(step))
            for _ in range(2):  # 2 again, twice
                client.post(otlp.step_request(2))
            client.post(otlp.step_request(1, host="db-2"))
            own = otlp.request([otlp.metric("pgweir.scrapes", [otlp.point(5, 1)])], host="x")
            client.post(own)
            report = sink.report()
            text = weir.http(f"http://127.0.0.1:{sink.admin_port}/")[1]
        ledger = report["ledger"]
        self.assertEqual(ledger["series"], 8)
        self.assertEqual(ledger["points"], 28)
        self.assertEqual(ledger["distinct"], 20)
        self.assertEqual(ledger["gaps"], 3)
        self.assertEqual((ledger["doubled"], ledger["doubled_excused"]), (8, 0))
        self.assertEqual(ledger["unproven"], 0)
        self.assertEqual(report["own_points"], 1)
        self.assertIn("pg.rows of host=db-1: step 2 came twice", ledger["doubled_examples"])
        self.assertEqual(ledger["gap_examples"],
                         ["pg.rows of host=db-1: of steps 3 to 4 some are missing"] * 3)
        self.assertAlmostEqual(ledger["first_arrival_ns"] / 1e9, time.time(), delta=60)
        self.assertIn("missing 3, doubled 8 (0 excused)", text)

    def test_a_resend_after_a_lost_answer_is_excused_once(self):
        script = "[{faults: [{do: lose, first: 1}]}]"
        with Sink("--ledger", script=script) as sink:
            with Client(sink) as client:
                client.send(BODY)
                self.assertEqual(client.ended(), "closed")
            weir.wait_for("the loss", lambda: sink.report()["lost_answers"] == 1)
            for _ in range(2):
                with Client(sink) as client:
                    self.assertEqual(client.post(BODY).status, 200)
            report = sink.report()
        self.assertEqual(report["lost_answer_points"], 4)
        self.assertEqual((report["taken"], report["accepted"], report["unanswered"]), (3, 2, 1))
        self.assertEqual(report["ledger"]["distinct"], 4)
        self.assertEqual(report["ledger"]["doubled"], 8)
        self.assertEqual(report["ledger"]["doubled_excused"], 4)

    def test_a_client_that_leaves_early_does_not_know(self):
        with Sink("--ledger", "--delay", "60000") as sink:
            with Client(sink) as client:
                client.send(BODY)
                weir.wait_for("the body", lambda: sink.report()["requests"] == 1)
            weir.wait_for("the loss", lambda: sink.report()["lost_answers"] == 1)
            phase = sink.phase()
        self.assertEqual((phase["answered"], phase["unanswered"]), ({}, 1))

    def test_what_is_rejected_or_refused_is_not_entered(self):
        script = "[{answer: [503, 200], faults: [{do: partial, rejected: 3, after: 1}]}]"
        with Sink("--ledger", script=script) as sink, Client(sink) as client:
            self.assertEqual(client.post(BODY).status, 503)
            self.assertEqual(client.post(BODY).status, 200)
            ledger = sink.report()["ledger"]
        self.assertEqual((ledger["points"], ledger["distinct"]), (1, 1))

    def test_sample(self):
        with Sink("--ledger", "--ledger-sample", "4") as sink, Client(sink) as client:
            for host in range(200):
                client.post(otlp.step_request(1, host=f"db-{host}"))
            ledger = sink.report()["ledger"]
        self.assertEqual(ledger["series"] % 4, 0)
        self.assertTrue(20 <= ledger["series"] / 4 <= 80, ledger["series"])

    def test_age(self):
        with Sink() as sink, Client(sink) as client:
            for seconds in (5, 5, 5, 100):
                client.post(otlp.step_request(1, time_ns=int((time.time() - seconds) * 1e9)))
            client.post(otlp.step_request(1, time_ns=int((time.time() + 50) * 1e9)))
            age = sink.report()["age"]
        self.assertEqual(age["count"], 20)
        self.assertAlmostEqual(age["p50_ms"], 5000, delta=1500 * weir.SLOW)
        self.assertAlmostEqual(age["max_ms"], 100000, delta=3000 * weir.SLOW)
        self.assertEqual(sum(count for _, count in age["buckets"]), 20)
        self.assertEqual(age["buckets"][0], [0, 4])  # of the future: no age

    def test_the_end(self):
        with Sink("--ledger") as sink, Client(sink) as client:
            client.post(BODY)
            code, report = sink.finish()
        self.assertEqual(code, 0)
        self.assertEqual(report["points"], 4)
        self.assertEqual(report["accepted"], 1)
        self.assertGreater(report["seconds"], 0)
        self.assertIn(report["loop"], ("io_uring", "epoll"))


class Starting(weir.Test):
    def run_sink(self, *arguments):
        done = subprocess.run([weir.SINK, *arguments], capture_output=True, text=True, timeout=20)
        return done.returncode, done.stdout, done.stderr

    def test_usage_errors(self):
        for arguments, words in (
                (["--ledger", "--count-only"], ["--ledger", "--count-only"]),
                (["--ledger-sample", "4"], ["--ledger-sample", "--ledger"]),
                (["--ledger", "--ledger-sample", "0"], ["--ledger-sample 0", "1 or more"]),
                (["--script", "x", "--answer", "503"], ["--script", "--answer"]),
                (["--tls-cert", "x"], ["--tls-cert", "--tls-key"]),
                (["--loop", "select"], ["--loop select", "epoll"]),
                (["--admin", "x"], ["--admin x", "host:port"])):
            code, out, err = self.run_sink(*arguments)
            self.assertEqual((code, out), (2, ""), err)
            for word in words:
                self.assertIn(word, err)

    def test_what_fails_at_start(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            place = f"127.0.0.1:{taken.getsockname()[1]}"
            for arguments, words in (
                    (["--listen", place], ["--listen", place, "another"]),
                    (["--script", "/nonexistent"], ["/nonexistent", "No such file"]),
                    (["--tls-cert", "/nonexistent", "--tls-key", "/nonexistent"], ["/nonexistent"]),
                    (["--listen", "nowhere.invalid:1"], ["--listen nowhere.invalid:1"])):
                code, out, err = self.run_sink(*arguments)
                self.assertEqual((code, out), (1, ""), err)
                for word in words:
                    self.assertIn(word, err)

    def test_script_mistakes_have_a_place(self):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write("phases:\n  - for: 10s\n    conections: refuse\n")
            file.flush()
            code, _, err = self.run_sink("--listen", "127.0.0.1:0", "--script", file.name)
        self.assertEqual(code, 1)
        self.assertIn(f'{file.name}:3:5: unknown key "conections": did you mean "connections"?', err)

    def test_faults_of_tls_need_tls(self):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write("[{tls: expired}]")
            file.flush()
            code, _, err = self.run_sink("--listen", "127.0.0.1:0", "--script", file.name)
        self.assertEqual(code, 1)
        self.assertIn("--tls", err)

    def test_reference_is_in_the_docs(self):
        reference = self.run_sink("--script-reference")[1]
        with open(os.path.join(weir.ROOT, "docs", "sink.md")) as file:
            self.assertIn(reference.strip(), file.read(), "docs/sink.md: put in what "
                          "`pgweir-sink --script-reference` prints")


if __name__ == "__main__":
    weir.main()
