// Draws a trial's time line: phases and events, every request of each probe, and the migration link.
// The data is packed by timeline_data.rs; times are ms after the migrate command.
(() => {
  "use strict";

  const WHO = ["source", "destination", "unknown", "nobody"];
  const PAD = { left: 52, right: 10 };
  const ROW = 17, MARKS = 16, NAME = 22, LOST = 18, PROBE = 120, WIRE = 80, AXIS = 34;
  const SHORTEST_MS = 0.5;

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const ms = (value) => value.toFixed(3) + " ms";

  // ---- the data

  const unpackProbe = (packed) => {
    const count = packed.rtt_us.length;
    const sent = new Float64Array(count), rtt = new Float64Array(count);
    const seq = new Float64Array(count), by = new Uint8Array(count);
    let time = 0, number = 0, least = Infinity, most = 0;
    for (let i = 0; i < count; i++) {
      const step = i === 0 ? packed.seq[0] : packed.seq.length > 1 ? packed.seq[i] : 1;
      number += step;
      time += packed.sent_us[i] + (i === 0 ? 0 : step * packed.interval_us);
      seq[i] = number;
      sent[i] = time / 1000;
      rtt[i] = packed.rtt_us[i] / 1000;
      if (rtt[i] >= 0) { least = Math.min(least, rtt[i]); most = Math.max(most, rtt[i]); }
    }
    let at = 0;
    for (const [run, who] of packed.by) { by.fill(who, at, at + run); at += run; }
    // Whole decades, at least one; nothing below 10 us, which no answer takes.
    const low = Math.floor(Math.log10(Math.max(Number.isFinite(least) ? least : 0.1, 0.01)));
    const high = Math.max(Math.ceil(Math.log10(Math.max(most, 0.01))), low + 1);
    return { name: packed.name, keptOneOf: packed.kept_one_of, count, sent, rtt, seq, by, low, high };
  };

  const unpackWire = (packed) => {
    let time = 0;
    const at = packed.at_us.map((step) => (time += step) / 1000);
    // Bytes in 10 ms: 8 bits each, 100 such ticks a second.
    const mbit = packed.tx_bytes.map((bytes) => bytes * 8 / 1e4), back = packed.rx_bytes.map((bytes) => bytes * 8 / 1e4);
    return { at, mbit, back, most: mbit.reduce((most, one) => Math.max(most, one), 1) };
  };

  // Spans that overlap (a phase and its passes) go into rows of their own; rounding to 1 us is no overlap.
  const layOut = (spans) => {
    const ends = [];
    return spans.map(([name, start, end]) => {
      let row = ends.findIndex((last) => last <= start + 0.002);
      if (row < 0) row = ends.length;
      ends[row] = end;
      return { name, start, end, row };
    });
  };

  const spanColor = (name) => {
    if (/^pass/.test(name)) return Number(name.match(/\d+/)) % 2 ? "span-copy" : "span-copy-2";
    if (/^pre-copy/.test(name)) return "span-copy";
    if (/^stop/.test(name)) return "span-stop";
    if (/^transfer/.test(name)) return "span-copy";
    if (/^(commit|activate|decompress|wake)/.test(name)) return "span-end";
    return /^(post|compress)/.test(name) ? "span-post" : "span-setup";
  };

  // The least of 1, 2 or 5 times a power of ten that is not below `value`.
  const roundStep = (value) => {
    const decade = 10 ** Math.floor(Math.log10(value));
    return decade * [1, 2, 5, 10].find((factor) => factor * decade >= value * 0.999);
  };

  // ---- one time line

  const timeline = (figure) => {
    const data = JSON.parse(figure.querySelector("script").textContent);
    const canvas = figure.querySelector("canvas"), tip = figure.querySelector(".tip");
    const spans = layOut(data.spans), probes = data.probes.map(unpackProbe), wire = unpackWire(data.wire);
    const rows = Math.max(1, ...spans.map((span) => span.row + 1));
    const marksTop = rows * ROW + 4;
    const probeTop = (index) => marksTop + MARKS + NAME + index * (LOST + PROBE + NAME + 8);
    const wireTop = probeTop(probes.length) + 4, bottom = wireTop + WIRE;
    canvas.style.height = bottom + AXIS + "px";

    const [first, last] = data.range;
    let [from, to] = data.view;
    let width = 0, waiting = false;
    // Asks for a canvas in memory: one on a graphics processor stays blank where that is missing or gets lost.
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    const x = (time) => PAD.left + (time - from) / (to - from) * (width - PAD.left - PAD.right);
    const timeAt = (px) => from + (px - PAD.left) / (width - PAD.left - PAD.right) * (to - from);
    const y = (probe, top, rtt) =>
      top + LOST + PROBE * (1 - clamp((Math.log10(Math.max(rtt, 1e-9)) - probe.low) / (probe.high - probe.low), 0, 1));

    const redraw = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; draw(); });
    };

    const show = (newFrom, newTo) => {
      const length = clamp(newTo - newFrom, SHORTEST_MS, last - first);
      from = clamp(newFrom, first, last - length);
      to = from + length;
      tip.hidden = true;
      redraw();
    };
    const zoom = (factor, center = (from + to) / 2) => {
      const length = clamp((to - from) * factor, SHORTEST_MS, last - first);
      const start = center - (center - from) * length / (to - from);
      show(start, start + length);
    };
    const pan = (by) => show(from + by, to + by);
    const reset = () => show(...data.view);

    // ---- drawing

    const text = (words, px, py, align = "left", paint = "muted") => {
      pen.fillStyle = color(paint);
      pen.textAlign = align;
      pen.fillText(words, px, py);
    };

    const draw = () => {
      width = canvas.clientWidth;
      if (width === 0) return;
      const density = window.devicePixelRatio || 1;
      canvas.width = width * density;
      canvas.height = (bottom + AXIS) * density;
      pen.scale(density, density);
      pen.font = "11.5px system-ui, sans-serif";
      pen.textBaseline = "middle";
      drawAxis();
      pen.save();
      pen.beginPath();
      pen.rect(PAD.left, 0, width - PAD.left - PAD.right, bottom);
      pen.clip();
      drawSpans();
      drawMarks();
      pen.restore();
      probes.forEach((probe, index) => drawProbe(probe, probeTop(index)));
      drawWire();
    };

    const drawAxis = () => {
      const step = roundStep((to - from) / Math.max(2, width / 110));
      const decimals = Math.max(0, -Math.floor(Math.log10(step)));
      for (let n = Math.ceil(from / step); n * step <= to; n++) {
        const px = x(n * step);
        pen.fillStyle = color("faint");
        pen.fillRect(px, 0, 1, bottom);
        const words = (n * step).toFixed(decimals);
        text(words, Math.min(px, width - pen.measureText(words).width / 2), bottom + 11, "center");
      }
      text("ms after the migrate command", width - PAD.right, bottom + 26, "right");
    };

    const drawSpans = () => {
      for (const span of spans) {
        const left = Math.max(x(span.start), PAD.left - 2), right = Math.min(x(span.end), width);
        if (right < PAD.left || left > width) continue;
        pen.fillStyle = color(spanColor(span.name));
        pen.fillRect(left, span.row * ROW, Math.max(right - left - 0.5, 1), ROW - 2);
        if (!/^p(ass|re)|^init|^reserve/.test(span.name)) {
          pen.globalAlpha = 0.13;
          pen.fillRect(left, ROW * rows, Math.max(right - left, 1), bottom - ROW * rows);
          pen.globalAlpha = 1;
        }
// Of a pass too short for its name the number is enough.
        const fits = [span.name, span.name.replace("pass ", "")].find((words) => pen.measureText(words).width + 8 < right - left);
        if (fits) text(fits, left + 4, span.row * ROW + ROW / 2 - 1, "left", "on-span");
      }
    };

    const drawMarks = () => {
      data.marks.forEach(([at, label], index) => {
        const px = x(at), next = index + 1 < data.marks.length ? x(data.marks[index + 1][0]) : width;
        if (px < PAD.left - 5 || px > width) return;
        pen.fillStyle = color("muted");
        pen.beginPath();
        pen.moveTo(px - 4, marksTop); pen.lineTo(px + 4, marksTop); pen.lineTo(px, marksTop + 7);
        pen.fill();
        pen.globalAlpha = 0.4;
        for (let py = marksTop + 7; py < bottom; py += 6) pen.fillRect(px - 0.5, py, 1, 3);
        pen.globalAlpha = 1;
        if (pen.measureText(label).width + 14 < next - px) text(label, px + 7, marksTop + 6);
      });
    };

    const drawProbe = (probe, top) => {
      text("lost", PAD.left - 6, top + LOST / 2 - 4, "right");
      for (let decade = probe.low; decade <= probe.high; decade++) {
        const py = y(probe, top, 10 ** decade);
        pen.fillStyle = color("rule");
        pen.fillRect(PAD.left, py, width - PAD.left - PAD.right, 1);
        text(decade < 0 ? (10 ** decade).toFixed(-decade) : String(10 ** decade), PAD.left - 6, py, "right");
      }
      const paints = WHO.map((who) => color(who === "nobody" ? "lost" : who));
      const size = (to - from) / probe.count < 0.02 ? 4 : 2.5;
      for (let i = 0; i < probe.count; i++) {
        if (probe.sent[i] < from || probe.sent[i] > to) continue;
        pen.fillStyle = paints[probe.by[i]];
        if (probe.rtt[i] < 0) pen.fillRect(x(probe.sent[i]) - 0.75, top, 1.5, LOST - 8);
        else pen.fillRect(x(probe.sent[i]) - size / 2, y(probe, top, probe.rtt[i]) - size / 2, size, size);
      }
      const thinned = probe.keptOneOf > 1 ? `; of usual answers every ${probe.keptOneOf}th` : "";
      text(`${probe.name}: round trip, ms${thinned}`, PAD.left, top - NAME / 2, "left", "text");
    };

    const drawWire = () => {
      const high = roundStep(wire.most), height = (mbit) => WIRE * clamp(mbit / high, 0, 1);
      for (const part of [0, 0.5, 1]) {
        pen.fillStyle = color("rule");
        pen.fillRect(PAD.left, bottom - part * WIRE, width - PAD.left - PAD.right, 1);
        text(String(high * part), PAD.left - 6, bottom - part * WIRE, "right");
      }
      pen.fillStyle = color("wire");
      wire.at.forEach((at, index) => {
        const left = Math.max(x(at), PAD.left), right = Math.min(x(at + 10), width - PAD.right);
        if (right > left) pen.fillRect(left, bottom - height(wire.mbit[index]), right - left + 0.3, height(wire.mbit[index]));
      });
      text("migration link: Mbit/s sent, per 10 ms", PAD.left, wireTop - NAME / 2, "left", "text");
    };

    // ---- what lies under the pointer

    const nearestRequest = (probe, top, px, py) => {
      let best = null, bestDistance = 14;
      for (let i = 0; i < probe.count; i++) {
        const across = Math.abs(x(probe.sent[i]) - px);
        if (across > bestDistance) continue;
        const dotY = probe.rtt[i] < 0 ? top + LOST / 2 - 4 : y(probe, top, probe.rtt[i]);
        const distance = Math.hypot(across, dotY - py);
        if (distance < bestDistance) { best = i; bestDistance = distance; }
      }
      if (best === null) return "";
      const answer = probe.rtt[best] < 0 ? "never answered"
        : `answered after ${ms(probe.rtt[best])} by ${probe.by[best] === 2 ? "an unknown host" : "the " + WHO[probe.by[best]]}`;
      return `${probe.name} ${probe.seq[best]}\nsent at ${ms(probe.sent[best])}\n${answer}`;
    };

    const describe = (px, py) => {
      const time = timeAt(px), found = [];
      for (const [at, label, host] of data.marks) {
        if (Math.abs(x(at) - px) < 5) found.push(`${label}${host ? " on " + host : ""} at ${ms(at)}`);
      }
      if (py < marksTop) {
        const span = spans.find((one) => Math.floor(py / ROW) === one.row && one.start <= time && time <= one.end);
        if (span) found.push(`${span.name}: ${ms(span.end - span.start)}\nfrom ${ms(span.start)} to ${ms(span.end)}`);
      }
      probes.forEach((probe, index) => {
        const top = probeTop(index);
        if (py >= top - 6 && py <= top + LOST + PROBE + 6) found.push(nearestRequest(probe, top, px, py));
      });
      if (py >= wireTop && py <= bottom) {
        const tick = wire.at.findIndex((at) => at <= time && time < at + 10);
        if (tick >= 0) found.push(`sent ${wire.mbit[tick].toFixed(1)} Mbit/s, received ${wire.back[tick].toFixed(1)}\nin the 10 ms from ${ms(wire.at[tick])}`);
      }
      return found.filter(Boolean).join("\n");
    };

    const hover = (px, py) => {
      const words = px < PAD.left || width === 0 ? "" : describe(px, py);
      tip.hidden = !words;
      if (!words) return;
      tip.textContent = words;
      tip.style.left = clamp(px + 14, 0, Math.max(0, width - tip.offsetWidth)) + "px";
      tip.style.top = (py > bottom / 2 ? py - tip.offsetHeight - 10 : py + 14) + "px";
    };

    // ---- pointer, wheel and keys

    const pointers = new Map();
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, event.offsetX);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!pointers.has(event.pointerId)) { hover(event.offsetX, event.offsetY); return; }
      const before = pointers.get(event.pointerId);
      const others = [...pointers].filter(([id]) => id !== event.pointerId);
      if (others.length > 0) {
        const other = others[0][1];
        const apart = Math.max(Math.abs(before - other), 8), now = Math.max(Math.abs(event.offsetX - other), 8);
        zoom(apart / now, timeAt(other));
      } else {
        pan(timeAt(before) - timeAt(event.offsetX));
      }
      pointers.set(event.pointerId, event.offsetX);
    });
    const release = (event) => pointers.delete(event.pointerId);
    canvas.addEventListener("pointerup", (event) => { release(event); hover(event.offsetX, event.offsetY); });
    canvas.addEventListener("pointercancel", release);
    canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
    // The wheel scrolls the page unless the time line was clicked before or Ctrl is held (a trackpad's pinch).
    canvas.addEventListener("wheel", (event) => {
      if (document.activeElement !== canvas && !event.ctrlKey) return;
      event.preventDefault();
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan(event.deltaX / width * (to - from));
      else zoom(Math.exp(clamp(event.deltaY, -100, 100) * 0.004), timeAt(event.offsetX));
    }, { passive: false });
    const actions = {
      in: () => zoom(0.5), out: () => zoom(2), reset, all: () => show(first, last),
    };
    const keys = {
      "+": actions.in, "=": actions.in, "-": actions.out, "0": reset, Home: actions.all,
      ArrowLeft: () => pan((from - to) / 8), ArrowRight: () => pan((to - from) / 8),
    };
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
      event.preventDefault();
      keys[event.key]();
    });
    figure.querySelectorAll("button").forEach((button) => button.addEventListener("click", actions[button.dataset.do]));
    new ResizeObserver(redraw).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    draw();
  };

  // A time line is unpacked and drawn when it first comes near the screen (or onto paper), not before.
  const NEAR_PX = 300;
  const waiting = new Set(document.querySelectorAll("figure.timeline"));
  const start = (figure) => {
    if (!waiting.delete(figure)) return;
    observer.unobserve(figure);
    timeline(figure);
  };
  const observer = new IntersectionObserver((entries) => {
    entries.filter((entry) => entry.isIntersecting).forEach((entry) => start(entry.target));
  }, { rootMargin: NEAR_PX + "px" });
  const shown = (figure) => figure.clientWidth > 0;
  for (const figure of [...waiting].filter(shown)) {
    if (figure.getBoundingClientRect().top < innerHeight + NEAR_PX) start(figure);
  }
  waiting.forEach((figure) => observer.observe(figure));
  addEventListener("beforeprint", () => [...waiting].filter(shown).forEach(start));
})();
