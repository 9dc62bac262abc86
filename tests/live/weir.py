# SPDX-License-Identifier: Apache-2.0
"""What the live tests share: real PostgreSQL servers, pgweir, its sink, and readers of what came
out. Python's standard library only.

    with weir.Cluster() as pg, weir.Sink() as sink, weir.Weir(config) as run:
        run.wait_ready()
        ...
        weir.Points(sink.dump_directory)

A test file ends with `if __name__ == "__main__": weir.main()`. What is missing on a machine is a
skip (exit code 77), unless PGWEIR_REQUIRE_ALL=1, when it is a failure.

Environment: PGWEIR_BIN, PGWEIR_SINK (programs), PGWEIR_CACHE (what tools/fetch-* fetched),
PGWEIR_PG_DIR, PGWEIR_OTEL_PROTO (likewise), PGWEIR_TEST_TEMPLATES (where initialised data directories are kept between test programs),
PGWEIR_TEST_KEEP=1 (leave temporary directories behind).
"""

import contextlib
import fcntl
import glob
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
CACHE = os.environ.get("PGWEIR_CACHE") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "pgweir")
BIN = os.environ.get("PGWEIR_BIN") or os.path.join(ROOT, "build/dev/engine/pgweir")
SINK = os.environ.get("PGWEIR_SINK") or os.path.join(ROOT, "build/dev/tools/sink/pgweir-sink")
DEBIAN_PG = "/usr/lib/postgresql/15"
REQUIRE_ALL = os.environ.get("PGWEIR_REQUIRE_ALL") == "1"
SLOW = 3.0 if "tsan" in BIN else 1.0  # how much longer things may take

# Every secret any test gives to a program; none may appear in anything a program prints.
SECRETS = set()


def secret(prefix="pw"):
    value = f"{prefix}-{secrets.token_hex(8)}"
    SECRETS.add(value)
    return value


def free_port():
    """A port of 127.0.0.1 that nobody uses. It lies below those that the kernel gives to sockets by
    itself: however long it takes until its server binds it, no connection got it meanwhile."""
    chance = secrets.SystemRandom()  # not of a test's seed: others that run beside draw, too
    for _ in range(1000):
        port = chance.randrange(20000, 32000)
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free TCP port between 20000 and 32000")


class Closed:
    """A port where nobody listens, kept until close(): who binds it with SO_REUSEADDR, as servers
    do, can listen there, and nobody else is given it."""

    def __init__(self):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", free_port()))
        self.port = self.socket.getsockname()[1]

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def wait_for(what, condition, seconds=20.0, step=0.05):
    """The first true answer of condition(), or an AssertionError naming what was waited for."""
    end = time.monotonic() + seconds * SLOW
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds * SLOW:.0f} s for {what}")
        time.sleep(step)


def need(path, how):
    """Skips the test unless the file or program is there."""
    if not (os.path.exists(path) or shutil.which(path)):
        raise unittest.SkipTest(f"{path} is missing: {how}")
    return path


class Directory:
    """A temporary directory that goes away, readable by the servers' user."""

    def __init__(self, name):
        self.path = tempfile.mkdtemp(prefix=f"pgweir-{name}-")
        if os.getuid() == 0:
            shutil.chown(self.path, "postgres", "postgres")

    def remove(self):
        if os.environ.get("PGWEIR_TEST_KEEP") != "1":
            shutil.rmtree(self.path, ignore_errors=True)


def as_server():
    """Popen arguments under which PostgreSQL agrees to run."""
    if os.getuid() != 0:
        return {}
    return {"user": "postgres", "group": "postgres", "extra_groups": []}


# ----------------------------------------------------------------------------- PostgreSQL

def versions():
    """{major: programs' directory} of every PostgreSQL there is here, newest last."""
    found = {}
    fetched = os.environ.get("PGWEIR_PG_DIR") or (
        "/var/cache/pgweir/pg" if os.getuid() == 0 else os.path.join(CACHE, "pg"))
    for pattern in (os.path.join(fetched, "*", "bin"), "/usr/lib/postgresql/*/bin"):
        for path in sorted(glob.glob(pattern)):
            if os.path.exists(os.path.join(path, "postgres")):
                major = int(re.match(r"\d+", os.path.basename(os.path.dirname(path)))[0])
                found[major] = path
    return dict(sorted(found.items()))


