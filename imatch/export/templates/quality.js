// Turns every .flicker into a stage: show one picture, blink it with the reference, or wipe it
// over the reference. Without it the pictures stay side by side.
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
