# SPDX-License-Identifier: Apache-2.0
"""Bad input, one row each: the exit code is 2, the message says where (file:line:column), what and
the cure, and a credential in the file is never repeated. Good input: `validate` says so and
`print-config` masks. Nothing here needs a server."""

import os
import subprocess
import sys
import tempfile
import unittest

BIN = os.environ.get("PGWEIR_BIN") or os.path.join(
    os.path.dirname(__file__), "..", "..", "build", "dev", "engine", "pgweir")

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

    def pgweir(self, *arguments, env=None):
        done = subprocess.run([BIN, *arguments], capture_output=True, stdin=subprocess.DEVNULL,
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
        code, _, err = self.pgweir("run", "--config", "/nonexistent/weir.yaml")
        self.assertEqual(code, 2)
        self.assertIn("/nonexistent/weir.yaml", err)
        self.assertIn("No such file", err)
        code, _, err = self.pgweir("validate", "--config", os.path.dirname(self.path))
        self.assertEqual(code, 2, err)
        self.assertNotEqual(err, "")

    def test_bad_command_lines(self):
        for arguments, word in ((["rum"], "rum"), (["run"], "--config"), (["run", "--confg", "x"],
                                "--confg"), (["validate", "--config"], "--config"), (["once"],
                                "server"), (["once", "postgresql://a@b/c", "--format", "xml"],
                                "xml"), (["run", "--config", self.path, "more", "words"], "words")):
            with self.subTest(arguments):
                self.write(GOOD)
                code, _, err = self.pgweir(*arguments)
                self.assertEqual(code, 2, err)
                self.assertIn(word, err)

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
