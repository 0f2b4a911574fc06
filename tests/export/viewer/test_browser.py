"""The pages in the real browser; skipped where there is none."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import imatch
from imatch.core.types import BoolArray
from imatch.pipeline.registration.result import Registration
from imatch.raster import open_source
from tests.support.geotiffs import textured, write_geotiff

FOLDER = Path(__file__).parents[3] / "data" / "sample"
SAMPLE = FOLDER / "bouconne_2018-08.tif", FOLDER / "bouconne_2018-11.tif"
Open = Callable[..., Any]


@pytest.fixture
def show(browser: Any) -> Iterator[Open]:
    """Opens a page, which may ask for nothing else and raise no error."""
    contexts, troubles = [], []

    def opened(path: Path, **options: Any) -> Any:
        context = browser.new_context(
            viewport={"width": 1100, "height": 760}, accept_downloads=True, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda said: troubles.append(said.text))
        page.on(
            "request",
            lambda asked: (
                troubles.append(asked.url[:90])
                if not asked.url.startswith(("data:", "blob:", path.as_uri()))
                else None
            ),
        )
        page.goto(path.as_uri())
        page.wait_for_function(
            "loaded.size > 0 && [...loaded.values()].every(v => v && (v.tiles || v.length))"
        )
        settle(page)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


def settle(page: Any) -> None:
    """Waits until what was asked for is drawn."""
    page.evaluate(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )


def pixels(page: Any, selector: str = "#map") -> NDArray[np.uint8]:
    """(H, W, 3) of a canvas."""
    url = page.evaluate("name => document.querySelector(name).toDataURL()", selector)
    png = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
    image = cv2.imdecode(png, cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image[..., ::-1], np.uint8)


def differ(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> BoolArray:
    return np.asarray((one != other).any(axis=2))


def press(page: Any, keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)
    settle(page)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Registration, Path]:
    found = imatch.match(*SAMPLE)
    page = imatch.view(found, tmp_path_factory.mktemp("pair") / "page.html")
    return found, page


def test_swipe_blink_and_keys_change_what_is_drawn(
    pair: tuple[Registration, Path], show: Open
) -> None:
    page = show(pair[1])
    press(page, "a")  # No residuals.
    swiped = pixels(page)
    press(page, "r")
    reference = pixels(page)
    press(page, "t")
    target = pixels(page)
    middle = swiped.shape[1] // 2
    assert not differ(swiped, reference)[:, : middle - 9].any()
    assert not differ(swiped, target)[:, middle + 9 :].any()
    assert differ(reference, target).mean() > 0.3
    press(page, "o")
    assert page.is_checked("#before")
    assert differ(target, pixels(page)).mean() > 0.3
    press(page, "ob")
    assert page.get_attribute("[data-mode=blink]", "aria-pressed") == "true"
    page.wait_for_function("() => !state.on")
    settle(page)
    assert not differ(pixels(page), reference).any()
    press(page, "s[[")
    assert page.input_value("#split") == "40"
    assert "full resolution" in page.inner_text("#shown")


def test_it_moves_and_zooms_by_keys_mouse_and_fingers(
    pair: tuple[Registration, Path], show: Open
) -> None:
    page = show(pair[1], has_touch=True)
    box = page.locator("#map").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 3
    scale, start = page.evaluate("state.camera.scale"), page.evaluate("state.camera.x")
    page.focus("#map")
    press(page, "++")
    assert page.evaluate("state.camera.scale") == pytest.approx(scale * 1.96)
    page.keyboard.press("ArrowRight")
    assert page.evaluate("state.camera.x") > start
    press(page, "0")
    assert page.evaluate("state.camera.scale") == pytest.approx(scale)
    ground = page.evaluate(
        "([x, y]) => (x - map.width / 2) / state.camera.scale + state.camera.x", [x - box["x"], 0]
    )
    page.mouse.move(x, y)
    page.mouse.wheel(0, -400)
    page.wait_for_function("scale => state.camera.scale > 1.5 * scale", arg=scale)
    after = page.evaluate(
        "([x, y]) => (x - map.width / 2) / state.camera.scale + state.camera.x", [x - box["x"], 0]
    )
    assert after == pytest.approx(ground)  # The place under the mouse stays.
    before = page.evaluate("state.camera.y")
    page.mouse.move(x + 60, y)
    page.mouse.down()
    page.mouse.move(x + 60, y + 50)
    page.mouse.up()
    assert page.evaluate("state.camera.y") < before
    pinch = """() => { const said = (type, id, x) => map.dispatchEvent(new PointerEvent(type,
        {pointerId: id, pointerType: 'touch', clientX: x, clientY: 300, bubbles: true}));
        map.setPointerCapture = () => {};
        said('pointerdown', 7, 300); said('pointerdown', 8, 400); said('pointermove', 8, 500);
        said('pointerup', 7, 300); said('pointerup', 8, 500); }"""
    scale = page.evaluate("state.camera.scale")
    page.evaluate(pinch)
    assert page.evaluate("state.camera.scale") == pytest.approx(2 * scale)


def test_a_point_is_looked_at_struck_out_and_left_out_of_the_export(
    pair: tuple[Registration, Path], show: Open, tmp_path: Path
) -> None:
    found, path = pair
    page = show(path)
    press(page, "n")
    far = np.where(found.tie_points.inlier, found.tie_points.residual_px, 0)
    worst = int(far.argmax())
    assert page.inner_text("#said").startswith(
        f"Tie point {worst} of {len(far)}: residual {far.max():.2f}"
    )
    for side in ("reference", "target"):
        assert pixels(page, f"#chip-{side}").std() > 5
    press(page, "x")
    assert page.inner_text("#said").endswith("struck out.")
    assert page.get_attribute("#strike", "aria-pressed") == "true"
    # Another one by a click on the map.
    other = int(np.flatnonzero(found.tie_points.inlier)[60])
    x, y = page.evaluate("i => place(current().points, i, camera())", other)
    page.click("#map", position={"x": x, "y": y})
    assert page.inner_text("#said").startswith(f"Tie point {other} ")
    page.click("#strike")
    kept = found.tie_points.inlier.copy()
    kept[[worst, other]] = False
    assert page.inner_text("#kept") == f"{kept.sum()} of {len(kept)}"
    with page.expect_download() as waited:
        page.click("#export")
    waited.value.save_as(tmp_path / "kept.csv")
    rows = list(csv.reader((tmp_path / "kept.csv").read_text().splitlines()))[1:]
    np.testing.assert_allclose(
        np.array(rows, float)[:, :2], found.tie_points.ref_xy[kept], atol=1e-3
    )
    assert "--points kept_points.csv --points-only" in page.inner_text("#how")
    again = imatch.match(*SAMPLE, points=tmp_path / "kept.csv", points_only=True)
    assert (again.status, again.n_matches) == ("ok", kept.sum())


def test_names_of_controls_and_both_themes(pair: tuple[Registration, Path], show: Open) -> None:
    page = show(pair[1], color_scheme="dark")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, canvas')].filter(one =>
        !one.closest('.hide') && !(one.textContent.trim() || one.ariaLabel || one.labels?.length))
        .map(one => one.outerHTML)"""
    )
    assert nameless == []
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="light")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
    # Everything can be reached by the tabulator.
    seen = set()
    for _ in range(20):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.id"))
    assert {"split", "before", "map", "next", "export"} <= seen


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Registration, Path]:
    """A pair that is too large for its page, and the page."""
    folder = tmp_path_factory.mktemp("large")
    ground = textured(1008)
    ref, tgt = (
        write_geotiff(folder / f"{name}.tif", ground[:, left : left + 1000])
        for name, left in (("a", 0), ("b", 4))
    )
    found = imatch.match(ref, tgt, matcher="phase", use_geocoding=False, refine=True)
    assert found.status == "ok"
    page = imatch.view(found, folder / "page.html", max_bytes=300_000)
    assert page.stat().st_size <= 300_000
    return found, page


