"use strict";
(() => {
  const data = JSON.parse(document.getElementById("cells").textContent);
  const names = Object.keys(data.factors), wide = names.length, seeds = data.seeds;
  const count = data.cells.length / wide;
  const colours = ["--blue", "--red", "--green", "--purple", "--orange", "--sky", "--grey"].map(name => `var(${name})`);
  const box = document.getElementById("explorer"), chart = document.getElementById("chart");
  const tip = document.getElementById("tip"), said = document.getElementById("said");
  const body = document.getElementById("numbers");
  const shownName = name => name.replace("finetuning", "fine-tuning").replace("dataset", "data set");
  const kept = names.map(name => new Set(data.factors[name].keys()));
  const pick = {};

  function choice(id, label, options, value) {
    const select = document.createElement("select");
    select.id = id;
    for (const [key, text] of options) select.add(new Option(text, key, false, key === value));
    select.addEventListener("change", draw);
    const holder = document.createElement("label");
    holder.append(label + " ", select);
    document.getElementById("choices").append(holder);
    pick[id] = select;
  }

  function filters() {
    names.forEach((name, axis) => {
      const set = document.createElement("fieldset"), legend = document.createElement("legend");
      legend.textContent = shownName(name);
      set.append(legend);
      data.factors[name].forEach((level, i) => {
        const tick = document.createElement("input"), label = document.createElement("label");
        tick.type = "checkbox";
        tick.checked = true;
        tick.name = name;
        tick.value = level;
        tick.addEventListener("change", () => {
          if (tick.checked) kept[axis].add(i); else kept[axis].delete(i);
          draw();
        });
        label.append(tick, " " + level);
        set.append(label);
      });
      document.getElementById("filters").append(set);
    });
  }

  // The mean of each seed first, then of the seeds, with Student's t interval: as in the tables.
  function points(metric, xAxis, byAxis) {
    const sums = new Map(), values = data.values[metric];
    for (let cell = 0; cell < count; cell++) {
      const at = cell * wide;
      let in_ = true;
      for (let axis = 0; axis < wide && in_; axis++) in_ = kept[axis].has(data.cells[at + axis]);
      if (!in_) continue;
      const x = data.cells[at + xAxis], by = byAxis < 0 ? 0 : data.cells[at + byAxis];
      const key = x + "," + by;
      if (!sums.has(key)) sums.set(key, { x, by, total: Array(seeds).fill(0), n: Array(seeds).fill(0) });
      const sum = sums.get(key);
      for (let s = 0; s < seeds; s++) {
        const value = values[cell * seeds + s];
        if (value !== null) { sum.total[s] += value / 10; sum.n[s]++; }
      }
    }
    const shown = [];
    for (const { x, by, total, n } of sums.values()) {
      const means = total.map((sum, s) => sum / n[s]).filter(Number.isFinite);
      if (!means.length) continue;
      const mean = means.reduce((a, b) => a + b) / means.length;
      const spread = Math.sqrt(means.reduce((a, b) => a + (b - mean) ** 2, 0) / (means.length - 1));
      const reach = means.length > 1 ? data.t[means.length] * spread / Math.sqrt(means.length) : NaN;
      shown.push({ x, by, mean, low: mean - reach, high: mean + reach,
        trials: n.reduce((a, b) => a + b), seeds: means.length });
    }
    return shown.sort((a, b) => a.by - b.by || a.x - b.x);
  }

  function make(tag, facts, parent, text) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(facts)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    parent.append(node);
    return node;
  }

  // The trials of a point: cell by cell and seed by seed, as the values are.
  function slots(xAxis, byAxis, point) {
    const found = [];
    for (let cell = 0; cell < count; cell++) {
      const level = axis => data.cells[cell * wide + axis];
      const shown = names.every((_, axis) => kept[axis].has(level(axis)));
      if (shown && level(xAxis) === point.x && (byAxis < 0 || level(byAxis) === point.by))
        for (let s = 0; s < seeds; s++) found.push(cell * seeds + s);
    }
    return found;
  }

  const one = value => value.toFixed(1).replace("-", "\u2212");
  function words(point, x, by) {
    const levels = [`${shownName(x)} ${data.factors[x][point.x]}`];
    if (by) levels.push(`${shownName(by)} ${data.factors[by][point.by]}`);
    const range = Number.isFinite(point.low) ? `, 95 % interval ${one(point.low)} to ${one(point.high)}` : "";
    return `${levels.join(", ")}: ${one(point.mean)} points${range}; ${point.trials} trials`;
  }

  function draw() {
    const metric = pick.metric.value, x = pick.x.value, by = pick.by.value;
    const xAxis = names.indexOf(x), byAxis = names.indexOf(by);
    const shown = points(metric, xAxis, byAxis);
    const width = Math.max(300, box.clientWidth - 34), height = 340;
    const labels = data.factors[x], right = by ? 110 : 20, left = 46;
    chart.replaceChildren();
    chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
    chart.setAttribute("height", height);
    body.replaceChildren();
    const total = shown.reduce((sum, point) => sum + point.trials, 0);
    said.textContent = shown.length ? `${total} trials shown.` : "No trial is left: tick more levels.";
    if (!shown.length) return;
    const ends = shown.flatMap(p => [p.mean, p.low, p.high]).filter(Number.isFinite);
    const low = Math.max(Math.min(...ends), Math.min(...shown.map(p => p.mean)) - 20, -100);
    const high = Math.min(Math.max(...ends), Math.max(...shown.map(p => p.mean)) + 20, 100);
    const pad = 0.06 * (high - low || 1), from = low - pad, to = high + pad;
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50].find(s => (to - from) / s <= 7) || 50;
    const py = value => 26 + (height - 74) * (to - Math.min(to, Math.max(from, value))) / (to - from);
    const numeric = data.numeric.includes(x) && labels.length > 1, nums = labels.map(Number);
    const place = i => numeric ? (nums[i] - nums[0]) / (nums[nums.length - 1] - nums[0])
      : (i + 0.5) / labels.length;
    const px = i => left + 12 + (width - left - right - 24) * place(i);
    for (let v = Math.ceil(from / step) * step; v <= to; v += step) {
      make("line", { class: "axis", x1: left, x2: width - right, y1: py(v), y2: py(v), "stroke-width": 0.6 }, chart);
      make("text", { class: "tick", x: left - 6, y: py(v) + 4, "text-anchor": "end" }, chart, +v.toFixed(1));
    }
    make("text", { class: "tick", x: 0, y: 10 }, chart, `${data.metrics[metric]} (%)`);
    const room = Math.max(4, Math.floor((width - left - right) / labels.length / 7.5));
    labels.forEach((level, i) => make("text", { class: "tick", x: px(i), y: height - 28, "text-anchor": "middle" },
      chart, level.length > room ? level.slice(0, room - 1) + "\u2026" : level));
    make("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, chart, shownName(x));
    const lines = new Map();
    for (const point of shown) lines.set(point.by, [...(lines.get(point.by) || []), point]);
    let last = -Infinity;
    const named = [...lines].sort((a, b) => py(a[1].at(-1).mean) - py(b[1].at(-1).mean));
    for (const [level, line] of named) {
      const colour = colours[level % colours.length];
      if (numeric) make("polyline", { points: line.map(p => `${px(p.x)},${py(p.mean)}`).join(" "), fill: "none", style: `stroke:${colour}`, "stroke-width": 1.6 }, chart);
      const shift = numeric ? 0 : (level - (lines.size - 1) / 2) * Math.min(7, 40 / lines.size);
      for (const point of line) {
        const at = px(point.x) + shift;
        if (Number.isFinite(point.low)) make("line", { x1: at, x2: at, y1: py(point.low), y2: py(point.high), style: `stroke:${colour}`, "stroke-width": 1.2 }, chart);
        const dot = make("circle", { cx: at, cy: py(point.mean), r: 4.5, style: `fill:${colour}`, tabindex: 0, role: "img", "aria-label": words(point, x, by) }, chart);
        const show = () => {
          tip.textContent = words(point, x, by);
          tip.hidden = false;
          const scale = chart.clientWidth / width;
          tip.style.left = Math.max(0, Math.min(at * scale, box.clientWidth - tip.offsetWidth - 8)) + "px";
          tip.style.top = chart.offsetTop + py(point.mean) * scale + 14 + "px";
        };
        const open = () => box.dispatchEvent(new CustomEvent("opened", { detail:
          { slots: slots(xAxis, byAxis, point), words: words(point, x, by), metric } }));
        if (data.drill) {
          dot.setAttribute("role", "button");
          dot.addEventListener("click", open);
          dot.addEventListener("keydown", event => {
            if (event.key === "Enter" || event.key === " ") { event.preventDefault(); open(); }
          });
        }
        for (const event of ["mouseenter", "focus"]) dot.addEventListener(event, show);
        for (const event of ["mouseleave", "blur"]) dot.addEventListener(event, () => { tip.hidden = true; });
      }
      if (by) {
        const end = line.at(-1), y = Math.max(py(end.mean), last + 15);
        last = y;
        make("text", { x: width - right + 8, y: y + 4, style: `fill:${colour}` }, chart, data.factors[by][level]);
      }
    }
    for (const point of shown) {
      const row = body.insertRow();
      for (const text of [data.factors[x][point.x], by ? data.factors[by][point.by] : "all", one(point.mean),
        Number.isFinite(point.low) ? `${one(point.low)} to ${one(point.high)}` : "\u2013", point.trials]) {
        row.insertCell().textContent = text;
      }
    }
  }

  const factors = names.map(name => [name, shownName(name)]);
  const has = (name, other) => names.includes(name) ? name : other;
  choice("metric", "Metric", Object.entries(data.metrics), Object.keys(data.metrics)[0]);
  choice("x", "across", factors, has("sparsity", names[0]));
  choice("by", "coloured by", [["", "nothing"], ...factors], has("finetuning", ""));
  filters();
  draw();
  let timer;
  box.addEventListener("keydown", event => { if (event.key === "Escape") tip.hidden = true; });
  addEventListener("resize", () => { clearTimeout(timer); timer = setTimeout(draw, 100); });
})();
