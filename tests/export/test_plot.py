from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver, QuiverKey
from matplotlib.text import Text

from imatch.core.errors import OutputError
from imatch.export import write
from imatch.export.plot import plot
from imatch.pipeline.registration.certificate import Certificate
from imatch.pipeline.registration.io import read_registration
from imatch.pipeline.registration.result import Registration

Make = Callable[..., Registration]


def texts(figure: Figure) -> list[Text]:
    return [item for item in figure.findobj(Text) if isinstance(item, Text) and item.get_text()]


def titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]


def panel(figure: Figure, title: str) -> Axes:
    (axes,) = [a for a in figure.axes if a.get_title(loc="left").startswith(title)]
    return axes


SHAPES: dict[str, dict[str, Any]] = {
    "usual": {},
    "grey and colour": {"channels": (1, 3)},
    "different sizes": {"target_size": (900, 650)},
    "wide": {"size": (1200, 100)},
    "tall": {"size": (100, 1200)},
    "failed and wide": {"size": (1200, 100), "status": "failed"},
    "failed and tall": {"size": (100, 1200), "status": "failed"},
    "few pixels": {"size": (12, 12), "matrix": np.eye(3), "n": 5, "outliers": 0},
    "no residual at all": {"noise": 0.0},
    "long": {"status": "uncertain", "target_path": "x" * 300 + ".tif"},
}


@pytest.mark.parametrize("options", SHAPES.values(), ids=SHAPES.keys())
def test_every_word_is_on_the_paper(options: dict[str, Any], make: Make) -> None:
    figure = plot(make(**options))
    figure.canvas.draw()
    width, height = figure.bbox.size
    for text in texts(figure):
        if not text.get_visible() or text.get_text().startswith("$"):
            continue
        box = text.get_window_extent()
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert inside, f"{text.get_text()!r} is cut off: {box}"


@pytest.mark.parametrize("options", SHAPES.values(), ids=SHAPES.keys())
def test_titles_do_not_run_into_one_another(options: dict[str, Any], make: Make) -> None:
    figure = plot(make(**options))
    figure.canvas.draw()
    heads = [*figure.texts]
    for axes in figure.axes:
        heads += [axes.title, axes._left_title, axes._right_title, axes.xaxis.label]  # type: ignore[attr-defined]
    boxes = [(h.get_text(), h.get_window_extent()) for h in heads if h.get_text()]
    for index, (first, box) in enumerate(boxes):
        for second, other in boxes[index + 1 :]:
            assert not box.overlaps(other), f"{first!r} runs into {second!r}"


def test_the_title_states_status_and_accuracy(make: Make) -> None:
    figures: dict[str, Any] = {"rmse_px": 0.42, "rmse_m": 4.2, "ce90_px": 0.71, "ce90_m": 7.1}
    figure = plot(replace(make(), **figures))
    headline, facts = (text.get_text() for text in figure.texts)
    assert headline == (
        "ok: shift 7.39 ± 0.11 px (73.9 ± 1.1 m), RMSE 0.42 px (4.20 m), CE90 0.71 px (7.10 m)"
    )
    plain = facts.replace("\N{NO-BREAK SPACE}", " ")
    assert "170 of 200 tie points  ·  coverage 83%  ·  aliked-lightglue" in plain
    assert "b.tif onto reference_2018-08.tif" in plain
    assert titles(figure)[0] == "Matches: reference and target"
    assert [title.split()[0] for title in titles(figure)[1:]] == ["Before", "After", "Residuals"]


@pytest.mark.parametrize(
    ("passes", "said", "colour"),
    [(True, " – passes 0.3 px", "#1b7837"), (False, " – fails 0.3 px", "#b35806")],
)
def test_the_title_states_the_verdict(passes: bool, said: str, colour: str, make: Make) -> None:
    certificate = Certificate(corner_ci95_px=0.25, tolerance="0.3 px", passes=passes)
    headline, facts = plot(replace(make(), certificate=certificate)).texts
    assert headline.get_text().endswith(said)
    assert headline.get_color() == colour
    plain = facts.get_text().replace("\N{NO-BREAK SPACE}", " ")
    assert plain.endswith("all of the overlap within 0.25 px at 95%")


@pytest.mark.parametrize("noise", [0.4, 2.0, 200.0])
@pytest.mark.parametrize("size", [(400, 400), (400, 300), (1200, 100), (100, 1200)])
def test_the_keys_of_the_residuals_stand_apart(
    size: tuple[int, int], noise: float, make: Make
) -> None:
    figure = plot(make(size=size, noise=noise))
    figure.canvas.draw()
    residuals = panel(figure, "Residuals")
    legend = residuals.get_legend()
    (key,) = residuals.findobj(QuiverKey)
    assert legend is not None
    assert isinstance(key, QuiverKey)
    scale = key.text.get_window_extent()
    assert not any(text.get_window_extent().overlaps(scale) for text in legend.get_texts())
    assert scale.y0 >= 0


