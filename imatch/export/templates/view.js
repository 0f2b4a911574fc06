// The viewer. Coordinates are reference pixels, corner-based; a camera has the place in the middle
// of a canvas and device pixels a reference pixel.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const TILE = 512, BLINK_MS = 600, REACH_PX = 14, CHIP = 48, LISTED = 100, SHARP = 1.3, CELL_PX = 24;
const map = $("map"), pen = map.getContext("2d", { alpha: false });
const state = { view: 0, mode: "swipe", split: 0.5, before: false, arrows: true, times: 1, on: true,
  point: -1, fitted: true, camera: { x: 0, y: 0, scale: 1 } };
const arrows = { image: document.createElement("canvas"), key: "", x: 0, y: 0, count: 0 };
let colours = {}, dirty = false, timer = 0, size = { w: 1, h: 1, ratio: 1 };

// ---- Pictures: decoded when they are first wanted, each level half as fine as the one before.
const loaded = new Map();

async function decoded(tiles) {
  return Promise.all(tiles.map(async tile => {
    const image = new Image();
    image.src = tile.src;
    await image.decode();
    return { ...tile, image: await createImageBitmap(image) };
  }));
}

function halved(level) {
  const side = TILE * level.step, made = new Map();
  const x0 = Math.min(...level.tiles.map(t => t.x)), y0 = Math.min(...level.tiles.map(t => t.y));
  for (const tile of level.tiles) {
    const column = Math.floor(Math.round((tile.x - x0) / side) / 2);
    const row = Math.floor(Math.round((tile.y - y0) / side) / 2);
    const key = `${column},${row}`;
    if (!made.has(key)) {
      const image = document.createElement("canvas");
      image.width = image.height = TILE;
      made.set(key, { x: x0 + 2 * side * column, y: y0 + 2 * side * row, w: 2 * side, h: 2 * side, image });
    }
    const into = made.get(key), brush = into.image.getContext("2d");
    brush.imageSmoothingQuality = "high";
    const unit = 2 * level.step;
    brush.drawImage(tile.image, (tile.x - into.x) / unit, (tile.y - into.y) / unit, tile.w / unit, tile.h / unit);
  }
  return { step: 2 * level.step, tiles: [...made.values()] };
}

function levels(index) {
  if (index === undefined) return [];
  if (!loaded.has(index)) {
    loaded.set(index, []);
    const layer = data.layers[index];
    decoded(layer.tiles).then(tiles => {
      const found = [{ step: layer.step, tiles }];
      while (found.at(-1).tiles.length > 1) found.push(halved(found.at(-1)));
      loaded.set(index, found);
      refresh();
    });
  }
  return loaded.get(index);
}

function patches(view, side) {
  if (!view.patches) return null;
  const key = `${data.views.indexOf(view)} ${side}`;
  if (!loaded.has(key)) {
    loaded.set(key, null);
    const tiles = Object.values(view.patches).flatMap(shots => shots[side] || []);
    decoded(tiles).then(found => { loaded.set(key, { step: 1, tiles: found }); refresh(); });
  }
  return loaded.get(key);
}

function drawLevel(brush, level, camera) {
  const { x, y, scale, w, h } = camera;
  brush.imageSmoothingEnabled = level.step * scale < 2;
  for (const tile of level.tiles) {
    const left = Math.round((tile.x - x) * scale + w / 2), top = Math.round((tile.y - y) * scale + h / 2);
    const right = Math.round((tile.x + tile.w - x) * scale + w / 2);
    const bottom = Math.round((tile.y + tile.h - y) * scale + h / 2);
    if (right > 0 && bottom > 0 && left < w && top < h)
      brush.drawImage(tile.image, left, top, right - left, bottom - top);
  }
}

// Draws one side of a view: the coarsest level that is fine enough, full resolution where there is.
function drawSide(brush, view, side, camera) {
  const name = side === "target" && (state.before || view.target === undefined) ? "before" : side;
  const all = levels(view[name]);
  if (!all.length) return;
  const level = all.filter(one => one.step * camera.scale <= SHARP).at(-1) || all[0];
  drawLevel(brush, level, camera);
  if (all[0].step > 1 && all[0].step * camera.scale > SHARP && name !== "before") {
    const sharp = patches(view, name);
    if (sharp) drawLevel(brush, sharp, camera);
  }
}

