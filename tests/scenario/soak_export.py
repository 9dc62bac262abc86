#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The long forms of the scenario tests, by one command:

    tests/scenario/soak_export.py rounds [--rounds 1000] [--seed N]    kill -9, again and again
    tests/scenario/soak_export.py outage [--minutes 10] [--kind 503]   an outage, then catching up

Programs as for the tests: PGWEIR_BIN, PGWEIR_SIM, PGWEIR_SINK. Prints how far it is; ends with 0
where nothing was lost and nothing doubled but what is allowed (spool_rounds.py), else with 1."""

import argparse
import random
import sys
import time
import unittest

import fleet
import spool_rounds

SERVERS = 4


def rounds(options):
    test, begun = unittest.TestCase(), time.monotonic()
    print(f"seed {options.seed}", flush=True)

    def tell(number, game):
        if number % 10 == 0 or number == options.rounds:
            print(f"{number} rounds, {time.monotonic() - begun:.0f} s: recovered "
                  f"{game.recovered} points, came twice (un-acknowledged at the kill) "
                  f"{game.doubled}, lost 0", flush=True)

    spool_rounds.play(test, options.rounds, options.seed, tell)


def outage(options):
    """All that was collected meanwhile waits on disk and arrives."""
    test, seconds = unittest.TestCase(), options.minutes * 60
    down = "answer: ['503']" if options.kind == "503" else "connections: refuse"
    script = f"begin: request\nphases: [{{for: 2s}}, {{name: out, for: {seconds:.0f}s, {down}}}, " \
             "{name: well}]\n"
    with fleet.Folder() as folder, fleet.Sim(SERVERS) as sim, fleet.Sink(script) as sink:
        exporter = fleet.otlp(sink.endpoint, "    sending_queue: {queue_size: 20}\n"
                              f"    spool: {{directory: {folder.path}}}\n")
        with fleet.Weir(fleet.config(sim.port, SERVERS, exporter, interval="1s")) as run:
            run.wait_live()
            with fleet.Books(run):
                watch(run, sink, seconds)
                values = sim.finish()
                run.wait_down(SERVERS)
                metrics, report = run.settled(sink, seconds=600)
            fleet.lossless(test, report, values)
            test.assertEqual(run.dropped(metrics=metrics), {})
            test.assertEqual(report["ledger"]["doubled"], 0)
            test.assertEqual(run.stop(), 0)
    out = next(phase for phase in report["phases"] if phase["name"] == "out")
    allowed = 20 + seconds / 10  # probes each 15 s, jittered, when it lasts
    print(f"outage of {seconds:.0f} s: {out['requests']} requests, at most {allowed:.0f}; "
          f"{report['ledger']['distinct']} points, lost 0, doubled 0")
    test.assertLessEqual(out["requests"], allowed)


def watch(run, sink, seconds):
    """Until it is over and the backlog gone."""
    def over():
        queued, spooled = run.metrics().ledger("otlp_http")[2:4]
        report = sink.report()
        if time.monotonic() >= watch.next:
            watch.next = time.monotonic() + 10
            print(f"{report['phase']}: {queued} points queued, {spooled} spooled", flush=True)
        return report["phase"] == "well" and spooled == 0 and run.exporter("queue_batches") < 5
    watch.next = 0
    fleet.wait_for("the outage to be over and caught up with", over, seconds + 600)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind_of_test", required=True)
    one = kinds.add_parser("rounds")
    one.add_argument("--rounds", type=int, default=1000)
    one.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    one.set_defaults(function=rounds)
    two = kinds.add_parser("outage")
    two.add_argument("--minutes", type=float, default=10)
    two.add_argument("--kind", choices=("503", "refuse"), default="503")
    two.set_defaults(function=outage)
    options = parser.parse_args()
    try:
        options.function(options)
    except (AssertionError, OSError) as error:
        sys.exit(f"failed: {error}")


if __name__ == "__main__":
    main()
