#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The report as a browser shows it: charts are there, numbers are the result's, nothing complains,
nothing is loaded, hostile text stays text, dark and narrow screens and paper work.

REPORT_PAGE: the program that writes pages. REPORT_SHOTS=DIR keeps pictures of all of them there."""

import base64
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import browser  # noqa: E402

DATA = os.path.join(HERE, "data")
CHARTS = ["percentiles", "timeline", "cpu"]
FACTORS = {"ns": 1e-6, "µs": 1e-3, "ms": 1, "s": 1e3, "min": 6e4, "h": 36e5}  # to milliseconds
SIZES = {"KiB": 1, "MiB": 1024, "GiB": 1048576, "B": 1, "kB": 1e3, "MB": 1e6, "": 1, "M": 1e6,
         "core": 1, "cores": 1}
MICROSECONDS = ("cpu_us_per_point", "cpu_us_per_scrape")


def result(name):
    with open(os.path.join(DATA, name + ".json"), encoding="utf-8") as file:
        return json.load(file)


def shown_as(key, digits, unit):
    """What a tile says, in the unit of the result's key."""
    value = float(digits.replace(",", ""))
    if key.endswith("_ms"):
        return value * FACTORS[unit]
    if key in MICROSECONDS:
        return value * FACTORS[unit] * 1e3
    if key == "rss_mib":
        return value * SIZES[unit] / 1024
    return value * SIZES[unit]


