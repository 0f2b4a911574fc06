"""Count frames a second of a viewer's page while it is moved, and what each costs:
``python -m tests.support.view_frames page.html``, of a page that ``imatch view`` wrote, in the
machine's Chromium without a window.

A busy machine lowers the frames a second, not the milliseconds of our script nor the processor's
of the whole browser a frame, which draws without a graphics card here.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import psutil
from playwright.sync_api import sync_playwright

_SECONDS = 4
_MOVE = """([what, seconds]) => new Promise(done => {
  const times = [], own = [], began = performance.now(), scale = state.camera.scale, inner = draw;
  draw = () => { const from = performance.now(); inner(); own.push(performance.now() - from); };
  function step(now) {
    times.push(now);
    if (what === "pan") pan(9 * Math.cos(now / 400), 7 * Math.sin(now / 300));
    else if (what === "swipe") split(0.5 + 0.4 * Math.sin(now / 500));
    else zoom(scale * 1.5 ** Math.sin((now - began) / 500) / state.camera.scale);
    if (now - began < 1000 * seconds) return requestAnimationFrame(step);
    draw = inner;
    const gaps = times.slice(1).map((time, i) => time - times[i]).sort((a, b) => a - b);
    const mean = values => values.reduce((a, b) => a + b, 0) / values.length;
    own.sort((a, b) => a - b);
    done({ fps: 1000 / mean(gaps), median_ms: gaps[gaps.length >> 1],
           p95_ms: gaps[Math.floor(0.95 * gaps.length)], script_ms: mean(own),
           script_p95_ms: own[Math.floor(0.95 * own.length)], frames: gaps.length });
  }
  requestAnimationFrame(step);
})"""


def _processor_seconds() -> float:
    """Processor seconds of all processes of the browser so far."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        if "chrom" in process.name():
            used = process.cpu_times()
            total += used.user + used.system
    return total


def main() -> None:
    """Prints a line for each zoom and movement."""
    page_url = Path(sys.argv[1]).absolute().as_uri()
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(page_url)
        page.wait_for_function(
            "loaded.size > 0 && [...loaded.values()].every(one => one && (one.tiles || one.length))"
        )
        for zoom in (1, 4, 16):
            page.evaluate("zoomed => { fit(); zoom(zoomed); mode('swipe'); }", zoom)
            for what in ("pan", "swipe", "zoom"):
                page.wait_for_timeout(500)
                before = _processor_seconds()
                found = page.evaluate(_MOVE, [what, _SECONDS])
                found["processor_ms"] = 1000 * (_processor_seconds() - before) / found.pop("frames")
                figures = {name: round(value, 1) for name, value in found.items()}
                print(f"zoom {zoom:2d} {what:5s} {json.dumps(figures)}", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
