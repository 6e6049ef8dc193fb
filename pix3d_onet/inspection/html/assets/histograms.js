"use strict";
// Histograms that choose a range: by dragging over the bars, or with the two sliders at their ends.
const Histograms = (() => {
  const BINS = 24, HEIGHT = 40, NS = "http://www.w3.org/2000/svg";

  // values → number of bins, low and high edge; integers in a short range have a bin each
  function scale(values) {
    const low = Math.min(...values), high = Math.max(...values);
    const whole = values.every(Number.isInteger) && high - low < BINS;
    return whole ? { bins: high - low + 1, low: low - 0.5, high: high + 0.5, whole } : { bins: BINS, low, high, whole };
  }

  // a number in at most `digits` significant ones
  function spelled(value, digits = 4) {
    if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(digits - 1).replace(/\.?0*e/, "e");
    return value.toLocaleString("en", { maximumSignificantDigits: digits });
  }

  // figure: {label, unit, meaning}; values: one per shape, null where it has none; changed(): called after every choice
  class Histogram {
    constructor(host, figure, values, changed) {
      this.values = values;
      this.binary = figure.unit === "yes/no";
      this.unit = this.binary ? "" : figure.unit;
      Object.assign(this, scale(values.filter(v => v !== null)), { changed });
      this.range = [0, this.bins];
      const field = document.createElement("fieldset"), legend = document.createElement("legend");
      legend.textContent = figure.label;
      field.title = figure.meaning;
      this.svg = document.createElementNS(NS, "svg");
      for (const [key, value] of Object.entries({ viewBox: `0 0 ${this.bins} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" }))
        this.svg.setAttribute(key, value);
      this.bars = Array.from({ length: 2 * this.bins }, (_, i) => {
        const bar = document.createElementNS(NS, "rect");
        bar.setAttribute("x", (i >> 1) + 0.06);
        bar.setAttribute("width", 0.88);
        bar.setAttribute("class", i % 2 ? "kept" : "all");
        this.svg.append(bar);
        return bar;
      });
      this.ends = ["from", "to"].map((side, i) => {
        const end = Object.assign(document.createElement("input"), { type: "range", min: 0, max: this.bins, value: this.range[i] });
        end.setAttribute("aria-label", `${figure.label}, ${side}`);
        end.addEventListener("input", () => {
          const at = Number(end.value);
          this.choose(i ? [this.range[0], Math.max(at, this.range[0] + 1)] : [Math.min(at, this.range[1] - 1), this.range[1]]);
        });
        return end;
      });
      this.text = document.createElement("output");
      field.append(legend, this.svg, ...this.ends, this.text);
      host.append(field);
      this.draw(this.counts(() => true), "all");
      this.brush();
      this.show();
    }

    bin(value) { return Math.max(0, Math.min(this.bins - 1, Math.floor(((value - this.low) / (this.high - this.low)) * this.bins))); }

    edge(bin) { return this.low + ((this.high - this.low) * bin) / this.bins; }

    get narrowed() { return this.range[0] > 0 || this.range[1] < this.bins; }

    passes(shape) {
      const value = this.values[shape];
      if (!this.narrowed) return true;
      return value !== null && this.bin(value) >= this.range[0] && this.bin(value) < this.range[1];
    }

    counts(passes) {
      const counts = new Array(this.bins).fill(0);
      this.values.forEach((value, shape) => { if (value !== null && passes(shape)) counts[this.bin(value)]++; });
      return counts;
    }

    draw(counts, kind) {
      if (kind === "all") this.most = Math.max(...counts);
      counts.forEach((count, i) => {
        const height = count && Math.max(1.5, (count / this.most) * HEIGHT), bar = this.bars[2 * i + (kind === "kept")];
        bar.setAttribute("height", height);
        bar.setAttribute("y", HEIGHT - height);
      });
    }

    // the bars of the shapes that pass all other filters; those outside the chosen range are faint
    update(passes) {
      this.draw(this.counts(passes).map((count, i) => (i >= this.range[0] && i < this.range[1] ? count : 0)), "kept");
    }

    choose(range) {
      this.range = range;
      this.show();
      this.changed();
    }

    reset() {
      this.range = [0, this.bins];
      this.show();
    }

    show() {
      const [low, high] = this.range.map(bin => this.edge(bin));
      const ends = this.whole ? [Math.ceil(low), Math.floor(high)] : [low, high];
      let digits = 3, texts;
      do texts = ends.map(v => (this.binary ? ["no", "yes"][v] : spelled(v, digits))); // so many that the ends differ
      while (texts[0] === texts[1] && ends[0] !== ends[1] && digits++ < 6);
      this.ends.forEach((end, i) => {
        end.value = this.range[i];
        end.setAttribute("aria-valuetext", `${texts[i]} ${this.unit}`.trim());
      });
      this.text.textContent = `${texts[0] === texts[1] ? texts[0] : texts.join(" … ")} ${this.unit}`;
      this.text.className = this.narrowed ? "narrowed" : "";
    }

    // dragging chooses the bins passed over; a click without a drag gives up the choice
    brush() {
      let start = null;
      const at = e => {
        const box = this.svg.getBoundingClientRect();
        return Math.max(0, Math.min(this.bins - 1, Math.floor(((e.clientX - box.left) / box.width) * this.bins)));
      };
      this.svg.addEventListener("pointerdown", e => {
        start = { bin: at(e), x: e.clientX, moved: false };
        this.svg.setPointerCapture(e.pointerId);
      });
      this.svg.addEventListener("pointermove", e => {
        if (!start || (Math.abs(e.clientX - start.x) < 3 && !start.moved)) return;
        start.moved = true;
        this.choose([Math.min(start.bin, at(e)), Math.max(start.bin, at(e)) + 1]);
      });
      this.svg.addEventListener("pointerup", () => {
        if (start && !start.moved && this.narrowed) this.choose([0, this.bins]);
        start = null;
      });
      this.svg.addEventListener("pointercancel", () => { start = null; });
    }
  }
  return { Histogram, spelled };
})();
