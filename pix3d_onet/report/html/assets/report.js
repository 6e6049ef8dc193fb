"use strict";
(() => {
  const data = JSON.parse(document.getElementById("page-data").textContent);
  const byId = id => document.getElementById(id);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const colour = v => (dark.matches ? data.variants[v].dark : data.variants[v].colour);
  const label = v => data.variants[v].label;

  // --- Figure 1 ---------------------------------------------------------------------------------------------------
  const hidden = new Set();
  function curves() {
    const key = byId("curve-value").value;
    const series = data.curves.filter(c => !hidden.has(c.variant)).map(c => ({
      name: c.variant, label: label(c.variant), colour: colour(c.variant), dash: data.variants[c.variant].dash, x: c.steps, ...c[key],
      peak: key === "val_iou" ? c.peak : null,
    }));
    const names = { val_iou: "validation IoU", val_loss: "validation loss per shape", train_loss: "training loss per shape" };
    Charts.lines(byId("curves"), series, ["optimiser step", names[key]]);
  }
  for (const button of document.querySelectorAll("[data-toggle]"))
    button.addEventListener("click", () => {
      const name = button.dataset.toggle, off = !hidden.has(name);
      hidden[off ? "add" : "delete"](name);
      button.setAttribute("aria-pressed", String(!off));
      curves();
    });
  if (byId("curves")) byId("curve-value").addEventListener("change", curves);

  // --- Figure 2 and the 3D views ----------------------------------------------------------------------------------
  const scene = new Viewer.Scene();
  const chosen = { ...data.gallery.start };
  const masks = byId("show-mask");
  const input = record => (masks.checked ? record.masked : record.input);
  function views() {
    const record = data.gallery.records[chosen.record], cell = record.cells[chosen.variant];
    byId("view-input").src = input(record);
    const truth = { mesh: record.truth, colour: data.gallery.truthColour };
    const prediction = { mesh: cell ? cell.mesh : null, colour: data.gallery.predictionColour };
    const ok = scene.show(byId("view-truth"), [truth])
      && scene.show(byId("view-prediction"), [prediction])
      && scene.show(byId("view-both"), [truth, { ...prediction, alpha: 0.55 }]);
    byId("no-webgl").hidden = ok;
    byId("view-prediction-label").textContent = cell
      ? `${label(chosen.variant)}, IoU ${cell.iou.toFixed(3)}${cell.mesh ? "" : " (empty)"}` : `${label(chosen.variant)}: no example`;
    byId("view-truth-label").textContent = `Ground truth (${record.object})`;
    byId("view-record").value = String(chosen.record);
    byId("view-variant").value = chosen.variant;
    for (const button of document.querySelectorAll("[data-cell]"))
      button.setAttribute("aria-pressed", String(button.dataset.cell === chosen.variant && Number(button.dataset.record) === chosen.record));
  }
  if (data.gallery.records.length) {
    for (const button of document.querySelectorAll("[data-record]"))
      button.addEventListener("click", () => {
        chosen.record = Number(button.dataset.record);
        if (button.dataset.cell) chosen.variant = button.dataset.cell;
        views();
        byId("views").scrollIntoView({ block: "nearest" });
      });
    byId("view-record").addEventListener("change", e => { chosen.record = Number(e.target.value); views(); });
    byId("view-variant").addEventListener("change", e => { chosen.variant = e.target.value; views(); });
    byId("view-home").addEventListener("click", () => scene.home());
    masks.addEventListener("change", () => {
      for (const image of document.querySelectorAll("[data-input]")) image.src = input(data.gallery.records[Number(image.dataset.input)]);
      views();
    });
    views();
  }

  // --- scatter ----------------------------------------------------------------------------------------------------
  function scatter() {
    const [x, y] = [byId("scatter-x").value, byId("scatter-y").value], [a, b] = [data.scores[x], data.scores[y]];
    const points = Object.keys(a).filter(k => k in b).map(k => ({ name: k, x: a[k], y: b[k] }));
    Charts.scatter(byId("scatter-chart"), points, [`IoU of ${label(x)}`, `IoU of ${label(y)}`], colour(y));
    const wins = points.filter(p => p.y > p.x).length, ties = points.filter(p => p.y === p.x).length;
    byId("scatter-count").textContent =
      `${label(y)} is better on ${wins} of ${points.length} shapes, ${label(x)} on ${points.length - wins - ties}.`;
  }
  if (byId("scatter-chart")) for (const id of ["scatter-x", "scatter-y"]) byId(id).addEventListener("change", scatter);

  // --- provenance -------------------------------------------------------------------------------------------------
  const dialog = byId("provenance");
  function element(parent, name, text) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  }
  function provenance(variant, what) {
    const body = byId("provenance-body");
    body.replaceChildren();
    byId("provenance-title").textContent = `${label(variant)}: ${what}`;
    const runs = data.runs[variant];
    element(body, "p", runs.length === 1 ? "One run stands behind this number." : `The mean over ${runs.length} runs.`);
    for (const run of runs) {
      element(body, "h3", `seed ${run.seed}, run ${run.run_id}`);
      const table = element(element(body, "div"), "table");
      table.parentElement.className = "scroll";
      for (const [key, value] of Object.entries(run.facts)) {
        const row = element(table, "tr");
        element(row, "th", key);
        element(row, "td", value);
      }
      const details = element(body, "details");
      element(details, "summary", "all settings and versions");
      element(details, "pre", JSON.stringify(run.record, null, 1));
    }
    dialog.showModal();
  }
  for (const button of document.querySelectorAll("[data-provenance]"))
    button.addEventListener("click", () => provenance(button.dataset.provenance, button.dataset.what));
  byId("provenance-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", e => { if (e.target === dialog) dialog.close(); });

  function paint() {
    for (const swatch of document.querySelectorAll("[data-swatch]")) swatch.style.setProperty("--c", colour(swatch.dataset.swatch));
    if (byId("curves")) curves();
    if (byId("scatter-chart")) scatter();
  }
  dark.addEventListener("change", paint);
  window.addEventListener("resize", () => { if (Charts.resized()) paint(); });
  paint();
})();
