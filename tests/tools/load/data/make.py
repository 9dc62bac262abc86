#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the sample results beside it: runs that look like real ones, from a seeded generator, and
ones that a page must survive. Run it again after changing the form of result.json."""

import json
import math
import os
import random

HERE = os.path.dirname(os.path.realpath(__file__))
MACHINE = {"cpu": "AMD EPYC 9R14", "cores": 2, "kernel": "6.1.0-40-amd64", "memory_mib": 7936}


def start_of_bucket(value):
    """As engine/base/histogram.h: 64 equal buckets for each power of two."""
    if value < 64:
        return value
    shift = value.bit_length() - 1 - 6
    return (value >> shift) << shift


def histogram(samples_ns):
    buckets = {}
    for sample in samples_ns:
        start = start_of_bucket(int(sample))
        buckets[start] = buckets.get(start, 0) + 1
    return {"count": len(samples_ns), "max_ns": int(max(samples_ns)),
            "buckets": [[start, buckets[start]] for start in sorted(buckets)]}


def quantile_ms(samples_ns, share):
    ordered = sorted(samples_ns)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1e6, 4)


def latencies(rng, n, median_ms, spread, tail_share, tail_factor):
    return [median_ms * 1e6 * math.exp(rng.gauss(0, spread))
            * (tail_factor * rng.uniform(0.5, 1) if rng.random() < tail_share else 1)
            for _ in range(n)]


def run(name, seed, servers, interval_ms, seconds, slower=1.0, samples=6000):
    rng = random.Random(seed)
    lag = latencies(rng, samples, 0.18 * slower, 0.55, 0.004, 30 * slower)
    scrape = latencies(rng, samples, 2.4 * slower, 0.35, 0.01, 6)
    age = latencies(rng, samples, 640 * slower, 0.25, 0.002, 2.2)
    delivery = latencies(rng, samples // 10, 1.9, 0.4, 0.01, 8)
    points_per_scrape = 434
    scrapes = servers * seconds * 1000 // interval_ms
    points = scrapes * points_per_scrape
    cpu_us = 0.184 * slower
    cores = points / seconds * cpu_us / 1e6
    split = [("shard-0", 0.355), ("shard-1", 0.345), ("worker", 0.262), ("main", 0.011),
             ("admin", 0.017), ("resolver", 0.010)]
    timeline, warm = [], 10
    for t in range(warm + seconds + 1):
        up = min(1, t / warm)
        noise = rng.gauss(1, 0.012)
        timeline.append({
            "t": t, "servers": int(servers * up),
            "points_per_s": round(points / seconds * up * noise),
            "lag_p99_ms": round(quantile_ms(lag, 0.985) * rng.uniform(0.8, 1.25), 3),
            "age_p99_ms": round(quantile_ms(age, 0.99) * rng.gauss(1, 0.03), 2),
            "cpu_cores": round(cores * up * rng.gauss(1, 0.02), 4),
            "rss_mib": round(22 + servers * 0.031 * up * slower + 0.002 * t, 2),
            "connections": int(servers * up), "phase": "connect" if t < warm else "measured"})
    return {
        "version": 1, "name": name, "started": "2026-03-14T09:26:53Z",
        "command": f"pgweir-load {name} --servers {servers} --interval {interval_ms // 1000}s "
                   f"--for {seconds}s --groups core --compression gzip --seed {seed}",
        "commit": "3f9c2d1b70aa", "machine": dict(MACHINE),
        "options": {"servers": servers, "interval_ms": interval_ms, "seconds": seconds,
                    "groups": ["core"], "tables": 0, "databases": 1, "tls": False,
                    "compression": "gzip", "shards": 2, "statements": 0,
                    "seed": seed, "slo": "age p99 < 2 s, lag p99 < 100 ms"},
        "summary": {
            "servers": servers, "scrapes": scrapes, "points": points,
            "points_per_s": round(points / seconds, 1),
            "lag_p50_ms": quantile_ms(lag, 0.5), "lag_p99_ms": quantile_ms(lag, 0.99),
            "lag_max_ms": round(max(lag) / 1e6, 3),
            "age_p50_ms": quantile_ms(age, 0.5), "age_p99_ms": quantile_ms(age, 0.99),
            "age_p999_ms": quantile_ms(age, 0.999), "age_max_ms": round(max(age) / 1e6, 3),
            "scrape_p50_ms": quantile_ms(scrape, 0.5), "scrape_p99_ms": quantile_ms(scrape, 0.99),
            "lost": 0, "doubled": 0, "rejected": 0, "skipped": 0,
            "cpu_us_per_point": round(cpu_us, 4),
            "cpu_us_per_scrape": round(cpu_us * points_per_scrape, 2), "cpu_cores": round(cores, 4),
            "rss_mib": round(22 + servers * 0.031 * slower, 2),
            "rss_kib_per_server": round(31.7 * slower, 2), "connections": servers,
            "bytes_per_point": 11.42, "bytes_per_s": round(points / seconds * 11.42),
            "requests_per_s": round(points / seconds / 8192, 2), "syscalls_per_scrape": 2.31},
        "cpu": [{"thread": thread, "seconds": round(cores * seconds * share, 4)}
                for thread, share in split],
        "others": [{"program": "pgweir-sim", "cpu_cores": round(cores * 0.41, 4), "rss_mib": 96.2},
                   {"program": "pgweir-sink", "cpu_cores": round(cores * 0.22, 4), "rss_mib": 18.4}],
        "histograms": {"lag": histogram(lag), "scrape": histogram(scrape), "age": histogram(age),
                       "delivery": histogram(delivery)},
        "timeline": timeline,
        "phases": [{"name": "connect", "from_s": 0, "to_s": warm},
                   {"name": "measured", "from_s": warm, "to_s": warm + seconds}],
        "steps": [], "slopes": None,
        "checks": [{"name": "age p99 < 2 s", "ok": True, "detail": "1,154 ms"},
                   {"name": "lag p99 < 100 ms", "ok": True, "detail": "0.89 ms"},
                   {"name": "nothing lost", "ok": True, "detail": "every step of 1,000 servers"}],
        "notes": ["The simulator ran beside the collector and shared its cores."]}


def ramp():
    result = run("knee", 7, 20000, 10000, 120)
    rng = random.Random(70)
    steps = []
    for servers in (500, 1000, 2000, 4000, 8000, 16000, 32000, 24000, 20000, 22000, 21000):
        load = servers / 21500
        wait = 1 / max(0.02, 1 - load) if load < 1 else 60 + 400 * (load - 1)
        lag, age = 0.7 * wait * rng.uniform(0.9, 1.1), 900 + 22 * wait * wait * rng.uniform(0.9, 1.1)
        steps.append({"servers": servers, "points_per_s": round(min(servers, 21700) * 43.4),
                      "lag_p99_ms": round(lag, 3), "age_p99_ms": round(min(age, 40000), 1),
                      "cpu_cores": round(0.05 + 1.85 * min(1, load), 3),
                      "ok": age < 2000 and lag < 100,
                      "why": "" if age < 2000 and lag < 100 else f"age p99 is {age / 1000:.1f} s"})
    result["steps"] = steps
    result["phases"], at = [], 0
    result["timeline"] = []
    for step in steps:
        result["phases"].append({"name": str(step["servers"]), "from_s": at, "to_s": at + 30})
        for t in range(at, at + 30):
            result["timeline"].append({
                "t": t, "servers": step["servers"],
                "points_per_s": round(step["points_per_s"] * rng.gauss(1, 0.02)),
                "lag_p99_ms": round(step["lag_p99_ms"] * rng.uniform(0.7, 1.4), 3),
                "age_p99_ms": round(step["age_p99_ms"] * rng.uniform(0.9, 1.1), 2),
                "cpu_cores": round(step["cpu_cores"] * rng.gauss(1, 0.02), 4),
                "rss_mib": round(22 + step["servers"] * 0.031, 2),
                "connections": step["servers"], "phase": str(step["servers"])})
        at += 30
    result["checks"].append({"name": "holds 25,000 servers", "ok": False,
                             "detail": "21,000 hold; at 22,000 age p99 is 5.4 s"})
    return result


def outage():
    result = run("outage", 9, 1000, 1000, 90)
    for sample in result["timeline"]:
        if 40 <= sample["t"] < 60:
            sample["points_per_s"] = 0
            sample["age_p99_ms"] = (sample["t"] - 40) * 1000 + 800
            sample["phase"] = "backend away"
        elif sample["t"] == 60:
            sample["points_per_s"] *= 6
            sample["age_p99_ms"] = 20400
    result["phases"] = [{"name": "connect", "from_s": 0, "to_s": 10},
                        {"name": "before", "from_s": 10, "to_s": 40},
                        {"name": "backend away", "from_s": 40, "to_s": 60},
                        {"name": "after", "from_s": 60, "to_s": 100}]
    result["summary"].update(lost=12, skipped=4, dropped=0, failed=3, omitted=0, void=180)
    result["checks"][2] = {"name": "nothing lost", "ok": False, "detail": "12 points of 3 series"}
    result["slopes"] = {"rss_kib_per_h": 212.4, "descriptors_per_h": 0.0, "lag_ms_per_h": -0.03}
    return result


def missing():
    """The least that is a result, and parts of wrong types."""
    return {"version": 1, "name": "bare", "summary": {"servers": 3, "lag_p99_ms": None},
            "cpu": None, "others": [{"program": "pgweir-sim"}], "histograms": {"lag": {"buckets": []}},
            "timeline": [{"t": 0}, None, {"points_per_s": 5}], "steps": [{}], "checks": "none",
            "options": [], "machine": None}


def hostile():
    """Every text tries to leave its place."""
    bad = "</script><script>document.documentElement.dataset.hacked=1</script>"
    image = "<img src=x onerror=\"document.documentElement.dataset.hacked=2\">"
    result = run("steady", 3, 100, 1000, 30, samples=400)
    result.update(name=bad + "<!-- <script>", commit=image, command=image + "' && \"x\" & \u2028 `$x`",
                  notes=[bad, image, "{{DATA}} {{SCRIPT}}", "\u202e\u0000zero", "<svg/onload=alert(1)>"])
    result["machine"]["cpu"] = image
    result["options"]["groups"] = [bad, image]
    result["options"][image] = image
    result["phases"][0]["name"] = bad
    result["checks"] = [{"name": bad, "ok": False, "detail": image}]
    result["cpu"][0]["thread"] = bad
    result["others"][0]["program"] = image
    result["summary"][bad] = 1
    result["slopes"] = {image: 1.5}
    for sample in result["timeline"]:
        sample["phase"] = bad
    return result


def many_threads():
    """A big machine: more threads than fit a legend; a long timeline; one sample of age."""
    result = run("soak", 11, 50000, 30000, 3600, samples=800)
    result["machine"] = {**MACHINE, "cores": 64}
    result["cpu"] = [{"thread": f"shard-{i}", "seconds": 300.0 + i} for i in range(48)] + \
        [{"thread": "worker", "seconds": 900.0}, {"thread": "admin", "seconds": 2.0}]
    result["summary"]["cpu_cores"] = 4.8
    result["timeline"] = result["timeline"][::20]
    result["histograms"]["age"] = {"count": 1, "max_ns": 700000000, "buckets": [[700000000, 1]]}
    result["slopes"] = {"rss_kib_per_h": 18.2, "descriptors_per_h": 0.0, "lag_ms_per_h": 0.01,
                        "rss_error_kib_per_h": 4.1, "descriptors_error_per_h": 0.0,
                        "lag_error_ms_per_h": 0.02}
    for sample in result["timeline"]:
        sample["descriptors"] = sample["connections"] + 41
    return result


def main():
    results = {"steady": run("steady", 1, 1000, 10000, 60),
               "steady_again": run("steady", 2, 1000, 10000, 60),
               "steady_slower": run("steady", 4, 1000, 10000, 60, slower=1.6),
               "knee": ramp(), "outage": outage(), "missing": missing(), "hostile": hostile(),
               "soak": many_threads()}
    for name, result in results.items():
        with open(os.path.join(HERE, name + ".json"), "w", encoding="utf-8") as file:
            json.dump(result, file, separators=(",", ":"), ensure_ascii=True)
            file.write("\n")


if __name__ == "__main__":
    main()
