"use strict";
(() => {
  const data = JSON.parse(document.getElementById("page-data").textContent), { shapes, figures } = data;
  const byId = id => document.getElementById(id);
  const WIRE = [0.13, 0.17, 0.22], INSIDE = [0.835, 0.369, 0], OUTSIDE = [0.337, 0.706, 0.914]; // as in dataset.css
  const POINT = 3.5, GHOST = 0.3; // px; opacity of a mesh around its points
  const FRAME = 12; // ms that drawing cards may take per frame

  function element(parent, name, attributes = {}, text = null) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== null) made.textContent = text;
    parent.append(made);
    return made;
  }

  function spelled(value) {
    if (typeof value === "boolean") return value ? "yes" : "no";
    return typeof value === "number" ? Histograms.spelled(value) : value;
  }
  const number = value => (value === null || typeof value === "string" ? null : Number(value));

  // --- figures: one histogram and one way to sort each ------------------------------------------------------------
  const columns = figures.map((figure, i) => ({ ...figure, index: i, values: shapes.map(s => number(s.qc[i])) }));
  const histograms = [], varying = columns.filter(c => c.varies), judged = varying.filter(c => c.ideal !== null);
  for (const column of [...judged, ...varying.filter(c => c.ideal === null)]) {
    histograms.push(new Histograms.Histogram(byId("histograms"), column, column.values, apply));
    element(byId("sort"), "option", { value: column.index }, column.label);
  }
  if (!histograms.length) byId("figures").hidden = true;
  else if (window.matchMedia("(max-width: 50rem)").matches) byId("figures").open = false;

  // distance from the ideal, as `inspect --qc` ranks
  function badness({ ideal, ratio }, value) {
    if (!ratio) return Math.abs(value - ideal);
    return value > 0 ? Math.abs(Math.log(value / ideal)) : Infinity;
  }

  // --- cards: pictures are loaded and meshes drawn where they come into sight ----------------------------------------
  const near = new IntersectionObserver(entries => {
    for (const { target, isIntersecting } of entries) {
      const card = cards[Number(target.dataset.shape)];
      if (isIntersecting) fill(card);
      else {
        waiting.delete(card);
        card.canvas.width = 0; // frees its pixels
      }
    }
  }, { rootMargin: "300px" });
  const waiting = new Set(); // cards in sight whose mesh is not drawn yet

  function makeCard(shape, index) {
    const item = document.createElement("li");
    item.dataset.shape = index;
    const button = element(item, "button", { type: "button" });
    const pair = element(button, "span", { class: "pair", "aria-hidden": "true" });
    const layers = element(pair, "span", { class: "layers" });
    if (shape.pictures.length) for (const kind of ["rgb", "mask"]) element(layers, "img", { class: kind, alt: "" });
    const canvas = element(pair, "canvas");
    element(button, "strong", {}, shape.id);
    element(button, "span", { class: "quiet" }, `${shape.category} · ${shape.split}`);
    const value = element(button, "span", { class: "value" });
    if (shape.warnings.length) element(button, "span", { class: "unseen" }, "warnings:");
    for (const name of shape.warnings) element(button, "span", { class: "badge" }, name);
    button.addEventListener("click", () => open(index));
    near.observe(item);
    return { item, button, canvas, value, layers, shape };
  }

  function fill(card) {
    const picture = card.shape.pictures[0];
    if (picture) for (const image of card.layers.children) if (!image.src) image.src = picture[image.className];
    if (!waiting.size) requestAnimationFrame(drawSome);
    waiting.add(card);
  }

  // as many as fit into a frame, so that the page answers meanwhile
  function drawSome() {
    const end = performance.now() + FRAME;
    for (const card of waiting) {
      if (performance.now() > end) break;
      waiting.delete(card);
      const mesh = card.shape.mesh.coded;
      if (mesh && !Viewer.picture(card.canvas, mesh, data.colours.mesh)) byId("no-webgl").hidden = false;
    }
    if (waiting.size) requestAnimationFrame(drawSome);
  }
  const cards = shapes.map(makeCard);

  // --- filters and order ------------------------------------------------------------------------------------------
  const words = shapes.map(s =>
    [s.id, s.category, s.group, s.file, ...s.warnings, ...s.pictures.map(p => p.record)].join("\n").toLowerCase());
  let shown = [];

  function chosenByMenus(index) {
    const shape = shapes[index], warning = byId("warning").value;
    const warned = shape.warnings.length > 0;
    return byId("search").value.toLowerCase().split(/\s+/).every(word => words[index].includes(word))
      && ["split", "category"].every(key => !byId(key).value || shape[key] === byId(key).value)
      && (!warning || (warning === "*any" ? warned : warning === "*none" ? !warned : shape.warnings.includes(warning)));
  }

  function compare() {
    const key = byId("sort").value, order = byId("order").value, turn = order === "high" ? -1 : 1;
    const byName = (a, b) => (shapes[a].id < shapes[b].id ? -1 : 1);
    if (key === "name") return (a, b) => turn * byName(a, b);
    if (key === "quality") return (a, b) => turn * (shapes[a].rank - shapes[b].rank);
    const column = columns[Number(key)], ranked = order === "worst" && column.ideal !== null;
    const sign = order === "low" ? 1 : -1;
    const value = i => (ranked ? badness(column, column.values[i]) : column.values[i]);
    return (a, b) => {
      const missing = (column.values[a] === null) - (column.values[b] === null);
      return missing || sign * (value(a) - value(b)) || byName(a, b);
    };
  }

  function apply() {
    const menus = shapes.map((_, i) => chosenByMenus(i));
    const failed = shapes.map((_, i) => histograms.filter(h => !h.passes(i)));
    for (const h of histograms) h.update(i => menus[i] && failed[i].every(other => other === h));
    shown = [...shapes.keys()].filter(i => menus[i] && !failed[i].length).sort(compare());
    const key = byId("sort").value, column = columns[Number(key)];
    for (const i of shown) {
      const value = column && shapes[i].qc[Number(key)];
      cards[i].value.textContent = key === "quality" ? shapes[i].why
        : column ? `${column.label}: ${value === null ? "not measured" : `${spelled(value)} ${column.unit}`}` : "";
    }
    byId("cards").replaceChildren(...shown.map(i => cards[i].item));
    byId("nothing").hidden = shown.length > 0;
    byId("count").textContent = `${shown.length} of ${shapes.length} shapes`;
  }

  const form = byId("filters");
  form.addEventListener("submit", e => e.preventDefault());
  byId("search").addEventListener("input", apply);
  for (const id of ["split", "category", "warning", "sort", "order"]) byId(id).addEventListener("change", apply);
  form.addEventListener("reset", () => {
    for (const h of histograms) h.reset();
    setTimeout(apply); // after the browser has emptied the fields
  });
  byId("masks").addEventListener("change", e => byId("cards").classList.toggle("masked", e.target.checked));

  // --- one shape --------------------------------------------------------------------------------------------------
  const dialog = byId("shape"), scene = new Viewer.Scene();
  let current = 0;

  function open(index) {
    current = index;
    const shape = shapes[index], place = shown.indexOf(index);
    byId("shape-title").textContent = shape.id;
    byId("shape-place").textContent = `${place + 1} of ${shown.length}`;
    byId("previous").disabled = place <= 0;
    byId("next").disabled = place >= shown.length - 1;
    const group = [shape.id, shape.file].some(name => name.includes(shape.group)) ? "" : `; group ${shape.group}`;
    byId("shape-about").textContent = `${shape.category}, ${shape.split}${group}; ${shape.file}`;
    byId("shape-warnings").replaceChildren();
    for (const name of shape.warnings) element(byId("shape-warnings"), "li", {}, name in data.rules ? `${name}: ${data.rules[name]}` : name);
    const menu = byId("picture");
    menu.replaceChildren();
    shape.pictures.forEach((p, i) => element(menu, "option", { value: i }, p.record));
    byId("pick").hidden = shape.pictures.length < 2;
    photo();
    table(shape);
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    if (shape.mesh.coded) scene.fill(shape.mesh.coded);
    views();
  }

  function photo() {
    const shape = shapes[current], picture = shape.pictures[Number(byId("picture").value)];
    byId("photo").hidden = byId("mask").parentElement.hidden = !picture;
    if (!picture) return;
    for (const kind of ["rgb", "mask"]) byId(`photo-${kind}`).src = picture[kind];
    byId("photo-rgb").alt = `${picture.rendered ? "Rendered view" : "Photo"} of ${shape.id}`;
    byId("photo-mask").hidden = !byId("mask").checked;
    const more = shape.allPictures > shape.pictures.length ? ` (${shape.pictures.length} of ${shape.allPictures} pictures are on this page)` : "";
    byId("photo-label").textContent = picture.record + more;
  }

  function detail(label, mesh) {
    const count = n => n.toLocaleString("en");
    if (!mesh.coded) return `${label}: ${count(mesh.of)} faces, too many for this page`;
    return mesh.faces < mesh.of ? `${label}, ${count(mesh.faces)} of ${count(mesh.of)} faces` : `${label}, ${count(mesh.of)} faces`;
  }

  function views() {
    const shape = shapes[current], wire = byId("wire").checked ? WIRE : null;
    byId("near").parentElement.hidden = !shape.near;
    const stored = (byId("near").checked && shape.near) || shape.points;
    const points = [["inside", INSIDE], ["outside", OUTSIDE]]
      .filter(([id]) => byId(id).checked && stored[id]).map(([id, colour]) => ({ points: stored[id], colour, size: POINT }));
    const alpha = points.length ? GHOST : 1;
    const mesh = { mesh: shape.mesh.coded, colour: data.colours.mesh, alpha, wire };
    if (!scene.show(byId("view-mesh"), [mesh, ...points])) byId("no-webgl").hidden = false;
    byId("view-mesh-label").textContent = detail("Watertight mesh", shape.mesh);
    byId("view-source").parentElement.hidden = !shape.source;
    if (!shape.source) return;
    const source = shape.source.coded ? [{ mesh: shape.source.coded, colour: data.colours.source, wire }] : [];
    scene.show(byId("view-source"), source);
    byId("view-source-label").textContent =
      [shape.source.of ? detail("Source mesh", shape.source) : "No source mesh", shape.source.trouble].filter(Boolean).join(". ");
  }

  function table(shape) {
    const body = byId("shape-figures");
    body.replaceChildren();
    for (const [i, figure] of figures.entries()) {
      if (shape.qc[i] === null) continue;
      const row = element(body, "tr"), head = element(row, "th", { scope: "row" }, figure.label);
      if (figure.meaning) element(head, "small", {}, figure.meaning);
      if (figure.limits.some(limit => shape.warnings.includes(limit.split(": ").pop()))) row.className = "beyond";
      for (const cell of [spelled(shape.qc[i]), figure.unit === "yes/no" ? "" : figure.unit, figure.better, figure.limits.join("; ")])
        element(row, "td", {}, cell);
    }
  }

  function step(by) {
    open(shown[shown.indexOf(current) + by]);
    const button = byId(by < 0 ? "previous" : "next");
    if (button.disabled) byId("close").focus();
  }
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("close").addEventListener("click", () => dialog.close());
  byId("home").addEventListener("click", () => scene.home());
  for (const id of ["picture", "mask"]) byId(id).addEventListener("change", photo);
  for (const id of ["wire", "inside", "outside", "near"]) byId(id).addEventListener("change", views);
  dialog.addEventListener("click", e => { if (e.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => cards[current].button.focus());

  apply();
})();
