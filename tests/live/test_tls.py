# SPDX-License-Identifier: Apache-2.0
"""TLS with a certificate authority of our own: verified towards PostgreSQL and towards the back
end, refused where the certificate does not fit, and no password sent to a stranger."""

import gzip
import http.server
import os
import re
import ssl
import subprocess
import threading
import time

import weir


def authority(directory, name):
    path = os.path.join(directory, name)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                    f"/CN=test {name}", "-keyout", path + ".key", "-out", path + ".crt"],
                   check=True, capture_output=True)
    return path


def certificate(directory, name, ca, host):
    path = os.path.join(directory, name)
    subprocess.run(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                    "-nodes", "-subj", f"/CN={host}", "-keyout", path + ".key", "-out",
                    path + ".csr"], check=True, capture_output=True)
    with open(path + ".ext", "w") as file:
        file.write(f"subjectAltName=DNS:{host}\n")
    subprocess.run(["openssl", "x509", "-req", "-in", path + ".csr", "-CA", ca + ".crt", "-CAkey",
                    ca + ".key", "-CAcreateserial", "-days", "2", "-extfile", path + ".ext",
                    "-out", path + ".crt"], check=True, capture_output=True)
    if os.getuid() == 0:
        for end in (".key", ".crt"):
            weir.shutil.chown(path + end, "postgres", "postgres")
    os.chmod(path + ".key", 0o600)
    return path


class HttpsSink:
    """Takes OTLP over TLS and keeps the bodies."""

    def __init__(self, path):
        bodies = self.bodies = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                bodies.append(body)
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path + ".crt", path + ".key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.server.handle_error = lambda *_: None  # clients that refuse us are what we test
        self.endpoint = f"https://localhost:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Tls(weir.Test):
    @classmethod
    def setUpClass(cls):
        weir.need("openssl", "install openssl")
        cls.files = weir.Directory("tls")
        cls.addClassCleanup(cls.files.remove)
        os.chmod(cls.files.path, 0o755)
        cls.ca = authority(cls.files.path, "ca")
        cls.stranger = authority(cls.files.path, "stranger")
        cls.cert = certificate(cls.files.path, "server", cls.ca, "localhost")
        cls.pg = weir.Cluster(
            settings={"ssl": "on", "ssl_cert_file": cls.cert + ".crt",
                      "ssl_key_file": cls.cert + ".key"},
            hba="hostssl all all 127.0.0.1/32 scram-sha-256\n")
        cls.addClassCleanup(cls.pg.close)
        cls.sink = HttpsSink(cls.cert)
        cls.addClassCleanup(cls.sink.close)

    def receiver(self, tls, host="localhost"):
        text = weir.server(self.pg, "    session: {backoff_max: 1s}\n", interval="300ms").replace(
            "127.0.0.1:", host + ":")
        return text.replace("    tls:\n      insecure: true\n", tls)

    def exporter(self, tls, host="localhost"):
        return (f"  otlp_http:\n    endpoint: {self.sink.endpoint.replace('localhost', host)}\n"
                f"    retry_on_failure: {{max_elapsed_time: 1s, initial_interval: 100ms}}\n{tls}")

    def good_exporter(self):
        return self.exporter(f"    tls:\n      ca_file: {self.ca}.crt\n")

    def verify(self, ca):
        return f"    tls:\n      insecure_skip_verify: false\n      ca_file: {ca}.crt\n"

    def test_verified_on_both_sides(self):
        count = len(self.sink.bodies)
        for host, tls in (("localhost", self.verify(self.ca)), ("127.0.0.1", "")):
            with self.subTest(host), weir.Weir(weir.config(
                    self.receiver(tls, host), self.good_exporter())) as run:
                run.wait_delivered()
                used = self.pg.value("SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity "
                                     "USING (pid) WHERE application_name LIKE 'pgweir%'")
                self.assertEqual(used, "t")
                self.assertEqual(run.stop(), 0)
        bodies = self.sink.bodies[count:]
        names = {p.name for body in bodies for p in weir.points_of(weir.decode(body))}
        self.assertIn("postgresql.commits", names)

    def test_insecure_beside_https_is_said_to_do_nothing(self):
        exporter = self.exporter(f"    tls:\n      insecure: true\n      ca_file: {self.ca}.crt\n")
        with weir.Weir(weir.config(self.receiver(self.verify(self.ca)), exporter)) as run:
            run.wait_delivered()
            self.assertEqual(run.stop(), 0)
            self.assertIn("tls.insecure has no effect with https://", run.output())

    def test_a_dsn_without_a_word_about_tls(self):
        """On loopback: TLS where the server wants it, without where it wants none."""
        settings = {"ssl": "on", "ssl_cert_file": self.cert + ".crt",
                    "ssl_key_file": self.cert + ".key"}
        with weir.Cluster(settings=settings,
                          hba="hostnossl all all 127.0.0.1/32 scram-sha-256\n") as plain:
            for pg in (self.pg, plain):
                code, out, err = weir.once(
                    "once", f"postgresql://monitor:{pg.password}@localhost:{pg.port}/postgres")
                self.assertEqual((code, err), (0, ""))
                self.assertIn("postgresql.connection.max", out)

    def test_servers_that_do_not_fit_are_refused(self):
        for host, tls, why in (("localhost", self.verify(self.stranger), "another authority"),
                               ("127.0.0.1", self.verify(self.ca), "another name"),
                               ("localhost", "    tls: {insecure: true}\n", "the server wants TLS")):
            with self.subTest(why), weir.Weir(weir.config(
                    self.receiver(tls, host), self.good_exporter())) as run:
                run.wait_live()
                weir.wait_for("the target to be down", lambda: list(
                    run.targets().values())[0]["state"] == "down")
                error = list(run.targets().values())[0]["error"]
                self.assertRegex(error, "certificate|host name|pg_hba", why)
                self.assertEqual(run.stop(), 0)

    def test_back_ends_that_do_not_fit_are_refused(self):
        for host, ca, why in (("localhost", self.stranger, "another authority"),
                              ("127.0.0.1", self.ca, "another name")):
            exporter = self.exporter(f"    tls:\n      ca_file: {ca}.crt\n", host)
            count = len(self.sink.bodies)
            with self.subTest(why), weir.Weir(weir.config(
                    self.receiver(""), exporter)) as run:
                run.wait_live()
                weir.wait_for("the reason in /health", lambda: re.search(
                    "(?i)certificate|SSL", run.get("/health")[1]))
                time.sleep(0.5)
                self.assertEqual(len(self.sink.bodies), count, "data went to a stranger")
                run.stop()


if __name__ == "__main__":
    weir.main()
