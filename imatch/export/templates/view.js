// The viewer. Coordinates are reference pixels, corner-based; a camera has the place in the middle
// of a canvas and device pixels a reference pixel. An eye is a camera on whole device pixels: `left`
// and `top` are those of a canvas's corner, so that what is painted once can be moved and still fits.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const TILE = 512, BLINK_MS = 600, REACH_PX = 14, CHIP = 48, LISTED = 100, SHARP = 1.3, CELL_PX = 24;
// Tiles of full resolution that stay decoded; and for how long a zoom has to rest to be over.
const KEPT = 800, REST_MS = 120;
const map = $("map"), pen = map.getContext("2d", { alpha: false });
const state = { view: 0, mode: "swipe", split: 0.5, before: false, arrows: true, outlines: true, times: 1,
  on: true, point: -1, fitted: true, camera: { x: 0, y: 0, scale: 1 } };
let colours = {}, dirty = false, timer = 0, rest = 0, drawn = 0, size = { w: 1, h: 1, ratio: 1 };

// ---- Pictures: decoded when they are first wanted, each level half as fine as the one before.
const loaded = new Map();

async function bitmap(src) {
  const image = new Image();
  image.src = src;
  await image.decode();
  return createImageBitmap(image);
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
    Promise.all(layer.tiles.map(async tile => ({ ...tile, image: await bitmap(tile.src) }))).then(tiles => {
      const found = [{ step: layer.step, tiles }];
      while (found.at(-1).tiles.length > 1) found.push(halved(found.at(-1)));
      loaded.set(index, found);
      refresh();
    });
  }
  return loaded.get(index);
}

// Full resolution, where the page has it: square tiles by their column and row.
const sharp = new Map();

function sharpTile(view, side, cell, ask) {
  const src = view.sharp[side]?.[cell], key = `${data.views.indexOf(view)} ${side} ${cell}`;
  if (!src) return null;
  let image = sharp.get(key);
  if (image === undefined) {
    if (!ask) return null;
    image = null;
    bitmap(src).then(found => {
      sharp.set(key, found);
      const [x, y] = cell.split(",").map(Number), px = view.sharp.side;
      (sheets[side] || sheets.target).areas.push({ x: view.sharp.left + x * px, y: view.sharp.top + y * px, w: px, h: px });
      refresh();
    });
  }
  // The least recently drawn go first.
  sharp.delete(key);
  sharp.set(key, image);
  return image;
}

function forgetTiles() {
  for (const [key, image] of sharp) {
    if (sharp.size <= KEPT) return;
    if (image) { image.close(); sharp.delete(key); }
  }
}

const cellAt = (view, x, y) => `${Math.floor((x - view.sharp.left) / view.sharp.side)},${Math.floor((y - view.sharp.top) / view.sharp.side)}`;
const finest = view => data.layers[view.reference].step;

// Whether a place and so many pixels around it are shown at full resolution.
function isSharp(view, x, y, reach = 0) {
  if (finest(view) <= 1) return true;
  return Boolean(view.sharp) && [[-1, -1], [-1, 1], [1, -1], [1, 1]].every(
    ([dx, dy]) => cellAt(view, x + dx * reach, y + dy * reach) in view.sharp.reference);
}

function drawTile(brush, tile, image, eye) {
  const { left, top, scale, w, h } = eye;
  const x = Math.round(tile.x * scale) - left, y = Math.round(tile.y * scale) - top;
  const right = Math.round((tile.x + tile.w) * scale) - left, bottom = Math.round((tile.y + tile.h) * scale) - top;
  if (right > 0 && bottom > 0 && x < w && y < h) brush.drawImage(image, x, y, right - x, bottom - y);
}