def _initialise(bin_path, data):
    subprocess.run([os.path.join(bin_path, "initdb"), "-D", data, "-U", "postgres", "--no-sync",
                    "--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8",
                    "--no-locale"], check=True, cwd="/", stdout=subprocess.DEVNULL,
                   env={"PATH": os.environ["PATH"], "LC_ALL": "C"}, **as_server())


def _data_directory(bin_path, data):
    """A fresh data directory at `data`: a copy of a template made once per test run."""
    templates = os.environ.get("PGWEIR_TEST_TEMPLATES")
    if not templates:
        _initialise(bin_path, data)
        return
    os.makedirs(templates, exist_ok=True)
    if os.getuid() == 0:
        shutil.chown(templates, "postgres", "postgres")
    template = os.path.join(templates, bin_path.strip("/").replace("/", "_"))
    with open(os.path.join(templates, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(template):
            _initialise(bin_path, template + ".new")
            os.rename(template + ".new", template)
    subprocess.run(["cp", "-a", template, data], check=True, **as_server())


class Cluster:
    """One PostgreSQL server in a temporary directory, on a free port of 127.0.0.1."""

    def __init__(self, bin_path=DEBIAN_PG + "/bin", settings=None, hba=None, start=True):
        need(os.path.join(bin_path, "postgres"), "install postgresql-15")
        self.bin = bin_path
        self.directory = Directory("pg")
        self.data = os.path.join(self.directory.path, "data")
        self.port = free_port()
        self.password = secret()
        self.process = None
        try:
            _data_directory(bin_path, self.data)
            self._configure(settings or {}, hba)
            if start:
                self.start()
                self.sql("SET client_min_messages = error; "
                         f"CREATE ROLE monitor LOGIN PASSWORD '{self.password}' IN ROLE pg_monitor")
        except BaseException:
            self.close()
            raise

    def _configure(self, settings, hba):
        lines = {"listen_addresses": "127.0.0.1", "port": self.port, "fsync": "off",
                 "unix_socket_directories": self.directory.path, "shared_buffers": "16MB",
                 "autovacuum": "off", "max_connections": 50, "track_functions": "all",
                 "password_encryption": "scram-sha-256", "max_wal_size": "256MB"}
        lines.update(settings)
        with open(os.path.join(self.data, "postgresql.conf"), "a") as conf:
            for key, value in lines.items():
                conf.write(f"{key} = '{value}'\n")
        if hba is not None:
            with open(os.path.join(self.data, "pg_hba.conf"), "w") as conf:
                conf.write("local all postgres trust\n" + hba)

    def start(self):
        """Starts the server and waits until it answers."""
        log = open(os.path.join(self.directory.path, "log"), "ab")
        self.process = subprocess.Popen(
            [os.path.join(self.bin, "postgres"), "-D", self.data], stdout=log, stderr=log,
            stdin=subprocess.DEVNULL, cwd="/", start_new_session=True, **as_server())
        log.close()
        try:
            wait_for("PostgreSQL to accept connections", self._answers, 30)
        except AssertionError as error:
            raise AssertionError(f"{error}; its log:\n{self.log()}") from None
        return self

    def log(self):
        with open(os.path.join(self.directory.path, "log"), errors="replace") as file:
            return file.read()

    def _answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"PostgreSQL ended with {self.process.returncode}:\n{self.log()}")
        return self._psql("SELECT 1", "postgres", check=False).returncode == 0

    def _psql(self, query, database, check=True, user="postgres"):
        command = [DEBIAN_PG + "/bin/psql", "-h", self.directory.path, "-p", str(self.port),
                   "-U", user, "-d", database, "-X", "-q", "-A", "-t", "-F", "\x1f",
                   "-v", "ON_ERROR_STOP=1", "-f", "-"]
        done = subprocess.run(command, input=query, capture_output=True, encoding="utf-8", cwd="/",
                              env={**os.environ, "PGCLIENTENCODING": "UTF8"})
        if check and done.returncode != 0:
            raise AssertionError(f"SQL failed: {query}\n{done.stderr}")
        return done

    def sql(self, query, database="postgres"):
        """Rows as tuples of text, run as the superuser through the socket."""
        out = self._psql(query, database).stdout
        return [tuple(line.split("\x1f")) for line in out.splitlines()]

    def value(self, query, database="postgres"):
        return self.sql(query, database)[0][0]

    @property
    def endpoint(self):
        return f"127.0.0.1:{self.port}"

    def dsn(self, database="postgres", user="monitor", password=None, options=""):
        return (f"postgresql://{user}:{password or self.password}@127.0.0.1:{self.port}/"
                f"{database}?sslmode=disable{options}")

    def signal_all(self, number):
        """The signal to the postmaster and every child: a whole server frozen, or thawed."""
        pids = [self.process.pid]
        for path in glob.glob("/proc/[0-9]*/stat"):
            with contextlib.suppress(OSError):
                with open(path) as file:
                    fields = file.read().rsplit(")", 1)[1].split()
                if int(fields[1]) == self.process.pid:
                    pids.append(int(path.split("/")[2]))
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self):
        """As a crash: nothing is cleaned up."""
        if self.process is not None:
            self.signal_all(signal.SIGKILL)
            self.process.wait()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.data, "postmaster.pid"))
            self.process = None

    def stop(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)
            self.process = None

    def close(self):
        self.kill()
        self.directory.remove()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# ----------------------------------------------------------------------------- programs