def test_an_uncertain_one_says_why(make: Make) -> None:
    figure = plot(make(status="uncertain"))
    assert figure.texts[0].get_text().startswith("uncertain: shift")
    assert "the tie points cover only 11 % of the overlap" in figure.texts[1].get_text()


def test_a_failure_shows_its_reason_instead(make: Make) -> None:
    registration = make(status="failed")
    figure = plot(registration)
    assert figure.texts[0].get_text() == "failed: 200 tie points, no transform"
    assert titles(figure) == ["Matches: reference and target", "Before"]
    said = " ".join(text.get_text().replace("\n", " ") for text in texts(figure))
    assert registration.reason in said


def test_few_lines_however_many_matches(make: Make) -> None:
    figure = plot(make(n=5000, outliers=2000))
    grey, coloured = (
        item for item in panel(figure, "Matches").collections if isinstance(item, LineCollection)
    )
    assert len(grey.get_segments()) <= 40
    assert 60 <= len(coloured.get_segments()) <= 110


def test_lines_end_where_the_tie_points_are(make: Make) -> None:
    registration = make(n=1, outliers=0, target_size=(800, 600), geocoded=False)
    figure = plot(registration)
    (line,) = [
        item for item in panel(figure, "Matches").collections if isinstance(item, LineCollection)
    ]
    start, end = line.get_segments()[0]
    np.testing.assert_allclose(start, registration.tie_points.ref_xy[0] + 0.5)
    # The target is drawn half as large, 0.04 of 400 to the right of the reference.
    expected = (registration.tie_points.tgt_xy[0] + 0.5) / 2 + [416, 0]
    np.testing.assert_allclose(end, expected)


def test_one_wild_residual_does_not_spoil_the_scales(make: Make) -> None:
    registration = make()
    residual = registration.tie_points.residual_xy.copy()
    wild = int(np.flatnonzero(registration.tie_points.inlier)[0])
    residual[wild] = (5000, 0)
    figure = plot(
        replace(registration, tie_points=replace(registration.tie_points, residual_xy=residual))
    )
    lines = [c for c in panel(figure, "Matches").collections if isinstance(c, LineCollection)][-1]
    assert lines.get_clim()[1] < 3
    for item in panel(figure, "Residuals").collections:
        if isinstance(item, Quiver):
            assert np.hypot(item.U, item.V).max() < 100


def test_arrows_point_from_the_predicted_to_the_found_place(make: Make) -> None:
    turned = np.array([[0, -1, 399.0], [1, 0, 0], [0, 0, 1]])  # A quarter turn.
    registration = make(n=1, outliers=0, matrix=turned, geocoded=False, size=(400, 400))
    figure = plot(registration)
    (arrow,) = [c for c in panel(figure, "Residuals").collections if isinstance(c, Quiver)]
    dx, dy = registration.tie_points.residual_xy[0]
    drawn = np.array([arrow.U, arrow.V]).ravel()
    # Target x runs down the reference's y, target y against its x.
    expected = np.array([dy, -dx])
    np.testing.assert_allclose(drawn / np.hypot(*drawn), expected / np.hypot(*expected), atol=1e-6)


def test_png_is_a_picture_of_the_stated_size(registration: Registration, tmp_path: Path) -> None:
    write(registration, tmp_path / "r.png")
    image = cv2.imread(str(tmp_path / "r.png"))
    assert image is not None
    assert image.shape == (1500, 2100, 3)
    assert image.std() > 20


def test_every_kind_is_drawn(every: Registration) -> None:
    figure = plot(every)
    assert figure.texts[0].get_text().startswith(f"{every.status}: ")
    for axes in figure.axes:
        assert np.isfinite([*axes.get_xlim(), *axes.get_ylim()]).all()


def test_odd_file_names_are_drawn_as_they_are(make: Make, tmp_path: Path) -> None:
    registration = make(target_path="$a_{b$ 影像.tif", status="failed")
    write(replace(registration, reason=r"$\frac{1$ is no formula"), tmp_path / "r.png")
    assert (tmp_path / "r.png").stat().st_size > 10_000


def test_a_registration_from_a_file_has_nothing_to_draw(
    registration: Registration, tmp_path: Path
) -> None:
    write(registration, tmp_path / "r.json")
    with pytest.raises(OutputError, match=r"r\.png: .*holds no images to draw.*--plot"):
        write(read_registration(tmp_path / "r.json"), tmp_path / "r.png")
    assert not (tmp_path / "r.png").exists()


def test_no_window_system_is_touched() -> None:
    code = "import imatch.export.plot, sys; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