// Draws one side of a view: the coarsest level that is fine enough, full resolution where there is.
// Of tiles that are not decoded yet it asks for those, or not: a zoom would ask for many in passing.
function drawSide(brush, view, side, eye, ask = true) {
  const name = side === "target" && (state.before || view.target === undefined) ? "before" : side;
  const all = levels(view[name]), { scale } = eye;
  brush.fillStyle = colours.stage;
  brush.fillRect(0, 0, eye.w, eye.h);
  if (!all.length) return;
  const level = all.filter(one => one.step * scale <= SHARP).at(-1) || all[0];
  brush.imageSmoothingEnabled = level.step * scale < 2;
  for (const tile of level.tiles) drawTile(brush, tile, tile.image, eye);
  if (!view.sharp || all[0].step * scale <= SHARP || !view.sharp[name]) return;
  brush.imageSmoothingEnabled = scale < 2;
  const { side: px, left, top } = view.sharp, cells = (low, from, count) =>
    [Math.floor((low / scale - from) / px), Math.floor(((low + count) / scale - from) / px)];
  const [x0, x1] = cells(eye.left, left, eye.w), [y0, y1] = cells(eye.top, top, eye.h);
  for (let y = y0; y <= y1; y++) for (let x = x0; x <= x1; x++) {
    const image = sharpTile(view, name, `${x},${y}`, ask);
    if (image) drawTile(brush, { x: left + x * px, y: top + y * px, w: px, h: px }, image, eye);
  }
}

// ---- Sheets: what is painted once for a zoom, with a margin, and then only moved.
const sheet = alpha => {
  const image = document.createElement("canvas");
  return { image, brush: image.getContext("2d", { alpha }), key: "", left: 0, top: 0, areas: [] };
};
const sheets = { reference: sheet(false), target: sheet(false), marks: sheet(true) };

// Brings a sheet up to date: all of it where its key is new, else what came into sight or has come.
function update(one, key, eye, margin, paint) {
  const w = eye.w + 2 * margin, h = eye.h + 2 * margin, whole = { left: 0, top: 0, w, h };
  const shift = [one.left - eye.left + margin, one.top - eye.top + margin], far = Math.max(...shift.map(Math.abs));
  let areas = [];
  if (one.key !== key || one.image.width !== w || one.image.height !== h || far >= Math.min(w, h) || (one === sheets.marks && far > margin)) {
    if (one.image.width !== w || one.image.height !== h) [one.image.width, one.image.height] = [w, h];
    Object.assign(one, { key, left: eye.left - margin, top: eye.top - margin, areas: [] });
    areas = [whole];
  } else if (far > margin) {
    const [dx, dy] = shift;
    one.brush.globalCompositeOperation = "copy";
    one.brush.drawImage(one.image, dx, dy);
    one.brush.globalCompositeOperation = "source-over";
    Object.assign(one, { left: eye.left - margin, top: eye.top - margin });
    if (dx) areas.push({ left: dx > 0 ? 0 : w + dx, top: 0, w: Math.abs(dx), h });
    if (dy) areas.push({ left: 0, top: dy > 0 ? 0 : h + dy, w, h: Math.abs(dy) });
  }
  for (const { x, y, w: wide, h: high } of one.areas.splice(0)) {
    const left = Math.round(x * eye.scale) - one.left, top = Math.round(y * eye.scale) - one.top;
    areas.push({ left, top, w: Math.ceil(wide * eye.scale) + 1, h: Math.ceil(high * eye.scale) + 1 });
  }
  if (areas.length > 8) areas = [whole];
  for (const area of areas) {
    const left = Math.max(0, area.left), top = Math.max(0, area.top);
    const wide = Math.min(w, area.left + area.w) - left, high = Math.min(h, area.top + area.h) - top;
    if (wide <= 0 || high <= 0) continue;
    one.brush.save();
    one.brush.translate(left, top);
    one.brush.beginPath();
    one.brush.rect(0, 0, wide, high);
    one.brush.clip();
    paint(one.brush, { left: one.left + left, top: one.top + top, scale: eye.scale, w: wide, h: high });
    one.brush.restore();
  }
}

// ---- The map.
const current = () => data.views[state.view];
const seenFrom = ({ x, y, scale }, w, h) => ({ left: Math.round(x * scale - w / 2), top: Math.round(y * scale - h / 2), scale, w, h });
const camera = () => seenFrom(state.camera, map.width, map.height);