class ReportPage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.browser = browser.Browser()
        cls.page = cls.browser.page()
        cls.directory = tempfile.TemporaryDirectory(prefix="pgweir-report-")
        cls.shots = os.environ.get("REPORT_SHOTS")

    @classmethod
    def tearDownClass(cls):
        cls.browser.__exit__()
        cls.directory.cleanup()

    def setUp(self):
        self.page.size(1280, 900)
        self.page.scheme("light")

    def open(self, *names):
        path = os.path.join(self.directory.name, "+".join(names) + ".html")
        subprocess.run([os.environ["REPORT_PAGE"],
                        *(os.path.join(DATA, name + ".json") for name in names), path], check=True)
        self.page.open("file://" + path)
        self.assertEqual(self.page.evaluate("document.documentElement.dataset.ready"), "yes")
        self.assertIsNone(self.page.evaluate("document.documentElement.dataset.errors"))
        self.assertEqual(self.page.complaints, [])
        self.assertEqual(self.page.requests, ["file://" + path])

    def keep(self, name):
        if self.shots:
            os.makedirs(self.shots, exist_ok=True)
            with open(os.path.join(self.shots, name + ".png"), "wb") as file:
                file.write(self.page.screenshot())

    def kinds(self):
        return self.page.evaluate("Object.fromEntries([...document.querySelectorAll('[data-chart]')]"
                                  ".map(chart => [chart.id, chart.dataset.chart]))")

    def drawn(self, selector, scale=0.2):
        """How many colours a part of the page has, its most frequent one's share, and that one."""
        width, height, rows = browser.pixels(self.page.screenshot(self.page.box(selector), scale))
        counts = {}
        for row in rows:
            for colour in row:
                counts[colour] = counts.get(colour, 0) + 1
        return len(counts), max(counts.values()) / (width * height), max(counts, key=counts.get)

    def test_numbers_are_those_of_the_result(self):
        for name in ("steady", "outage", "soak"):
            self.open(name)
            self.keep(name)
            summary = result(name)["summary"]
            tiles = self.page.evaluate(
                "[...document.querySelectorAll('.tile')].map(tile => [tile.dataset.key, "
                "tile.dataset.value, tile.querySelector('.value').textContent, "
                "(tile.querySelector('.unit') || {textContent: ''}).textContent.trim()])")
            self.assertEqual(len(tiles), 28 if name == "outage" else 24)
            for key, exact, digits, unit in tiles:
                with self.subTest(name=name, key=key):
                    self.assertEqual(float(exact), summary[key])
                    self.assertAlmostEqual(shown_as(key, digits, unit), summary[key],
                                           delta=abs(summary[key]) * 0.005)
            exact = dict(self.page.evaluate(
                "[...document.querySelectorAll('#section-summary tbody tr')]"
                ".map(row => [...row.children].map(cell => cell.textContent))"))
            self.assertEqual({key: float(value) for key, value in exact.items()}, summary)

    def test_charts_are_drawn(self):
        self.open("steady")
        self.assertEqual(self.kinds(), {"percentiles": "lines", "timeline": "lines", "cpu": "bars"})
        for chart in CHARTS:
            with self.subTest(chart=chart):
                colours, most, _ = self.drawn(f"#{chart} .picture")
                self.assertGreater(colours, 20)
                self.assertLess(most, 0.99)
                label = self.page.evaluate(
                    f"document.querySelector('#{chart} .picture').getAttribute('aria-label')")
                self.assertGreater(len(label), 40)
        lines = self.page.evaluate("document.querySelectorAll('#percentiles .series .line').length")
        self.assertEqual(lines, 4)
        bars = self.page.evaluate("document.querySelectorAll('#cpu .part').length")
        self.assertEqual(bars, 6 + 2)

    def test_percentile_table_tells_what_the_histogram_holds(self):
        self.open("steady")
        rows = dict((row[0].replace("\u00a0", " "), row[1:]) for row in self.page.evaluate(
            "[...document.querySelectorAll('#percentiles tbody tr')]"
            ".map(row => [...row.children].map(cell => cell.textContent))"))
        summary = result("steady")["summary"]
        # Columns: lag, scrape, delivery, age. A bucket is up to 1.6 % wide.
        for share, column, key in (("50 %", 0, "lag_p50_ms"), ("99 %", 0, "lag_p99_ms"),
                                   ("99 %", 1, "scrape_p99_ms"), ("99.9 %", 3, "age_p999_ms"),
                                   ("maximum", 3, "age_max_ms")):
            digits, unit = rows[share][column].split("\u00a0")
            with self.subTest(share=share, key=key):
                self.assertAlmostEqual(shown_as(key, digits, unit), summary[key],
                                       delta=summary[key] * 0.02)
        self.assertEqual(rows["count"], ["6,000", "6,000", "600", "6,000"])

    def test_load_against_latency(self):
        self.open("knee")
        self.keep("knee")
        self.assertEqual(self.kinds()["load"], "lines")
        steps = result("knee")["steps"]
        failed = sum(not step["ok"] for step in steps)
        self.assertGreater(failed, 0)
        crosses = self.page.evaluate("document.querySelectorAll('#load path.bad').length")
        self.assertEqual(crosses, 4 * failed)  # two latencies, points, CPU
        holds = max(step["servers"] for step in steps if step["ok"])
        mark = self.page.evaluate("document.querySelector('#load text.mark').textContent")
        self.assertEqual(mark, f"holds to {holds:,}")
        badge = self.page.evaluate("document.querySelector('.badge').textContent")
        self.assertEqual(badge, "✗ 1 of 4 conditions fail")

    def test_cross_hair(self):
        self.open("steady")
        self.page.evaluate("document.querySelector('#timeline').scrollIntoView()")
        box = self.page.evaluate("(({x, y, width, height}) => ({x, y, width, height}))"
                                 "(document.querySelector('#timeline .picture').getBoundingClientRect())")
        self.page.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        tip = "document.querySelector('#timeline .tip')"
        self.assertFalse(self.page.evaluate(tip + ".hidden"))
        head = self.page.evaluate(tip + ".querySelector('b').textContent")
        time = int(head.split("\u00a0")[0])
        sample = next(s for s in result("steady")["timeline"] if s["t"] == time)
        said = dict(self.page.evaluate(
            f"[...{tip}.querySelectorAll('div')].map(row => [row.querySelector('span').textContent,"
            "row.querySelector('em').textContent])"))
        self.assertEqual(said["Points/s"], f"{sample['points_per_s']:,}")
        self.assertEqual(len(said), 7)
        # The keyboard walks the same points.
        self.page.evaluate("document.querySelector('#timeline .plot').focus()")
        self.page.key("ArrowRight")
        moved = self.page.evaluate(tip + ".querySelector('b').textContent")
        self.assertEqual(moved, f"{time + 1}\u00a0s")
        self.page.key("Escape")
        self.assertTrue(self.page.evaluate(tip + ".hidden"))

    def test_missing_parts(self):
        self.open("missing")
        self.keep("missing")
        self.assertEqual(set(self.kinds().values()), {"empty"})
        self.assertEqual(self.page.evaluate("document.querySelector('[data-key=servers] .value').textContent"), "3")
        self.assertEqual(self.page.evaluate("document.querySelector('[data-key=lag_p99_ms] .value').textContent"), "–")
        self.assertEqual(self.page.evaluate("document.querySelectorAll('.broken').length"), 0)

    def test_hostile_text_stays_text(self):
        self.open("hostile")
        self.keep("hostile")
        hostile = result("hostile")
        self.assertIsNone(self.page.evaluate("document.documentElement.dataset.hacked"))
        self.assertEqual(self.page.evaluate("document.images.length"), 0)
        self.assertEqual(self.page.evaluate("document.scripts.length"), 2)
        self.assertEqual(self.page.evaluate("document.querySelector('h1').textContent"), hostile["name"])
        self.assertEqual(self.page.evaluate("document.querySelector('.command pre').textContent"),
                         hostile["command"])
        for chart in CHARTS:
            self.assertGreater(self.drawn(f"#{chart} .picture")[0], 20)
        # Long texts wrap or scroll within their place.
        self.assertLessEqual(self.page.evaluate("document.documentElement.scrollWidth"), 1280)

    def test_comparison(self):
        self.open("steady", "steady_slower")
        self.keep("comparison")
        lines = self.page.evaluate("document.querySelectorAll('#percentiles .series .line').length")
        before = self.page.evaluate("document.querySelectorAll('#percentiles .before .line').length")
        self.assertEqual((lines, before), (8, 4))
        verdicts = dict(self.page.evaluate("[...document.querySelectorAll('tr[data-metric]')]"
                                           ".map(row => [row.dataset.metric, row.dataset.verdict])"))
        self.assertEqual(verdicts["cpu_us_per_point"], "worse")
        self.assertEqual(verdicts["lost"], "same")
        badge = self.page.evaluate("document.querySelector('.badge').textContent")
        worse = sum(verdict == "worse" for verdict in verdicts.values())
        self.assertEqual(badge, f"✗ {worse} worse")

    def test_dark_narrow_and_paper(self):
        self.open("steady")
        _, _, light = self.drawn("body", 0.1)
        self.page.scheme("dark")
        self.keep("steady-dark")
        _, _, dark = self.drawn("body", 0.1)
        self.assertGreater(min(light), 200)
        self.assertLess(max(dark), 70)
        # A telephone: nothing sticks out, and charts are drawn anew for the width.
        self.page.size(390, 800)
        width = "document.querySelector('#percentiles .picture').getBoundingClientRect().width"
        self.browser_settles(f"{width} < 390 && document.querySelector('#percentiles .picture')"
                             ".viewBox.baseVal.width < 390")
        self.assertLessEqual(self.page.evaluate("document.documentElement.scrollWidth"), 390)
        self.keep("steady-narrow")
        pdf = base64.b64decode(self.page.call("Page.printToPDF", printBackground=True)["data"])
        self.assertTrue(pdf.startswith(b"%PDF-"))
        pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
        self.assertTrue(1 <= pages <= 8, pages)
        if self.shots:
            with open(os.path.join(self.shots, "steady.pdf"), "wb") as file:
                file.write(pdf)

    def browser_settles(self, condition):
        """Until the condition holds, frame by frame; ten seconds at most."""
        self.assertTrue(self.page.evaluate(
            "new Promise(done => { const end = performance.now() + 10000; const look = () => "
            f"({condition}) ? done(true) : performance.now() > end ? done(false) : "
            "requestAnimationFrame(look); look(); })"), condition)


if __name__ == "__main__":
    unittest.main()
