/* SPDX-License-Identifier: Apache-2.0 */
/* The page: reads the data, builds the sections, draws the charts. A section that fails says so and
 * leaves the others alone. */
"use strict";

/* [key in the summary, label, quantity, the only good value, whether it is left out when unknown] */
const tiles = [
    {title: "Load", tiles: [["servers", "Servers", "count"], ["points_per_s", "Points per second", "count"], ["scrapes", "Collections", "count"], ["connections", "Connections", "count"]]},
    {title: "Freshness", tiles: [["lag_p50_ms", "Lag p50", "ms"], ["lag_p99_ms", "Lag p99", "ms"], ["lag_max_ms", "Lag max", "ms"], ["scrape_p99_ms", "Scrape p99", "ms"],
        ["age_p50_ms", "Age p50", "ms"], ["age_p99_ms", "Age p99", "ms"], ["age_p999_ms", "Age p99.9", "ms"], ["age_max_ms", "Age max", "ms"]]},
    {title: "Integrity", tiles: [["lost", "Points lost", "count", 0], ["doubled", "Points doubled", "count", 0], ["rejected", "Points rejected", "count", 0], ["skipped", "Collections skipped", "count", 0],
        ["dropped", "Points dropped", "count", 0, true], ["failed", "Collections failed", "count", 0, true], ["omitted", "Collections omitted", "count", 0, true], ["void", "Points void by faults", "count", undefined, true]]},
    {title: "Cost of the collector", tiles: [["cpu_us_per_point", "CPU per point", "us"], ["cpu_us_per_scrape", "CPU per collection", "us"], ["cpu_cores", "CPU", "cores"], ["syscalls_per_scrape", "System calls per collection", "plain"],
        ["rss_mib", "Memory (RSS)", "mib"], ["rss_kib_per_server", "Memory per server", "kib"], ["bytes_per_point", "Bytes per point", "bytes"], ["bytes_per_s", "Bytes per second", "bytes"]]},
];

function duration(milliseconds) {
    const value = number(milliseconds);
    return value === null ? "–" : written(value, "ms");
}

function setting(run) {
    const options = table(run.options), facts = [];
    if (number(options.servers) !== null)
        facts.push(written(options.servers, "count") + (options.servers === 1 ? " server" : " servers"));
    if (number(options.interval_ms) !== null)
        facts.push("every " + duration(options.interval_ms));
    if (number(options.seconds) !== null)
        facts.push("for " + duration(options.seconds * 1000));
    if (list(options.groups).length)
        facts.push("groups " + options.groups.map(text).join(", "));
    if (typeof options.tls === "boolean")
        facts.push(options.tls ? "TLS" : "no TLS");
    if (options.compression)
        facts.push(text(options.compression));
    if (number(options.shards) > 0)
        facts.push(options.shards + (options.shards === 1 ? " shard" : " shards"));
    return facts.join(" · ");
}

function badge(run) {
    const checks = list(run.checks).map(table), failed = checks.filter(check => check.ok !== true).length;
    if (!checks.length)
        return html("p", {class: "badge plain"}, "No conditions were stated");
    return failed ? html("p", {class: "badge bad", "data-failed": failed}, checks.length === 1 ? "✗ The condition fails" : `✗ ${failed} of ${checks.length} conditions fail`)
        : html("p", {class: "badge good", "data-failed": 0}, checks.length === 1 ? "✓ The condition holds" : `✓ All ${checks.length} conditions hold`);
}

function started(run) {
    return text(run.started).replace("T", " ").replace(/(\.\d+)?Z$/, " UTC");
}

function header(page) {
    const {results, comparison} = page, [a, b] = results;
    if (!comparison)
        return html("header", {class: "top"}, html("div", {}, html("p", {class: "brand"}, "pgweir-load"), html("h1", {}, text(a.name)),
            html("p", {class: "setting"}, setting(a)), html("p", {class: "when"}, started(a))), badge(a));
    const worse = comparison.filter(row => row.verdict === "worse").length, better = comparison.filter(row => row.verdict === "better").length;
    return html("header", {class: "top"}, html("div", {}, html("p", {class: "brand"}, "pgweir-load compare"), html("h1", {}, `${text(a.name)} → ${text(b.name)}`),
        results.map((run, i) => html("p", {class: "setting"}, html("b", {class: "side"}, "AB"[i]), " ", setting(run), " · ", started(run)))),
    html("p", {class: "badge " + (worse ? "bad" : "good")}, worse ? `✗ ${worse} worse` : "✓ Nothing is worse", better ? `, ${better} better` : ""));
}