function refresh() {
  if (dirty) return;
  dirty = true;
  requestAnimationFrame(() => { dirty = false; draw(); });
}

function draw() {
  const view = current(), eye = camera(), { w, h } = eye;
  // While a zoom changes nothing can be kept: each side is drawn as far as it is seen.
  const zooming = drawn !== eye.scale;
  drawn = eye.scale;
  clearTimeout(rest);
  if (zooming) rest = setTimeout(refresh, REST_MS);
  const show = (side, from, to) => {
    if (to <= from) return;
    if (zooming) {
      pen.save();
      pen.beginPath();
      pen.rect(from, 0, to - from, h);
      pen.clip();
      drawSide(pen, view, side, eye, false);
      pen.restore();
      return;
    }
    const one = sheets[side], key = [state.view, eye.scale, side === "target" && state.before, colours.stage, loaded.get(view[side])?.length, loaded.get(view.before)?.length].join();
    update(one, key, eye, Math.round(64 * size.ratio), (brush, wide) => drawSide(brush, view, side, wide));
    pen.drawImage(one.image, from + eye.left - one.left, eye.top - one.top, to - from, h, from, 0, to - from, h);
  };
  if (state.mode === "swipe") {
    const edge = Math.round(state.split * w);
    show("reference", 0, edge);
    show("target", edge, w);
    for (const [colour, wide] of [[colours.halo, 2], [colours.ink, 1]]) {
      pen.fillStyle = colour;
      pen.fillRect(edge - wide * size.ratio, 0, 2 * wide * size.ratio, h);
    }
  } else {
    show(state.mode === "reference" || (state.mode === "blink" && !state.on) ? "reference" : "target", 0, w);
  }
  drawMarks(view, eye, zooming);
  const { x, y, scale } = state.camera, text = `zoom ${Math.round(100 * scale / size.ratio)} %${
    view.sharp && !view.sharp.whole ? `, in the middle ${isSharp(view, x, y) ? "" : `1/${finest(view).toFixed(1)} of `}full resolution` : ""}`;
  if ($("zoomed").textContent !== text) $("zoomed").textContent = text;
  if (state.point >= 0) drawChips();
  forgetTiles();
}

const length = (points, i) => points.dx[i] === null ? null : Math.hypot(points.dx[i], points.dy[i]);
const kind = (view, i) => {
  if (!view.kept[i]) return "struck";
  const far = length(view.points, i);
  return far === null || far <= 0.5 ? "small" : far <= 1 ? "middle" : "large";
};
const place = (points, i, eye) => [
  (points.ref_x[i] + 0.5) * eye.scale - eye.left, (points.ref_y[i] + 0.5) * eye.scale - eye.top];

// Of neighbours on the screen the kept one with the largest residual: more cannot be told apart.
function shownPoints(view, eye) {
  const points = view.points, cells = new Map(), side = CELL_PX * size.ratio;
  for (let i = 0; i < points.ref_x.length; i++) {
    const [x, y] = place(points, i, eye);
    if (x < 0 || y < 0 || x > eye.w || y > eye.h) continue;
    // Cells lie fast on the ground, so that nothing comes and goes while the images move.
    const key = Math.floor(points.ref_x[i] * eye.scale / side) * 1e6 + Math.floor(points.ref_y[i] * eye.scale / side);
    const weight = (view.kept[i] ? 1e6 : 0) + (length(points, i) ?? 0), best = cells.get(key);
    if (!best || weight > best.weight) cells.set(key, { i, x, y, weight });
  }
  return [...cells.values()];
}