// ---- The map.
const current = () => data.views[state.view];
const camera = () => ({ ...state.camera, w: map.width, h: map.height });

function refresh() {
  if (dirty) return;
  dirty = true;
  requestAnimationFrame(() => { dirty = false; draw(); });
}

function draw() {
  const view = current(), eye = camera();
  pen.fillStyle = colours.stage;
  pen.fillRect(0, 0, map.width, map.height);
  if (state.mode === "swipe") {
    drawSide(pen, view, "reference", eye);
    const edge = Math.round(state.split * map.width);
    pen.save();
    pen.beginPath();
    pen.rect(edge, 0, map.width - edge, map.height);
    pen.clip();
    pen.fillStyle = colours.stage;
    pen.fillRect(edge, 0, map.width, map.height);
    drawSide(pen, view, "target", eye);
    pen.restore();
    for (const [colour, wide] of [[colours.halo, 2], [colours.ink, 1]]) {
      pen.fillStyle = colour;
      pen.fillRect(edge - wide * size.ratio, 0, 2 * wide * size.ratio, map.height);
    }
  } else {
    drawSide(pen, view, state.mode === "reference" || (state.mode === "blink" && !state.on) ? "reference" : "target", eye);
  }
  if (state.arrows && view.points) drawArrows(view, eye);
  $("zoomed").textContent = `zoom ${Math.round(100 * state.camera.scale / size.ratio)} %`;
  if (state.point >= 0) drawChips();
}

const length = (points, i) => points.dx[i] === null ? null : Math.hypot(points.dx[i], points.dy[i]);
const kind = (view, i) => {
  if (!view.kept[i]) return "struck";
  const far = length(view.points, i);
  return far === null || far <= 0.5 ? "small" : far <= 1 ? "middle" : "large";
};
const place = (points, i, eye) => [
  (points.ref_x[i] + 0.5 - eye.x) * eye.scale + eye.w / 2, (points.ref_y[i] + 0.5 - eye.y) * eye.scale + eye.h / 2];

// Of neighbours on the screen the kept one with the largest residual: more cannot be told apart.
function shownPoints(view, eye) {
  const points = view.points, cells = new Map(), side = CELL_PX * size.ratio;
  for (let i = 0; i < points.ref_x.length; i++) {
    const [x, y] = place(points, i, eye);
    if (x < 0 || y < 0 || x > eye.w || y > eye.h) continue;
    // Cells lie fast on the ground, so that nothing comes and goes while the images move.
    const key = `${Math.floor(points.ref_x[i] * eye.scale / side)},${Math.floor(points.ref_y[i] * eye.scale / side)}`;
    const weight = (view.kept[i] ? 1e6 : 0) + (length(points, i) ?? 0), best = cells.get(key);
    if (!best || weight > best.weight) cells.set(key, { i, x, y, weight });
  }
  return [...cells.values()];
}

function paintArrows(brush, view, eye) {
  const points = view.points, dot = 2 * size.ratio;
  brush.clearRect(0, 0, eye.w, eye.h);
  brush.lineCap = "round";
  const shown = shownPoints(view, eye);
  for (const { i, x, y } of shown) {
    const name = kind(view, i);
    brush.beginPath();
    if (name === "struck") {
      brush.moveTo(x - dot, y - dot); brush.lineTo(x + dot, y + dot);
      brush.moveTo(x - dot, y + dot); brush.lineTo(x + dot, y - dot);
    } else if (points.dx[i] !== null) {
      const long = state.times * size.ratio, dx = points.dx[i] * long, dy = points.dy[i] * long;
      const far = Math.hypot(dx, dy) || 1, head = Math.min(5 * size.ratio, 0.4 * far) / far;
      brush.moveTo(x, y); brush.lineTo(x + dx, y + dy);
      brush.moveTo(x + dx - head * (dx - 0.7 * dy), y + dy - head * (dy + 0.7 * dx));
      brush.lineTo(x + dx, y + dy);
      brush.lineTo(x + dx - head * (dx + 0.7 * dy), y + dy - head * (dy - 0.7 * dx));
    }
    brush.lineWidth = 3.2 * size.ratio; brush.strokeStyle = colours.halo; brush.stroke();
    brush.lineWidth = 1.6 * size.ratio; brush.strokeStyle = colours[name]; brush.stroke();
    if (name === "struck") continue;
    brush.fillStyle = colours[name];
    brush.fillRect(x - dot, y - dot, 2 * dot, 2 * dot);
  }
  return shown.length;
}

