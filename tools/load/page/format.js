/* SPDX-License-Identifier: Apache-2.0 */
/* The page's lowest layer: elements and numbers. Text from results reaches the page as text nodes
 * only, never as markup. No Intl: some builds call their language "en-US@posix", which it refuses. */
"use strict";

const problems = [];

function problem(where, error) {
    problems.push(where + ": " + (error && error.message ? error.message : String(error)));
    document.documentElement.dataset.errors = JSON.stringify(problems);
}

window.addEventListener("error", event => problem("page", event.error || event.message));

function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {}))
        if (value !== null && value !== undefined && value !== false)
            node.setAttribute(name, value === true ? "" : value);
    for (const child of children.flat(4))
        if (child !== null && child !== undefined && child !== false)
            node.append(child instanceof Node ? child : document.createTextNode(String(child)));
    return node;
}

function html(name, attributes, ...children) {
    return fill(document.createElement(name), attributes, children);
}

function svg(name, attributes, ...children) {
    return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

/* A finite number or null: results may lack any part. */
function number(value) {
    return typeof value === "number" && isFinite(value) ? value : null;
}

function list(value) {
    return Array.isArray(value) ? value : [];
}

function table(value) {
    return value !== null && typeof value === "object" && !Array.isArray(value) ? value : {};
}

function text(value) {
    return value === null || value === undefined || value === "" ? "–"
        : typeof value === "object" ? JSON.stringify(value) : String(value);
}

function grouped(digits) {
    const [whole, fraction] = digits.split(".");
    return whole.replace(/\B(?=(\d{3})+$)/g, ",") + (fraction ? "." + fraction : "");
}

/* Three significant digits without exponent or trailing zeros. */
function significant(value) {
    if (value === 0)
        return "0";
    const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
    const fixed = value.toFixed(Math.min(digits, 9));
    return grouped(fixed.includes(".") ? fixed.replace(/\.?0+$/, "") : fixed);
}

function stepped(value, steps) {
    for (const [limit, factor, unit] of steps)
        if (Math.abs(value) < limit)
            return [significant(value / factor), unit];
    return ["", ""];
}

/* How a quantity is written: [digits, unit]. The names are the ones used in specifications below. */
const quantities = {
    ms: value => value === 0 ? ["0", "ms"] : stepped(value, [
        [1e-3, 1e-6, "ns"], [1, 1e-3, "µs"], [1e3, 1, "ms"], [12e4, 1e3, "s"], [72e5, 6e4, "min"], [Infinity, 36e5, "h"]]),
    count: value => Math.abs(value) < 1e6 && Number.isInteger(value)
        ? [grouped(String(value)), ""]
        : stepped(value, [[1e6, 1, ""], [1e9, 1e6, "M"], [1e12, 1e9, "G"], [Infinity, 1e12, "T"]]),
    /* As count, but short: for axes. */
    short: value => stepped(value, [[1e3, 1, ""], [1e6, 1e3, "k"], [1e9, 1e6, "M"], [Infinity, 1e9, "G"]]),
    mib: value => stepped(value, [[1, 1 / 1024, "KiB"], [1024, 1, "MiB"], [Infinity, 1024, "GiB"]]),
    kib: value => stepped(value, [[1024, 1, "KiB"], [1048576, 1024, "MiB"], [Infinity, 1048576, "GiB"]]),
    bytes: value => stepped(value, [[1e3, 1, "B"], [1e6, 1e3, "kB"], [1e9, 1e6, "MB"], [Infinity, 1e9, "GB"]]),
    us: value => stepped(value, [[1, 1e-3, "ns"], [1e3, 1, "µs"], [Infinity, 1e3, "ms"]]),
    cores: value => [significant(value), Math.abs(value - 1) < 1e-9 ? "core" : "cores"],
    share: value => [significant(value * 100), "%"],
    plain: value => [significant(value), ""],
};

function written(value, quantity) {
    const known = number(value);
    if (known === null)
        return "–";
    const [digits, unit] = quantities[quantity](known);
    return unit ? digits + "\u00a0" + unit : digits;
}

/* Seconds as 45 s, 1:30 (minutes) or 2:05:00. */
function clock(seconds) {
    const whole = Math.round(seconds), two = value => String(value).padStart(2, "0");
    if (whole < 60)
        return significant(seconds) + "\u00a0s";
    const minutes = Math.floor(whole / 60) % 60, rest = two(whole % 60);
    return whole < 3600 ? minutes + ":" + rest : Math.floor(whole / 3600) + ":" + two(minutes) + ":" + rest;
}