function paintArrows(brush, view, eye) {
  const points = view.points, dot = 2 * size.ratio;
  brush.lineCap = "round";
  // One path for all of a colour is painted more slowly than a small one for each.
  for (const { i, x, y } of shownPoints(view, eye)) {
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
}

// Dashes round the parts that are there at full resolution.
function paintOutlines(brush, view, eye) {
  const { side: px, left, top, reference: cells } = view.sharp, line = new Path2D();
  for (const cell of Object.keys(cells)) {
    const [x, y] = cell.split(",").map(Number);
    const [x0, x1] = [x, x + 1].map(v => Math.round((left + v * px) * eye.scale) - eye.left + 0.5);
    const [y0, y1] = [y, y + 1].map(v => Math.round((top + v * px) * eye.scale) - eye.top + 0.5);
    if (x1 < 0 || y1 < 0 || x0 > eye.w || y0 > eye.h) continue;
    for (const [dx, dy, ...ends] of [[0, -1, x0, y0, x1, y0], [1, 0, x1, y0, x1, y1], [0, 1, x0, y1, x1, y1], [-1, 0, x0, y0, x0, y1]]) {
      if (`${x + dx},${y + dy}` in cells) continue;
      line.moveTo(ends[0], ends[1]); line.lineTo(ends[2], ends[3]);
    }
  }
  brush.setLineDash([5 * size.ratio, 4 * size.ratio]);
  for (const [colour, wide] of [[colours.halo, 3], [colours.ink, 1]]) {
    brush.lineWidth = wide * size.ratio; brush.strokeStyle = colour; brush.stroke(line);
  }
  brush.setLineDash([]);
}

// Marks take longer to paint than images: while a zoom goes on they are enlarged with it.
function drawMarks(view, eye, zooming) {
  const outlined = state.outlines && view.sharp && !view.sharp.whole, arrows = state.arrows && view.points;
  const one = sheets.marks, grown = eye.scale / one.scale;
  const what = [state.view, outlined, arrows, state.times, view.changed, colours.ink].join();
  if (outlined || arrows) {
    if (!zooming || one.what !== what || grown < 0.5 || grown > 2) {
      Object.assign(one, { what, scale: eye.scale });
      update(one, `${what} ${eye.scale}`, eye, Math.round(0.2 * Math.max(map.width, map.height)), (brush, wide) => {
        brush.clearRect(0, 0, wide.w, wide.h);
        if (outlined) paintOutlines(brush, view, wide);
        if (arrows) paintArrows(brush, view, wide);
      });
      pen.drawImage(one.image, one.left - eye.left, one.top - eye.top);
    } else {
      pen.imageSmoothingEnabled = false;
      pen.drawImage(one.image, Math.round(one.left * grown) - eye.left, Math.round(one.top * grown) - eye.top,
        Math.round(one.image.width * grown), Math.round(one.image.height * grown));
    }
  }
  if (!arrows || state.point < 0) return;
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
    const middle = { x: points.ref_x[i] + 0.5 + off * points.dx[i], y: points.ref_y[i] + 0.5 + off * points.dy[i], scale: w / CHIP };
    drawSide(brush, view, side, seenFrom(middle, w, h));
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
  const full = view.reference !== undefined && isSharp(view, points.ref_x[i] + 0.5, points.ref_y[i] + 0.5, CHIP / 2);
  $("sharp").textContent = `Under the crosses lies what was taken for one place; ${full ? "full resolution" : `1/${finest(view).toFixed(1)} of full resolution`}.`;
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
  const coarse = view.sharp?.whole ? 1 : Math.max(...steps, 1);
  $("shown").textContent = !steps.length ? "" : coarse <= 1 ? "Shown at full resolution." :
    `Shown at 1/${coarse.toFixed(1)} of full resolution${view.sharp ? `, at full resolution within the dashes: ${(100 * view.sharp.share).toPrecision(2)} % of the overlap, where tie points lie` : ""}.`;
  $("of-outlines").classList.toggle("hide", !view.sharp || Boolean(view.sharp.whole));
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
  o: () => toggle("before"), a: () => toggle("arrows"), f: () => toggle("outlines"), n: () => step(1), p: () => step(-1), x: strike,
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
for (const name of ["before", "arrows", "outlines"]) $(name).addEventListener("change", () => { state[name] = $(name).checked; refresh(); });
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
