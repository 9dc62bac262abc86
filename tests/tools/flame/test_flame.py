#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""pgweir-flame as a whole: a recorded profile gives the right totals and a sound picture, two give a
picture of the change, and a browser can zoom and search in it.

PGWEIR_FLAME: the program. data/*.script: perf script's output, shortened."""

import os
import re
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import browser  # noqa: E402

FLAME = os.environ["PGWEIR_FLAME"]
DATA = os.path.join(HERE, "data")
SVG = "{http://www.w3.org/2000/svg}"


def run(*arguments, code=0, text=""):
    done = subprocess.run([FLAME, *arguments], input=text, capture_output=True, text=True,
                          timeout=60)
    if done.returncode != code:
        raise AssertionError(f"{arguments}: exit {done.returncode}: {done.stderr}")
    return done.stderr if code else done.stdout


def weights(folded):
    return {line.rsplit(" ", 1)[0]: int(line.rsplit(" ", 1)[1]) for line in folded.splitlines()}


class Frame:
    def __init__(self, group):
        rect = group.find(SVG + "rect")
        self.title = group.find(SVG + "title").text
        self.name = re.sub(r": [^:]*$", "", self.title)
        self.x, self.y, self.width = (float(rect.get(key)) for key in ("x", "y", "width"))
        self.colour = rect.get("class")
        label = group.find(SVG + "text")
        self.label = label.text if label is not None else None


def frames(svg):
    """All frames of a picture that must be XML, checked to lie within those below them."""
    root = ElementTree.fromstring(svg)
    found = [Frame(group) for group in root.find(f"{SVG}g[@id='frames']")]
    rows = {}
    for frame in found:
        rows.setdefault(frame.y, []).append(frame)
    levels = sorted(rows, reverse=True)
    assert len(rows[levels[0]]) == 1 and rows[levels[0]][0].name == "all"
    for below, above in zip(levels, levels[1:]):
        end = 0
        for frame in sorted(rows[above], key=lambda frame: frame.x):
            assert frame.x >= end - 0.11, ("frames overlap", frame.title)
            end = frame.x + frame.width
            assert any(parent.x - 0.11 <= frame.x and end <= parent.x + parent.width + 0.21
                       for parent in rows[below]), ("hangs in the air", frame.title)
    return {(frame.name, frame.y): frame for frame in found}, rows


def by_name(svg):
    return {frame.name: frame for frame in frames(svg)[0].values()}


class Folding(unittest.TestCase):
    def test_totals_of_a_recorded_profile(self):
        path = os.path.join(DATA, "worker.script")
        with open(path, encoding="utf-8") as file:
            periods = [int(m) for m in re.findall(r": +(\d+) cpu-clock", file.read())]
        self.assertGreater(len(periods), 50)
        folded = weights(run("fold", path))
        self.assertEqual(sum(folded.values()), sum(period // 1000 for period in periods))
        with open(path, encoding="utf-8") as file:
            self.assertEqual(folded, weights(run("fold", text=file.read())))
        self.assertTrue(any("_[k]" in stack for stack in folded))
        self.assertTrue(any("[libisal]" in stack or "encode" in stack for stack in folded))
        self.assertFalse(any("start_thread" in stack or "do_syscall_64" in stack for stack in folded))

    def test_waits_of_a_recorded_profile(self):
        path = os.path.join(DATA, "off.script")
        # The same sum the slow way: each thread's stretches between OUT and IN, once it has a stack.
        known, since, total, last = set(), {}, 0, 0
        with open(path, encoding="utf-8") as file:
            for line in file:
                match = re.match(r"\s*(.+?)\s+(\d+)\s+(\d+)\.(\d{6}): +(.*)", line)
                if not match or line.startswith("\t"):
                    continue
                thread, now = match[2], int(match[3]) * 1000000 + int(match[4])
                last = now
                if "context-switches" in match[5]:
                    known.add(thread)
                elif "OUT" in match[5]:
                    since[thread] = now
                elif thread in since:
                    total += (now - since.pop(thread)) * (thread in known)
        total += sum(last - at for thread, at in since.items() if thread in known)
        self.assertGreater(total, 1000)
        self.assertEqual(sum(weights(run("fold", path)).values()), total)

    def test_refusals(self):
        for arguments, code, complaint in (
                (["fold", "/nowhere"], 1, "/nowhere: cannot be read"),
                (["draw", "/nowhere"], 1, "/nowhere: cannot be read"),
                (["diff", "only"], 2, "needs two files"),
                (["draw", "a", "b"], 2, "too many files"),
                (["draw", "--work", "1:2", "a"], 2, "for two files"),
                (["diff", "--work", "0:2", "a", "b"], 2, "two numbers above 0"),
                (["draw", "--min", "x"], 2, "no number of pixels"),
                (["paint"], 2, "none of fold, draw, diff and top"),
                (["draw", "--nonsense"], 2, ""),
                ([], 2, "none of")):
            with self.subTest(arguments=arguments):
                self.assertIn(complaint, run(*arguments, code=code))
        self.assertIn("-:2: not a folded stack", run("draw", text="a;b 1\na;b\n", code=1))
        self.assertIn("nothing to draw", run("draw", text="a;b 0\n", code=1))
        self.assertIn("Example:", run("--help"))


class Drawing(unittest.TestCase):
    def test_recorded_profile(self):
        folded = run("fold", os.path.join(DATA, "worker.script"))
        svg = run("draw", "--title", "The worker", "--subtitle", "as recorded", text=folded)
        self.assertLess(len(svg), 300000)
        named, rows = frames(svg)
        total = sum(weights(folded).values())
        whole = next(frame for frame in named.values() if frame.name == "all")
        self.assertAlmostEqual(whole.width, 1180, delta=0.1)
        self.assertEqual(whole.title, f"all: {total / 1e3:.1f} ms, 100.00 %")
        for (name, y), frame in named.items():
            share = float(re.search(r"([\d.]+) %", frame.title)[1])
            self.assertAlmostEqual(frame.width / 1180 * 100, share, delta=0.02, msg=name)
        threads = {stack.split(";")[0] for stack in weights(folded)}
        self.assertEqual({frame.name for frame in rows[sorted(rows)[-2]]}, threads)

    def test_widths_colours_and_texts(self):
        svg = run("draw", text="t;a;memcpy [libc] 300\nt;a;send_[k] 100\nt;b 600\nt;tiny 1\n")
        named = by_name(svg)
        self.assertNotIn("tiny", by_name(run("draw", "--min", "2", text="t;b 1000\nt;tiny 1\n")))
        self.assertAlmostEqual(named["a"].width, 1180 * 400 / 1001, delta=0.1)
        self.assertEqual(named["a"].title, "a: 400 µs, 39.96 %")
        self.assertEqual((named["send_[k]"].colour[:2], named["memcpy [libc]"].colour[:2],
                          named["a"].colour[:2]), ("f1", "f6", "f0"))
        self.assertEqual(named["memcpy [libc]"].label, "memcpy [libc]")
        self.assertIn("1000 events", run("draw", "--events", text="t;b 1000\n"))

    def test_hostile_names(self):
        svg = run("draw", "--title", "<&\"'>", "--subtitle", "]]></svg>",
                  text="t;<script>alert(1)</script> 5000\nt;a&b;\x01c 100\nt;operator<< 100\n")
        named = by_name(svg)
        self.assertIn("<script>alert(1)</script>", named)
        self.assertIn("a&b", named)
        self.assertIn("?c", named)
        self.assertEqual(len(ElementTree.fromstring(svg).findall(SVG + "script")), 1)

    def test_change(self):
        with tempfile.TemporaryDirectory() as directory:
            before, after = (os.path.join(directory, name) for name in ("a", "b"))
            with open(before, "w", encoding="utf-8") as file:
                file.write("t;same 4000000\nt;less 4000000\nt;more 1000000\nt;gone 1000000\nt;noise 5000\n")
            with open(after, "w", encoding="utf-8") as file:
                file.write("t;same 4000000\nt;less 2000000\nt;more 3000000\nt;new 1000000\nt;noise 7000\n")
            named = by_name(run("diff", before, after))
            self.assertEqual({name: named[name].colour for name in ("same", "less", "more", "new", "noise")},
                             {"same": "more0", "less": "less5", "more": "more5", "new": "more5",
                              "noise": "more0"})
            self.assertNotIn("gone", named)
            self.assertIn("4.00 s → 2.00 s, 39.98 % → 19.99 % (-50 %)", named["less"].title)
            gone = by_name(run("--diff", "--layout", "before", before, after))
            self.assertEqual(gone["gone"].colour, "less5")
            # Twice the work in the same time: what stayed the same has halved.
            per_work = by_name(run("diff", "--work", "1000:2000", before, after))
            self.assertEqual((per_work["same"].colour, per_work["more"].colour), ("less5", "more3"))
            top = run("top", "--rows", "3", before, after)
            rows = [re.split(r"\s+%?\s*", line.strip(), maxsplit=3) for line in top.split("\n\n")[1].splitlines()]
            self.assertEqual([row[-1] for row in rows], ["less", "same", "more"])
            self.assertEqual(rows[0][:3], ["39.98", "19.99", "-19.99"])

    def test_top_adds_up(self):
        folded = run("fold", os.path.join(DATA, "worker.script"))
        libraries, functions = run("top", "--rows", "10000", text=folded).split("\n\n")
        for table in (libraries, functions):
            shares = [float(line.split()[0]) for line in table.strip().splitlines()]
            self.assertAlmostEqual(sum(shares), 100, delta=0.005 * len(shares))
            self.assertEqual(shares, sorted(shares, reverse=True))


class InABrowser(unittest.TestCase):
    def test_zoom_and_search(self):
        svg = run("draw", text="t;a;deep;deeper 300\nt;a;other 100\nt;b 600\n")
        with tempfile.TemporaryDirectory() as directory, browser.Browser() as chromium, \
                chromium.page() as page:
            path = os.path.join(directory, "flame.svg")
            with open(path, "w", encoding="utf-8") as file:
                file.write(svg)
            page.open("file://" + path)
            page.evaluate("window.frame = name => [...document.querySelectorAll('#frames g')]"
                          ".find(g => g.querySelector('title').textContent.startsWith(name + ':'))")
            width = "+frame('%s').querySelector('rect').getAttribute('width')"
            self.assertAlmostEqual(page.evaluate(width % "a"), 472, delta=0.1)
            box = page.evaluate("(({x, y, width, height}) => ({x: x + width / 2, y: y + height / 2}))"
                                "(frame('a').querySelector('rect').getBoundingClientRect())")
            page.click(box["x"], box["y"])
            self.assertAlmostEqual(page.evaluate(width % "a"), 1180, delta=0.1)
            self.assertAlmostEqual(page.evaluate(width % "deep"), 885, delta=0.3)
            self.assertEqual(page.evaluate("[...document.querySelectorAll('.hidden title')]"
                                           ".map(title => title.textContent)"), ["b: 600 µs, 60.00 %"])
            self.assertEqual(page.evaluate("document.querySelectorAll('.under').length"), 2)
            page.key("Escape")
            self.assertAlmostEqual(page.evaluate(width % "a"), 472, delta=0.1)
            self.assertEqual(page.evaluate("document.querySelectorAll('.hidden').length"), 0)
            # What lies within a match is not counted twice.
            for pattern, share in (("deep", "30.0"), ("^(deep|b)", "90.0"), ("[", "0.0"), ("x", "0.0")):
                page.evaluate("(input => { input.value = %r; input.dispatchEvent(new Event('input')); })"
                              "(document.querySelector('input'))" % pattern)
                self.assertEqual(page.evaluate("document.documentElement.dataset.found"), share)
            self.assertEqual(page.complaints, [])


if __name__ == "__main__":
    unittest.main()
