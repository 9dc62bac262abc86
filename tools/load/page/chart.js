/* SPDX-License-Identifier: Apache-2.0 */
/* Line charts as SVG: panels one below the other over one x axis, with a cross-hair that pointer
 * and arrow keys move. A chart is described by
 *   {id, title, summary, x: {kind: "linear" | "log" | "tail" | "time", label, write}, bands, marks,
 *    panels: [{label, quantity, log, series: [{name, tone, run, points: [[x, y, bad]]}]}], rows}
 * where `tail` spreads shares towards 1 (0.9, 0.99, 0.999 lie equally far apart). Points are sorted
 * by x. Drawn anew when the width changes, so text keeps its size. */
"use strict";

const margin = {left: 62, right: 20, top: 24, bottom: 40, gap: 30};

function linearTicks(low, high, wanted) {
    const rough = (high - low) / Math.max(1, wanted);
    const power = Math.pow(10, Math.floor(Math.log10(rough)));
    const step = [1, 2, 5, 10].map(factor => factor * power).find(size => size >= rough * 0.999);
    const ticks = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high * (1 + 1e-9) && ticks.length < 50; i++)
        ticks.push(i * step);
    return ticks;
}

function logTicks(low, high, wanted) {
    const decades = Math.log10(high / low);
    const factors = decades * 3 <= wanted ? [1, 2, 5] : [1];
    const skip = Math.max(1, Math.ceil(decades * factors.length / Math.max(1, wanted)));
    const ticks = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
        for (const factor of factors) {
            const value = factor * Math.pow(10, e);
            if (e % skip === 0 && value >= low * 0.999 && value <= high * 1.001)
                ticks.push(value);
        }
    return ticks;
}

function timeTicks(low, high, wanted) {
    const rough = (high - low) / Math.max(1, wanted);
    const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];
    const step = rough < 1 ? 0 : steps.find(size => size >= rough) || Math.ceil(rough / 86400) * 86400;
    if (step === 0)
        return linearTicks(low, high, wanted);
    const ticks = [];
    for (let t = Math.ceil(low / step) * step; t <= high + 1e-9; t += step)
        ticks.push(t);
    return ticks;
}

const tailOf = share => -Math.log10(Math.max(1e-12, 1 - share));

function shareText(share) {
    const nines = Math.max(0, Math.ceil(tailOf(share) - 1e-6) - 1);
    return (share * 100).toFixed(Math.min(nines, 7)).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "") + "\u00a0%";
}

/* An axis: where a value lies between pixels a and b, and its ticks. */
function axis(kind, low, high, a, b, wanted) {
    const forward = {log: Math.log10, tail: tailOf}[kind] || (value => value);
    const from = forward(low), to = forward(high);
    const place = value => a + (forward(value) - from) / (to - from || 1) * (b - a);
    let ticks;
    if (kind === "tail") {
        ticks = [0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999, 0.9999999].filter(share => share <= high + 1e-12);
        if (wanted < 6)
            ticks = ticks.filter(share => share !== 0);
    } else {
        ticks = {log: logTicks, time: timeTicks}[kind] ? {log: logTicks, time: timeTicks}[kind](low, high, wanted)
            : linearTicks(low, high, wanted);
    }
    return {place, ticks, low, high};
}

/* Bounds of a panel's y axis, with some air. */
function bounds(panel) {
    let low = Infinity, high = -Infinity;
    for (const series of panel.series)
        for (const point of series.points)
            if (point[1] !== null && (!panel.log || point[1] > 0)) {
                low = Math.min(low, point[1]);
                high = Math.max(high, point[1]);
            }
    if (low > high)
        return panel.log ? [1, 10] : [0, 1];
    if (panel.log)
        return high / low < 10 ? [low / 3, high * 3] : [low / 1.3, high * 1.3];
    return [Math.min(0, low), high > 0 ? high * 1.08 : 1];
}

