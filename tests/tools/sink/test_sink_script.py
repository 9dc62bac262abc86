# SPDX-License-Identifier: Apache-2.0
"""pgweir-sink's scripts over real sockets: every fault as a client sees it, limits, phases, TLS."""

import contextlib
import os
import select
import socket
import ssl
import subprocess
import tempfile
import time

from rig import Client, Sink, otlp, trusting, weir

BODY = otlp.step_request(1)  # 4 points


def fault(text):
    return f"[{{faults: [{{{text}}}]}}]"


class Faults(weir.Test):
    def check(self, text, see, taken, answered, bodies=1, **more):
        """Runs `see` on a client with this fault; what the books then say."""
        with Sink("--ledger", script=fault(text)) as sink:
            with Client(sink, **more) as client:
                see(client)
            weir.wait_for("the end of the request",
                          lambda: sum(sink.phase()["answered"].values()) +
                          sink.phase()["unanswered"] == bodies)
            report = sink.report()
        phase = report["phases"][0]
        self.assertEqual(report["taken"], taken)
        self.assertEqual(phase["answered"], answered)
        self.assertEqual(phase["hits"], 1)
        self.assertEqual(phase["faults"][0]["hits"], 1)
        return report

    def test_status(self):
        def see(client):
            answer = client.post(BODY)
            self.assertEqual(answer.status, 413)
            self.assertEqual(answer.body, b"too large, sorry")
            self.assertEqual(answer.headers["retry-after"], "7")
        self.check('do: status, status: 413, text: "too large, sorry", retry_after: 7s', see, 0,
                   {"413": 1})

    def test_413_by_size(self):
        with Sink(script=fault("do: status, status: 413, larger_than: 200")) as sink, \
                Client(sink) as client:
            self.assertGreater(len(BODY), 200)
            self.assertEqual(client.post(BODY).status, 413)
            self.assertEqual(client.post(otlp.step_request(1, series=0)).status, 400)
            small = otlp.request([otlp.metric("m", [otlp.point(1, 1)])])
            self.assertLess(len(small), 200)
            self.assertEqual(client.post(small).status, 200)

    def test_lose(self):
        for how, end in (("close", "closed"), ("reset", "reset")):
            def see(client):
                client.send(BODY)
                self.assertEqual(client.ended(), end)
            report = self.check(f"do: lose, how: {how}", see, 1, {})
            self.assertEqual(report["lost_answers"], 1)
        def see_never(client):
            client.send(BODY)
            self.assertTrue(client.quiet(0.3))
        report = self.check("do: lose, how: never", see_never, 1, {})
        self.assertEqual(report["lost_answers"], 1)

    def test_lose_on_reused_connections_only(self):
        with Sink(script=fault("do: lose, on: reused, first: 1")) as sink:
            with Client(sink) as client:
                self.assertEqual(client.post(BODY).status, 200)
                client.send(BODY)
                self.assertEqual(client.ended(), "closed")
            with Client(sink) as client:
                self.assertEqual([client.post(BODY).status for _ in range(3)], [200] * 3)

    def test_lose_on_fresh_connections_only(self):
        with Sink(script=fault("do: lose, on: fresh, first: 1")) as sink:
            with Client(sink) as client:
                client.send(BODY)
                self.assertEqual(client.ended(), "closed")
            with Client(sink) as client:
                self.assertEqual([client.post(BODY).status for _ in range(3)], [200] * 3)

    def test_reset_in_the_body(self):
        def see(client):
            client.send(BODY[:50], length=len(BODY))
            self.assertEqual(client.ended(), "reset")
        report = self.check("do: reset, bytes: 20", see, 0, {})
        self.assertEqual(report["requests"], 0)  # no whole one
        self.assertEqual(report["phases"][0]["unanswered"], 1)

    def test_stall(self):
        """The client cannot get rid of its body."""
        def see(client):
            client.socket.settimeout(0.5)
            with self.assertRaises(TimeoutError):
                client.send(b"x" * 60_000_000)
            client.reset()
        with Sink(script=fault("do: stall, bytes: 1000")) as sink:
            with Client(sink) as client:
                see(client)
            self.assertEqual(sink.phase()["faults"][0]["hits"], 1)
            self.assertEqual(sink.phase()["answered"], {})

    def test_cut(self):
        def see(client):
            client.send(BODY)
            got = b""
            while True:
                piece = client.ended()
                if isinstance(piece, str):
                    break
                got += piece
            self.assertEqual((got, piece), (b"HTTP/1.1 200 OK\r\nCon", "reset"))
        report = self.check("do: cut", see, 1, {})
        self.assertEqual(report["lost_answers"], 1)

    def test_partial_success(self):
        def see(client):
            answer = client.post(BODY)
            self.assertEqual(answer.status, 200)
            self.assertEqual(answer.body, otlp.field(1, b"\x08\x02" + otlp.field(2, "no room")))
        self.check("do: partial, rejected: 2, text: no room", see, 1, {"200": 1})
        def see_warning(client):
            self.assertEqual(client.post(BODY).body, otlp.field(1, otlp.field(2, "beware")))
        self.check("do: partial, text: beware", see_warning, 1, {"200": 1})

    def test_slow(self):
        def see(client):
            began = time.monotonic()
            answer = client.post(BODY)
            took = time.monotonic() - began
            self.assertEqual(answer.status, 200)
            # some 90 bytes by 5, 20 ms apart
            self.assertGreater(took, 0.2)
            self.assertLess(took, 5 * weir.SLOW)
            self.assertEqual(client.post(BODY).status, 200)  # as fast as ever
        self.check("do: slow, slice: 5, interval: 20ms, first: 1", see, 2, {"200": 2}, bodies=2)

    def test_garbage(self):
        def see(client):
            client.send(BODY)
            self.assertFalse(client.ended().startswith(b"HTTP"))
            self.assertEqual(client.ended(), "closed")
        report = self.check("do: garbage", see, 1, {})
        self.assertEqual(report["unanswered"], 1)

    def test_huge_answer(self):
        def see(client):
            self.assertEqual(len(client.post(BODY).body), 5 << 20)
        self.check("do: huge", see, 1, {"200": 1})

    def test_redirect(self):
        def see(client):
            answer = client.post(BODY)
            self.assertEqual(answer.status, 307)
            self.assertEqual(answer.headers["location"], "file:///etc/passwd")
        self.check('do: redirect, location: "file:///etc/passwd"', see, 0, {"307": 1})

    def test_blackhole(self):
        def see(client):
            client.send(BODY)
            self.assertTrue(client.quiet(0.3))
        self.check("do: blackhole", see, 0, {})

    def test_close_after_a_good_answer(self):
        def see(client):
            answer = client.post(BODY)
            self.assertEqual(answer.status, 200)
            self.assertNotIn("connection", answer.headers)
            self.assertEqual(client.ended(), "closed")
        self.check("do: close", see, 1, {"200": 1})

    def test_answers_in_turn(self):
        with Sink("--answer", "503,429,200", "--retry-after", "3") as sink, Client(sink) as client:
            answers = [client.post(BODY) for _ in range(4)]
        self.assertEqual([answer.status for answer in answers], [503, 429, 200, 200])
        self.assertEqual([answer.headers.get("retry-after") for answer in answers],
                         ["3", "3", None, None])

    def test_retry_after_forms(self):
        script = "[{answer: 429, retry_after: [date 2s, absurd, negative, garbage, empty, none]}]"
        with Sink(script=script) as sink, Client(sink) as client:
            forms = [client.post(BODY).headers.get("retry-after") for _ in range(6)]
        when = time.strptime(forms[0], "%a, %d %b %Y %H:%M:%S GMT")
        self.assertLess(abs(time.mktime(when) - time.timezone - time.time() - 2), 3 * weir.SLOW)
        self.assertEqual(forms[1:], ["1000000000", "-5", "soon", "", None])


