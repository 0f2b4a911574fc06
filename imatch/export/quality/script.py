"""What makes the pictures of the quality report move: blinking and swiping, without any library."""

from __future__ import annotations

STYLE = """
.verdict { padding: 10px 14px; border-radius: 8px; border-left: 5px solid; font-size: 16px; }
.verdict b { text-transform: uppercase; letter-spacing: 0.04em; margin-right: 8px; }
.verdict.ok { background: #e7f4ea; border-color: #1b7837; }
.verdict.uncertain { background: #fdf0e1; border-color: #b35806; }
.verdict.failed { background: #fbe6e8; border-color: #b2182b; }
.side { display: grid; gap: 16px; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(320px, 100%), 1fr)); }
.side img { width: 100%; }
.flicker { display: grid; gap: 8px; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); }
.flicker img { width: 100%; border-radius: 4px; }
.flicker.live { display: block; }
.stage { position: relative; overflow: hidden; border-radius: 4px; background: #d9d9d9; }
.stage figure { position: absolute; inset: 0; visibility: hidden; }
.stage figure:first-child { position: relative; visibility: visible; }
.stage figure.on { visibility: visible; }
.stage figcaption { position: absolute; left: 8px; top: 8px; padding: 1px 8px; border-radius: 4px;
  background: rgba(255, 255, 255, 0.86); color: var(--ink); font-weight: 600; }
.detail .stage img { image-rendering: pixelated; }
.controls { display: flex; flex-wrap: wrap; gap: 6px; margin: 8px 0 4px; align-items: center; }
.controls button { font: inherit; font-size: 13px; padding: 3px 10px; border-radius: 6px;
  border: 1px solid var(--line); background: white; color: var(--ink); cursor: pointer; }
.controls button[aria-pressed="true"] { background: var(--accent); color: white; }
.controls input { flex: 1; min-width: 90px; }
section ul { margin: 0 0 14px; padding-left: 20px; }
section li { margin: 3px 0; } .side h3 { margin-top: 4px; }
@media print { .controls { display: none; } }
"""

#: Turns every ``.flicker`` into a stage: show one picture, blink it with the reference, or wipe it
#: over the reference. Without it the pictures stay side by side.
SCRIPT = """
"use strict";
for (const box of document.querySelectorAll(".flicker")) {
  const figures = Array.from(box.querySelectorAll("figure"));
  const [under, ...shots] = figures;
  const stage = document.createElement("div");
  stage.className = "stage";
  stage.append(...figures);
  const controls = document.createElement("div");
  controls.className = "controls";
  const wipe = document.createElement("input");
  wipe.type = "range"; wipe.min = 0; wipe.max = 100; wipe.value = 50;
  wipe.setAttribute("aria-label", "how much of the target to show");
  let timer = 0;
  const show = (shot, share) => {
    for (const figure of shots) {
      figure.classList.toggle("on", figure === shot);
      figure.style.clipPath = figure === shot ? `inset(0 ${100 - share}% 0 0)` : "";
    }
  };
  const choose = (button, act) => {
    clearInterval(timer);
    for (const other of controls.querySelectorAll("button"))
      other.setAttribute("aria-pressed", String(other === button));
    wipe.style.visibility = "hidden";
    act();
  };
  const add = (label, act) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.addEventListener("click", () => choose(button, act));
    controls.append(button);
    return button;
  };
  add("reference", () => show(null, 0));
  let last = null;
  for (const shot of shots) {
    const label = shot.querySelector("figcaption").textContent;
    last = [add(label, () => show(shot, 100)), () => show(shot, 100)];
    add(`blink ${label}`, () => {
      let on = true;
      show(shot, 100);
      timer = setInterval(() => { on = !on; show(on ? shot : null, 100); }, 600);
    });
    add(`wipe ${label}`, () => {
      wipe.style.visibility = "visible";
      wipe.oninput = () => show(shot, Number(wipe.value));
      wipe.oninput();
    });
  }
  controls.append(wipe);
  box.append(stage, controls);
  box.classList.add("live");
  choose(...last);
}
"""