function tile(run, [key, label, quantity, wanted]) {
    const value = number(table(run.summary)[key]), tone = wanted === undefined || value === null ? "" : value === wanted ? " good" : " bad";
    const [digits, unit] = value === null ? ["–", ""] : quantities[quantity](value);
    return html("div", {class: "tile" + tone, "data-key": key, "data-value": value === null ? null : String(value)},
        html("dt", {}, label), html("dd", {}, html("span", {class: "value"}, digits), unit ? html("span", {class: "unit"}, " " + unit) : null));
}

function summary({results: [run], comparison}) {
    if (comparison)
        return null;
    return section("summary", "Summary", tiles.map(group => html("div", {class: "tiles"}, html("h3", {}, group.title),
        html("dl", {}, group.tiles.filter(([key, , , , optional]) => !optional || number(table(run.summary)[key]) !== null).map(one => tile(run, one))))), allValues(run));
}

/* Every number of the summary as it stands in the JSON. */
function allValues(run) {
    const entries = Object.entries(table(run.summary));
    return entries.length > 0 && dataTable([["Value", "Exactly"], ...entries.map(([key, value]) => [key, text(value)])], "All values of the summary");
}

function rowsTable(head, rows, caption) {
    return html("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": caption}, html("table", {class: "wide"}, html("thead", {}, html("tr", {}, head.map(cell => html("th", {scope: "col"}, cell)))),
        html("tbody", {}, rows)));
}

function comparisonTable({comparison}) {
    if (!comparison)
        return null;
    const percent = value => number(value) === null ? "–" : (value > 0 ? "+" : "") + (value * 100).toFixed(1) + "\u00a0%";
    const rows = comparison.map(row => html("tr", {class: row.verdict, "data-metric": row.metric, "data-verdict": row.verdict}, html("th", {scope: "row"}, row.label),
        html("td", {}, number(row.a) === null ? "–" : significant(row.a)), html("td", {}, number(row.b) === null ? "–" : significant(row.b)), html("td", {}, row.unit),
        html("td", {}, percent(row.change)), html("td", {}, number(row.noise) === null ? "–" : "±" + (row.noise * 100).toFixed(1) + "\u00a0%"), html("td", {class: "verdict"}, row.verdict)));
    return section("comparison", "Compared", rowsTable(["Metric", "A", "B", "Unit", "Change", "Noise", "Verdict"], rows, "Both runs, metric by metric"),
        html("p", {class: "hint"}, "Worse or better: changed by more than the tolerance and by more than the noise, which is told from the spread within each run. Info: not judged."));
}

function checks({results}) {
    const rows = results.flatMap((run, r) => list(run.checks).map(table).map(check => html("tr", {class: check.ok === true ? "good" : "bad"},
        html("td", {class: "mark"}, check.ok === true ? "✓ holds" : "✗ fails"), html("th", {scope: "row"}, (results.length > 1 ? "AB"[r] + ": " : "") + text(check.name)), html("td", {class: "left"}, text(check.detail)))));
    return rows.length ? section("checks", "Conditions", rowsTable(["", "Condition", "Found"], rows, "Conditions and whether they hold")) : null;
}

function section(id, title, ...content) {
    return html("section", {id: "section-" + id, "aria-labelledby": "title-" + id}, html("h2", {id: "title-" + id}, title), content);
}

function chartSection(chart, make) {
    return section(chart.id, chart.title, make(chart));
}

function facts(entries) {
    return html("dl", {class: "facts"}, entries.filter(([, value]) => value !== null && value !== undefined).map(([name, value]) =>
        html("div", {}, html("dt", {}, name), html("dd", {}, Array.isArray(value) ? value.map(text).join(", ") || "–" : typeof value === "boolean" ? (value ? "yes" : "no") : text(value)))));
}

function command(run) {
    if (!run.command)
        return null;
    const button = html("button", {type: "button"}, "Copy");
    button.addEventListener("click", () => navigator.clipboard.writeText(run.command)
        .then(() => button.textContent = "Copied", () => button.textContent = "Select and copy it yourself"));
    return html("div", {class: "command"}, html("pre", {tabindex: "0"}, text(run.command)), navigator.clipboard ? button : null);
}

