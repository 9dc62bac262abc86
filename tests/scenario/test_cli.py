# SPDX-License-Identifier: Apache-2.0
"""Bad input, one row each: the exit code is 2, the message says where (file:line:column), what and
the cure, and a credential in the file is never repeated. Good input: `validate` says so and
`print-config` masks. Nothing here needs a server."""

import os
import socket
import subprocess
import sys
import tempfile
import unittest

BIN = os.environ.get("PGWEIR_BIN") or os.path.join(
    os.path.dirname(__file__), "..", "..", "build", "dev", "engine", "pgweir")
SINK = os.environ.get("PGWEIR_SINK") or os.path.join(
    os.path.dirname(__file__), "..", "..", "build", "dev", "tools", "pgweir-sink")

GOOD = """receivers:
  postgresql:
    endpoint: db1.example:5432
    username: monitor
    password: very-secret-word
    collection_interval: 10s
processors:
  batch:
exporters:
  otlp_http:
    endpoint: http://127.0.0.1:4318
    headers: {api-key: other-secret-word}
extensions:
  health_check:
service:
  extensions: [health_check]
  pipelines:
    metrics:
      receivers: [postgresql]
      processors: [batch]
      exporters: [otlp_http]
"""

# (name, replaced text, replacement, line:column or line: of the message, words of the message)
ROWS = [
    ("broken YAML", "  postgresql:\n", "  postgresql: [\n", ":", ["YAML"]),
    ("a tab", "    username", "\tusername", ":", []),
    ("unknown key of the receiver", "username:", "usernam:", "4:5",
     ['"usernam"', '"username"']),
    ("unknown key at the top", "processors:\n  batch:\n", "procesors:\n  batch:\n", "7:1",
     ['"procesors"', '"processors"']),
    ("unknown key without a neighbour", "username:", "xyzzyxyzzy:", "4:5",
     ["xyzzyxyzzy", "known"]),
    ("unknown component", "  otlp_http:\n", "  otlp_htp:\n", "10:3", ["otlp_htp", "otlp_http"]),
    ("component we lack", "processors:\n  batch:\n", "processors:\n  transform:\n", "8:3",
     ["transform"]),
    ("wrong type: map for text", "username: monitor", "username: {a: b}", "4:15",
     ["username", "map"]),
    ("wrong type: text for map", "  batch:\n", "  batch: yes please\n", "8:10", ["map"]),
    ("wrong type: number", "    collection_interval: 10s\n",
     "    collection_interval: 10s\n    connections: many\n", "7:18", ["connections", "number"]),
    ("storage nobody is", "    headers:", "    sending_queue: {storage: file_storage/q}\n    headers:",
     "10:3", ["sending_queue::storage", "file_storage/q", "service.extensions"]),
    ("bad duration", "collection_interval: 10s", "collection_interval: 10 parsecs", "6:26",
     ["collection_interval", "10 parsecs", "10s"]),
    ("duration without a unit", "collection_interval: 10s", "collection_interval: 10", "6:26",
     ["collection_interval", "10s"]),
    ("duration out of range", "collection_interval: 10s", "collection_interval: 1ms", "6:26",
     ["collection_interval", "range"]),
    ("number out of range", "    collection_interval: 10s\n",
     "    collection_interval: 10s\n    connections: 1000\n", "7:18", ["connections", "range"]),
    ("bad choice", "    collection_interval: 10s\n",
     "    collection_interval: 10s\n    model: newest\n", "7:12",
     ["model", "newest", "semconv", "legacy"]),
    ("bad boolean", "    collection_interval: 10s\n",
     "    collection_interval: 10s\n    tls: {insecure: maybe}\n", "7:21", ["maybe", "true"]),
    ("duplicate component", "processors:\n", "  postgresql:\n    username: x\nprocessors:\n",
     "7:3", ["duplicate", "postgresql", "line 2"]),
    ("duplicate key", "    username: monitor\n", "    username: monitor\n    username: other\n",
     "5:5", ["duplicate", "username", "line 4"]),
    ("undefined receiver in a pipeline", "receivers: [postgresql]", "receivers: [postgresq]",
     "19:19", ["postgresq", "postgresql"]),
    ("undefined exporter in a pipeline", "exporters: [otlp_http]", "exporters: [debug]", "21:19",
     ["debug", "exporters"]),
    ("undefined extension", "extensions: [health_check]", "extensions: [pprof]", "16:16",
     ["pprof"]),
    ("pipeline without an exporter", "      exporters: [otlp_http]\n", "", ":", ["exporter"]),
    ("pipeline of another signal", "    metrics:\n", "    traces:\n", "18:5", ["traces", "metrics"]),
    ("no service", GOOD[GOOD.index("service:"):], "", ":", ["service"]),
    ("environment variable that is not set", "password: very-secret-word",
     "password: ${env:PGWEIR_NOT_SET}", "5:15", ["PGWEIR_NOT_SET", ":-"]),
    ("secret file that is missing", "password: very-secret-word",
     "password: ${file:/nonexistent/secret}", "5:15", ["/nonexistent/secret"]),
    ("unknown source of a value", "password: very-secret-word", "password: ${vault:x}", "5:15",
     ["vault", "env", "file"]),
    ("no role", "    username: monitor\n", "", ":", ["username"]),
    ("bad endpoint of a server", "endpoint: db1.example:5432", "endpoint: 'db1.example:port'",
     "3:15", ["endpoint"]),
    ("bad connection string", "    endpoint: db1.example:5432\n    username: monitor\n",
     "    dsn: nonsense\n", "3:", ["dsn", "postgresql://"]),
    ("endpoint and dsn", "    username: monitor\n",
     "    username: monitor\n    dsn: postgresql://a@b/c\n", ":", ["dsn", "endpoint"]),
    ("bad URL of the back end", "endpoint: http://127.0.0.1:4318", "endpoint: 127.0.0.1:4318",
     "11:", ["endpoint", "http"]),
    ("credentials in a URL", "http://127.0.0.1:4318", "http://u:very-secret-word@127.0.0.1:4318",
     "11:", ["endpoint"]),
    ("back end without an address", "    endpoint: http://127.0.0.1:4318\n", "", ":", ["endpoint"]),
    ("line break in a header", "other-secret-word}", '"other-secret-word\\r\\nX: y"}', "12:",
     ["api-key", "line break"]),
    ("unknown metric", "    collection_interval: 10s\n",
     "    collection_interval: 10s\n    metrics: {postgresql.comits: {enabled: true}}\n", ":",
     ["postgresql.comits", "postgresql.commits"]),
    ("unknown group", "    collection_interval: 10s\n",
     "    collection_interval: 10s\n    groups: {nosuch: {interval: 1m}}\n", ":", ["nosuch"]),
    ("missing query file", "    collection_interval: 10s\n",
     "    collection_interval: 10s\n    queries: [/nonexistent/q.yaml]\n", ":",
     ["/nonexistent/q.yaml"]),
    ("not UTF-8", "monitor", "mon\udcffitor", "4:", ["UTF-8"]),
    ("empty file", GOOD, "", ":", []),
    ("a list at the top", GOOD, "- a\n- b\n", "1:1", ["map"]),
    ("an alias", "monitor", "*someone", ":", []),
]


