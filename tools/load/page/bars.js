/* SPDX-License-Identifier: Apache-2.0 */
/* Stacked horizontal bars as SVG: {id, title, summary, quantity, bars: [{name, parts: [{name, tone,
 * value}]}], rows}. */
"use strict";

/* At most so many characters; the table below has all of them. */
function cut(name, most) {
    return name.length <= most ? name : name.slice(0, Math.max(1, Math.floor(most) - 1)) + "…";
}

function drawBar(bar, top, height, left, place) {
    const group = svg("g", {class: "bar"});
    let from = 0, total = 0;
    for (const part of bar.parts) {
        const x = left + place(from), width = Math.max(0.5, place(from + part.value) - place(from));
        const label = written(part.value, "plain");
        group.append(svg("g", {class: "part " + part.tone},
            svg("title", {}, `${bar.name}, ${part.name}: ${written(part.value, "cores")}`),
            svg("rect", {x, y: top, width, height}),
            width > part.name.length * 6.6 + 10
                ? svg("text", {x: x + width / 2, y: top + height / 2 + 4, "text-anchor": "middle"}, part.name)
                : width > label.length * 7 + 6 && bar.parts.length > 1
                    ? svg("text", {x: x + width / 2, y: top + height / 2 + 4, "text-anchor": "middle"}, label) : null));
        from += part.value;
        total += part.value;
    }
    group.append(
        svg("text", {class: "name", x: left - 10, y: top + height / 2 + 4, "text-anchor": "end"}, cut(bar.name, left / 7)),
        svg("text", {class: "total", x: left + place(from) + 8, y: top + height / 2 + 4}, written(total, "plain")));
    return group;
}

function drawBars(chart, width) {
    const height = 26, gap = 14, longest = Math.max(...chart.bars.map(bar => bar.name.length));
    const left = Math.min(width * 0.4, 24 + longest * 7), right = width - 58;
    const sums = chart.bars.map(bar => bar.parts.reduce((sum, part) => sum + part.value, 0));
    const high = Math.max(...sums) || 1;
    const x = axis("linear", 0, high, 0, right - left, Math.max(2, (right - left) / 90));
    const bottom = 8 + chart.bars.length * (height + gap);
    const picture = svg("svg", {class: "picture", role: "img", "aria-label": chart.title + ". " + chart.summary,
        viewBox: `0 0 ${width} ${bottom + 40}`});
    for (const tick of x.ticks)
        picture.append(
            svg("line", {class: "grid", x1: left + x.place(tick), x2: left + x.place(tick), y1: 4, y2: bottom}),
            svg("text", {class: "tick", x: left + x.place(tick), y: bottom + 16, "text-anchor": "middle"}, written(tick, "plain")));
    picture.append(svg("text", {class: "axis", x: (left + right) / 2, y: bottom + 33, "text-anchor": "middle"}, chart.axis));
    chart.bars.forEach((bar, i) => picture.append(drawBar(bar, 8 + i * (height + gap), height, left, x.place)));
    return picture;
}

function barChart(chart) {
    if (!chart.bars.some(bar => bar.parts.some(part => part.value > 0)))
        return html("p", {class: "none", id: chart.id, "data-chart": "empty"}, "Not measured in this run.");
    const holder = html("div", {class: "plot"});
    let drawn = 0;
    const figure = html("figure", {class: "chart", id: chart.id, "data-chart": "bars"},
        legend(chart.bars.flatMap(bar => bar.parts)), holder,
        html("figcaption", {}, chart.summary), dataTable(chart.rows, chart.title));
    figure.render = forced => {
        const width = forced || Math.max(280, Math.round(holder.clientWidth || 860));
        if (width !== drawn)
            holder.replaceChildren(drawBars(chart, width));
        drawn = width;
    };
    return figure;
}
