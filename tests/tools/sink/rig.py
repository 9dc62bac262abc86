# SPDX-License-Identifier: Apache-2.0
"""pgweir-sink as a child, and a client that sees what comes over the wire."""

import json
import os
import socket
import ssl
import struct
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "live"))
import weir  # noqa: E402

import otlp  # noqa: E402

LOOP = os.environ.get("PGWEIR_SINK_LOOP", "auto")


class Sink(weir.Program):
    """On free ports; `admin` answers whatever the script does."""

    def __init__(self, *options, script=None):
        weir.need(weir.SINK, "build it")
        self.files = []
        line = [weir.SINK, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--loop", LOOP]
        if script is not None:
            file = tempfile.NamedTemporaryFile("w", suffix=".yaml")
            file.write(script)
            file.flush()
            self.files.append(file)
            line += ["--script", file.name]
        super().__init__(line + list(options), "pgweir-sink")
        try:
            weir.wait_for("the sink's ports", self._ports)
        except AssertionError as error:
            text = self.output()
            self.close()
            raise AssertionError(f"{error}; its output:\n{text}") from None

    def _ports(self):
        if not self.running():
            raise AssertionError(f"pgweir-sink ended with {self.process.returncode}")
        words = [line.split() for line in self.output().splitlines()]
        if len(words) < 2 or len(words[1]) < 4:
            return False
        self.port, self.admin_port = int(words[0][-1]), int(words[1][-1])
        return True

    def report(self):
        return json.loads(weir.http(f"http://127.0.0.1:{self.admin_port}/report")[1])

    def phase(self, index=0):
        return self.report()["phases"][index]

    def wait_phase(self, name):
        weir.wait_for(f"phase {name}", lambda: self.report()["phase"] == name)

    def set_script(self, text):
        with Client(self, admin=True) as client:
            return client.post(text.encode(), path="/script")

    def finish(self):
        """Ends it; (exit code, its last report)."""
        code = self.stop()
        return code, json.loads(self.output().split("\n", 2)[2])

    def close(self):
        super().close()
        for file in self.files:
            file.close()


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body


class Client:
    """One connection."""

    def __init__(self, sink, admin=False, context=None, host="localhost", timeout=5.0):
        port = sink.admin_port if admin else sink.port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout * weir.SLOW)
        self.rest = b""
        if context is not None:
            try:
                self.socket = context.wrap_socket(self.socket, server_hostname=host,
                                                  suppress_ragged_eofs=False)
            except BaseException:
                self.socket.close()
                raise

    def send(self, body, path="/v1/metrics", encoding=None, headers=(),
             content_type="application/x-protobuf", method="POST", version="HTTP/1.1", length=None):
        lines = [f"{method} {path} {version}", "Host: x", f"Content-Type: {content_type}",
                 f"Content-Length: {len(body) if length is None else length}"]
        if encoding:
            lines.append(f"Content-Encoding: {encoding}")
        lines += headers
        self.socket.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def _receive(self):
        piece = self.socket.recv(65536)
        if not piece:
            raise EOFError(self.rest)
        self.rest += piece

    def answer(self):
        while b"\r\n\r\n" not in self.rest:
            self._receive()
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        headers = {}
        for line in lines[1:]:
            key, value = line.split(":", 1)
            headers[key.lower()] = value.strip()
        bytes_wanted = int(headers.get("content-length", 0))
        while len(self.rest) < bytes_wanted:
            self._receive()
        body, self.rest = self.rest[:bytes_wanted], self.rest[bytes_wanted:]
        return Answer(int(lines[0].split()[1]), headers, body)

    def post(self, body, **more):
        self.send(body, **more)
        return self.answer()

    def ended(self):
        """How the connection ends: "closed", "reset", or what still comes."""
        try:
            piece = self.socket.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError):  # no close_notify
            return "reset"
        return "closed" if piece == b"" else piece

    def quiet(self, seconds):
        """Nothing comes for so long, and the connection stays."""
        self.socket.settimeout(seconds)
        try:
            self.socket.recv(1)
        except TimeoutError:
            return True
        return False

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def trusting(path):
    """A TLS context that trusts the authority in this file, and nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(path)
    return context