class Program:
    """A child whose output is kept, checked for secrets, and never left running."""

    def __init__(self, command, name, env=None):
        self.name = name
        self.directory = Directory(name)
        self.output_path = os.path.join(self.directory.path, "output")
        environment = dict(os.environ)
        environment.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:exitcode=99")
        environment.setdefault("TSAN_OPTIONS", "exitcode=99")
        environment.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
        environment.update(env or {})
        with open(self.output_path, "wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT,
                                            stdin=subprocess.DEVNULL, env=environment)

    def output(self):
        with open(self.output_path, errors="replace") as file:
            return file.read()

    def running(self):
        return self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=20):
        """Exit code; a hang is killed and is an error."""
        try:
            return self.process.wait(seconds * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.name} did not end within {seconds * SLOW:.0f} s; output:\n"
                                 f"{self.output()[-4000:]}") from None

    def stop(self, seconds=20):
        if self.running():
            self.process.send_signal(signal.SIGTERM)
        return self.wait(seconds)

    def check_output(self):
        text = self.output()
        for value in SECRETS:
            if value in text:
                raise AssertionError(f"{self.name} printed a credential:\n{text[-4000:]}")
        for mark in ("runtime error:", "AddressSanitizer", "ThreadSanitizer", "LeakSanitizer"):
            if mark in text:
                raise AssertionError(f"{self.name}: {mark}\n{text[-8000:]}")

    def close(self):
        if self.running():
            self.process.kill()
        self.process.wait()
        self.directory.remove()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is not None and kind is not unittest.SkipTest:
            sys.stderr.write(f"--- output of {self.name}\n{self.output()[-6000:]}\n---\n")
        try:
            if error is None:
                self.check_output()
        finally:
            self.close()


def http(url, seconds=5.0):
    """(status, body as text), whatever the status."""
    try:
        with urllib.request.urlopen(url, timeout=seconds * SLOW) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Sink(Program):
    """pgweir-sink on a free port, dumping what it accepted."""

    def __init__(self, *options, port=None, dump=True, command=None):
        need(SINK, "build it")
        self.port = port or free_port()
        self.dumps = Directory("dump")
        line = [command or SINK, "--listen", f"127.0.0.1:{self.port}"]
        if dump:
            line += ["--dump", self.dumps.path]
        super().__init__(line + list(options), "pgweir-sink")
        try:
            wait_for("the sink to listen", self._listens)
        except AssertionError as error:
            text = self.output()
            self.close()
            raise AssertionError(f"{error}; its output:\n{text}") from None

    def _listens(self):
        if not self.running():
            raise AssertionError(f"pgweir-sink ended with {self.process.returncode}")
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def report(self):
        if not self.running():
            raise AssertionError(f"pgweir-sink was ended from outside: {self.process.returncode}")
        return json.loads(http(self.endpoint + "/report")[1])

    def points(self):
        return decode_directory(self.dumps.path)

    def close(self):
        super().close()
        self.dumps.remove()


