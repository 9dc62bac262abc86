# SPDX-License-Identifier: Apache-2.0
"""pgweir-sim as a program: psql, pgbench and pgweir itself against it, every way of telling servers
apart, behaviour on order as it is seen from outside, and the report's accounts."""

import json
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../live"))
import weir

SIM = os.environ.get("PGWEIR_SIM") or os.path.join(weir.ROOT, "build/dev/tools/sim/pgweir-sim")
PSQL = weir.DEBIAN_PG + "/bin/psql"
PGBENCH = weir.DEBIAN_PG + "/bin/pgbench"


class Sim(weir.Program):
    """pgweir-sim on a free port, with an admin socket."""

    def __init__(self, *options):
        weir.need(SIM, "build it")
        self.files = weir.Directory("sim-files")
        self.admin = os.path.join(self.files.path, "admin")
        self.report_path = os.path.join(self.files.path, "report.json")
        super().__init__([SIM, "serve", "--listen", "127.0.0.1:0", "--admin", self.admin,
                          "--report", self.report_path, *options], "pgweir-sim")
        try:
            weir.wait_for("the simulator to listen", self._port)
        except AssertionError as error:
            text = self.output()
            self.close()
            raise AssertionError(f"{error}; its output:\n{text}") from None

    def _port(self):
        if not self.running():
            raise AssertionError(f"pgweir-sim ended with {self.process.returncode}")
        match = re.match(r"listening on port (\d+)\n", self.output())
        self.port = int(match[1]) if match else None
        return self.port

    def tell(self, what):
        done = tell(self.admin, what)
        if done.returncode != 0:
            raise AssertionError(done.stderr)
        return json.loads(done.stdout)

    def report(self):
        return self.tell("report")

    def end(self):
        """Ends it as a user does; the report, which is on stdout and in the file."""
        if self.stop() != 0:
            raise AssertionError(f"exit code {self.process.returncode}")
        report = json.loads(self.output().split("\n", 1)[1])
        with open(self.report_path) as file:
            if json.load(file) != report:
                raise AssertionError("the reports differ")
        return report

    def dsn(self, server=0, database="postgres", more=""):
        address = (127 << 24 | 1 << 16 | 1) + server
        host = ".".join(str(address >> shift & 255) for shift in (24, 16, 8, 0))
        return f"postgresql://x@{host}:{self.port}/{database}?sslmode=disable{more}"

    def close(self):
        super().close()
        self.files.remove()


def tell(path, what):
    return subprocess.run([SIM, "tell", path, what], capture_output=True, text=True, timeout=30)


def psql(dsn, *commands, check=True):
    """What psql prints, without headers."""
    line = [PSQL, "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", dsn]
    for command in commands:
        line += ["-c", command]
    done = subprocess.run(line, capture_output=True, text=True, timeout=30 * weir.SLOW)
    if check and done.returncode != 0:
        raise AssertionError(f"psql: {done.stderr}")
    return done if not check else done.stdout.splitlines()


def once(sim, server=0, database="postgres"):
    """{(metric, attributes): point} of one collection by pgweir."""
    code, out, err = weir.once("once", sim.dsn(server, database), "--format", "otlp-json")
    if code != 0:
        raise AssertionError(err)
    points = {}
    for resource in json.loads(out)["resourceMetrics"]:
        for scope in resource["scopeMetrics"]:
            for metric in scope["metrics"]:
                data = metric.get("sum") or metric["gauge"]
                for point in data["dataPoints"]:
                    key = metric["name"], json.dumps(point.get("attributes", []), sort_keys=True)
                    point["monotonic"] = data.get("isMonotonic", False)
                    points[key] = point
    return {key: point for key, point in points.items() if not key[0].startswith("pgweir.")}


