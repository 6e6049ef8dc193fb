"use strict";
// 3D views without a library. One hidden WebGL2 canvas draws for every visible canvas (browsers allow only a few
// contexts per page); the views of a Scene share a camera, so they turn together.
const Viewer = (() => {
  const LOOK = JSON.parse(document.getElementById("page-data").textContent).look; // that of the printed pictures
  const FOV = (LOOK.fov * Math.PI) / 180, DISTANCE = LOOK.distance, CREASE = LOOK.crease;
  const HOME = { azimuth: LOOK.azimuth, elevation: LOOK.elevation, zoom: 1 };
  const number = x => x.toFixed(6), [ambient, sky, head] = LOOK.ambient.map(number), [gloss, shine] = LOOK.gloss.map(number);
  const direction = light => `normalize(vec3(${light.slice(0, 3).map(number)}))`;
  const diffuse = light => `${number(light[3])} * max((dot(m, ${direction(light)}) + ${number(light[4])}) / ${number(1 + light[4])}, 0.0)`;
  const VERTEX = `#version 300 es
    in vec3 position; in vec3 normal; uniform mat3 view; uniform float focal; uniform float aspect;
    uniform float distance; uniform float size; out vec3 n; out vec3 eye; out float top;
    void main() {
      vec3 p = view * position; n = view * normal; top = normal.y; float depth = distance - p.z;
      eye = vec3(-p.xy, depth); gl_PointSize = max(size, 1.0);
      gl_Position = vec4(p.x * focal / aspect, p.y * focal, (depth - distance) * 0.4 * depth, depth);
    }`;
  const FRAGMENT = `#version 300 es
    precision highp float; in vec3 n; in vec3 eye; in float top; uniform vec4 colour; uniform float size; out vec4 pixel;
    void main() {
      if (size > 0.0 && length(gl_PointCoord - 0.5) > 0.5) discard;
      if (size != 0.0) { pixel = vec4(colour.rgb * colour.a, colour.a); return; } // points, lines: not shaded
      vec3 m = normalize(n), e = normalize(eye); float up = top / length(n);
      if (dot(m, e) < 0.0) { m = -m; up = -up; }
      float light = ${ambient} + ${sky} * up + ${head} * dot(m, e) + ${LOOK.lights.map(diffuse).join(" + ")};
      float shine = ${gloss} * pow(max(dot(m, normalize(${direction(LOOK.lights[0])} + e)), 0.0), ${shine});
      pixel = vec4(pow(min(colour.rgb * light + shine, vec3(1.0)), vec3(${number(1 / LOOK.gamma)})) * colour.a, colour.a);
    }`;
  let gl = null, program = null, places = null, broken = false;
  const uploaded = new WeakMap();

  function bytes(text) {
    const raw = atob(text), out = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
    return out.buffer;
  }

  // (V, 3) flat: coordinates of the vertices of a mesh, or of points
  function placed(coded) {
    const cells = new Uint16Array(bytes(coded.vertices)), out = new Float32Array(cells.length);
    for (let i = 0; i < cells.length; i++) out[i] = coded.low[i % 3] + (cells[i] / 65535) * coded.extent[i % 3];
    return out;
  }

  // positions and normals of every corner; edges sharper than the crease angle stay sharp
  function corners(mesh) {
    const faces = mesh.wide ? new Uint32Array(bytes(mesh.faces)) : new Uint16Array(bytes(mesh.faces));
    const count = faces.length / 3, vertices = placed(mesh);
    const weighted = new Float32Array(faces.length), unit = new Float32Array(faces.length);
    const start = new Uint32Array(vertices.length / 3 + 1), around = new Uint32Array(faces.length);
    for (let f = 0; f < count; f++) {
      const [a, b, c] = [3 * faces[3 * f], 3 * faces[3 * f + 1], 3 * faces[3 * f + 2]];
      const u = [0, 1, 2].map(k => vertices[b + k] - vertices[a + k]);
      const v = [0, 1, 2].map(k => vertices[c + k] - vertices[a + k]);
      const n = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
      const length = Math.hypot(...n) || 1;
      for (let k = 0; k < 3; k++) { weighted[3 * f + k] = n[k]; unit[3 * f + k] = n[k] / length; start[faces[3 * f + k] + 1]++; }
    }
    for (let i = 1; i < start.length; i++) start[i] += start[i - 1];
    const fill = start.slice();
    for (let i = 0; i < faces.length; i++) around[fill[faces[i]]++] = Math.floor(i / 3);
    const positions = new Float32Array(faces.length * 3), normals = new Float32Array(faces.length * 3);
    for (let i = 0; i < faces.length; i++) {
      const f = 3 * Math.floor(i / 3), v = faces[i], sum = [0, 0, 0];
      for (let j = start[v]; j < start[v + 1]; j++) {
        const g = 3 * around[j];
        const cosine = unit[f] * unit[g] + unit[f + 1] * unit[g + 1] + unit[f + 2] * unit[g + 2];
        if (Math.abs(cosine) < CREASE) continue;
        for (let k = 0; k < 3; k++) sum[k] += Math.sign(cosine) * weighted[g + k];
      }
      const length = Math.hypot(...sum);
      for (let k = 0; k < 3; k++) {
        positions[3 * i + k] = vertices[3 * v + k];
        normals[3 * i + k] = length > 0 ? sum[k] / length : unit[f + k];
      }
    }
    return { positions, normals };
  }

  function begin() {
    if (gl || broken) return !broken;
    gl = document.createElement("canvas").getContext("webgl2", { antialias: true, alpha: true, premultipliedAlpha: true });
    if (!gl) { broken = true; return false; }
    program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    gl.enable(gl.DEPTH_TEST);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    places = { position: gl.getAttribLocation(program, "position"), normal: gl.getAttribLocation(program, "normal") };
    for (const name of ["view", "focal", "aspect", "distance", "size", "colour"]) places[name] = gl.getUniformLocation(program, name);
    return true;
  }

  function filled(kind, data) {
    const buffer = gl.createBuffer();
    gl.bindBuffer(kind, buffer);
    gl.bufferData(kind, data, gl.STATIC_DRAW);
    return buffer;
  }

  // a mesh, or points, on the graphics card; also binds its vertex array
  function upload(coded) {
    if (!uploaded.has(coded)) {
      const { positions, normals } = coded.faces ? corners(coded) : { positions: placed(coded), normals: null };
      const array = gl.createVertexArray(), buffers = [];
      gl.bindVertexArray(array);
      for (const [place, data] of [[places.position, positions], [places.normal, normals]]) {
        if (!data) continue;
        buffers.push(filled(gl.ARRAY_BUFFER, data));
        gl.enableVertexAttribArray(place);
        gl.vertexAttribPointer(place, 3, gl.FLOAT, false, 0, 0);
      }
      uploaded.set(coded, { array, buffers, count: positions.length / 3, lines: 0 });
    }
    const made = uploaded.get(coded);
    gl.bindVertexArray(made.array);
    return made;
  }

  function release(coded) {
    const { array, buffers } = uploaded.get(coded);
    gl.deleteVertexArray(array);
    for (const buffer of buffers) gl.deleteBuffer(buffer);
    uploaded.delete(coded);
  }

  // the three sides of every face, over the surface drawn last
  function wireframe(made, colour) {
    if (!made.lines) {
      made.lines = 2 * made.count;
      const ends = Uint32Array.from({ length: made.lines }, (_, i) => {
        const corner = i >> 1, first = corner - (corner % 3);
        return i % 2 ? first + ((corner - first + 1) % 3) : corner;
      });
      made.buffers.push(filled(gl.ELEMENT_ARRAY_BUFFER, ends));
    }
    gl.uniform1f(places.size, -1);
    gl.uniform4f(places.colour, ...colour, 1);
    gl.drawElements(gl.LINES, made.lines, gl.UNSIGNED_INT, 0);
    gl.uniform1f(places.size, 0);
  }

  // points, not hidden by what was drawn so far
  function dots({ points, colour, size }, scale) {
    const { count } = upload(points);
    gl.clear(gl.DEPTH_BUFFER_BIT);
    gl.uniform1f(places.size, size * scale);
    gl.uniform4f(places.colour, ...colour, 1);
    gl.drawArrays(gl.POINTS, 0, count);
    gl.uniform1f(places.size, 0);
  }

  // column-major rotation: normalised frame -> camera axes, the same as the printed figures use
  function rotation({ azimuth, elevation }) {
    const a = (azimuth * Math.PI) / 180, e = (elevation * Math.PI) / 180;
    const [sa, ca, se, ce] = [Math.sin(a), Math.cos(a), Math.sin(e), Math.cos(e)];
    const t = [-sa * ce, se, -ca * ce], r = [-ca, 0, sa];
    const u = [t[1] * r[2] - t[2] * r[1], t[2] * r[0] - t[0] * r[2], t[0] * r[1] - t[1] * r[0]];
    return [r[0], u[0], t[0], r[1], u[1], t[1], r[2], u[2], t[2]];
  }

  function paint(view, camera) {
    const { canvas, parts } = view, context = canvas.getContext("2d");
    const scale = Math.max(1, Math.min(2, window.devicePixelRatio || 1));
    const width = Math.max(1, Math.round(canvas.clientWidth * scale)), height = Math.max(1, Math.round(canvas.clientHeight * scale));
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    const w = 2 * width, h = 2 * height; // twice as fine, scaled down when copied
    if (gl.canvas.width < w) gl.canvas.width = w;
    if (gl.canvas.height < h) gl.canvas.height = h;
    gl.viewport(0, 0, w, h);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.uniformMatrix3fv(places.view, false, rotation(camera));
    gl.uniform1f(places.focal, camera.zoom / Math.tan(FOV / 2));
    gl.uniform1f(places.aspect, w / h);
    gl.uniform1f(places.distance, DISTANCE);
    gl.uniform1f(places.size, 0);
    gl.polygonOffset(1, 1); // surfaces lie behind their own wireframe
    gl.enable(gl.POLYGON_OFFSET_FILL);
    for (const part of parts) {
      if (part.points) dots(part, 2 * scale);
      if (!part.mesh) continue;
      const made = upload(part.mesh), count = made.count, alpha = part.alpha === undefined ? 1 : part.alpha;
      gl.uniform4f(places.colour, ...part.colour, alpha);
      if (alpha < 1) { // laid over everything drawn so far, also over what stands in front; only its nearest layer
        gl.clear(gl.DEPTH_BUFFER_BIT);
        gl.colorMask(false, false, false, false);
        gl.drawArrays(gl.TRIANGLES, 0, count);
        gl.colorMask(true, true, true, true);
        gl.depthFunc(gl.EQUAL);
        gl.enable(gl.BLEND);
      }
      gl.drawArrays(gl.TRIANGLES, 0, count);
      gl.disable(gl.BLEND);
      gl.depthFunc(gl.LESS);
      if (part.wire) wireframe(made, part.wire);
    }
    context.clearRect(0, 0, width, height);
    context.imageSmoothingQuality = "high";
    context.drawImage(gl.canvas, 0, gl.canvas.height - h, w, h, 0, 0, width, height);
  }

  // the zoom at which a centred mesh fills its view, from any side
  function filling(mesh) {
    const radius = Math.hypot(...mesh.extent) / 2;
    return (0.95 * Math.tan(FOV / 2) * Math.sqrt(DISTANCE ** 2 - radius ** 2)) / radius;
  }

  class Scene {
    constructor() { this.start = { ...HOME }; this.camera = { ...HOME }; this.views = []; this.asked = false; }

    // parts: [{mesh, colour: [r, g, b] linear, alpha, wire: colour of its edges}, or {points, colour, size in px}];
    // false where the browser has no WebGL2
    show(canvas, parts) {
      if (!begin()) return false;
      const known = this.views.find(v => v.canvas === canvas);
      if (known) known.parts = parts;
      else { this.views.push({ canvas, parts }); this.listen(canvas); }
      this.draw();
      return true;
    }

    clear() { this.views = []; }

    draw() {
      if (this.asked) return;
      this.asked = true;
      requestAnimationFrame(() => {
        this.asked = false;
        this.views = this.views.filter(v => v.canvas.isConnected);
        for (const view of this.views) paint(view, this.camera);
      });
    }

    turn(dx, dy) {
      this.camera.azimuth = (this.camera.azimuth - dx) % 360;
      this.camera.elevation = Math.max(-89, Math.min(89, this.camera.elevation + dy));
      this.draw();
    }

    zoom(factor) { this.camera.zoom = Math.max(0.4, Math.min(6, this.camera.zoom * factor)); this.draw(); }

    home() { Object.assign(this.camera, this.start); this.draw(); }

    // zoom so that a centred mesh fills its views, now and at home
    fill(mesh) { this.start.zoom = filling(mesh); this.zoom(this.start.zoom / this.camera.zoom); }

    listen(canvas) {
      let last = null;
      canvas.style.touchAction = "none";
      canvas.addEventListener("pointerdown", e => { last = [e.clientX, e.clientY]; canvas.setPointerCapture(e.pointerId); });
      canvas.addEventListener("pointermove", e => {
        if (!last) return;
        this.turn((e.clientX - last[0]) * 0.5, (e.clientY - last[1]) * 0.5);
        last = [e.clientX, e.clientY];
      });
      for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { last = null; });
      canvas.addEventListener("wheel", e => {
        if (document.activeElement !== canvas) return; // an unfocused view must not catch the page's scrolling
        e.preventDefault();
        this.zoom(Math.exp(-e.deltaY * 0.001));
      }, { passive: false });
      canvas.addEventListener("dblclick", () => this.home());
      const keys = {
        ArrowLeft: () => this.turn(-10, 0), ArrowRight: () => this.turn(10, 0), ArrowUp: () => this.turn(0, -10),
        ArrowDown: () => this.turn(0, 10), "+": () => this.zoom(1.15), "=": () => this.zoom(1.15),
        "-": () => this.zoom(1 / 1.15), "0": () => this.home(), Home: () => this.home(),
      };
      canvas.addEventListener("keydown", e => { if (keys[e.key]) { e.preventDefault(); keys[e.key](); } });
      new ResizeObserver(() => this.draw()).observe(canvas);
    }
  }
  // a centred mesh drawn once, from the usual direction; nothing of it stays on the graphics card
  function picture(canvas, mesh, colour) {
    if (!begin()) return false;
    const fresh = !uploaded.has(mesh);
    paint({ canvas, parts: [{ mesh, colour }] }, { ...HOME, zoom: filling(mesh) });
    if (fresh) release(mesh);
    return true;
  }
  return { Scene, picture };
})();