class Weir(Program):
    """`pgweir run` on a configuration text. `{admin}` in the text becomes a free port; what the
    text lacks of a health_check extension is added by config()."""

    def __init__(self, text, env=None):
        need(BIN, "build it")
        self.admin_port = free_port()
        self.files = Directory("config")
        self.config_path = os.path.join(self.files.path, "config.yaml")
        with open(self.config_path, "w") as file:
            file.write(text.replace("{admin}", f"127.0.0.1:{self.admin_port}"))
        super().__init__([BIN, "run", "--config", self.config_path], "pgweir", env)

    def get(self, path):
        return http(f"http://127.0.0.1:{self.admin_port}{path}")

    def answers(self, path="/livez"):
        if not self.running():
            raise AssertionError(f"pgweir ended with {self.process.returncode}:\n{self.output()}")
        try:
            return self.get(path)[0] == 200
        except OSError:
            return False

    def wait_live(self):
        wait_for("/livez", self.answers)

    def wait_ready(self):
        wait_for("/readyz", lambda: self.answers("/readyz"))

    def metrics(self):
        return Metrics(self.get("/metrics")[1])

    def targets(self):
        """{name: entry} of /targets."""
        body = json.loads(self.get("/targets")[1])
        entries = body["targets"] if isinstance(body, dict) else body
        return {entry["name"]: entry for entry in entries}

    def wait_delivered(self, points=1, exporter=None, seconds=20):
        labels = {"exporter": exporter} if exporter else {}
        wait_for(f"{points} delivered points", lambda: self.answers() and self.metrics().get(
            "pgweir_exporter_delivered_points_total", **labels) >= points, seconds)

    def wait_scrapes(self, count, seconds=20):
        """Until `count` more collections gave points than now: some of them at least."""
        def scrapes():
            metrics = self.metrics()
            return sum(metrics.get("pgweir_scrapes_total", result=result)
                       for result in ("ok", "partial"))
        goal = scrapes() + count
        wait_for(f"{count} more collections", lambda: scrapes() >= goal, seconds)

    def close(self):
        super().close()
        self.files.remove()


class Metrics:
    """Prometheus text, read."""

    LINE = re.compile(r'^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$')
    LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

    def __init__(self, text):
        self.text = text
        self.samples = []
        for line in text.splitlines():
            match = self.LINE.match(line)
            if match:
                self.samples.append((match[1], dict(self.LABEL.findall(match[2] or "")),
                                     float(match[3])))

    def get(self, name, **labels):
        """Sum of all samples that carry these labels."""
        return sum(value for sample, have, value in self.samples
                   if sample == name and all(have.get(k) == v for k, v in labels.items()))

    def names(self):
        return {sample for sample, _, _ in self.samples}

    def values(self, name, label):
        """{label's value: sum}."""
        found = {}
        for sample, have, value in self.samples:
            if sample == name and label in have:
                found[have[label]] = found.get(have[label], 0) + value
        return found

    def ledger(self, exporter):
        """(collected and recovered, delivered, queued, spooled, dropped) of a destination."""
        books = [int(self.get(f"pgweir_exporter_{name}", exporter=exporter)) for name in (
            "recovered_points_total", "collected_points_total", "delivered_points_total",
            "queued_points", "spooled_points", "dropped_points_total")]
        return (books[0] + books[1], *books[2:])

    def quantile(self, name, q, since=None):
        """Upper bound of the bucket that holds the q-quantile of a histogram, of what was recorded
        since other metrics were read."""
        before = since._buckets(name) if since else {}
        buckets = sorted((float(le), value - before.get(le, 0))
                         for le, value in self._buckets(name).items())
        if not buckets or buckets[-1][1] == 0:
            return None
        return next(le for le, value in buckets if value >= q * buckets[-1][1])

    def _buckets(self, name):
        return self.values(name + "_bucket", "le")