class Limits(weir.Test):
    def test_requests_per_minute(self):
        with Sink(script="[{requests_per_minute: 20}]") as sink, Client(sink) as client:
            answers = [client.post(BODY) for _ in range(50)]
            phase = sink.phase()
        self.assertEqual([answer.status for answer in answers], [200] * 20 + [429] * 30)
        self.assertTrue(0 < int(answers[-1].headers["retry-after"]) <= 60)
        self.assertEqual(phase["over_limit"], 30)
        self.assertTrue(phase["violated"])
        self.assertEqual(phase["limits"], [{"limit": "20 requests per 60s", "over": 30}])
        self.assertEqual(phase["answered"], {"200": 20, "429": 30})

    @contextlib.contextmanager
    def sent_at_once(self, sink, count):
        """Open connections that have each sent a request, and when the first did."""
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(sink, timeout=20)) for _ in range(count)]
            began = time.monotonic()
            for client in clients:
                client.send(BODY)
            yield clients, began

    def test_concurrency(self):
        with Sink(script="[{latency: 3s, limits: [{concurrency: 3, status: 503}]}]") as sink, \
                self.sent_at_once(sink, 8) as (clients, began):
            waiting, statuses = {client.socket: client for client in clients}, []
            while waiting:
                for ready in select.select(list(waiting), [], [], 20)[0] or self.fail("no answer"):
                    statuses.append(waiting.pop(ready).answer().status)
            self.assertGreaterEqual(time.monotonic() - began, 3)
            phase = sink.phase()
        self.assertEqual(statuses, [503] * 5 + [200] * 3, "refused at once, answered after 3 s")
        self.assertTrue(4 <= phase["peak_concurrency"] <= 8)

    def test_latency_grows_with_concurrency(self):
        """One worker: of five at once the last waits for the others."""
        with Sink(script="[{latency: 800ms, workers: 1}]") as sink, \
                self.sent_at_once(sink, 5) as (clients, began):
            took = []
            for client in clients:
                self.assertEqual(client.answer().status, 200)
                took.append(time.monotonic() - began)
            phase = sink.phase()
        self.assertGreaterEqual(min(took), 0.8)
        self.assertGreaterEqual(max(took), 5 * 0.8)
        self.assertEqual(phase["waited"], 4)