def idle(page: Any) -> None:
    """Waits until every tile of full resolution that was asked for is there and drawn."""
    page.wait_for_function("() => [...sharp.values()].every(Boolean)")
    settle(page)


def test_a_large_pair_is_reduced_but_around_its_points(
    large: tuple[Registration, Path], show: Open
) -> None:
    found, path = large
    ref = found.reference.path
    assert ref is not None
    page = show(path)
    text = page.inner_text("#shown")
    assert text.startswith("Shown at 1/")
    assert "at full resolution within the dashes" in text
    worst = int(np.where(found.tie_points.inlier, found.tie_points.residual_px, 0).argmax())
    page.evaluate(
        """i => { const points = current().points; select(i); state.arrows = state.outlines = false;
        state.camera = { x: points.ref_x[i] + 0.5, y: points.ref_y[i] + 0.5, scale: 4 };
        mode('reference'); }""",
        worst,
    )
    idle(page)
    assert page.inner_text("#sharp").endswith("; full resolution.")
    assert page.inner_text("#zoomed").endswith("in the middle full resolution")
    # What is drawn around the point is the file at its own resolution.
    x, y = np.round(found.tie_points.ref_xy[worst]).astype(int)
    true = open_source(ref).read().pixels[0][y - 15 : y + 15, x - 15 : x + 15]

    def likeness() -> float:
        settle(page)
        drawn = pixels(page)[..., 0].astype(float)
        row, column = np.array(drawn.shape) // 2
        part = drawn[row - 60 : row + 60, column - 60 : column + 60]
        return float(np.corrcoef(part.ravel(), true.repeat(4, 0).repeat(4, 1).ravel())[0, 1])

    sharp = likeness()
    page.evaluate("() => { current().sharp.reference = {}; state.view = 0; theme(); }")
    page.evaluate("() => { sheets.reference.key = ''; refresh(); }")
    assert sharp > 0.8
    assert likeness() < sharp - 0.05
    assert "in the middle 1/" in page.inner_text("#zoomed")


