"use strict";

// Tables: a heading sorts its column; cells with data-sort sort as numbers, empty cells stay last.
function sortBy(table, column, descending) {
  const body = table.tBodies[0];
  const key = (row) => {
    const cell = row.cells[column];
    return "sort" in cell.dataset ? Number(cell.dataset.sort) : cell.textContent;
  };
  const compare = (a, b) => {
    const [x, y] = [key(a), key(b)];
    if ((x === "") !== (y === "")) return x === "" ? 1 : -1;
    if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
    const order = typeof x === "number" ? x - y : x.localeCompare(y, undefined, { numeric: true });
    return descending ? -order : order;
  };
  body.append(...[...body.rows].sort(compare));
}

for (const table of document.querySelectorAll(".table table")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => heading.firstElementChild.addEventListener("click", () => {
    const descending = heading.getAttribute("aria-sort") === "ascending";
    headings.forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    sortBy(table, column, descending);
  }));
}

for (const box of document.querySelectorAll(".table.long")) {
  const input = box.querySelector("input"), count = box.querySelector(".count");
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase();
    let shown = 0;
    for (const row of box.querySelector("tbody").rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
      shown += !row.hidden;
    }
    count.textContent = wanted ? `${shown} shown` : "";
  });
}

// Pictures: a click or Enter enlarges; Escape, the button or a click beside it closes.
const enlarged = document.getElementById("enlarged");
for (const button of document.querySelectorAll(".picture button")) {
  button.addEventListener("click", () => {
    const small = button.querySelector("img"), large = enlarged.querySelector("img");
    const room = Math.min((innerWidth * 0.9) / small.naturalWidth, (innerHeight * 0.75) / small.naturalHeight);
    large.src = small.src;
    large.alt = small.alt;
    large.width = small.naturalWidth * (room > 1 ? Math.min(Math.floor(room), 8) : room);
    large.style.imageRendering = room >= 2 ? "pixelated" : "auto";
    enlarged.querySelector("p").textContent = small.alt;
    enlarged.showModal();
  });
}
enlarged.addEventListener("click", (event) => { if (event.target === enlarged) enlarged.close(); });

// Charts: drawn when they come near the screen, in the colours of the page.
function colours() {
  const style = getComputedStyle(document.documentElement), get = (name) => style.getPropertyValue(name).trim();
  const axis = { gridcolor: get("--line"), zerolinecolor: get("--line"), linecolor: get("--line") };
  return { back: get("--back"), text: get("--text"), axis };
}

function themed(layout) {
  const { back, text, axis } = colours();
  const result = {
    ...layout, paper_bgcolor: back, plot_bgcolor: back, autosize: true,
    font: { ...layout.font, color: text, family: "system-ui, sans-serif" },
  };
  for (const name of Object.keys(layout).concat("xaxis", "yaxis")) {
    if (/^[xy]axis\d*$/.test(name)) result[name] = { ...axis, automargin: true, ...layout[name] };
  }
  return result;
}

const narrow = matchMedia("(max-width: 699px)");

function draw(chart) {
  const { data, layout } = JSON.parse(chart.querySelector("script").textContent);
  const place = chart.querySelector(".plot");
  place.setAttribute("data-drawn", "");
  // A finger scrolls a narrow page and must not draw a zoom box instead; the buttons would lie over the legend there.
  Plotly.react(place, data, { ...themed(layout), ...(narrow.matches && { dragmode: false }) }, {
    responsive: true, displaylogo: false, displayModeBar: narrow.matches ? false : "hover",
    showSendToCloud: false, modeBarButtonsToRemove: ["select2d", "lasso2d"],
  });
}

const charts = [...document.querySelectorAll(".chart")];
if (charts.length && window.Plotly) {
  const watcher = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
    watcher.unobserve(entry.target);
    draw(entry.target);
  }), { rootMargin: "600px" });
  charts.forEach((chart) => watcher.observe(chart));
  const redraw = () => charts.filter((chart) => chart.querySelector("[data-drawn]")).forEach(draw);
  for (const query of [narrow, matchMedia("(prefers-color-scheme: dark)")]) query.addEventListener("change", redraw);
  addEventListener("beforeprint", () => {
    document.documentElement.dataset.print = "";
    charts.forEach(draw);
  });
  addEventListener("afterprint", () => {
    delete document.documentElement.dataset.print;
    redraw();
  });
}