class Phases(weir.Test):
    def refused(self, sink):
        try:
            Client(sink).close()
        except ConnectionRefusedError:
            return True
        return False

    def test_an_outage_and_back(self):
        """Nobody listens, open connections are reset; then the same port is there again."""
        with Sink(script="[{name: up}]") as sink, Client(sink) as client:
            self.assertEqual(client.post(BODY).status, 200)
            sink.set_script("[{name: down, connections: refuse}]")
            sink.wait_phase("down")
            weir.wait_for("nobody to listen", lambda: self.refused(sink))
            # Nobody else is given the port meanwhile, to answer in the sink's name.
            with socket.socket() as other, self.assertRaises(OSError):
                other.bind(("127.0.0.1", sink.port))
            self.assertEqual(client.ended(), "reset")
            sink.set_script("[{name: back}]")
            sink.wait_phase("back")
            weir.wait_for("the port", lambda: not self.refused(sink))
            with Client(sink) as again:
                self.assertEqual(again.post(BODY).status, 200)
            report = sink.report()
        self.assertEqual(report["accepted"], 2)

    def test_resets(self):
        with Sink(script="[{}]") as sink, Client(sink) as client:
            self.assertEqual(client.post(BODY).status, 200)
            self.assertEqual(sink.set_script("[{connections: reset}]").status, 200)
            self.assertEqual(client.ended(), "reset")
            try:
                with Client(sink) as other:
                    self.assertEqual(other.ended(), "reset")
            except ConnectionResetError:
                pass  # sooner than connect() returned
            self.assertEqual(sink.report()["connections"], 2)

    def test_blackhole(self):
        with Sink(script="[{}]") as sink, Client(sink) as client:
            self.assertEqual(client.post(BODY).status, 200)
            sink.set_script("[{connections: blackhole}]")
            client.send(BODY)
            with Client(sink) as other:
                other.send(BODY)
                self.assertTrue(other.quiet(0.3))
            self.assertTrue(client.quiet(0.1))
            sink.set_script("[{}]")
            with Client(sink) as again:
                self.assertEqual(again.post(BODY).status, 200)
            report = sink.report()
        self.assertEqual((report["taken"], report["accepted"]), (2, 2))

    def test_post_script(self):
        with Sink() as sink, Client(sink) as client:
            self.assertEqual(client.post(BODY).status, 200)
            answer = client.post(b"[{answer: 503, nmae: x}]", path="/script")
            self.assertEqual(answer.status, 400)
            self.assertEqual(answer.body, b'script:1:16: unknown key "nmae": did you mean "name"?')
            self.assertEqual(client.post(b"[{tls: expired}]", path="/script").status, 400)
            self.assertEqual(client.post(BODY).status, 200)
            answer = client.post(b"[{name: second, answer: 503}]", path="/script")
            self.assertEqual(answer.status, 200)
            self.assertIn(b'"accepted": 2', answer.body)  # what was before
            self.assertEqual(client.post(BODY).status, 503)
            report = sink.report()
        self.assertEqual(report["phase"], "second")
        self.assertEqual(report["phases"][0]["answered"], {"503": 1})
        self.assertEqual(report["accepted"], 2)

    def test_begin_with_the_first_request(self):
        script = "{begin: request, phases: [{name: a, for: 400ms, answer: 503}, {name: b}]}"
        with Sink(script=script) as sink:
            time.sleep(0.5)
            with Client(sink) as client:
                self.assertEqual(client.post(BODY).status, 503)
                sink.wait_phase("b")
                self.assertEqual(client.post(BODY).status, 200)