/* The line as a path; more points than pixels are thinned to each pixel's extremes. */
function path(points, x, y, floor) {
    let d = "", pen = "M", column = null, least = null, most = null;
    const flush = () => {
        for (const point of least === most ? [least] : [least, most].sort((a, b) => a[0] - b[0])) {
            d += pen + x.place(point[0]).toFixed(1) + " " + y.place(Math.max(point[1], floor)).toFixed(1);
            pen = "L";
        }
        column = null;
    };
    const dense = points.length > 1500;
    for (const point of points) {
        if (point[1] === null) {
            if (column !== null)
                flush();
            pen = "M";
            continue;
        }
        const at = dense ? Math.round(x.place(point[0])) : point[0];
        if (column !== null && at !== column)
            flush();
        if (column === null) {
            least = most = point;
            column = at;
        }
        least = point[1] < least[1] ? point : least;
        most = point[1] > most[1] ? point : most;
    }
    if (column !== null)
        flush();
    return d;
}

function cross(cx, cy, title) {
    const r = 5;
    return svg("path", {class: "bad", d: `M${cx - r} ${cy - r}L${cx + r} ${cy + r}M${cx - r} ${cy + r}L${cx + r} ${cy - r}`},
        svg("title", {}, title));
}

function drawSeries(series, panel, x, y) {
    const floor = panel.log ? y.low : -Infinity;
    const group = svg("g", {class: `series ${series.tone}` + (series.run === 0 ? " before" : "") + (series.over ? " over" : "")});
    group.append(svg("path", {class: "line", d: path(series.points, x, y, floor)}));
    const known = series.points.filter(point => point[1] !== null);
    if (panel.dots || known.length === 1)
        for (const point of known) {
            const cx = x.place(point[0]), cy = y.place(Math.max(point[1], floor));
            group.append(point[2] ? cross(cx, cy, point[3] ? text(point[3]) : series.name + ": does not hold")
                : svg("circle", {class: "dot", cx, cy, r: 3.5}));
        }
    return group;
}

/* Which line is which, behind a panel's label. */
function panelKeys(panel, left, at, right) {
    return panel.series.map(series => {
        const x = left, width = 22 + series.name.length * 6.4;
        left += width + 14;
        return x + width > right ? "" : svg("g", {class: `key ${series.tone}` + (series.run === 0 ? " before" : "")},
            svg("line", {x1: x, x2: x + 16, y1: at, y2: at}), svg("text", {x: x + 22, y: at + 4}, series.name));
    });
}

function drawPanel(chart, panel, x, top, width) {
    const bottom = top + panel.height, right = width - margin.right;
    const [low, high] = bounds(panel);
    const y = axis(panel.log ? "log" : "linear", low, high, bottom, top, Math.max(2, panel.height / 38));
    const group = svg("g", {class: "panel"});
    /* Gibibytes have round numbers of their own. */
    if (panel.quantity === "mib" && high >= 1024)
        y.ticks = linearTicks(low / 1024, high / 1024, Math.max(2, panel.height / 38)).map(tick => tick * 1024);
    for (const tick of y.ticks)
        group.append(
            svg("line", {class: "grid", x1: margin.left, x2: right, y1: y.place(tick), y2: y.place(tick)}),
            svg("text", {class: "tick", x: margin.left - 8, y: y.place(tick) + 4, "text-anchor": "end"},
                tick === 0 ? "0" : written(tick, {count: "short", cores: "plain"}[panel.quantity] || panel.quantity)));
    const label = panel.label + (panel.quantity === "cores" ? " (cores)" : "");
    group.append(svg("text", {class: "axis", x: margin.left, y: top - 8}, label));
    if (chart.panels.length > 1 && panel.series.length > 1)
        group.append(...panelKeys(panel, margin.left + label.length * 6.6 + 18, top - 12, right));
    group.append(svg("line", {class: "base", x1: margin.left, x2: right, y1: bottom, y2: bottom}));
    for (const series of panel.series)
        group.append(drawSeries(series, panel, x, y));
    panel.y = y;
    panel.top = top;
    return group;
}

function drawBands(chart, x, top, bottom) {
    return list(chart.bands).map((band, i) => {
        const from = Math.max(margin.left, x.place(band.from)), to = Math.min(x.place(x.high), x.place(band.to));
        const wide = to - from > 7 * band.name.length + 8;
        return to > from && svg("g", {class: "band" + (i % 2 ? " odd" : "")},
            svg("title", {}, `${band.name}: ${clock(band.from)} to ${clock(band.to)}`),
            svg("rect", {x: from, y: top - 18, width: to - from, height: bottom - top + 18}),
            wide && svg("text", {x: (from + to) / 2, y: top - 24, "text-anchor": "middle"}, band.name));
    });
}

