// SPDX-License-Identifier: Apache-2.0
// The page of `rgpt4d annotate`: draws regions on frames, and posts every change at once. No library, no build.
"use strict";
const $ = (id) => document.getElementById(id);
const canvas = $("canvas"), pen = canvas.getContext("2d");
const COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#3d7fd9", "#d55e00", "#cc79a7", "#999999"];
const KINDS = ["box", "polygon", "point", "mask"], HANDLE = 7;
let record = null;      // as /api/record gives it: size, times, regions, texts, version
let overview = null, at = 0, tool = "box", selected = null, drag = null, draft = null, playing = null, images = new Map();

const kindOf = (entry) => KINDS.find((kind) => entry[kind]);
const colour = (number) => COLOURS[(number - 1) % COLOURS.length];
const frame = () => record.first + at;
const copy = (value) => JSON.parse(JSON.stringify(value));

function say(text, bad = false) { $("state").textContent = text; $("state").className = bad ? "bad" : ""; }

async function post(method, values) {
  let reply;
  try {
    reply = await fetch(`/api/${method}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(values) });
  } catch { throw new Error("not saved: the server does not answer; start it again and change something"); }
  const found = await reply.json();
  if (!reply.ok) throw new Error(found.error);
  return found;
}
const guarded = (work) => async (...values) => { try { await work(...values); } catch (error) { say(error.message, true); } };

// ---- regions on a frame -------------------------------------------------------------------------------------------
function shownAt(region, number) {  // the region's own entry, or what lies between two key frames
  const entries = [...region.entries].sort((a, b) => a.frame - b.frame);
  const own = entries.find((entry) => entry.frame === number);
  if (own) return { entry: own, key: true };
  const before = entries.filter((entry) => entry.frame < number).pop(), after = entries.find((entry) => entry.frame > number);
  if (!before || !after) return null;
  const kind = kindOf(before), flat = (entry) => entry[kind].flat();
  if (kind === "mask" || kind !== kindOf(after) || flat(before).length !== flat(after).length) return null;
  const share = (number - before.frame) / (after.frame - before.frame);
  const mixed = flat(before).map((value, i) => value + share * (flat(after)[i] - value));
  return { entry: { frame: number, [kind]: kind === "polygon" ? pairs(mixed) : mixed }, key: false };
}
const pairs = (flat) => flat.reduce((all, value, i) => (i % 2 ? (all[all.length - 1].push(value), all) : [...all, [value]]), []);

function put(region, entry) {  // makes a key frame
  const frames = region.entries.filter((other) => other.frame !== entry.frame);
  region.entries = [...frames, entry].sort((a, b) => a.frame - b.frame);
}

function corners(entry) {
  const kind = kindOf(entry), value = entry[kind];
  if (kind === "box") { const [x1, y1, x2, y2] = value; return [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]; }
  return kind === "point" ? [value] : kind === "polygon" ? value : [];
}

function draw() {
  if (!record) return;
  const picture = images.get(at);
  const scale = canvas.width / record.width;  // canvas pixels in one of the video
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  if (picture && picture.complete) pen.drawImage(picture, 0, 0, record.width, record.height);
  else pen.clearRect(0, 0, record.width, record.height);
  const unit = unitOf();
  for (const region of record.regions) {
    const shown = shownAt(region, frame());
    if (!shown) continue;
    pen.strokeStyle = pen.fillStyle = colour(region.number);
    pen.lineWidth = (region.number === selected ? 3 : 2) * unit;
    pen.setLineDash(shown.key ? [] : [6 * unit, 4 * unit]);
    const points = corners(shown.entry);
    if (shown.entry.mask) drawMask(shown.entry.mask, colour(region.number));
    else if (shown.entry.point) { pen.beginPath(); pen.arc(...points[0], 6 * unit, 0, 7); pen.fill(); }
    else outline(points, true);
    pen.setLineDash([]);
    if (region.number === selected) for (const [x, y] of points) pen.fillRect(x - 4 * unit, y - 4 * unit, 8 * unit, 8 * unit);
    const [x, y] = points.length ? points.reduce((a, b) => (b[1] < a[1] || (b[1] === a[1] && b[0] < a[0]) ? b : a)) : maskCorner(shown.entry.mask);
    pen.font = `bold ${14 * unit}px system-ui`;
    const label = `${region.number}${region.name ? " " + region.name : ""}`, wide = pen.measureText(label).width + 8 * unit, top = Math.max(0, y - 20 * unit);
    pen.fillRect(x, top, wide, 18 * unit); pen.fillStyle = "#000"; pen.fillText(label, x + 4 * unit, top + 14 * unit);
  }
  if (draft) { pen.strokeStyle = "#fff"; pen.lineWidth = 2 * unit; outline(draft, tool === "box"); }
}
function outline(points, closed) {
  pen.beginPath(); points.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  if (closed) pen.closePath();
  pen.stroke();
}
function runs(mask, each) {  // column-major run lengths, the first one outside
  let position = 0;
  mask.counts.forEach((count, i) => { if (i % 2 && count) each(position, count); position += count; });
}
function drawMask(mask, fill) {
  const [height] = mask.size;
  pen.globalAlpha = 0.45; pen.fillStyle = fill;
  runs(mask, (start, count) => {
    for (let p = start, left = count; left > 0;) {
      const y = p % height, take = Math.min(left, height - y);
      pen.fillRect(Math.floor(p / height), y, 1, take); p += take; left -= take;
    }
  });
  pen.globalAlpha = 1;
}
function maskCorner(mask) { let found = [0, 0], seen = false; runs(mask, (start) => { if (!seen) { found = [Math.floor(start / mask.size[0]), start % mask.size[0]]; seen = true; } }); return found; }
const unitOf = () => record.width / (canvas.clientWidth || record.width);  // pixels of the video in one of the screen

// ---- mouse --------------------------------------------------------------------------------------------------------
function place(event) {
  const area = canvas.getBoundingClientRect();
  const clamp = (value, most) => Math.round(Math.min(Math.max(value, 0), most) * 1000) / 1000;
  return [clamp((event.clientX - area.left) * record.width / area.width, record.width), clamp((event.clientY - area.top) * record.height / area.height, record.height)];
}
function hit([x, y]) {  // a corner, or a whole region, under the mouse; the selected one first
  const near = HANDLE * unitOf();
  const ordered = [...record.regions].sort((a, b) => (b.number === selected) - (a.number === selected));
  for (const region of ordered) {
    const shown = shownAt(region, frame());
    if (!shown || shown.entry.mask) continue;
    const points = corners(shown.entry), corner = points.findIndex(([px, py]) => Math.hypot(px - x, py - y) < near);
    if (corner >= 0) return { region, entry: copy(shown.entry), corner };
    const xs = points.map((p) => p[0]), ys = points.map((p) => p[1]);
    if (Math.min(...xs) <= x && x <= Math.max(...xs) && Math.min(...ys) <= y && y <= Math.max(...ys)) return { region, entry: copy(shown.entry), corner: -1 };
  }
  return null;
}
function moved(entry, corner, dx, dy) {
  const kind = kindOf(entry), result = copy(entry), keep = (v, most) => Math.min(Math.max(Math.round(v * 1000) / 1000, 0), most);
  const shift = ([x, y]) => [keep(x + dx, record.width), keep(y + dy, record.height)];
  if (kind === "point") result.point = shift(entry.point);
  else if (kind === "polygon") result.polygon = entry.polygon.map((p, i) => (corner < 0 || i === corner ? shift(p) : p));
  else {
    let [x1, y1, x2, y2] = entry.box;
    if (corner < 0) { dx = Math.min(Math.max(dx, -x1), record.width - x2); dy = Math.min(Math.max(dy, -y1), record.height - y2); }
    if (corner < 0 || corner === 0 || corner === 3) x1 += dx;
    if (corner < 0 || corner === 1 || corner === 2) x2 += dx;
    if (corner < 0 || corner < 2) y1 += dy;
    if (corner < 0 || corner > 1) y2 += dy;
    result.box = boxOf([x1, y1], [x2, y2]);
  }
  return { ...result, frame: frame() };
}
const boxOf = ([a, b], [c, d]) => [Math.min(a, c), Math.min(b, d), Math.max(a, c), Math.max(b, d)].map((v, i) => Math.round(Math.min(Math.max(v, 0), i % 2 ? record.height : record.width) * 1000) / 1000);

function drawn(entry) {  // a new key frame of the selected region where it has none here, otherwise a new region
  const chosen = record.regions.find((region) => region.number === selected);
  if (chosen && !chosen.entries.some((other) => other.frame === entry.frame) && kindOf(chosen.entries[0]) === kindOf(entry)) put(chosen, entry);
  else { selected = Math.max(0, ...record.regions.map((region) => region.number)) + 1; record.regions.push({ number: selected, name: "", entries: [entry] }); }
  changed();
}
canvas.onpointerdown = (event) => {
  if (!record) return;
  stop(); canvas.focus(); canvas.setPointerCapture(event.pointerId);
  const here = place(event);
  if (tool === "point") return drawn({ frame: frame(), point: here });
  if (tool === "polygon") { draft = [...(draft || []), here]; return draw(); }
  const found = tool === "move" || event.shiftKey ? hit(here) : null;
  if (found) { selected = found.region.number; drag = { ...found, start: here }; list(); }
  else if (tool === "box") drag = { start: here };
  draw();
};
canvas.onpointermove = (event) => {
  if (!drag) return;
  const here = place(event);
  if (drag.region) put(drag.region, moved(drag.entry, drag.corner, here[0] - drag.start[0], here[1] - drag.start[1]));
  else { const [x1, y1, x2, y2] = boxOf(drag.start, here); draft = [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]; }
  draw();
};
canvas.onpointerup = (event) => {
  if (!drag) return;
  const done = drag, box = boxOf(drag.start, place(event));
  drag = null;
  if (done.region) return changed();
  draft = null;
  if (box[2] - box[0] > 1 && box[3] - box[1] > 1) drawn({ frame: frame(), box }); else draw();
};
canvas.ondblclick = () => closePolygon();
function closePolygon() {  // a double click adds its place twice
  const points = (draft || []).filter((p, i, all) => !i || p[0] !== all[i - 1][0] || p[1] !== all[i - 1][1]);
  draft = null;
  if (tool === "polygon" && points.length > 2) drawn({ frame: frame(), polygon: points }); else draw();
}

// ---- saving -------------------------------------------------------------------------------------------------------
let queue = Promise.resolve();
function save(verdict = null) {  // one after the other, so that versions follow each other
  const opened = record;
  queue = queue.then(guarded(async () => {
    const values = { record: opened.record, by: $("by").value.trim(), version: opened.version, regions: opened.regions, question: $("question").value, answer: $("answer").value, verdict, reason: $("reason").value, final: Boolean(verdict) && $("settle").checked };
    if (!values.by) throw new Error("not saved: say your name first, at the top");
    const before = JSON.stringify(opened.regions), kept = await post("save", values);
    opened.version = kept.version;
    if (JSON.stringify(kept.regions) !== JSON.stringify(values.regions) && JSON.stringify(opened.regions) === before) {
      opened.regions = kept.regions;
      say("another page had changed this record: both versions are here now, please look", true);
    } else say(`saved ${new Date().toLocaleTimeString()}`);
    opened.verdict = kept.verdict;
    await refresh(); list(); draw();
  }));
  return queue;
}
function changed() { list(); draw(); save(); }

async function decide(verdict) {
  if (verdict === "reject" && !$("reason").value.trim()) { $("reason").focus(); return say("a rejection needs a reason", true); }
  await save(verdict);
  if (record && record.verdict === verdict) await open(record.record);
}

// ---- records ------------------------------------------------------------------------------------------------------
async function refresh() {
  overview = await post("overview", {});
  $("file").textContent = overview.file; $("ask").hidden = !overview.can.ask; $("follow").hidden = !overview.can.follow;
  const wanted = $("filter").value;
  $("list").replaceChildren(...overview.records.filter((each) => !wanted || each.status === wanted || (record && each.number === record.record)).map((each) => {
    const link = document.createElement("a"), tag = document.createElement("span");
    tag.className = `tag ${each.status}`; tag.textContent = each.status;
    link.append(each.id, tag); link.onclick = () => open(each.number); link.dataset.number = each.number;
    link.className = record && each.number === record.record ? "on" : "";
    return link;
  }));
  $("agreement").textContent = overview.agreement.map((pair) => `${pair.annotators.join(" / ")}: κ ${pair.kappa === null ? "–" : pair.kappa.toFixed(2)} (${pair.records})`).join("   ");
}
const open = guarded(async (number) => {
  stop();
  await queue;
  record = await post("record", { record: number, by: $("by").value.trim() || "-", settle: $("settle").checked });
  images = new Map(); at = 0; draft = drag = null; selected = record.regions.length ? record.regions[0].number : null;
  const keys = record.regions.flatMap((region) => region.entries.map((entry) => entry.frame - record.first));
  if (keys.length) at = Math.min(...keys);
  const grow = Math.max(1, Math.min(480 / record.height, 640 / record.width));  // small videos are shown larger
  const sharp = grow * (window.devicePixelRatio || 1);
  canvas.width = Math.round(record.width * sharp); canvas.height = Math.round(record.height * sharp);
  canvas.style.width = `min(100%, ${Math.round(record.width * grow)}px, calc(58vh * ${record.width / record.height}))`;
  $("seek").max = record.times.length - 1;
  $("question").value = record.question; $("answer").value = record.answer; $("reason").value = record.reason || "";
  $("said").textContent = ""; $("pictures").replaceChildren();
  $("others").replaceChildren(...Object.entries(record.others).map(([by, each]) => Object.assign(document.createElement("div"), { textContent: `${by}: ${each.verdict}${each.reason ? ", " + each.reason : ""}` })));
  await refresh(); list(); go(at); say("");
});
function list() {
  $("regions").replaceChildren(...record.regions.map((region) => {
    const line = document.createElement("div"), label = document.createElement("b"), name = document.createElement("input"), remove = document.createElement("button");
    line.className = `region${region.number === selected ? " on" : ""}`; label.textContent = region.number; label.style.background = colour(region.number);
    name.value = region.name; name.placeholder = `name of <obj_${region.number}>`;
    name.onfocus = () => { selected = region.number; for (const other of $("regions").children) other.classList.toggle("on", other === line); draw(); };
    name.onchange = () => { region.name = name.value; save(); draw(); };
    remove.textContent = "×"; remove.title = "remove"; remove.onclick = () => removeRegion(region.number);
    line.append(label, name, remove); line.onclick = (event) => { if (event.target === line || event.target === label) { selected = region.number; list(); draw(); } };
    return line;
  }));
  for (const button of document.querySelectorAll("[data-tool]")) button.classList.toggle("on", button.dataset.tool === tool);
  for (const button of document.querySelectorAll("[data-verdict]")) button.classList.toggle("on", button.dataset.verdict === record.verdict);
  $("keys").replaceChildren(...record.regions.flatMap((region) => region.entries.map((entry) => {
    const tick = document.createElement("i");
    tick.style.left = `${100 * (entry.frame - record.first) / Math.max(1, record.times.length - 1)}%`; tick.style.background = colour(region.number);
    return tick;
  })));
}
function removeRegion(number) { record.regions = record.regions.filter((region) => region.number !== number); selected = null; changed(); }

// ---- frames -------------------------------------------------------------------------------------------------------
function load(index) {
  if (!record || index < 0 || index >= record.times.length || images.has(index)) return;
  const picture = new Image(), opened = record;
  picture.onload = () => { if (record === opened && index === at) draw(); };
  picture.onerror = () => { images.delete(index); say(`frame ${index + opened.first} cannot be shown`, true); };
  picture.src = `/frame/${record.record}/${record.first + index}`;
  images.set(index, picture);
}
function go(index) {
  at = Math.min(Math.max(index, 0), record.times.length - 1);
  for (const near of [0, 1, 2, 3, -1]) load(at + near);
  $("seek").value = at; $("time").textContent = `${record.times[at].toFixed(2)} s · frame ${frame()}`;
  draw();
}
function stop() { clearTimeout(playing); playing = null; $("play").textContent = "▶"; }
function play() {
  if (playing) return stop();
  $("play").textContent = "❚❚";
  const step = () => {
    const next = (at + 1) % record.times.length; load(next);
    if (images.get(next) && images.get(next).complete) go(next);
    playing = setTimeout(step, 1000 / record.rate);
  };
  playing = setTimeout(step, 0);
}

// ---- buttons and keys ---------------------------------------------------------------------------------------------
const asked = () => ({ record: record.record, regions: record.regions, question: $("question").value, style: $("style").value });
$("show").onclick = guarded(async () => {
  const found = await post("preview", asked());
  $("said").textContent = found.text;
  $("pictures").replaceChildren(...found.pictures.map((source) => Object.assign(new Image(), { src: source })));
});
$("ask").onclick = guarded(async () => { $("said").textContent = "…"; $("said").textContent = (await post("ask", asked())).reply; });
$("follow").onclick = guarded(async () => {
  const region = record.regions.find((each) => each.number === selected), shown = region && shownAt(region, frame());
  if (!shown || !shown.entry.box) throw new Error("select a box on this frame to follow it");
  say("following…");
  region.entries = (await post("follow", { record: record.record, frame: frame(), box: shown.entry.box })).entries;
  changed();
});
$("delete-key").onclick = () => {
  const region = record && record.regions.find((each) => each.number === selected);
  if (!region) return;
  region.entries = region.entries.filter((entry) => entry.frame !== frame());
  if (region.entries.length) changed(); else removeRegion(region.number);
};
$("export").onclick = guarded(async () => { const done = await post("export", {}); say(`${done.records} records in ${done.folder}: dataset ${done.name}`); });
for (const button of document.querySelectorAll("[data-tool]")) button.onclick = () => { tool = button.dataset.tool; draft = null; list(); draw(); };
for (const button of document.querySelectorAll("[data-verdict]")) button.onclick = () => decide(button.dataset.verdict);
for (const id of ["question", "answer"]) $(id).onchange = () => save();
$("back").onclick = () => go(at - 1); $("next").onclick = () => go(at + 1); $("play").onclick = play;
$("seek").oninput = () => go(Number($("seek").value));
$("filter").onchange = guarded(refresh);
$("settle").onchange = () => record && open(record.record);
$("by").onchange = () => { localStorage.setItem("by", $("by").value); if (record) open(record.record); };
function following() { const numbers = [...$("list").children].map((each) => Number(each.dataset.number)); open(numbers[(numbers.indexOf(record.record) + 1) % numbers.length]); }
document.onkeydown = (event) => {
  if (!record || event.ctrlKey || event.metaKey || event.altKey || /INPUT|TEXTAREA|SELECT/.test(event.target.tagName) && event.target.type !== "range") return;
  const tools = { b: "box", p: "polygon", o: "point", v: "move" }, verdicts = { a: "accept", c: "correct", r: "reject" }, key = event.key.toLowerCase();
  if (tools[key]) { tool = tools[key]; draft = null; list(); draw(); }
  else if (verdicts[key]) decide(verdicts[key]);
  else if (key === "arrowleft") go(at - 1);
  else if (key === "arrowright") go(at + 1);
  else if (key === " ") play();
  else if (key === "n") following();
  else if (key === "enter") closePolygon();
  else if (key === "delete" && selected !== null) removeRegion(selected);
  else return;
  event.preventDefault();
};
$("by").value = localStorage.getItem("by") || "";
guarded(async () => { await refresh(); await open(overview.records[0].number); })();