class Tls(weir.Test):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.directory.cleanup)
        cls.ca = os.path.join(cls.directory.name, "ca.pem")

    def sink(self, script="[{}]", *options):
        return Sink("--tls-ca-out", self.ca, *options, script=script)

    def test_good(self):
        with self.sink() as sink:
            with Client(sink, context=trusting(self.ca)) as client:
                for step in range(1, 4):
                    self.assertEqual(client.post(otlp.step_request(step)).status, 200)
                self.assertEqual(client.post(b"x" * 1_000_000).status, 400)
            with Client(sink, context=trusting(self.ca), host="127.0.0.1") as client:
                self.assertEqual(client.post(BODY).status, 200)
            self.assertEqual(sink.report()["accepted"], 4)

    def test_faulty_certificates(self):
        """Each has one fault, and no other: without the check it works."""
        for kind, words in (("expired", "expired"), ("wrong_host", "Hostname mismatch"),
                            ("untrusted", "unable to get local issuer")):
            with self.sink(f"[{{tls: {kind}}}]") as sink:
                with self.assertRaises(ssl.SSLCertVerificationError) as caught:
                    Client(sink, context=trusting(self.ca)).close()
                self.assertIn(words, str(caught.exception))
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
                with Client(sink, context=context) as client:
                    self.assertEqual(client.post(BODY).status, 200)
                self.assertEqual(sink.report()["requests"], 1)

    def test_abort_and_plain(self):
        with self.sink("[{tls: abort}]") as sink:
            with self.assertRaises(OSError):
                Client(sink, context=trusting(self.ca)).close()
            sink.set_script("[{tls: plain}]")
            with self.assertRaises(ssl.SSLError) as caught:
                Client(sink, context=trusting(self.ca)).close()
            self.assertNotIsInstance(caught.exception, ssl.SSLCertVerificationError)
            sink.set_script("[{}]")
            with Client(sink, context=trusting(self.ca)) as client:
                self.assertEqual(client.post(BODY).status, 200)

    def test_a_phase_with_a_fault_drops_connections(self):
        with self.sink() as sink, Client(sink, context=trusting(self.ca)) as client:
            self.assertEqual(client.post(BODY).status, 200)
            sink.set_script("[{tls: expired}]")
            self.assertEqual(client.ended(), "reset")

    def test_faults_of_requests(self):
        with self.sink("[{faults: [{do: slow, slice: 40, first: 1}, {do: cut, first: 1}]}]") as sink:
            with Client(sink, context=trusting(self.ca)) as client:
                self.assertEqual(client.post(BODY).status, 200)
                client.send(BODY)
                self.assertEqual(client.ended(), "reset")

    def test_files(self):
        cert, key = (os.path.join(self.directory.name, name) for name in ("c.pem", "k.pem"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert],
                       check=True, capture_output=True)
        with Sink("--tls-cert", cert, "--tls-key", key) as sink, \
                Client(sink, context=trusting(cert)) as client:
            self.assertEqual(client.post(BODY).status, 200)


if __name__ == "__main__":
    weir.main()
