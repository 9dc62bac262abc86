/* Zoom, search and details of a flame graph. Frames keep where they were drawn at first; zooming
 * computes their places anew. */
"use strict";
(() => {
const root = document.documentElement, margin = +root.dataset.margin, width = root.viewBox.baseVal.width - 2 * margin;
const character = 6.62, shortest = 3;
const details = document.getElementById("details"), said = details.textContent;
const frames = [...document.querySelectorAll("#frames g")].map(group => {
    const rect = group.querySelector("rect"), title = group.querySelector("title").textContent;
    return {group, rect, text: group.querySelector("text"), title, name: title.replace(/: [^:]*$/, ""),
        x: +rect.getAttribute("x") - margin, width: +rect.getAttribute("width"), y: +rect.getAttribute("y")};
});
const slack = 0.06; /* places are rounded to tenths */

function place(frame, x, wide) {
    frame.rect.setAttribute("x", (margin + x).toFixed(1));
    frame.rect.setAttribute("width", wide.toFixed(1));
    const fits = Math.floor((wide - 6) / character);
    if (!frame.text && fits >= shortest) {
        frame.text = document.createElementNS(root.namespaceURI, "text");
        frame.text.setAttribute("y", frame.y + 12);
        frame.group.append(frame.text);
    }
    if (!frame.text)
        return;
    frame.text.setAttribute("x", (margin + x + 3).toFixed(1));
    frame.text.textContent = fits < shortest ? "" : fits < frame.name.length ? frame.name.slice(0, fits - 2) + ".." : frame.name;
}

function zoom(to) {
    const scale = width / to.width;
    for (const frame of frames) {
        const under = frame.y > to.y && frame.x <= to.x + slack && frame.x + frame.width >= to.x + to.width - slack;
        const inside = frame.y <= to.y && frame.x >= to.x - slack && frame.x + frame.width <= to.x + to.width + slack;
        frame.group.classList.toggle("under", under);
        frame.group.classList.toggle("hidden", !under && !inside);
        if (under)
            place(frame, 0, width);
        else if (inside)
            place(frame, Math.max(0, (frame.x - to.x) * scale), Math.min(width, frame.width * scale));
    }
}

/* Marks what matches and says its share: frames within a marked one are not counted again. */
function search(pattern) {
    let matches = name => name.includes(pattern);
    try {
        const expression = new RegExp(pattern);
        matches = name => expression.test(name);
    } catch (error) {
        /* Half-typed: as plain text. */
    }
    const found = pattern === "" ? [] : frames.filter(frame => matches(frame.name));
    for (const frame of frames)
        frame.group.classList.toggle("found", found.includes(frame));
    let end = -1, sum = 0;
    for (const frame of found.sort((a, b) => a.x - b.x || b.y - a.y))
        if (frame.x >= end - slack) {
            sum += frame.width;
            end = frame.x + frame.width;
        }
    root.dataset.found = (100 * sum / width).toFixed(1);
    details.textContent = pattern === "" ? said : `“${pattern}”: ${root.dataset.found} % in ${found.length} frames`;
}

for (const frame of frames) {
    frame.group.addEventListener("click", () => zoom(frame));
    frame.group.addEventListener("mouseenter", () => details.textContent = frame.title);
}
const holder = document.createElementNS(root.namespaceURI, "foreignObject");
for (const [name, value] of Object.entries({x: margin + width - 240, y: 8, width: 240, height: 30}))
    holder.setAttribute(name, value);
const input = document.createElementNS("http://www.w3.org/1999/xhtml", "input");
input.setAttribute("placeholder", "search (regular expression)");
input.setAttribute("aria-label", "search");
input.addEventListener("input", () => search(input.value));
holder.append(input);
root.append(holder);
window.addEventListener("keydown", event => {
    if (event.key === "Escape") {
        input.value = "";
        search("");
        zoom(frames[frames.length - 1]);
    }
});
})();
