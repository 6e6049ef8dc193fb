"use strict";
// Small interactive SVG charts: a line chart with a crosshair, and a scatter plot.
const Charts = (() => {
  const NS = "http://www.w3.org/2000/svg", M = { left: 58, right: 24, top: 14, bottom: 44 };
  // One unit is one pixel, so that text has its size on a narrow screen, too.
  let W = 860, H = 420;

  // Fit the charts to the page; true where their size has changed.
  function resized() {
    const before = W, chart = document.querySelector(".chart");
    W = Math.round(Math.min(896, Math.max(280, chart ? chart.clientWidth : W)));
    H = W < 560 ? 300 : 420;
    return W !== before;
  }

  function node(parent, name, attributes = {}, text = null) {
    const element = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== null) element.textContent = text;
    parent.append(element);
    return element;
  }

  function ticks(low, high, wanted = 6) {
    const raw = (high - low || 1) / wanted, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map(f => f * power).find(s => s >= raw * 0.999);
    const out = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) out.push(i * step);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    return out.map(v => [v, v.toFixed(digits)]);
  }

  function frame(svg, x, y, labels) {
    resized();
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
    const sx = v => M.left + ((v - x[0]) / (x[1] - x[0] || 1)) * (W - M.left - M.right);
    const sy = v => H - M.bottom - ((v - y[0]) / (y[1] - y[0] || 1)) * (H - M.top - M.bottom);
    for (const [value, text] of ticks(...x, Math.max(2, Math.round(W / 140)))) {
      node(svg, "line", { class: "grid", x1: sx(value), x2: sx(value), y1: M.top, y2: H - M.bottom });
      node(svg, "text", { x: sx(value), y: H - M.bottom + 18, "text-anchor": "middle" }, text);
    }
    for (const [value, text] of ticks(...y)) {
      node(svg, "line", { class: "grid", y1: sy(value), y2: sy(value), x1: M.left, x2: W - M.right });
      node(svg, "text", { x: M.left - 8, y: sy(value) + 4, "text-anchor": "end" }, text);
    }
    node(svg, "line", { class: "axis", x1: M.left, x2: W - M.right, y1: H - M.bottom, y2: H - M.bottom });
    node(svg, "text", { x: (M.left + W - M.right) / 2, y: H - 8, "text-anchor": "middle" }, labels[0]);
    const turned = { x: 14, y: (H - M.bottom + M.top) / 2, "text-anchor": "middle" };
    node(svg, "text", { ...turned, transform: `rotate(-90 ${turned.x} ${turned.y})` }, labels[1]);
    return { sx, sy };
  }

  function range(values, pad = 0.04) {
    const low = Math.min(...values), high = Math.max(...values), margin = (high - low || Math.abs(high) || 1) * pad;
    return [low - margin, high + margin];
  }

  // series: [{name, label, colour, dash, x: [], y: [], low: [], high: [], peak}]
  function lines(host, series, labels) {
    const svg = host.querySelector("svg"), tip = host.querySelector(".tip"), live = host.querySelector("[aria-live]");
    const shown = series.filter(s => s.x.length);
    tip.hidden = true;
    if (!shown.length) { svg.replaceChildren(); return; }
    const y = range(shown.flatMap(s => [...s.low, ...s.high])), xs = shown.flatMap(s => s.x);
    const { sx, sy } = frame(svg, [0, Math.max(...xs)], y, labels);
    for (const s of shown) {
      const group = node(svg, "g", { "data-series": s.name, style: `color: ${s.colour}` });
      const path = ys => s.x.map((v, i) => `${sx(v).toFixed(2)},${sy(ys[i]).toFixed(2)}`);
      if (s.low.some((v, i) => v !== s.high[i]))
        node(group, "polygon", { points: [...path(s.high), ...path(s.low).reverse()].join(" "), fill: s.colour, opacity: 0.15 });
      node(group, "polyline", { points: path(s.y).join(" "), fill: "none", stroke: s.colour, "stroke-width": 2, "stroke-dasharray": s.dash, "stroke-linejoin": "round" });
      if (s.peak !== null) node(group, "circle", { cx: sx(s.x[s.peak]), cy: sy(s.y[s.peak]), r: 4.5, fill: s.colour, stroke: "var(--card)", "stroke-width": 1.5 });
    }
    const cross = node(svg, "line", { class: "cross", y1: M.top, y2: H - M.bottom, visibility: "hidden" });
    const steps = [...new Set(xs)].sort((a, b) => a - b);
    let at = -1;

    function point(index) {
      at = Math.max(0, Math.min(steps.length - 1, index));
      const step = steps[at];
      cross.setAttribute("visibility", "visible");
      cross.setAttribute("x1", sx(step));
      cross.setAttribute("x2", sx(step));
      const values = shown.map(s => [s, s.y[s.x.indexOf(step)]]).filter(([, v]) => v !== undefined).sort((a, b) => b[1] - a[1]);
      tip.replaceChildren();
      const head = document.createElement("strong");
      head.textContent = `step ${step}`;
      tip.append(head);
      for (const [s, value] of values) {
        const row = document.createElement("div"), name = document.createElement("span"), dot = document.createElement("i");
        dot.className = "swatch";
        dot.style.setProperty("--c", s.colour);
        name.append(dot, s.label);
        const number = document.createElement("span");
        number.textContent = value.toFixed(4);
        row.append(name, number);
        tip.append(row);
      }
      tip.hidden = false;
      const left = (sx(step) / W) * host.clientWidth;
      tip.style.left = left > host.clientWidth / 2 ? `${left - tip.offsetWidth - 12}px` : `${left + 12}px`;
      tip.style.top = "16px";
      live.textContent = `step ${step}: ` + values.map(([s, v]) => `${s.label} ${v.toFixed(4)}`).join(", ");
    }

    function leave() { tip.hidden = true; cross.setAttribute("visibility", "hidden"); at = -1; }
    svg.onpointermove = e => {
      const box = svg.getBoundingClientRect(), x = ((e.clientX - box.left) / box.width) * W;
      let best = 0;
      steps.forEach((s, i) => { if (Math.abs(sx(s) - x) < Math.abs(sx(steps[best]) - x)) best = i; });
      point(best);
    };
    svg.onpointerleave = leave;
    svg.onblur = leave;
    svg.onkeydown = e => {
      const moves = { ArrowRight: at + 1, ArrowLeft: at < 0 ? steps.length - 1 : at - 1, Home: 0, End: steps.length - 1, Escape: null };
      if (!(e.key in moves)) return;
      e.preventDefault();
      if (moves[e.key] === null) leave(); else point(moves[e.key]);
    };
  }

  // points: [{x, y, name}]
  function scatter(host, points, labels, colour) {
    const svg = host.querySelector("svg"), tip = host.querySelector(".tip");
    tip.hidden = true;
    const all = points.flatMap(p => [p.x, p.y]), both = all.length ? range(all) : [0, 1];
    const { sx, sy } = frame(svg, both, both, labels);
    node(svg, "line", { class: "axis", x1: sx(both[0]), y1: sy(both[0]), x2: sx(both[1]), y2: sy(both[1]), "stroke-dasharray": "5 4" });
    for (const p of points) {
      const dot = node(svg, "circle", { cx: sx(p.x), cy: sy(p.y), r: 5, fill: colour, "fill-opacity": 0.65, stroke: colour });
      node(dot, "title", {}, `${p.name}: ${p.x.toFixed(3)} → ${p.y.toFixed(3)}`);
      dot.addEventListener("pointerenter", () => {
        tip.replaceChildren(document.createTextNode(`${p.name}  ${p.x.toFixed(3)} → ${p.y.toFixed(3)}`));
        tip.hidden = false;
        const left = (sx(p.x) / W) * host.clientWidth;
        tip.style.left = left > host.clientWidth / 2 ? `${left - tip.offsetWidth - 12}px` : `${left + 12}px`;
        tip.style.top = `${(sy(p.y) / H) * svg.clientHeight}px`;
      });
      dot.addEventListener("pointerleave", () => { tip.hidden = true; });
    }
  }
  return { lines, scatter, resized };
})();