// Arrows are painted once for a zoom, with a margin, and moved with the images.
function drawArrows(view, eye) {
  const margin = Math.round(0.2 * Math.max(map.width, map.height));
  const key = [state.view, eye.scale, state.times, view.changed, colours.ink, map.width, map.height].join();
  const shift = [(arrows.x - eye.x) * eye.scale, (arrows.y - eye.y) * eye.scale];
  if (arrows.key !== key || Math.max(...shift.map(Math.abs)) > margin) {
    arrows.image.width = map.width + 2 * margin;
    arrows.image.height = map.height + 2 * margin;
    const wide = { ...eye, w: arrows.image.width, h: arrows.image.height };
    arrows.count = paintArrows(arrows.image.getContext("2d"), view, wide);
    Object.assign(arrows, { key, x: eye.x, y: eye.y });
    shift.fill(0);
  }
  pen.drawImage(arrows.image, Math.round(shift[0]) - margin, Math.round(shift[1]) - margin);
  if (state.point < 0) return;
  const [x, y] = place(view.points, state.point, eye);
  for (const [colour, wide] of [[colours.halo, 4.5], [colours.ink, 2]]) {
    pen.lineWidth = wide * size.ratio; pen.strokeStyle = colour;
    pen.beginPath(); pen.arc(x, y, 9 * size.ratio, 0, 2 * Math.PI); pen.stroke();
  }
}

function zoom(factor, x = map.width / 2, y = map.height / 2) {
  const eye = state.camera, least = 0.2 * fitting(current()), most = 40 * size.ratio;
  const scale = Math.min(most, Math.max(least, eye.scale * factor));
  eye.x += (x - map.width / 2) * (1 / eye.scale - 1 / scale);
  eye.y += (y - map.height / 2) * (1 / eye.scale - 1 / scale);
  eye.scale = scale;
  state.fitted = false;
  refresh();
}

function pan(dx, dy) {
  const eye = state.camera, view = current();
  eye.x = Math.min(view.left + view.width, Math.max(view.left, eye.x - dx / eye.scale));
  eye.y = Math.min(view.top + view.height, Math.max(view.top, eye.y - dy / eye.scale));
  state.fitted = false;
  refresh();
}

const fitting = view => view.width ? Math.min(map.width / view.width, map.height / view.height) : 1;

function fit() {
  const view = current();
  if (view.width) state.camera = { x: view.left + view.width / 2, y: view.top + view.height / 2, scale: fitting(view) };
  state.fitted = true;
  refresh();
}

// ---- Tie points.
function drawChips() {
  const view = current(), points = view.points, i = state.point;
  for (const side of ["reference", "target"]) {
    const canvas = $(`chip-${side}`), brush = canvas.getContext("2d"), { width: w, height: h } = canvas;
    const off = side === "target" && !state.before && points.dx[i] !== null ? points.scale : 0;
    const eye = { x: points.ref_x[i] + 0.5 + off * points.dx[i], y: points.ref_y[i] + 0.5 + off * points.dy[i], scale: w / CHIP, w, h };
    brush.fillStyle = colours.stage;
    brush.fillRect(0, 0, w, h);
    drawSide(brush, view, side, eye);
    for (const [colour, wide] of [[colours.halo, 5], [colours.large, 2]]) {
      brush.strokeStyle = colour; brush.lineWidth = wide;
      brush.beginPath();
      for (const [x, y] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        brush.moveTo(w / 2 + 10 * x, h / 2 + 10 * y); brush.lineTo(w / 2 + 40 * x, h / 2 + 40 * y);
      }
      brush.stroke();
    }
  }
}