function drawAxis(chart, x, bottom, width) {
    const group = svg("g", {class: "x"});
    let last = -Infinity;
    for (const tick of x.ticks) {
        const at = x.place(tick), label = chart.x.write(tick);
        group.append(svg("line", {class: "grid", x1: at, x2: at, y1: chart.panels[0].top, y2: bottom}));
        if (at - last < label.length * 6.2 + 8)
            continue;
        last = at;
        const over = at + label.length * 3.4 > width;
        group.append(svg("text", {class: "tick", x: over ? width : at, y: bottom + 16, "text-anchor": over ? "end" : "middle"}, label));
    }
    group.append(svg("text", {class: "axis", x: (margin.left + width - margin.right) / 2, y: bottom + 33,
        "text-anchor": "middle"}, chart.x.label));
    return group;
}

function xBounds(chart) {
    const all = chart.panels.flatMap(panel => panel.series.flatMap(series => series.points.map(point => point[0])));
    let low = Infinity, high = -Infinity;
    for (const value of all) {
        low = Math.min(low, value);
        high = Math.max(high, value);
    }
    if (chart.x.kind === "tail")
        return [0, Math.max(high, 0.9)];
    if (low === high)
        return chart.x.kind === "log" ? [low / 2, high * 2] : [low - 1, high + 1];
    if (chart.x.kind === "linear")
        return [low > 0 && low < high / 3 ? 0 : Math.max(0, low - (high - low) * 0.05), high + (high - low) * 0.03];
    return [low, high];
}

function draw(chart, width) {
    const head = list(chart.bands).length ? 22 : 0;
    const [low, high] = xBounds(chart);
    const x = axis(chart.x.kind, low, high, margin.left, width - margin.right, (width - 80) / 90);
    const picture = svg("svg", {class: "picture", role: "img", "aria-label": chart.title + ". " + chart.summary});
    let top = margin.top + head;
    const first = top, parts = [];
    for (const panel of chart.panels) {
        panel.height = panel.height || 120;
        parts.push(drawPanel(chart, panel, x, top, width));
        top += panel.height + margin.gap;
    }
    const bottom = top - margin.gap;
    picture.append(...drawBands(chart, x, first, bottom).filter(Boolean), drawAxis(chart, x, bottom, width), ...parts);
    for (const mark of list(chart.marks)) {
        const at = x.place(mark.x), left = at > width * 0.6;
        picture.append(svg("line", {class: "mark", x1: at, x2: at, y1: first, y2: bottom}),
            svg("text", {class: "mark", x: at + (left ? -6 : 6), y: first + 12, "text-anchor": left ? "end" : "start"}, mark.name));
    }
    picture.setAttribute("viewBox", `0 0 ${width} ${bottom + margin.bottom}`);
    return {picture, x, first, bottom};
}

/* Index of the point nearest to x. */
function nearest(points, value, place) {
    let low = 0, high = points.length - 1;
    while (low < high) {
        const middle = (low + high) >> 1;
        if (points[middle][0] < value)
            low = middle + 1;
        else
            high = middle;
    }
    const at = place(value);
    return low > 0 && at - place(points[low - 1][0]) < place(points[low][0]) - at ? low - 1 : low;
}

/* What the cross-hair says at x: a line per series, and dots on the lines. */
function reading(chart, drawn, value) {
    const rows = [], dots = [];
    for (const panel of chart.panels)
        for (const series of panel.series) {
            if (!series.points.length)
                continue;
            const point = series.points[nearest(series.points, value, drawn.x.place)];
            const far = Math.abs(drawn.x.place(point[0]) - drawn.x.place(value)) > 30;
            if (point[1] === null || (far && chart.x.kind !== "tail"))
                continue;
            rows.push({tone: series.tone, name: series.name, value: written(point[1], panel.quantity)});
            dots.push(svg("circle", {class: "focus " + series.tone, cx: drawn.x.place(point[0]),
                cy: panel.y.place(Math.max(point[1], panel.log ? panel.y.low : -Infinity)), r: 4}));
        }
    return {rows, dots};
}