function setup({results}) {
    const machineNames = {cpu: "Processor", cores: "Cores", kernel: "Kernel", memory_mib: "Memory"};
    const optionNames = {servers: "Servers", interval_ms: "Interval", seconds: "Measured for", groups: "Groups", tables: "Tables", databases: "Databases", tls: "TLS", compression: "Compression", shards: "Shards",
        statements: "Statements", backend_tls: "TLS to the back end", connections: "Connections a server", seed: "Seed", slo: "Conditions"};
    const write = (key, value) => value === 0 && ["tables", "databases", "statements"].includes(key) ? "as recorded" : value === 0 && key === "shards" ? "automatic" : key === "interval_ms" ? duration(value) : key === "seconds" && number(value) !== null ? duration(value * 1000) : key === "memory_mib" ? written(value, "mib") : number(value) !== null ? written(value, "count") : value;
    const one = (run, r) => html("div", {class: "setup"}, results.length > 1 && html("h3", {}, html("b", {class: "side"}, "AB"[r]), " ", text(run.name)), command(run),
        html("div", {class: "columns"},
            html("div", {}, html("h3", {}, "Options"), facts(Object.entries(table(run.options)).map(([key, value]) => [optionNames[key] || key, write(key, value)]))),
            html("div", {}, html("h3", {}, "Machine"), facts([...Object.entries(table(run.machine)).map(([key, value]) => [machineNames[key] || key, write(key, value)]),
                ["Commit", run.commit || "–"], ["Started", started(run)]]))));
    return section("setup", "To run it again", results.map(one));
}

function slopes({results}) {
    const known = {rss_kib_per_h: ["Memory (RSS)", "KiB per hour", "rss_error_kib_per_h"], descriptors_per_h: ["Open descriptors", "per hour", "descriptors_error_per_h"],
        lag_ms_per_h: ["Schedule lag", "ms per hour", "lag_error_ms_per_h"]};
    const rows = results.flatMap((run, r) => Object.entries(table(run.slopes)).filter(([key]) => !key.includes("_error_")).map(([key, value]) => {
        const [name, unit, errorKey] = known[key] || [key, "", ""], error = number(run.slopes[errorKey]);
        return html("tr", {}, html("th", {scope: "row"}, (results.length > 1 ? "AB"[r] + ": " : "") + name), html("td", {}, number(value) === null ? "–" : (value > 0 ? "+" : "") + significant(value)),
            html("td", {}, error === null ? "–" : "±" + significant(error)), html("td", {}, unit));
    }));
    return rows.length ? section("slopes", "Slopes", rowsTable(["What", "Slope", "Error", "Unit"], rows, "Growth over the run")) : null;
}

function notes({results}) {
    const entries = results.flatMap((run, r) => list(run.notes).map(note => html("li", {}, (results.length > 1 ? "AB"[r] + ": " : "") + text(note))));
    return entries.length ? section("notes", "Notes", html("ul", {class: "notes"}, entries)) : null;
}

const PAPER_WIDTH = 760;

const sections = [
    ["header", header], ["comparison", comparisonTable], ["summary", summary], ["checks", checks],
    ["percentiles", page => chartSection(percentiles(page.results), lineChart)],
    ["load", page => page.results.some(run => list(run.steps).length) ? chartSection(steps(page.results), lineChart) : null],
    ["timeline", page => chartSection(timeline(page.results), lineChart)],
    ["cpu", page => chartSection(cpu(page.results), barChart)],
    ["slopes", slopes], ["setup", setup], ["notes", notes],
];

function build() {
    const page = JSON.parse(document.getElementById("data").textContent);
    page.results = page.results.map(table);
    const main = html("main");
    document.getElementById("report").append(main);
    for (const [name, make] of sections)
        try {
            const made = make(page);
            if (made)
                main.append(made);
        } catch (error) {
            problem(name, error);
            main.append(html("p", {class: "broken", role: "alert"}, `This part could not be shown (${name}).`));
        }
    main.append(html("footer", {}, "Written by pgweir-load ", text(page.version), ". Everything on this page is in this one file."));
    const figures = [...document.querySelectorAll("figure.chart")];
    const renderAll = width => figures.forEach(figure => {
        try {
            figure.render(width);
        } catch (error) {
            problem(figure.id, error);
        }
    });
    renderAll();
    new ResizeObserver(() => renderAll()).observe(main);
    /* Paper is as wide as it is, whatever the window was. */
    window.addEventListener("beforeprint", () => renderAll(PAPER_WIDTH));
    window.addEventListener("afterprint", () => renderAll());
    document.documentElement.dataset.ready = problems.length ? "with problems" : "yes";
}

try {
    build();
} catch (error) {
    problem("data", error);
    document.getElementById("report").append(html("p", {class: "broken", role: "alert"}, "The data of this report cannot be read: " + error.message));
}