function select(i, centre = true) {
  const view = current();
  if (!view.points || i < 0 || i >= view.points.ref_x.length) return;
  state.point = i;
  const points = view.points, far = length(points, i), eye = state.camera;
  const metres = points.metres[i] === null ? "" : ` (${points.metres[i].toFixed(1)} m)`;
  const size_ = far === null ? "no transform" : `residual ${far.toFixed(2)} px${metres}`;
  $("said").textContent = `Tie point ${i} of ${points.ref_x.length}: ${size_}${points.check[i] ? ", check point" : ""}, ${view.kept[i] ? "kept" : "struck out"}.`;
  $("strike").disabled = false;
  $("strike").setAttribute("aria-pressed", String(!view.kept[i]));
  const step = data.layers[view.reference].step, full = step <= 1 || (view.patches && view.patches[i]);
  $("sharp").textContent = `Under the crosses lies what was taken for one place; ${full ? "full resolution" : `1/${step.toFixed(1)} of full resolution`}.`;
  const [x, y] = place(points, i, camera());
  if (centre && (x < 0 || y < 0 || x > map.width || y > map.height)) [eye.x, eye.y] = [points.ref_x[i] + 0.5, points.ref_y[i] + 0.5];
  for (const button of $("worst").querySelectorAll("button")) button.setAttribute("aria-current", String(Number(button.dataset.point) === i));
  refresh();
}

function step(by) {
  const order = current().order;
  if (order) select(order[(order.indexOf(state.point) + by + (state.point < 0 && by < 0 ? 1 : 0) + order.length) % order.length]);
}

function strike() {
  if (state.point < 0) return;
  const view = current();
  view.kept[state.point] = !view.kept[state.point];
  view.changed = (view.changed || 0) + 1;
  tally();
  select(state.point, false);
}

function tally() {
  const view = current(), kept = view.kept.filter(Boolean).length;
  $("kept").textContent = `${kept} of ${view.kept.length}`;
  for (const button of $("worst").querySelectorAll("button")) button.classList.toggle("off", !view.kept[Number(button.dataset.point)]);
}

function exportKept() {
  const { points, kept } = current();
  const rows = ["ref_x,ref_y,tgt_x,tgt_y"];
  kept.forEach((on, i) => { if (on) rows.push([points.ref_x[i], points.ref_y[i], points.tgt_x[i], points.tgt_y[i]].join(",")); });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([rows.join("\n") + "\n"], { type: "text/csv" }));
  link.download = "kept_points.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  $("how").hidden = false;
  $("how").textContent = "Fit them alone: imatch match REFERENCE TARGET --points kept_points.csv --points-only";
}

// ---- What is shown.
function listPoints(view) {
  const points = view.points;
  view.kept ??= points.on.map(Boolean);
  view.order ??= points.ref_x.map((_, i) => i).sort((a, b) => (points.on[b] - points.on[a]) || (length(points, b) - length(points, a)));
  $("worst").replaceChildren(...view.order.slice(0, LISTED).map(i => {
    const item = document.createElement("li"), button = document.createElement("button"), far = length(points, i);
    button.type = "button";
    button.dataset.point = i;
    button.textContent = `${i}: ${far === null ? "–" : far.toFixed(2) + " px"}${points.on[i] ? "" : ", disagrees"}`;
    button.addEventListener("click", () => select(i));
    item.append(button);
    return item;
  }));
  const lengths = points.dx.map((_, i) => points.on[i] ? length(points, i) : null).filter(v => v !== null).sort((a, b) => a - b);
  magnify(Math.max(1, Math.round(26 / (lengths[Math.floor(0.9 * lengths.length)] || 1))));
  tally();
}

function magnify(times) {
  state.times = Math.min(1000, times);
  $("magnify").value = 100 * Math.log(state.times) / Math.log(1000);
  $("times").textContent = `1 px: ${state.times.toFixed(0)}`;
}

