"""Count frames a second of a viewer's page while it is moved: ``python -m tests.support.view_frames
page.html``, of a page that ``imatch view`` wrote, in the machine's Chromium without a window."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

_SECONDS = 4
_MOVE = """([what, seconds]) => new Promise(done => {
  const times = [], began = performance.now();
  function step(now) {
    times.push(now);
    if (what === "pan") pan(9 * Math.cos(now / 400), 7 * Math.sin(now / 300));
    else split(0.5 + 0.4 * Math.sin(now / 500));
    if (now - began < 1000 * seconds) return requestAnimationFrame(step);
    const gaps = times.slice(1).map((time, i) => time - times[i]).sort((a, b) => a - b);
    done({ frames_per_second: 1000 * gaps.length / (times.at(-1) - times[0]),
           median_ms: gaps[gaps.length >> 1], p95_ms: gaps[Math.floor(0.95 * gaps.length)] });
  }
  requestAnimationFrame(step);
})"""


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
            page.evaluate("zoomed => { fit(); zoom(zoomed); }", zoom)
            for what in ("pan", "swipe"):
                found = page.evaluate(_MOVE, [what, _SECONDS])
                figures = {name: round(value, 1) for name, value in found.items()}
                print(f"zoom {zoom:2d} {what:5s} {json.dumps(figures)}")
        browser.close()


if __name__ == "__main__":
    main()