class Cli(unittest.TestCase):
    maxDiff = 4000

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, "weir.yaml")

    def write(self, text):
        with open(self.path, "wb") as file:
            file.write(text.encode(errors="surrogateescape"))

    def pgweir(self, *arguments, env=None, program=BIN):
        done = subprocess.run([program, *arguments], capture_output=True, stdin=subprocess.DEVNULL,
                              timeout=60, env={**os.environ, **(env or {})})
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        self.assertNotIn("Sanitizer", err)
        self.assertNotIn("runtime error", err)
        for word in ("very-secret-word", "other-secret-word"):
            self.assertNotIn(word, out + err, "a credential was printed")
        return done.returncode, out, err

    def test_bad_configurations(self):
        for name, old, new, place, words in ROWS:
            for command in ("validate", "run"):
                with self.subTest(name, command=command):
                    self.assertIn(old, GOOD, "the row replaces nothing")
                    self.write(GOOD.replace(old, new, 1))
                    code, _, err = self.pgweir(command, "--config", self.path)
                    self.assertEqual(code, 2, err)
                    where = self.path + ":" + ("" if place == ":" else place)
                    self.assertIn(where, err)
                    if name != "missing query file":
                        self.assertRegex(err, r"weir\.yaml:\d+:\d+: ")
                    for word in words:
                        self.assertIn(word, err)

    def test_files_that_cannot_be_read(self):
        directory = os.path.dirname(self.path)
        for command in ("run", "validate", "print-config"):
            for path, words in (("/nonexistent/weir.yaml", ["No such file", "check the path"]),
                                (directory, ["Is a directory", "name a file in it"])):
                with self.subTest(path, command=command):
                    code, out, err = self.pgweir(command, "--config", path)
                    self.assertEqual((code, out), (2, ""), err)
                    for word in [path] + words:
                        self.assertIn(word, err)
        code, _, err = self.pgweir("catalog", directory)
        self.assertEqual(code, 2)
        self.assertIn(directory, err)

    def test_bad_command_lines(self):
        dsn = "postgresql://u:very-secret-word@h/d"
        config = ["--config", self.path]
        for arguments, words in (
                ([], ["Example", "pgweir once postgresql://"]),
                (["rum"], ['"rum"', "--help"]),
                (["validat"], ['did you mean "validate"?']),
                (["help", "validat"], ['did you mean "validate"?']),
                ([dsn], ["pgweir once"]),
                (["run"], ["which configuration", "--config /etc/pgweir/pgweir.yaml"]),
                (["print-config"], ["--config"]),
                (["run", "weir.yaml"], ["did you mean --config weir.yaml?"]),
                (["run", dsn], ["pgweir once"]),
                (["run", "--confg", "x"], ['unknown option "--confg"']),
                (["-x"], ['unknown option "-x"']),
                (["validate", "--config"], ["--config needs a value", "pgweir.yaml"]),
                (["validate", "--config", ""], ["--config is empty"]),
                (["validate"] + 33 * config, ["more than 32 --config"]),
                (["run", *config, "more", "words"], ['"more"']),
                (["run", *config, "--format", "table"], ["run takes no --format"]),
                (["version", "more"], ["version", '"more"']),
                (["once"], ["which server", "pgweir once postgresql://"]),
                (["once", "x", dsn], ["connection string"]),
                (["once", dsn, *config], ["once takes no --config"]),
                (["once", dsn, "--format"], ["--format needs a value", "table"]),
                (["once", dsn, "--format", "xml"], ['"xml"', "table, prometheus or otlp-json"]),
                (["once", "very-secret-word"], ["pgweir once: dsn", "postgresql://user@host"])):
            with self.subTest(arguments):
                self.write(GOOD)
                code, out, err = self.pgweir(*arguments)
                self.assertEqual((code, out), (2, ""), err)
                self.assertNotRegex(err, r"yaml:\d", "a place in a text the user never saw")
                for word in words:
                    self.assertIn(word, err)

    def test_ignored_keys_say_why_once(self):
        """The warning reads "KEY has no effect here: HELP"."""
        rows = [line.split(" | ") for line in self.pgweir("reference")[1].splitlines()
                if "| no effect |" in line]
        self.assertGreater(len(rows), 40)
        for row in rows:
            self.assertNotIn("effect", row[-1].lower(), row)
            self.assertFalse(row[-1].rstrip("| ").endswith("."), row)

    def test_insecure_beside_http_is_taken_in_silence(self):
        self.write(GOOD.replace("    headers:", "    tls: {insecure: true}\n    headers:"))
        code, _, err = self.pgweir("validate", "--config", self.path)
        self.assertEqual((code, err), (0, ""))

    def test_bad_command_lines_of_the_sink(self):
        for arguments, words in (
                (["--frob"], ["--frob", "--help"]),
                (["more"], ["more", "--help"]),
                (["--listen"], ["--listen", "--help"]),
                (["--listen", "4318"], ["--listen 4318", "127.0.0.1:4318"]),
                (["--listen", "127.0.0.1:99999"], ["--listen 127.0.0.1:99999", "127.0.0.1:4318"]),
                (["--answer", "abc"], ["--answer abc", "503,503,200"]),
                (["--delay", "-1"], ["--delay -1", "number"]),
                (["--dump", "/nonexistent"], ["--dump /nonexistent", "directory"]),
                (["--log", "/nonexistent/log"], ["--log /nonexistent/log", "No such file"])):
            with self.subTest(arguments):
                code, out, err = self.pgweir(*arguments, program=SINK)
                self.assertEqual((code, out), (2, ""), err)
                for word in words:
                    self.assertIn(word, err)
        code, out, err = self.pgweir("--help", program=SINK)
        self.assertEqual((code, err), (0, ""))
        self.assertIn("Example", out)
        code, _, err = self.pgweir("--listen", "192.0.2.1:4318", program=SINK)
        self.assertEqual(code, 1, err)

    def test_good_configuration(self):
        self.write(GOOD)
        self.assertEqual(self.pgweir("validate", "--config", self.path)[0], 0)

    def test_print_config_fills_defaults_masks_secrets_and_is_a_configuration(self):
        self.write(GOOD)
        code, out, err = self.pgweir("print-config", "--config", self.path)
        self.assertEqual((code, err), (0, ""))
        for word in ("statement_timeout", "send_batch_size", "max_elapsed_time", "db1.example"):
            self.assertIn(word, out)
        self.write(out)
        self.assertEqual(self.pgweir("validate", "--config", self.path)[0], 0)
        self.assertEqual(self.pgweir("print-config", "--config", self.path)[1], out)

    def test_sources_merge_in_order(self):
        self.write(GOOD)
        code, out, _ = self.pgweir("print-config", "--config", self.path, "--config",
                                   "yaml:receivers: {postgresql: {collection_interval: 42s}}")
        self.assertEqual(code, 0)
        self.assertIn("42s", out)
        self.assertIn("db1.example", out)

    def test_variables(self):
        self.write(GOOD.replace("db1.example:5432", "${env:W_HOST}:${env:W_PORT:-6543}"))
        code, out, _ = self.pgweir("print-config", "--config", self.path, env={"W_HOST": "h.test"})
        self.assertEqual(code, 0)
        self.assertIn("h.test:6543", out)

    def test_process_title_shows_no_connection_string(self):
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen(1)
            dsn = f"postgresql://u:very-secret-word@127.0.0.1:{silent.getsockname()[1]}/d"
            process = subprocess.Popen([BIN, "once", dsn], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
            try:
                silent.accept()[0].close()  # it has come as far as connecting
                with open(f"/proc/{process.pid}/cmdline", encoding="utf-8") as title:
                    words = title.read()
            finally:
                process.kill()
                process.wait()
        self.assertIn("once", words)
        self.assertNotIn("very-secret-word", words)

    def test_words_of_help(self):
        for arguments in (["--help"], ["run", "--help"], ["once", "--help"], ["version"],
                          ["components"], ["catalog"]):
            code, out, err = self.pgweir(*arguments)
            self.assertEqual((code, err), (0, ""), arguments)
            self.assertNotEqual(out, "")
        for arguments in (["--help"], ["run", "--help"], ["once", "--help"]):
            self.assertIn("Example", self.pgweir(*arguments)[1])


if __name__ == "__main__":
    sys.exit(0 if unittest.main(exit=False, verbosity=1).result.wasSuccessful() else 1)