function show(index) {
  const before = current(), view = data.views[index];
  Object.assign(state, { view: index, point: -1 });
  const badge = document.createElement("b");
  badge.textContent = view.status;
  $("verdict").replaceChildren(badge, view.reason);
  $("facts").replaceChildren(...view.facts.flatMap(([label, text]) => {
    const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
    [dt.textContent, dd.textContent] = [label, text];
    return [dt, dd];
  }));
  $("note").hidden = !view.note && view.reference !== undefined;
  $("note").textContent = view.note || "There is no picture of this pair.";
  $("as-it-came").classList.toggle("hide", view.before === undefined || view.target === undefined);
  for (const part of document.querySelectorAll(".of-points")) part.classList.toggle("hide", !view.points);
  $("strike").disabled = true;
  $("said").textContent = "Click one, or press n.";
  for (const side of ["reference", "target"]) $(`chip-${side}`).getContext("2d").clearRect(0, 0, 360, 360);
  if (view.points) listPoints(view);
  const steps = [view.reference, view.target ?? view.before].filter(i => i !== undefined).map(i => data.layers[i].step);
  const coarse = Math.max(...steps, 1), around = Object.keys(view.patches || {}).length;
  $("shown").textContent = !steps.length ? "" : coarse <= 1 ? "Shown at full resolution." :
    `Shown at 1/${coarse.toFixed(1)} of full resolution${around ? `, at full resolution around ${around} tie points` : ""}.`;
  for (const row of document.querySelectorAll("#pairs tbody tr")) row.setAttribute("aria-selected", String(Number(row.dataset.view) === index));
  if (data.kind === "stack") {
    $("date").value = index;
    $("dated").textContent = view.name;
    $("date").setAttribute("aria-valuetext", view.name);
  }
  if (data.kind !== "stack" || view === before) fit(); else refresh();
}

function mode(name) {
  clearInterval(timer);
  state.mode = name;
  for (const button of document.querySelectorAll("[data-mode]")) button.setAttribute("aria-pressed", String(button.dataset.mode === name));
  if (name === "blink") timer = setInterval(() => { state.on = !state.on; refresh(); }, BLINK_MS);
  refresh();
}

function split(share) {
  state.split = Math.min(1, Math.max(0, share));
  $("split").value = 100 * state.split;
  if (state.mode !== "swipe") mode("swipe");
  refresh();
}

function toggle(name) { $(name).checked = !$(name).checked; $(name).dispatchEvent(new Event("change")); }

const keys = {
  ArrowLeft: () => pan(60, 0), ArrowRight: () => pan(-60, 0), ArrowUp: () => pan(0, 60), ArrowDown: () => pan(0, -60),
  "+": () => zoom(1.4), "=": () => zoom(1.4), "-": () => zoom(1 / 1.4), 0: fit, 1: () => zoom(size.ratio / state.camera.scale),
  s: () => mode("swipe"), b: () => mode("blink"), r: () => mode("reference"), t: () => mode("target"),
  "[": () => split(state.split - 0.05), "]": () => split(state.split + 0.05),
  o: () => toggle("before"), a: () => toggle("arrows"), n: () => step(1), p: () => step(-1), x: strike,
  e: () => current().points && exportKept(), "?": () => $("help").click(),
  ",": () => data.kind === "stack" && show(Math.max(0, state.view - 1)),
  ".": () => data.kind === "stack" && show(Math.min(data.views.length - 1, state.view + 1)),
};

document.addEventListener("keydown", event => {
  const typing = event.target.matches("input[type=search], select");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  // Elsewhere arrows scroll, as they do on every page.
  if (event.key.startsWith("Arrow") && event.target !== map) return;
  const act = keys[event.key];
  if (act) { act(); event.preventDefault(); }
});

// ---- Mouse and fingers.
const fingers = new Map();
let moved = 0, dragging = false;
const at = event => { const box = map.getBoundingClientRect(); return [(event.clientX - box.left) * size.ratio, (event.clientY - box.top) * size.ratio]; };