/* The cross-hair of one chart: follows the pointer, or the arrow keys from point to point. */
function crosshair(chart, holder, state) {
    const tip = html("div", {class: "tip", role: "status", "aria-live": "polite", hidden: true});
    const stops = [...new Set(chart.panels.flatMap(panel => panel.series.flatMap(series => series.points.map(point => point[0]))))]
        .sort((a, b) => a - b).map(x => [x]);
    let hair = null, stop = 0;
    const hide = () => {
        tip.hidden = true;
        if (hair)
            hair.remove();
    };
    const show = index => {
        const drawn = state.drawn, value = stops[stop = index][0], at = drawn.x.place(value);
        const {rows, dots} = reading(chart, drawn, value);
        if (hair)
            hair.remove();
        hair = svg("g", {class: "hair"}, svg("line", {x1: at, x2: at, y1: drawn.first, y2: drawn.bottom}), dots);
        drawn.picture.append(hair);
        tip.replaceChildren(html("b", {}, chart.x.tip ? chart.x.tip(value) : chart.x.write(value)),
            ...rows.map(row => html("div", {class: row.tone}, html("i"), html("span", {}, row.name), html("em", {}, row.value))));
        tip.hidden = false;
        const left = at > state.width / 2 ? at - tip.offsetWidth - 14 : at + 14;
        tip.style.left = Math.max(0, left) + "px";
        tip.style.top = drawn.first + "px";
    };
    holder.addEventListener("pointermove", event => {
        const box = state.drawn.picture.getBoundingClientRect();
        const at = (event.clientX - box.left) * state.width / box.width;
        let best = 0;
        for (let i = 0; i < stops.length; i++)
            if (Math.abs(state.drawn.x.place(stops[i][0]) - at) < Math.abs(state.drawn.x.place(stops[best][0]) - at))
                best = i;
        show(best);
    });
    holder.addEventListener("pointerleave", hide);
    holder.addEventListener("blur", hide);
    holder.addEventListener("keydown", event => {
        const moves = {ArrowLeft: stop - 1, ArrowRight: stop + 1, Home: 0, End: stops.length - 1};
        if (event.key === "Escape")
            hide();
        if (!(event.key in moves))
            return;
        event.preventDefault();
        show(Math.min(stops.length - 1, Math.max(0, moves[event.key])));
    });
    return tip;
}

function legend(series) {
    const seen = new Set(), entries = [];
    for (const one of series)
        if (!seen.has(one.name)) {
            seen.add(one.name);
            entries.push(html("li", {class: one.tone + (one.run === 0 ? " before" : "")}, html("i"), one.name));
        }
    return html("ul", {class: "legend"}, entries);
}

/* The same numbers for readers who prefer rows. rows: [[…], …] of texts, the first the head. */
function dataTable(rows, caption) {
    const [head, ...body] = rows;
    return html("details", {class: "data"}, html("summary", {}, "Show as table"),
        html("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": caption},
            html("table", {}, html("caption", {}, caption),
                html("thead", {}, html("tr", {}, head.map(cell => html("th", {scope: "col"}, cell)))),
                html("tbody", {}, body.map(row => html("tr", {}, row.map((cell, i) =>
                    i === 0 ? html("th", {scope: "row"}, cell) : html("td", {}, cell))))))));
}

function lineChart(chart) {
    const series = chart.panels.flatMap(panel => panel.series);
    if (!series.some(one => one.points.some(point => point[1] !== null)))
        return html("p", {class: "none", id: chart.id, "data-chart": "empty"}, "Not measured in this run.");
    const holder = html("div", {class: "plot", tabindex: "0", "aria-label": chart.title + ": arrow keys read values"});
    const state = {width: 0, drawn: null};
    const tip = crosshair(chart, holder, state);
    const render = forced => {
        const width = forced || Math.max(280, Math.round(holder.clientWidth || 860));
        if (width === state.width)
            return;
        state.width = width;
        state.drawn = draw(chart, width);
        tip.hidden = true;
        holder.replaceChildren(state.drawn.picture, tip);
    };
    const figure = html("figure", {class: "chart", id: chart.id, "data-chart": "lines"},
        chart.panels.length === 1 ? legend(series) : null, holder,
        html("figcaption", {}, chart.summary), chart.rows && dataTable(chart.rows, chart.title));
    figure.render = render;
    return figure;
}
