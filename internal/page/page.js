"use strict";
(() => {
  const SLOTS = 16384;
  const $ = (id) => document.getElementById(id);
  const COLORS = ["#4a7fd4", "#f08c2e", "#2fa36b", "#a768c9", "#c9a227", "#33a9b5", "#d9638f", "#8a6d4f", "#7a8b2f", "#6673c7"];
  const dark = matchMedia("(prefers-color-scheme: dark)");

  let view = null;          // the last news
  let slots = null;         // by slot: node, backup, marks
  let order = null;         // place in the map -> slot
  let names = [];           // nodes in the map
  const colorOf = new Map();
  let lit = null;           // node whose slots stand out
  let pinned = null;
  let cursor = -1;          // place in the map
  let paused = false;
  let newsAt = 0;
  const history = { calls: [], served: [], hits: [], near: [], lag: [] };

  const color = (name) => {
    if (!colorOf.has(name)) {
      const i = colorOf.size;
      colorOf.set(name, i < COLORS.length ? COLORS[i] : `hsl(${(i * 137.5) % 360} 45% ${50 + (i % 3) * 8}%)`);
    }
    return colorOf.get(name);
  };
  const number = (x) => x >= 1e6 ? (x / 1e6).toFixed(x < 1e7 ? 2 : 1) + " M" : x >= 1e4 ? (x / 1e3).toFixed(1) + " k" : x >= 100 || Number.isInteger(x) ? Math.round(x).toLocaleString("en") : x.toFixed(1);
  const bytes = (x) => { let u = 0; while (x >= 1024 && u < 4) { x /= 1024; u++; } return (u && x < 100 ? x.toFixed(1) : Math.round(x)) + " " + ["B", "KiB", "MiB", "GiB", "TiB"][u]; };
  const micros = (x) => !x ? "–" : x >= 1e6 ? (x / 1e6).toFixed(2) + " s" : x >= 1e3 ? (x / 1e3).toFixed(1) + " ms" : x >= 10 ? Math.round(x) + " µs" : x.toFixed(1) + " µs";
  const percent = (x) => x === null ? "–" : (100 * x).toFixed(x > 0.999 || x === 0 ? 0 : 1) + " %";
  const seconds = (s) => s < 90 ? Math.ceil(s) + " s" : s < 5400 ? Math.round(s / 60) + " min" : (s / 3600).toFixed(1) + " h";
  const clock = (t) => new Date(t).toLocaleTimeString("en-GB");

  const el = (tag, props, ...children) => {
    const e = document.createElement(tag);
    for (const [k, v] of Object.entries(props || {})) {
      if (k === "class") e.className = v; else if (k.startsWith("aria-") || k === "role" || k === "scope" || k === "type") e.setAttribute(k, v); else e[k] = v;
    }
    e.append(...children);
    return e;
  };
  const text = (id, s) => { const e = $(id); if (e.textContent !== s) e.textContent = s; };
  const rows = (id, list, width, none) => {
    $(id).replaceChildren(...(list.length ? list : [el("tr", {}, el("td", { colSpan: width, class: "empty" }, none))]));
  };
  const swatch = (name) => { const s = el("span", { class: "swatch", "aria-hidden": "true" }); s.style.background = color(name); return s; };
  const cell = (s, cls) => el("td", cls ? { class: cls } : {}, s);

  // Each range of "0-5,7".
  const eachSlot = (ranges, f) => {
    if (!ranges) return;
    for (const part of ranges.split(",")) {
      const [a, b] = part.split("-").map(Number);
      for (let i = a; i <= (b === undefined ? a : b); i++) f(i);
    }
  };
  const rangeText = (list, most) => {
    const out = [];
    for (let i = 0; i < list.length;) {
      let j = i;
      while (j + 1 < list.length && list[j + 1] === list[j] + 1) j++;
      if (out.length === most) return out.join(", ") + ", and " + (list.length - i) + " more slots";
      out.push(i === j ? list[i] : list[i] + "–" + list[j]);
      i = j + 1;
    }
    return out.join(", ");
  };

  function takeSlots(s) {
    slots = { primary: new Array(SLOTS).fill(""), backup: new Array(SLOTS).fill(""), backups: new Map(), none: new Uint8Array(SLOTS), move: new Uint8Array(SLOTS), short: new Uint8Array(SLOTS) };
    names = [...new Set([...Object.keys(s.primary || {}), ...Object.keys(s.backup || {})])].sort();
    names.forEach(color);
    for (const [name, r] of Object.entries(s.primary || {})) eachSlot(r, (i) => { slots.primary[i] = name; });
    for (const [name, r] of Object.entries(s.backup || {})) eachSlot(r, (i) => {
      slots.backup[i] = slots.backup[i] || name;
      slots.backups.set(i, [...(slots.backups.get(i) || []), name]);
    });
    eachSlot(s.noPrimary, (i) => { slots.none[i] = 1; });
    eachSlot(s.moving, (i) => { slots.move[i] = 1; });
    eachSlot(s.shortBackups, (i) => { slots.short[i] = 1; });
    arrange();
    legend();
    text("n-none", String(slots.none.reduce((a, b) => a + b, 0)));
    text("n-move", String(slots.move.reduce((a, b) => a + b, 0)));
    text("n-short", String(slots.short.reduce((a, b) => a + b, 0)));
  }

  const chosen = (name) => document.querySelector(`input[name=${name}]:checked`).value;
  const shown = (slot) => slots[chosen("role")][slot];

  function arrange() {
    order = Array.from({ length: SLOTS }, (_, i) => i);
    if (chosen("order") === "node") {
      const rank = new Map(names.map((n, i) => [n, i]));
      const by = order.map((i) => rank.has(shown(i)) ? rank.get(shown(i)) : names.length);
      order.sort((a, b) => by[a] - by[b] || a - b);
    }
    draw();
  }

  const canvas = $("map");
  const shape = () => canvas.clientWidth > 560 && canvas.clientWidth > canvas.clientHeight * 1.5 ? { cols: 182, rows: 91 } : { cols: 128, rows: 128 };

  function draw() {
    if (!slots) return;
    const { cols, rows } = shape();
    const scale = devicePixelRatio || 1;
    const w = Math.max(1, Math.round(canvas.clientWidth * scale)), h = Math.max(1, Math.round(canvas.clientHeight * scale));
    if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
    const g = canvas.getContext("2d");
    const css = getComputedStyle(document.documentElement);
    const ink = css.getPropertyValue("--ink"), bad = css.getPropertyValue("--bad"), warn = css.getPropertyValue("--warn"), card = css.getPropertyValue("--card"), empty = css.getPropertyValue("--empty");
    const cw = w / cols, ch = h / rows, gap = cw > 4.5 ? 1 : 0;
    g.fillStyle = card;
    g.fillRect(0, 0, w, h);
    const which = pinned || lit;
    for (let p = 0; p < SLOTS; p++) {
      const slot = order[p], name = shown(slot);
      const x = Math.floor((p % cols) * cw), y = Math.floor(Math.floor(p / cols) * ch);
      const x2 = Math.floor((p % cols + 1) * cw), y2 = Math.floor((Math.floor(p / cols) + 1) * ch);
      const cellW = x2 - x - gap, cellH = y2 - y - gap;
      g.globalAlpha = which && name !== which ? 0.16 : 1;
      g.fillStyle = slots.none[slot] ? bad : name ? color(name) : empty;
      g.fillRect(x, y, cellW, cellH);
      if (slots.move[slot] && !slots.none[slot]) {
        g.fillStyle = ink;
        g.beginPath(); g.moveTo(x, y); g.lineTo(x + cellW * 0.75, y); g.lineTo(x, y + cellH * 0.75); g.fill();
      } else if (slots.short[slot] && !slots.none[slot]) {
        g.fillStyle = warn;
        g.fillRect(x, y + cellH * 0.62, cellW, cellH * 0.38);
      }
    }
    g.globalAlpha = 1;
    if (cursor >= 0) {
      const x = (cursor % cols) * cw, y = Math.floor(cursor / cols) * ch, r = Math.max(3 * scale, cw * 0.6);
      g.lineWidth = 2 * scale;
      g.strokeStyle = card;
      g.strokeRect(x - r, y - r, cw + 2 * r, ch + 2 * r);
      g.strokeStyle = ink;
      g.strokeRect(x - r + g.lineWidth, y - r + g.lineWidth, cw + 2 * r - 2 * g.lineWidth, ch + 2 * r - 2 * g.lineWidth);
    }
  }

  const slotsOf = (name) => { const list = []; for (let i = 0; i < SLOTS; i++) if (shown(i) === name) list.push(i); return list; };

  function tell() {
    if (!slots) return;
    if (cursor < 0) {
      const name = pinned || lit;
      text("where", name ? `${name}: ${chosen("role")} of ${slotsOf(name).length.toLocaleString("en")} slots\n${rangeText(slotsOf(name), 24)}` : "Point at a slot or a node to see who holds what.");
      return;
    }
    const slot = order[cursor], owner = slots.primary[slot], same = shown(slot);
    let from = slot, to = slot;
    while (from > 0 && shown(from - 1) === same) from--;
    while (to < SLOTS - 1 && shown(to + 1) === same) to++;
    const marks = [slots.none[slot] && "no living primary", slots.move[slot] && "on its way to another node", slots.short[slot] && "short of backups"].filter(Boolean);
    text("where", `Slot ${slot}\nprimary ${owner || "none"}\nbackups ${(slots.backups.get(slot) || []).join(", ") || "none"}\n` +
      `range ${from === to ? from : from + "–" + to} of ${same || "nobody"}, ${same ? slotsOf(same).length.toLocaleString("en") + " slots in all" : "never claimed"}` + (marks.length ? "\n" + marks.join(", ") : ""));
  }

  function legend() {
    const counts = new Map();
    for (let i = 0; i < SLOTS; i++) counts.set(shown(i), (counts.get(shown(i)) || 0) + 1);
    const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.node : undefined;
    $("legend").replaceChildren(...names.map((name) => {
      const b = el("button", { type: "button", "aria-pressed": String(pinned === name) }, swatch(name), el("span", {}, name), el("b", {}, (counts.get(name) || 0).toLocaleString("en")));
      b.dataset.node = name;
      b.addEventListener("mouseenter", () => { lit = name; cursor = -1; draw(); tell(); });
      b.addEventListener("mouseleave", () => { lit = null; draw(); });
      b.addEventListener("focus", () => { lit = name; cursor = -1; draw(); tell(); });
      b.addEventListener("blur", () => { lit = null; draw(); });
      b.addEventListener("click", () => { pinned = pinned === name ? null : name; legend(); draw(); tell(); });
      return el("li", {}, b);
    }));
    if (focused !== undefined) for (const b of $("legend").querySelectorAll("button")) if (b.dataset.node === focused) b.focus();
    canvas.setAttribute("aria-label", "Map of the 16384 slots by " + chosen("role") + ": " + names.map((n) => `${n} ${counts.get(n) || 0}`).join(", ") + ".");
  }

  canvas.addEventListener("mousemove", (e) => {
    const { cols, rows } = shape(), box = canvas.getBoundingClientRect();
    const p = Math.floor((e.clientY - box.top) / box.height * rows) * cols + Math.floor((e.clientX - box.left) / box.width * cols);
    const at = p >= 0 && p < SLOTS ? p : -1;
    if (at !== cursor) { cursor = at; lit = at < 0 || !slots ? null : shown(order[at]) || null; draw(); tell(); }
  });
  canvas.addEventListener("mouseleave", () => { cursor = -1; lit = null; draw(); });
  canvas.addEventListener("focus", () => { if (cursor < 0 && canvas.matches(":focus-visible")) { cursor = 0; draw(); tell(); } });
  canvas.addEventListener("blur", () => { cursor = -1; lit = null; draw(); });
  canvas.addEventListener("keydown", (e) => {
    const { cols } = shape();
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -cols, ArrowDown: cols, PageUp: -10 * cols, PageDown: 10 * cols, Home: -SLOTS, End: SLOTS }[e.key];
    if (step === undefined || !slots) return;
    e.preventDefault();
    cursor = Math.min(SLOTS - 1, Math.max(0, Math.max(cursor, 0) + step));
    lit = shown(order[cursor]) || null;
    draw();
    tell();
  });
  for (const input of document.querySelectorAll(".map input")) input.addEventListener("change", () => { if (slots) { cursor = -1; arrange(); legend(); tell(); } });
  new ResizeObserver(draw).observe(canvas);
  dark.addEventListener("change", draw);

  function spark(id, list, value) {
    list.push(value);
    if (list.length > 120) list.shift();
    const top = Math.max(...list, 1e-9), n = Math.max(list.length - 1, 1);
    $(id).firstElementChild.setAttribute("d", list.map((v, i) => (i ? "L" : "M") + (120 - (n - i)).toFixed(1) + " " + (25 - 23 * v / top).toFixed(1)).join(""));
  }

  const words = { ok: "✓ ok", degraded: "◐ degraded", failing: "✕ failing" };

  function show(v) {
    view = v;
    text("cluster", v.cluster);
    text("self", v.node);
    document.title = `${v.state === "ok" ? "" : v.state + ": "}${v.cluster} · slotmesh`;
    text("state", words[v.state] || v.state);
    $("state").className = "state " + v.state;
    const why = $("reasons");
    why.hidden = !v.health.reasons.length;
    why.className = "reasons " + v.state;
    if (why.textContent !== v.health.reasons.join("")) why.replaceChildren(...v.health.reasons.map((r) => el("li", {}, r)));

    const r = v.rates, self = v.nodes.find((n) => n.self) || {};
    text("t-calls", number(r.local + r.remote + r.unanswered));
    text("t-calls-sub", `${number(r.local)} here, ${number(r.remote)} elsewhere` + (r.unanswered ? `, ${number(r.unanswered)} unanswered` : ""));
    text("t-served", number(r.served));
    text("t-served-sub", `${number(r.evictions)} evicted, ${number(r.expiries)} expired /s`);
    text("t-hits", percent(r.hitRatio));
    text("t-hits-sub", `${number(v.records)} records held here`);
    const near = v.near;
    $("near").hidden = !(near.hits || near.entries || near.grants || near.revocations);
    text("t-near", number(near.hitRate));
    text("t-near-sub", `${number(near.entries)} keys of others, ${bytes(near.bytes)}`);
    text("t-near-grants", `${number(near.grants)} keys granted, ${number(near.revokeRate)} revoked /s`);
    text("t-lag", micros(r.replicationLag) === "–" ? "none" : micros(r.replicationLag));
    text("t-mem", bytes(self.memory || 0));
    const full = self.memoryLimit ? self.memory / self.memoryLimit : 0;
    text("t-mem-sub", self.memoryLimit ? `${percent(full)} of ${bytes(self.memoryLimit)}` : "");
    $("t-mem-bar").style.width = 100 * Math.min(full, 1) + "%";
    $("t-mem-bar").className = full > 0.9 ? "high" : "";
    const covered = SLOTS - v.health.noPrimary - v.health.unclaimed;
    text("t-slots", covered.toLocaleString("en"));
    text("t-slots-sub", covered === SLOTS ? "all have a primary" : `of 16,384; ${SLOTS - covered} are not served`);
    $("t-slots-bar").style.width = 100 * covered / SLOTS + "%";
    $("t-slots-bar").className = covered === SLOTS ? "full" : "high";
    spark("s-calls", history.calls, r.local + r.remote);
    spark("s-served", history.served, r.served);
    spark("s-hits", history.hits, r.hitRatio || 0);
    spark("s-near", history.near, near.hitRate);
    spark("s-lag", history.lag, r.replicationLag);

    if (!v.slots.unchanged) { v.nodes.map((n) => n.name).sort().forEach(color); takeSlots(v.slots); tell(); }

    const m = v.moves;
    text("moves-text", m.left ? `${m.left.toLocaleString("en")} of ${m.of.toLocaleString("en")} slots are on their way` + (m.seconds ? `, about ${seconds(m.seconds)} left` : "") + (m.copied ? `, ${bytes(m.copied)}/s copied` : "") : "Every slot is where it should be.");
    $("moves-bar").setAttribute("aria-valuenow", Math.round(100 * m.progress));
    $("moves-bar").firstElementChild.style.width = 100 * m.progress + "%";
    $("moves-bar").firstElementChild.className = m.left ? "" : "full";
    $("moves-nodes").replaceChildren(...v.nodes.filter((n) => n.onItsWay).map((n) => el("li", {}, `${n.name}: ${n.onItsWay.toLocaleString("en")} slots to copy or hand over` + (n.copied ? `, ${bytes(n.copied)}/s` : ""))));

    rows("nodes", v.nodes.map((n) => el("tr", {},
      el("td", {}, swatch(n.name), n.name, n.self ? " (this)" : n.visitor ? " (visitor)" : ""), el("td", {}, el("span", { class: "tag " + n.state }, n.state)), cell(n.zone || "–"), cell(String(n.weight), "n"),
      cell(n.primaries.toLocaleString("en"), "n"), cell(n.backups.toLocaleString("en"), "n"), cell(n.reported ? number(n.calls) : "–", "n"), cell(n.reported ? percent(n.hitRatio) : "–", "n"),
      cell(n.reported ? number(n.records) : "–", "n"), cell(n.reported ? bytes(n.memory) + " / " + bytes(n.memoryLimit) : "–", "n"), cell(n.self ? "–" : micros(n.roundTrip), "n"), cell(n.self ? "–" : micros(n.p99), "n"), cell(n.addr, "mono"))), 13, "no nodes");
    rows("hotkeys", v.hot.keys.map((k) => el("tr", {}, cell(k.key, "key"), cell(String(k.slot), "n"), cell(number(k.rate), "n"))), 3, "none is asked for much");
    rows("hotslots", v.hot.slots.map((s) => el("tr", {}, cell(String(s.slot)), el("td", {}, ...(slots && slots.primary[s.slot] ? [swatch(slots.primary[s.slot]), slots.primary[s.slot]] : ["–"])), cell(number(s.rate), "n"))), 3, "none is asked for much");
    rows("calls", v.calls.map((c) => el("tr", {}, cell(c.op), cell(c.source), cell(number(c.count), "n"), cell(number(c.failed), "n"), cell(number(c.rate), "n"), cell(micros(c.p50), "n"), cell(micros(c.p99), "n"))), 7, "no calls yet");
    rows("events", v.events.map((e) => el("tr", {}, cell(clock(e.time), "time"), el("td", {}, el("span", { class: "tag " + e.level }, e.level.toLowerCase())), cell(e.name), cell(e.attrs || "", "mono"))), 4, "nothing happened yet");
    rows("slow", v.slow.map((s) => el("tr", {}, cell(clock(s.time), "time"), cell(s.op), cell(String(s.slot), "n"), cell(s.source), cell(s.peer || "–"), cell(micros(s.took), "n"), cell(String(s.attempts), "n"), cell(s.err || "–", "mono"))), 8, "none");
    document.body.dataset.ready = "true";
  }

  function news(v) { newsAt = Date.now(); if (!paused) show(v); else if (!v.slots.unchanged) view = v; }
  setInterval(() => {
    const age = newsAt ? (Date.now() - newsAt) / 1000 : -1;
    $("live").className = "dot " + (age >= 0 && age < 4 ? "on" : "off");
    text("age", age < 0 ? "waiting for news" : paused ? "paused" : age < 4 ? "live" : `no news for ${seconds(age)}`);
  }, 500);

  $("pause").addEventListener("click", () => {
    paused = !paused;
    $("pause").setAttribute("aria-pressed", String(paused));
    text("pause", paused ? "Go on" : "Pause");
    if (!paused) { source.close(); follow(); }
  });

  let source;
  function follow() {
    source = new EventSource(location.pathname);
    source.onmessage = (e) => news(JSON.parse(e.data));
  }
  follow();
})();
