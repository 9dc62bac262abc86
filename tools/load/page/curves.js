/* SPDX-License-Identifier: Apache-2.0 */
/* From results to the charts' descriptions. Each function takes all runs of the page (one, or two
 * that are compared) and survives any missing part. */
"use strict";

const measures = [
    {key: "lag", name: "Schedule lag", what: "from when a collection was due to its first byte"},
    {key: "scrape", name: "Scrape", what: "first byte sent to last answer read"},
    {key: "delivery", name: "Delivery", what: "a request to the back end until its answer"},
    {key: "age", name: "Age", what: "due until the back end had acknowledged it (a collector of your own: a point's own time to its arrival)"},
];
const shares = [0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999];
const NS_PER_MS = 1e6;

function runName(run, runs, name) {
    return runs.length > 1 ? `${name} (${"AB"[runs.indexOf(run)]})` : name;
}

/* End of a bucket: histograms have 64 equal buckets for each power of two. */
function bucketEnd(start) {
    return start < 64 ? start + 1 : start + Math.pow(2, Math.floor(Math.log2(start)) - 6);
}

/* A histogram as cumulative points: [share, milliseconds], the last one the maximum. */
function cumulative(histogram) {
    const buckets = list(table(histogram).buckets).filter(bucket => Array.isArray(bucket) && number(bucket[0]) !== null && number(bucket[1]) > 0)
        .sort((a, b) => a[0] - b[0]);
    const total = buckets.reduce((sum, bucket) => sum + bucket[1], 0);
    const most = number(table(histogram).max_ns);
    const points = [];
    let seen = 0;
    for (const [start, count] of buckets) {
        const middle = Math.min((start + bucketEnd(start)) / 2, most === null ? Infinity : most) / NS_PER_MS;
        points.push([seen / total, middle]);
        seen += count;
        if (seen < total)
            points.push([seen / total, middle]);
    }
    if (points.length) {
        const last = points[points.length - 1][1];
        points.push([1 - 1 / (total + 1), most === null ? last : most / NS_PER_MS]);
    }
    return {points: points.filter((point, i) => i === 0 || point[0] >= points[i - 1][0]), buckets, total, most};
}

/* The value below which a share of all lies, ms; null when there are too few to tell. */
function quantile(curve, share) {
    if (!curve.total || curve.total * (1 - share) < 1)
        return null;
    let seen = 0;
    for (const [start, count] of curve.buckets) {
        seen += count;
        if (seen > share * curve.total)
            return Math.min((start + bucketEnd(start)) / 2, curve.most === null ? Infinity : curve.most) / NS_PER_MS;
    }
    return null;
}

function percentiles(runs) {
    const series = [], columns = [];
    runs.forEach((run, r) => {
        for (const measure of measures) {
            const curve = cumulative(table(run.histograms)[measure.key]);
            if (!curve.points.length)
                continue;
            const name = runName(run, runs, measure.name);
            series.push({name, tone: measure.key, run: runs.length > 1 ? r : 1, points: curve.points});
            columns.push({name, curve});
        }
    });
    const rows = [["Share of all", ...columns.map(column => column.name)],
        ...shares.map(share => [shareText(share), ...columns.map(column => written(quantile(column.curve, share), "ms"))]),
        ["maximum", ...columns.map(column => written(column.curve.most === null ? null : column.curve.most / NS_PER_MS, "ms"))],
        ["count", ...columns.map(column => written(column.curve.total, "count"))]];
    const shown = measures.filter(measure => series.some(one => one.tone === measure.key));
    return {
        id: "percentiles", title: "Latency by percentile",
        summary: "How long, for which share of all, on two logarithmic scales: each step to the right is ten times rarer. "
            + shown.map(measure => `${measure.name}: ${measure.what}`).join("; ") + ".",
        x: {kind: "tail", label: "share that is faster", write: shareText, tip: share => shareText(share) + " are faster"},
        panels: [{label: "Time", quantity: "ms", log: true, height: 300, series}], rows,
    };
}

