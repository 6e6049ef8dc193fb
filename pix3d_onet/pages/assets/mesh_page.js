"use strict";
(() => {
  const data = JSON.parse(document.getElementById("page-data").textContent);
  const scene = new Viewer.Scene();
  for (const [index, part] of data.meshes.entries()) {
    const canvas = document.getElementById(`mesh-${index}`);
    if (!scene.show(canvas, [{ mesh: part.mesh, colour: part.colour }])) document.getElementById("no-webgl").hidden = false;
  }
  document.getElementById("home").addEventListener("click", () => scene.home());
})();