# ----------------------------------------------------------------------------- OTLP, decoded

TOKEN = re.compile(r'\s*(?:([\w.]+)\s*(?::\s*("(?:[^"\\]|\\.)*"|[^\s{}]+)|\{)|(\}))')


def parse_text_format(text):
    """protoc's text format as nested dicts of lists. A field without a name (unknown to the
    .proto files) is an error."""
    root = {}
    stack = [root]
    at = 0
    text = text.rstrip()
    while at < len(text):
        match = TOKEN.match(text, at)
        if not match:
            raise AssertionError(f"protoc printed what we cannot read: {text[at:at + 80]!r}")
        at = match.end()
        name, value, end = match.groups()
        if end:
            stack.pop()
            continue
        if name.isdigit():
            raise AssertionError(f"field {name} is unknown to the .proto files")
        if value is None:
            child = {}
            stack[-1].setdefault(name, []).append(child)
            stack.append(child)
        else:
            stack[-1].setdefault(name, []).append(_scalar(value))
    return root


def _scalar(value):
    if value.startswith('"'):
        body = value[1:-1].encode()
        body = re.sub(rb'\\([0-7]{3})', lambda m: bytes([int(m[1], 8)]), body)
        body = re.sub(rb'\\(.)', lambda m: {b"n": b"\n", b"t": b"\t", b"r": b"\r"}.get(m[1], m[1]),
                      body)
        return body.decode()
    if value in ("true", "false"):
        return value == "true"
    try:
        return int(value)
    except ValueError:
        pass
    try:
        return float(value)
    except ValueError:
        return value


def proto_directory():
    for path in (os.environ.get("PGWEIR_OTEL_PROTO") or "", os.path.join(CACHE, "otel-proto"),
                 "/usr/include", "/usr/share/opentelemetry-proto"):
        if os.path.exists(os.path.join(
                path, "opentelemetry/proto/collector/metrics/v1/metrics_service.proto")):
            return path
    raise unittest.SkipTest("the OTLP .proto files are missing: run tools/fetch-otel-proto")


def decode(body):
    """An ExportMetricsServiceRequest, decoded by Google's protoc."""
    need("protoc", "install protobuf-compiler")
    done = subprocess.run(
        ["protoc", "-I", proto_directory(),
         "--decode=opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest",
         "opentelemetry/proto/collector/metrics/v1/metrics_service.proto"],
        input=body, capture_output=True)
    if done.returncode != 0:
        raise AssertionError(f"protoc cannot decode a body: {done.stderr.decode()}")
    return parse_text_format(done.stdout.decode())


def _attributes(message, field="attributes"):
    found = {}
    for pair in message.get(field, []):
        key = pair["key"][0]
        if key in found:
            raise AssertionError(f"attribute {key} stands twice")
        [(_, values)] = pair["value"][0].items() if pair.get("value") else [("", [None])]
        found[key] = values[0]
    return found


class Point:
    """One data point with everything it belongs to."""

    __slots__ = ("resource", "scope", "name", "unit", "instrument", "monotonic", "temporality",
                 "attributes", "start_ns", "time_ns", "value", "is_int")

    def key(self):
        return self.name, tuple(sorted(self.attributes.items()))

    def __repr__(self):
        return f"{self.name}{self.attributes} {self.value}"


def points_of(request):
    """Every point of a decoded request, in order."""
    for resource_metrics in request.get("resource_metrics", []):
        resource = _attributes(resource_metrics.get("resource", [{}])[0])
        for scope_metrics in resource_metrics.get("scope_metrics", []):
            scope = scope_metrics.get("scope", [{}])[0].get("name", [""])[0]
            for metric in scope_metrics.get("metrics", []):
                yield from _points_of_metric(metric, resource, scope)