function stepPanels(runs, by) {
    const panels = [
        {label: "Latency, p99", quantity: "ms", log: true, height: 220, dots: true, series: [], keys: [["lag_p99_ms", "lag", "Schedule lag p99"], ["age_p99_ms", "age", "Age p99"]]},
        {label: "Points per second", quantity: "count", height: 100, dots: true, series: [], keys: [["points_per_s", "points", "Points/s"]]},
        {label: "CPU of the collector", quantity: "cores", height: 100, dots: true, series: [], keys: [["cpu_cores", "cpu", "CPU"]]},
    ];
    for (const panel of panels)
        runs.forEach((run, r) => {
            for (const [key, tone, name] of panel.keys) {
                const points = list(run.steps).map(step => [number(table(step)[by]), number(table(step)[key]), table(step).ok === false, table(step).why])
                    .filter(point => point[0] !== null).sort((a, b) => a[0] - b[0]);
                if (points.some(point => point[1] !== null))
                    panel.series.push({name: runName(run, runs, name), tone, run: runs.length > 1 ? r : 1, points});
            }
        });
    return panels.filter(panel => panel.series.length);
}

function largest(run, by) {
    return Math.max(0, ...list(run.steps).filter(step => table(step).ok === true).map(step => number(step[by]) || 0));
}

function steps(runs) {
    const valuesOf = key => runs.flatMap(run => list(run.steps).map(step => number(table(step)[key])).filter(value => value > 0));
    /* A ramp may shorten the interval instead of adding servers: then the load is the points. */
    const by = new Set(valuesOf("servers")).size > 1 ? "servers" : "points_per_s", sizes = valuesOf(by);
    const rows = [[...(runs.length > 1 ? ["Run"] : []), "Servers", "Points/s", "Lag p99", "Age p99", "CPU cores", "Holds", "Why"]];
    runs.forEach((run, r) => list(run.steps).map(table).forEach(step => rows.push([...(runs.length > 1 ? ["AB"[r]] : []),
        written(step.servers, "count"), written(step.points_per_s, "count"), written(step.lag_p99_ms, "ms"), written(step.age_p99_ms, "ms"),
        written(step.cpu_cores, "plain"), step.ok === true ? "yes" : step.ok === false ? "no" : "–", text(step.why)])));
    const marks = runs.filter(run => largest(run, by) > 0).map(run => ({x: largest(run, by), name: runName(run, runs, `holds to ${written(largest(run, by), "count")}`)}));
    const wide = sizes.length && Math.max(...sizes) > 20 * Math.min(...sizes), unit = by === "servers" ? "servers" : "points per second";
    return {
        id: "load", title: "Load against latency",
        summary: "Each dot is one measured load; a cross did not meet the stated conditions.",
        x: {kind: wide ? "log" : "linear", label: unit, write: value => written(value, wide ? "short" : "count"), tip: value => written(value, "count") + " " + unit},
        marks, panels: stepPanels(runs, by), rows,
    };
}

/* Whether a peak, or one line beside another, would lie flat on a linear scale. */
function spiky(series) {
    const sorted = series.map(one => one.points.map(point => point[1]).filter(value => value > 0).sort((a, b) => a - b)).filter(values => values.length);
    return sorted.length > 0 && Math.max(...sorted.map(values => values[values.length - 1])) > 30 * Math.min(...sorted.map(values => values[values.length >> 1]));
}

const timelinePanels = [
    {label: "Points per second", quantity: "count", keys: [["points_per_s", "points", "Points/s"]]},
    {label: "Latency, p99", quantity: "ms", height: 130, keys: [["lag_p99_ms", "lag", "Schedule lag p99"], ["age_p99_ms", "age", "Age p99"]]},
    {label: "Servers", quantity: "count", height: 90, keys: [["servers", "servers", "Servers"], ["connections", "connections", "Connections", true], ["descriptors", "descriptors", "Open descriptors"]]},
    {label: "CPU of the collector", quantity: "cores", height: 90, keys: [["cpu_cores", "cpu", "CPU"]]},
    {label: "Memory of the collector", quantity: "mib", height: 90, keys: [["rss_mib", "memory", "RSS"]]},
];

function timelineRows(runs) {
    const rows = [[...(runs.length > 1 ? ["Run"] : []), "Time", "Phase", "Servers", "Points/s", "Lag p99", "Age p99", "CPU cores", "RSS", "Connections"]];
    runs.forEach((run, r) => {
        const all = list(run.timeline).map(table), every = Math.ceil(all.length / 240);
        all.filter((sample, i) => i % every === 0).forEach(sample => rows.push([...(runs.length > 1 ? ["AB"[r]] : []),
            number(sample.t) === null ? "–" : clock(sample.t), text(sample.phase), written(sample.servers, "count"), written(sample.points_per_s, "count"),
            written(sample.lag_p99_ms, "ms"), written(sample.age_p99_ms, "ms"), written(sample.cpu_cores, "plain"), written(sample.rss_mib, "mib"),
            written(sample.connections, "count")]));
    });
    return rows;
}

