"use strict";
// A point of the explorer opened: its trials, and of one of them the training and the widths.
(() => {
  const data = JSON.parse(document.getElementById("cells").textContent), drill = data.drill;
  const box = document.getElementById("drill"), body = document.getElementById("trials");
  const opened = document.getElementById("opened");
  const most = 100, names = Object.keys(data.factors), wide = names.length;
  const shownName = name => name.replace("finetuning", "fine-tuning").replace("dataset", "data set");
  const one = value => value.toFixed(1).replace("-", "\u2212");

  function make(tag, facts, parent, text) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(facts)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    parent.append(node);
    return node;
  }

  const levels = slot => names.map((name, axis) =>
    data.factors[name][data.cells[Math.floor(slot / data.seeds) * wide + axis]]);

  function curve(slots, chosen) {
    const chart = document.getElementById("curve"), width = 360, height = 200, left = 40;
    chart.replaceChildren();
    chart.style.display = drill.curve[chosen] === null ? "none" : "";
    chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const of = slot => drill.curve[slot] === null ? null : drill.curves[drill.curve[slot]];
    const lines = slots.filter(slot => of(slot) && of(slot).some(value => value !== null));
    const said = document.getElementById("curve-said");
    said.textContent = of(chosen) ? "Accuracy on validation images by epoch of its fine-tuning, in points; grey: the point's other trials."
      : "It was not fine-tuned: there is no learning curve.";
    if (!of(chosen) || !lines.length) return;
    const values = lines.flatMap(of).filter(value => value !== null).map(value => value / 10);
    const low = Math.min(...values), high = Math.max(...values), pad = 0.06 * (high - low || 1);
    const most = Math.max(...lines.map(slot => of(slot).length));
    const px = epoch => left + (width - left - 14) * (most > 1 ? epoch / (most - 1) : 0.5);
    const py = value => 10 + (height - 50) * (high + pad - value) / (high - low + 2 * pad);
    for (const value of [low, high]) {
      make("line", { class: "axis", x1: left, x2: width - 14, y1: py(value), y2: py(value), "stroke-width": 0.6 }, chart);
      make("text", { class: "tick", x: left - 6, y: py(value) + 4, "text-anchor": "end" }, chart, one(value));
    }
    for (const epoch of new Set([0, most - 1]))
      make("text", { class: "tick", x: px(epoch), y: height - 24, "text-anchor": "middle" }, chart, epoch + 1);
    make("text", { x: (left + width) / 2, y: height - 6, "text-anchor": "middle" }, chart, "epoch");
    for (const slot of [...lines.filter(slot => slot !== chosen), chosen]) {
      const mine = slot === chosen, points = of(slot).map((value, epoch) => value === null ? null : [px(epoch), py(value / 10)]).filter(Boolean);
      const facts = { style: `stroke:var(${mine ? "--red" : "--grey"})`, "stroke-width": mine ? 2.4 : 0.8, "stroke-opacity": mine ? 1 : 0.5 };
      make("polyline", { ...facts, fill: "none", points: points.map(point => point.join(",")).join(" ") }, chart);
      if (mine) for (const [x, y] of points) make("circle", { cx: x, cy: y, r: 2.6, style: "fill:var(--red)" }, chart);
    }
  }

  function widths(chosen) {
    const list = document.getElementById("widths");
    list.replaceChildren();
    if (drill.net[chosen] === null) return;
    const [kind, ...kept] = drill.nets[drill.net[chosen]], [modules, before] = drill.kinds[kind];
    modules.forEach((name, place) => {
      const row = list.insertRow(), share = 100 * kept[place] / before[place];
      row.insertCell().textContent = name;
      const track = row.insertCell();
      track.className = "track";
      track.innerHTML = `<span class="kept" style="width:${share.toFixed(1)}%"></span>`;
      row.insertCell().textContent = `${kept[place]} of ${before[place]}`;
    });
  }

  function show(slots, chosen) {
    for (const row of body.rows) row.querySelector("button").setAttribute("aria-pressed", row.dataset.slot === String(chosen));
    document.getElementById("trial").textContent = names.map((name, axis) =>
      `${shownName(name)} ${levels(chosen)[axis]}`).concat(`seed ${data.seedNames[chosen % data.seeds]}`).join(", ");
    curve(slots, chosen);
    widths(chosen);
  }

  // What is opened gets the focus; closed, the point has it again, which may have been drawn anew.
  let point = "";
  function close() {
    box.hidden = true;
    document.querySelector(`#chart [aria-label="${point}"]`)?.focus();
  }
  box.addEventListener("keydown", event => { if (event.key === "Escape") close(); });
  document.getElementById("close").addEventListener("click", close);

  document.getElementById("explorer").addEventListener("opened", event => {
    const { slots, words, metric } = event.detail, values = data.values[metric];
    const sorted = slots.filter(slot => values[slot] !== null).sort((a, b) => values[b] - values[a]);
    box.hidden = false;
    opened.textContent = point = words;
    document.getElementById("more").textContent = sorted.length > most ? `The best ${most} of ${sorted.length} trials.` : "";
    body.replaceChildren();
    for (const slot of sorted.slice(0, most)) {
      const row = body.insertRow(), button = document.createElement("button");
      row.dataset.slot = slot;
      button.textContent = one(values[slot] / 10);
      button.addEventListener("click", () => show(sorted, slot));
      row.insertCell().append(button);
      for (const text of [...levels(slot), data.seedNames[slot % data.seeds]]) row.insertCell().textContent = text;
    }
    if (sorted.length) show(sorted, sorted[0]);
    opened.focus({ preventScroll: true });
    box.scrollIntoView({ block: "nearest" });
  });
  const head = document.getElementById("trials-head");
  for (const text of ["points", ...names.map(shownName), "seed"]) {
    const cell = document.createElement("th");
    cell.textContent = text;
    head.append(cell);
  }
})();