def _points_of_metric(metric, resource, scope):
    kinds = [kind for kind in ("gauge", "sum", "histogram", "exponential_histogram", "summary")
             if kind in metric]
    if len(kinds) != 1:
        raise AssertionError(f"metric with {kinds}: {metric.get('name')}")
    data = metric[kinds[0]][0]
    for raw in data.get("data_points", []):
        point = Point()
        point.resource, point.scope = resource, scope
        point.name = metric["name"][0]
        point.unit = metric.get("unit", [""])[0]
        point.instrument = kinds[0]
        point.monotonic = data.get("is_monotonic", [False])[0]
        point.temporality = data.get("aggregation_temporality", [""])[0]
        point.attributes = _attributes(raw)
        point.start_ns = raw.get("start_time_unix_nano", [0])[0]
        point.time_ns = raw.get("time_unix_nano", [0])[0]
        point.is_int = "as_int" in raw
        point.value = raw.get("as_int", raw.get("as_double", [None]))[0]
        yield point


def decode_directory(path):
    """All points of all dumped bodies, in order of arrival."""
    points = []
    for name in sorted(glob.glob(os.path.join(path, "*.bin"))):
        with open(name, "rb") as file:
            points.extend(points_of(decode(file.read())))
    return points


def latest(points):
    """{(name, attributes): the newest point}."""
    newest = {}
    for point in points:
        old = newest.get(point.key())
        if old is None or point.time_ns >= old.time_ns:
            newest[point.key()] = point
    return newest


# ----------------------------------------------------------------------------- configuration

def config(receiver, exporter, service="", processors="", more=""):
    """A configuration with one receiver, one exporter and the admin server. `receiver` and
    `exporter` are YAML of the component's settings, indented by 4."""
    kind = exporter.split(":", 1)[0].strip()
    return f"""
receivers:
  postgresql:
{receiver}
processors:
  batch:
    timeout: 100ms
{processors}
exporters:
{exporter}
extensions:
  health_check:
    endpoint: {{admin}}
service:
  extensions: [health_check]
  own_metrics: {{enabled: false}}
{service}
  telemetry:
    logs:
      level: info
  pipelines:
    metrics:
      receivers: [postgresql]
      processors: [batch]
      exporters: [{kind}]
{more}"""


def otlp(sink, more=""):
    """The otlp_http exporter towards a sink."""
    return f"""  otlp_http:
    endpoint: {sink.endpoint}
    tls:
      insecure: true
{more}"""


def server(cluster, more="", interval="1s", databases=None):
    """The receiver's settings for one server. (Without a timeout an interval is each collection's
    deadline, and a busy machine misses one that is short.)"""
    text = f"""    endpoint: {cluster.endpoint}
    username: monitor
    password: {cluster.password}
    collection_interval: {interval}
    initial_delay: 100ms
    timeout: 20s
    tls:
      insecure: true
"""
    if databases:
        text += f"    databases: [{', '.join(databases)}]\n"
    return text + more


def once(*arguments, env=None, seconds=30):
    """Runs pgweir to its end: (exit code, stdout, stderr), checked for secrets."""
    need(BIN, "build it")
    environment = dict(os.environ)
    environment.update(env or {})
    done = subprocess.run([BIN, *arguments], capture_output=True, text=True, env=environment,
                          timeout=seconds * SLOW, stdin=subprocess.DEVNULL)
    for value in SECRETS:
        if value in done.stdout or value in done.stderr:
            raise AssertionError(f"pgweir {arguments[0]} printed a credential")
    if "Sanitizer" in done.stderr or "runtime error:" in done.stderr:
        raise AssertionError(done.stderr)
    return done.returncode, done.stdout, done.stderr


class Test(unittest.TestCase):
    maxDiff = 4000


def main():
    program = unittest.main(module="__main__", exit=False, verbosity=2)
    result = program.result
    if not result.wasSuccessful():
        sys.exit(1)
    if result.skipped or result.testsRun == 0:
        sys.exit(1 if REQUIRE_ALL else 77)
    sys.exit(0)