function timeline(runs) {
    const panels = timelinePanels.map(panel => ({...panel, series: runs.flatMap((run, r) => panel.keys.map(([key, tone, name, over]) => ({over,
        name: runName(run, runs, name), tone, run: runs.length > 1 ? r : 1,
        points: list(run.timeline).map(sample => [number(table(sample).t), number(table(sample)[key])]).filter(point => point[0] !== null).sort((a, b) => a[0] - b[0]),
    })).filter(series => series.points.some(point => point[1] !== null)))})).filter(panel => panel.series.length);
    for (const panel of panels)
        panel.log = panel.quantity === "ms" && spiky(panel.series);
    const bands = runs.length === 1 ? list(runs[0].phases).map(table).filter(phase => number(phase.from_s) !== null && number(phase.to_s) !== null)
        .map(phase => ({name: text(phase.name), from: phase.from_s, to: phase.to_s})) : [];
    return {
        id: "timeline", title: "Timeline", bands, panels, rows: timelineRows(runs),
        summary: "The whole run" + (bands.length ? ", phases shaded" : "") + (panels.some(panel => panel.log) ? "; latency on a logarithmic scale." : "."),
        x: {kind: "time", label: "time since the start", write: clock},
    };
}

/* Threads with their share in cores; more than eight are summed by the name before the number. */
function threads(run) {
    const all = list(run.cpu).map(table).filter(thread => number(thread.seconds) !== null && thread.seconds >= 0)
        .map(thread => ({name: text(thread.thread), seconds: thread.seconds, count: 1}));
    if (all.length <= 8)
        return all;
    const sums = new Map();
    for (const thread of all) {
        const name = thread.name.replace(/[-_ ]?\d+$/, "");
        const sum = sums.get(name) || {name, seconds: 0, count: 0};
        sum.seconds += thread.seconds;
        sum.count++;
        sums.set(name, sum);
    }
    return [...sums.values()].map(sum => ({...sum, name: sum.count > 1 ? `${sum.name} ×${sum.count}` : sum.name}))
        .sort((a, b) => b.seconds - a.seconds);
}

function threadTone(name, i) {
    const known = [[/^shard/, "shard"], [/worker|^export|^otlp/, "worker"], [/^(main|pgweir)/, "main"], [/^(admin|http)/, "admin"], [/^(resolver|dns)/, "resolver"]];
    const found = known.find(([pattern]) => pattern.test(name));
    return (found ? found[1] : "other") + " shade" + i % 4;
}

function cpu(runs) {
    const bars = [], rows = [["Thread or program", "CPU cores", "Share of the collector", "CPU per point"]];
    runs.forEach(run => {
        const parts = threads(run), seconds = parts.reduce((sum, part) => sum + part.seconds, 0);
        const cores = number(table(run.summary).cpu_cores), window = number(table(run.summary).seconds);
        /* The measured window; unsaid, from what the same seconds were as cores. */
        const span = window > 0 ? window : cores > 0 && seconds > 0 ? seconds / cores : null;
        const points = number(table(run.summary).points);
        const name = runName(run, runs, "collector");
        if (seconds > 0 && span !== null)
            bars.push({name, parts: parts.map((part, i) => ({name: part.name, tone: threadTone(part.name, i), value: part.seconds / span})).filter(part => part.value > 0)});
        else if (cores > 0)
            bars.push({name, parts: [{name: "all threads", tone: "shard", value: cores}]});
        for (const part of parts)
            rows.push([runName(run, runs, part.name), span === null ? "–" : written(part.seconds / span, "plain"), seconds > 0 ? written(part.seconds / seconds, "share") : "–",
                points > 0 ? written(part.seconds * 1e6 / points, "us") : "–"]);
        for (const other of list(run.others).map(table)) {
            if (number(other.cpu_cores) === null)
                continue;
            bars.push({name: runName(run, runs, text(other.program)), parts: [{name: "beside it", tone: "beside", value: other.cpu_cores}]});
            rows.push([runName(run, runs, text(other.program)), written(other.cpu_cores, "plain"), "beside it", "–"]);
        }
    });
    return {
        id: "cpu", title: "CPU by thread", axis: "CPU cores in use (mean)", bars, rows,
        summary: "The collector's threads, and what ran beside it on the same machine: the simulator's and the sink's CPU is not the collector's, but they share the cores.",
    };
}