def test_what_was_only_moved_is_as_if_it_were_drawn_anew(
    large: tuple[Registration, Path], show: Open
) -> None:
    page = show(large[1])
    page.evaluate("() => { state.camera.scale = 1.7; state.fitted = false; draw(); }")
    idle(page)
    # Further than the margin, to each side, in steps that are no whole pixels.
    for dx, dy in [(-31.3, 7.7)] * 9 + [(11.4, -23.9)] * 12 + [(300, 150)]:
        page.evaluate("([dx, dy]) => { pan(dx, dy); draw(); }", [dx, dy])
    idle(page)
    moved = pixels(page)
    page.evaluate("() => { for (const one of Object.values(sheets)) one.key = ''; draw(); }")
    assert not differ(moved, pixels(page)).any()
    # A zoom draws the images without what was kept; tiles may be blended otherwise at their edges.
    press(page, "af")
    kept = pixels(page).astype(int)
    page.evaluate("() => { drawn = 0; draw(); }")
    assert np.abs(kept - pixels(page)).mean() < 0.1


def test_dashes_show_where_full_resolution_is(large: tuple[Registration, Path], show: Open) -> None:
    page = show(large[1])
    press(page, "a")
    dashed = pixels(page)
    press(page, "f")
    assert not page.is_checked("#outlines")
    different = differ(dashed, pixels(page))
    assert 0.001 < different.mean() < 0.1
    cells = page.evaluate("Object.keys(current().sharp.reference)")
    left, top, scale = page.evaluate("[camera().left, camera().top, camera().scale]")
    rows, columns = np.nonzero(different)
    inside = np.zeros(len(rows), bool)
    for cell in cells:
        x, y = (256 * int(number) * scale for number in cell.split(","))
        near = (columns + left >= x - 3) & (columns + left <= x + 256 * scale + 3)
        inside |= near & (rows + top >= y - 3) & (rows + top <= y + 256 * scale + 3)
    assert inside.all()


def test_a_batch_is_a_table_that_filters(show: Open, tmp_path: Path) -> None:
    for name, low in (("noise", 0), ("flat", 254)):
        values = np.random.default_rng(0).integers(low, 255, (3, 96, 96))
        write_geotiff(tmp_path / f"{name}.tif", values.astype(np.uint8))
    (tmp_path / "pairs.csv").write_text(
        f"name,reference,target\ngood,{SAMPLE[0]},{SAMPLE[1]}\nbad,noise.tif,flat.tif\n"
    )
    imatch.batch(tmp_path / "pairs.csv", tmp_path / "run", matcher="sift", use_geocoding=False)
    page = show(imatch.view(tmp_path / "run"))
    shown = """() => [...document.querySelectorAll('#pairs tbody tr')]
        .filter(row => !row.hidden).map(row => row.cells[0].textContent.trim())"""
    assert page.evaluate(shown) == ["good", "bad"]
    page.fill("#filter", "BAD")
    assert (page.evaluate(shown), page.inner_text("#count")) == (["bad"], "1 of 2 pairs")
    page.fill("#filter", "")
    page.select_option("#only", "ok")
    assert page.evaluate(shown) == ["good"]
    page.select_option("#only", "")
    page.click("#pairs th button >> nth=0")
    assert page.evaluate(shown) == ["bad", "good"]
    page.click("#pairs td button >> text=bad")
    assert page.inner_text("#verdict").lower().startswith("failed")
    page.click("#pairs td button >> text=good")
    assert page.inner_text("#verdict").lower().startswith("ok")
    assert page.inner_text("#kept").endswith(str(page.evaluate("current().kept.length")))


def test_a_stack_is_shown_date_by_date(show: Open, tmp_path: Path) -> None:
    ground, images = textured(272), []
    for number, date in enumerate(("2018-08-12", "2018-11-10", "2019-03-01")):
        part = ground[3 * number : 200 + 3 * number, number : 200 + number]
        images.append(write_geotiff(tmp_path / f"s_{date}.tif", part + np.uint16(number)))
        found = imatch.match(images[0], images[-1], matcher="phase", use_geocoding=False)
        (tmp_path / "stack" / "transforms").mkdir(parents=True, exist_ok=True)
        found.save(tmp_path / "stack" / "transforms" / f"s_{date}.json")
    # What a viewer reads of the document of a stack.
    members = [{"name": path.stem, "date": path.stem[2:]} for path in images]
    document = {"schema": "imatch.stack/1", "reference": images[0].stem, "images": members}
    (tmp_path / "stack" / "stack.json").write_text(json.dumps(document))
    page = show(imatch.view(tmp_path / "stack"))
    assert page.inner_text("#dated").startswith("2018-08-12")
    page.fill("#date", "2")
    assert page.inner_text("#dated").startswith("2019-03-01")
    press(page, ",t")
    assert page.inner_text("#dated").startswith("2018-11-10")
    page.wait_for_function("() => levels(current().target).length > 0")
    settle(page)
    one = pixels(page)
    press(page, "r")
    # Registered, all dates look alike.
    assert np.abs(one.astype(int) - pixels(page)).mean() < 12