def steps(points):
    """The steps that the points' monotonic sums carry."""
    found = set()
    for point in points.values():
        if point["monotonic"] and "asInt" in point:
            found.add(int(point["asInt"]) // 1000)
        elif point["monotonic"]:
            found.add(int(float(point["asDouble"])))
    return found


class Psql(weir.Test):
    def setUp(self):
        weir.need(PSQL, "install postgresql-client-15")

    def test_questions(self):
        with Sim() as sim:
            self.assertEqual(psql(sim.dsn(), "select 1", "SELECT 1; select 1;"), ["1", "1", "1"])
            [version] = psql(sim.dsn(), "select version()")
            self.assertRegex(version, r"^PostgreSQL 17\.")
            self.assertRegex(psql(sim.dsn(), "show server_version")[0], r"^17\.")
            self.assertIn('database "postgres" as user "x"',
                          psql(sim.dsn(), r"\conninfo")[0])
            self.assertEqual(psql(sim.dsn(), "begin", "select 1", "rollback"),
                             ["BEGIN", "1", "ROLLBACK"])
            done = psql(sim.dsn(), "select of_nothing", check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("ERROR:  this is not in the recording", done.stderr)
            done = psql(sim.dsn(database="nowhere"), "select 1", check=False)
            self.assertEqual(done.returncode, 2)
            self.assertIn('FATAL:  database "nowhere" does not exist', done.stderr)

    def test_without_a_simulated_address(self):
        """Server 0 also answers where --listen says; other addresses are nobody's."""
        with Sim("--servers", "2") as sim:
            def at(host):
                return psql(f"host={host} port={sim.port} user=x dbname=postgres sslmode=disable",
                            "select 1", check=False).returncode
            self.assertEqual([at("127.0.0.1"), at("127.1.0.1"), at("127.1.0.2")], [0, 0, 0])
            self.assertEqual([at("127.1.0.3"), at("127.9.9.9")], [2, 2])
            self.assertEqual(sim.end()["connections_refused"], 2)

    def test_by_port(self):
        with Sim("--servers", "3", "--by", "port", "pg15", "pg17") as sim:
            versions = []
            for i in range(3):
                dsn = f"host=127.0.0.1 port={sim.port + i} user=x dbname=postgres sslmode=disable"
                versions.append(psql(dsn, "show server_version")[0].split(".")[0])
            self.assertEqual(versions, ["15", "17", "15"])

    def test_by_database(self):
        with Sim("--servers", "3", "--by", "database", "pg15", "pg17", "pg13") as sim:
            def version(database):
                return psql(f"host=127.0.0.1 port={sim.port} user=x dbname={database} "
                            "sslmode=disable", "show server_version", "select current_database()")
            self.assertRegex(version("app_1")[0], "^17")
            self.assertEqual(version("app_2")[1], "app")
            self.assertRegex(version("app_2")[0], "^13")
            self.assertRegex(version("app")[0], "^15")
            done = psql(f"host=127.0.0.1 port={sim.port} user=x dbname=app_3 sslmode=disable",
                        "select 1", check=False)
            self.assertIn("does not exist", done.stderr)

    def test_version_mix(self):
        with Sim("--servers", "8", "pg14=1", "pg18=3") as sim:
            versions = [psql(sim.dsn(i), "show server_version")[0].split(".")[0] for i in range(8)]
            self.assertEqual(versions, ["14", "18", "18", "18"] * 2)


class Pgbench(weir.Test):
    def setUp(self):
        weir.need(PGBENCH, "install postgresql-15")

    def test_select_only(self):
        for loop in ("io_uring", "epoll"):
            with Sim("--loop", loop) as sim:
                for mode in ("simple", "extended", "prepared"):
                    with self.subTest(loop=loop, mode=mode):
                        done = subprocess.run(
                            [PGBENCH, "-n", "-S", "-M", mode, "-c", "4", "-t", "50",
                             sim.dsn()],
                            capture_output=True, text=True, timeout=60 * weir.SLOW)
                        self.assertEqual(done.returncode, 0, done.stderr)
                        self.assertIn("number of transactions actually processed: 200/200",
                                      done.stdout)
                        self.assertIn("number of failed transactions: 0", done.stdout)
                report = sim.end()
                self.assertEqual(report["errors"], {})
                self.assertEqual(report["loop"], loop)
                self.assertEqual(report["scrapes"], 0)  # nothing of the catalogue


class Collector(weir.Test):
    def test_once(self):
        """pgweir takes what the simulator says it gave; steps go on, one by one."""
        for recording in ("pg13", "pg18"):
            with self.subTest(recording), Sim("--servers", "2", "--tables", "40", recording) as sim:
                first, second = once(sim), once(sim)
                self.assertEqual(steps(first), {1})
                self.assertEqual(steps(second), {2})
                self.assertEqual(set(first), set(second))
                other = once(sim, server=1)
                self.assertEqual(steps(other), {1})
                self.assertNotEqual([p.get("asInt") for p in first.values()],
                                    [p.get("asInt") for p in other.values()])
                report = sim.end()
                self.assertEqual(report["values"], len(first) + len(second) + len(other))
                self.assertEqual(report["void_values"], 0)
                self.assertEqual(report["connections_open"], 0)
                self.assertGreater(report["cpu_seconds"], 0)
                self.assertGreater(report["syscalls"], 0)
                self.assertGreater(report["rss_kib"], 1000)

    def test_same_seed_same_values(self):
        def collect(seed):
            with Sim("--seed", seed) as sim:
                return {k: (p.get("asInt"), p.get("asDouble")) for k, p in once(sim).items()
                        if p["monotonic"]}
        one = collect("1")
        self.assertEqual(one, collect("1"))
        self.assertNotEqual(one, collect("2"))

    def test_errors_of_statements(self):
        with Sim() as sim:
            everything = once(sim)
            sim.tell("[{name: no, statement: database, error: 42501}]")
            code, out, err = weir.once("once", sim.dsn(), "--format", "otlp-json")
            self.assertIn("42501", err)
            self.assertIn('"database"', err)
            report = sim.end()
            self.assertEqual(report["errors"], {"42501": 1})
            self.assertEqual(report["rules"], [{"rule": "no", "hits": 1}])
            self.assertLess(report["values"], 2 * len(everything))

    def test_void_values(self):
        """What was cut off counts as void, and only that."""
        with Sim() as sim:
            once(sim)
            before = sim.report()
            sim.tell("[{statement: database, reset_after: 50}]")
            code, _, err = weir.once("once", sim.dsn(), "--format", "otlp-json")
            self.assertNotEqual((code, err), (0, ""))
            sim.tell("[]")
            weir.wait_for("the reset", lambda: sim.report()["connections_open"] == 0)
            report = sim.report()
            self.assertGreater(report["void_values"], 0)
            self.assertEqual(report["values"], before["values"])
            again = once(sim)
            self.assertEqual(steps(again), {2, 3})  # the cut execution has had its step

    def run_collector(self, *options, loop="auto"):
        """Everything pgweir delivers of 20 servers, against the simulator's account."""
        # All loopback addresses are this machine's, so a target of each says which one it is.
        targets = "".join(f"      - {{endpoint: '127.1.0.{1 + i}:{{port}}', "
                          f"attributes: {{server: s{i}}}}}\n" for i in range(20))
        with Sim("--servers", "20", "--loop", loop, *options) as sim, weir.Sink() as sink:
            receiver = ("    username: x\n    collection_interval: 2s\n    initial_delay: 50ms\n"
                        "    timeout: 20s\n"
                        "    tls: {insecure: true}\n    targets:\n"
                        + targets.replace("{port}", str(sim.port)))
            with weir.Weir(weir.config(receiver, weir.otlp(sink))) as run:
                run.wait_ready()
                run.wait_scrapes(45)
                run.stop()
            points = [p for p in sink.points() if not p.name.startswith("pgweir.")]
            return sim.end(), points

    def test_accounts(self):
        report, points = self.run_collector("--threads", "2")
        seen = {}
        for point in points:
            if point.monotonic:
                step = point.value // 1000 if point.is_int else int(point.value)
                key = tuple(sorted(point.resource.items())), point.key(), point.start_ns
                seen.setdefault(key, []).append(int(step))
        for key, found in seen.items():
            found.sort()
            self.assertEqual(found, list(range(1, 1 + len(found))), (key, report))
        # The collections that the stop interrupts have been answered, but not delivered.
        delivered = len(points)
        self.assertLessEqual(delivered, report["values"] + report["void_values"])
        self.assertGreater(delivered, 0.7 * report["values"])
        self.assertGreaterEqual(report["scrapes"], 45)
        self.assertEqual(report["errors"], {})


class OnOrder(weir.Test):
    def setUp(self):
        weir.need(PSQL, "install postgresql-client-15")

    def test_failover(self):
        with Sim("--servers", "3", "--threads", "2") as sim:
            client = subprocess.Popen(
                [PSQL, "-X", "-A", "-t", "-d", sim.dsn(1)], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            client.stdin.write("select 1;\n")
            client.stdin.flush()
            self.assertEqual(client.stdout.readline(), "1\n")
            before, other = once(sim, 1), once(sim, 2)
            once(sim, 1)
            self.assertEqual(psql(sim.dsn(1), "select pg_is_in_recovery()"), ["f"])
            sim.tell("[{servers: 1, failover: true, for: 10s, role: standby}]")
            client.stdin.write("select 1;\n")
            client.stdin.close()
            self.assertIn("FATAL:  terminating connection due to administrator command",
                          client.stderr.read())
            client.stdout.close()
            client.stderr.close()
            client.wait()
            done = psql(sim.dsn(1), "select 1", check=False)
            self.assertIn("the database system is starting up", done.stderr)
            psql(sim.dsn(2), "select 1")
            weir.wait_for("the server to be back",
                          lambda: psql(sim.dsn(1), "select 1", check=False).returncode == 0)
            self.assertEqual(psql(sim.dsn(1), "select pg_is_in_recovery()"), ["t"])
            after = once(sim, 1)
            self.assertEqual(steps(after), {1})

            def starts(points):
                return {int(p["startTimeUnixNano"]) for p in points.values() if p["monotonic"]}
            self.assertGreater(min(starts(after)), max(starts(before)))
            self.assertEqual(steps(once(sim, 2)), {2})
            report = sim.end()
            self.assertEqual(report["errors"]["57P01"], 1)
            self.assertGreaterEqual(report["errors"]["57P03"], 1)

    def test_script_file(self):
        with open(os.path.join(self.directory().path, "s.yaml"), "w") as file:
            file.write("- {name: late, servers: 0, from: 0s, until: 1h, latency: 30ms}\n"
                       "- {name: never, servers: 1-4, error: 57P01}\n")
        with Sim("--servers", "5", "--script", file.name) as sim:
            begin = time.monotonic()
            psql(sim.dsn(), "select 1")
            self.assertGreaterEqual(time.monotonic() - begin, 0.03)
            done = psql(sim.dsn(4), "select 1", check=False)
            self.assertIn("terminating connection", done.stderr)
            self.assertEqual(sim.tell("{add: [{close: true, servers: 0}]}"),
                             {"ok": True, "rules": 3})
            report = sim.end()
            self.assertEqual([(r["rule"], r["hits"]) for r in report["rules"]],
                             [("late", 1), ("never", 1), ("admin:1: close", 0)])

    def directory(self):
        directory = weir.Directory("script")
        self.addCleanup(directory.remove)
        return directory

    def test_documentation(self):
        """The page's own script is a script."""
        with open(os.path.join(weir.ROOT, "docs/sim.md")) as file:
            [text] = re.findall(r"```yaml\n(.*?)```", file.read(), re.S)
        with Sim("--servers", "20") as sim:
            self.assertEqual(sim.tell(text), {"ok": True, "rules": 4})

    def test_probability(self):
        with Sim() as sim:
            sim.tell("[{probability: 30%, statement: other, error: 40001}]")
            lines = "select 1;\n" * 400
            done = subprocess.run([PSQL, "-X", "-A", "-t", "-d", sim.dsn()], input=lines,
                                  capture_output=True, text=True, timeout=30 * weir.SLOW)
            failed = done.stderr.count("could not serialize access")
            self.assertEqual(done.stdout.count("1\n") + failed, 400)
            self.assertTrue(80 < failed < 160, failed)
            self.assertEqual(sim.end()["rules"][0]["hits"], failed)


class CommandLine(weir.Test):
    def run_sim(self, *arguments):
        done = subprocess.run([SIM, *arguments], capture_output=True, text=True, timeout=30)
        self.assertNotIn("Sanitizer", done.stderr)
        return done.returncode, done.stdout, done.stderr

    def test_help(self):
        for command in ([], ["serve"], ["record"], ["tell"]):
            code, out, err = self.run_sim(*command, "--help")
            self.assertEqual((code, err), (0, ""))
            self.assertIn("\n  pgweir-sim ", out)  # an example

    def test_mistakes(self):
        for arguments, code, words in (
                ([], 2, "record, serve or tell is wanted"),
                (["serv"], 2, "serv: no such command"),
                (["serve", "--servers", "none"], 2, "--servers none: a number from 1 to"),
                (["serve", "--by", "name"], 2, "--by name: it is one of address, port and database"),
                (["serve", "--listen", "db1:5433"], 2, "the host is an IPv4 address"),
                (["serve", "--sevrers", "5"], 2, "--sevrers: no such option"),
                (["serve", "--auth", "scram"], 2, "need --password-file"),
                (["serve", "--tls-cert", "x"], 2, "--tls-cert and --tls-key go together"),
                (["serve", "--by", "port", "--servers", "65000"], 2, "use --by address"),
                (["serve", "/nowhere.json"], 1, "/nowhere.json"),
                (["serve", "pg17=0"], 2, "FILE=WEIGHT"),
                (["serve", "--listen", "127.0.0.1:0", "--script", "/nowhere"], 1, "script /nowhere"),
                (["serve", "--listen", "127.0.0.1:0", "--auth", "scram", "--password-file",
                  "/nowhere"], 1, "password file /nowhere"),
                (["serve", "--listen", "127.0.0.1:0", "--tls", "--tls-cert", "/nowhere", "--tls-key",
                  "/nowhere"], 1, "/nowhere"),
                (["record", "one"], 2, "a connection string and a file"),
                (["tell", "/nowhere"], 2, "tell wants"),
                (["tell", "/nowhere/s", "report"], 1, "start the simulator with --admin /nowhere/s"),
        ):
            with self.subTest(arguments):
                found, out, err = self.run_sim(*arguments)
                self.assertEqual((found, out), (code, ""), err)
                self.assertTrue(err.startswith("pgweir-sim: "), err)
                self.assertIn(words, err)

    def test_tell_mistakes(self):
        with Sim() as sim:
            done = tell(sim.admin, "[{latency: fast}]")
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn("admin:1:12: a duration is wanted", done.stderr)
            self.assertEqual(sim.report()["rules"], [])  # nothing has changed
            self.assertIn("error", tell(sim.admin, " ").stderr)

    def test_port_in_use(self):
        with Sim() as sim:
            code, out, err = self.run_sim("serve", "--listen", f"127.0.0.1:{sim.port}")
            self.assertEqual((code, out), (1, ""))
            self.assertIn("another program has the port", err)


if __name__ == "__main__":
    weir.main()