map.addEventListener("pointerdown", event => {
  map.setPointerCapture(event.pointerId);
  const [x, y] = at(event);
  fingers.set(event.pointerId, [x, y]);
  moved = 0;
  dragging = fingers.size === 1 && state.mode === "swipe" && Math.abs(x - state.split * map.width) < (event.pointerType === "mouse" ? 8 : 22) * size.ratio;
});
map.addEventListener("pointermove", event => {
  const old = fingers.get(event.pointerId);
  if (!old) return;
  const [x, y] = at(event), others = [...fingers].filter(([id]) => id !== event.pointerId);
  moved += Math.hypot(x - old[0], y - old[1]);
  fingers.set(event.pointerId, [x, y]);
  if (dragging) return split(x / map.width);
  if (others.length) {
    const [ox, oy] = others[0][1];
    zoom(Math.hypot(x - ox, y - oy) / Math.max(1, Math.hypot(old[0] - ox, old[1] - oy)), (x + ox) / 2, (y + oy) / 2);
    return pan((x - old[0]) / 2, (y - old[1]) / 2);
  }
  pan(x - old[0], y - old[1]);
});
for (const name of ["pointerup", "pointercancel"]) map.addEventListener(name, event => {
  const there = fingers.delete(event.pointerId);
  if (there && name === "pointerup" && moved < 4 * size.ratio && !dragging && !fingers.size) pick(...at(event));
  dragging = false;
});
map.addEventListener("wheel", event => {
  event.preventDefault();
  zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), ...at(event));
}, { passive: false });

function pick(x, y) {
  const points = current().points, eye = camera();
  if (!points) return;
  let best = -1, near = REACH_PX * size.ratio;
  for (let i = 0; i < points.ref_x.length; i++) {
    const [px, py] = place(points, i, eye), far = Math.hypot(px - x, py - y);
    if (far < near) [best, near] = [i, far];
  }
  if (best >= 0) select(best, false);
}

// ---- Controls.
for (const button of document.querySelectorAll("[data-mode]")) button.addEventListener("click", () => mode(button.dataset.mode));
const clicks = { in: () => zoom(1.4), out: () => zoom(1 / 1.4), fit, full: keys[1], previous: () => step(-1), next: () => step(1),
  strike, export: exportKept, earlier: keys[","], later: keys["."],
  help: () => { $("keys").hidden = !$("keys").hidden; $("help").setAttribute("aria-expanded", String(!$("keys").hidden)); } };
for (const [id, act] of Object.entries(clicks)) $(id)?.addEventListener("click", act);
$("split").addEventListener("input", () => split($("split").value / 100));
$("magnify").addEventListener("input", () => { magnify(Math.round(1000 ** ($("magnify").value / 100))); refresh(); });
for (const name of ["before", "arrows"]) $(name).addEventListener("change", () => { state[name] = $(name).checked; refresh(); });
$("date")?.addEventListener("input", () => show(Number($("date").value)));

if (data.kind === "batch") {
  const rows = [...document.querySelectorAll("#pairs tbody tr")];
  const filter = () => {
    const text = $("filter").value.toLowerCase(), only = $("only").value;
    let count = 0;
    for (const row of rows) {
      const view = data.views[row.dataset.view];
      const fits = (!only || view.status === only) && `${row.textContent} ${view.reason}`.toLowerCase().includes(text);
      row.hidden = !fits;
      count += fits;
    }
    $("count").textContent = `${count} of ${rows.length} pairs`;
  };
  $("filter").addEventListener("input", filter);
  $("only").addEventListener("change", filter);
  for (const row of rows) row.addEventListener("click", () => show(Number(row.dataset.view)));
  filter();
}

function theme() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["stage", "ink", "small", "middle", "large", "struck", "halo"]) colours[name] = style.getPropertyValue(`--${name}`).trim();
  refresh();
}

function resize() {
  const box = map.getBoundingClientRect(), ratio = Math.min(2, devicePixelRatio || 1), first = size.w === 1;
  const grown = ratio / size.ratio;
  size = { w: box.width, h: box.height, ratio };
  map.width = Math.max(1, Math.round(box.width * ratio));
  map.height = Math.max(1, Math.round(box.height * ratio));
  if (first) show(0);
  else if (state.fitted) fit();
  else state.camera.scale *= grown;
  draw();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", theme);
theme();
mode("swipe");
resize();
new ResizeObserver(resize).observe($("stage"));
