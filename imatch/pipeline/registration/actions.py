"""What can be done with a registration: it is saved, drawn, reported on, applied.

The work is done by rooms above this one. Their functions are named here, as registries name theirs,
and imported when they are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, TypeVar

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from imatch.core.progress import ProgressOption
    from imatch.raster.sampling.interpolation import Resampling

Place: TypeAlias = str | PathLike[str]
Panel: TypeAlias = Literal["matches", "before", "after", "residuals"]
ImageT = TypeVar("ImageT")

#: Method -> ``"module:function"`` of what does its work.
WORK = {
    "__repr__": "imatch.export.summary:to_text",
    "_repr_html_": "imatch.export.summary:to_html",
    "apply": "imatch.workflows.apply:apply_one",
    "load": "imatch.pipeline.registration.io:read_registration",
    "plot": "imatch.export.plot:plot",
    "report": "imatch.export.quality.assess:report",
    "save": "imatch.export.formats:write",
    "to_geodataframe": "imatch.export.vectors:tie_point_frame",
    "warp": "imatch.workflows.warp:warp",
}


def _work(method: str) -> Any:
    module, _, function = WORK[method].partition(":")
    return getattr(import_module(module), function)


class Actions:
    """Methods of `Registration`."""

    def __repr__(self) -> str:
        try:
            return str(_work("__repr__")(self))
        except Exception:  # Debuggers show what is broken, too.
            return object.__repr__(self)

    def _repr_html_(self) -> str:
        """The summary as a notebook shows it, with a small picture where there are images."""
        return str(_work("_repr_html_")(self))

    @classmethod
    def load(cls, path: Place) -> Self:
        """Read a registration back from the ``.json`` file that it was saved as.

        The same as `imatch.read_registration`.

        Args:
            path: The file.

        Raises:
            InputError: It cannot be read, or is no registration of a known schema.
        """
        found: Self = _work("load")(path)
        return found

    def save(self, path: Place, *, overwrite: bool = False) -> None:
        """Write the registration in the format that the suffix of a path names.

        ``.json`` is all of it, to be read back; ``.geojson``, ``.gpkg`` and ``.csv`` are its tie
        points; ``.points`` and ``.vrt`` ground control points for QGIS and GDAL; ``.npz`` NumPy
        arrays; ``.png`` a picture. A file is written whole or not at all.

        Args:
            path: Where to.
            overwrite: Whether an existing file may be replaced.

        Raises:
            ConfigError: There is no such format.
            OutputError: The place refuses, or the registration lacks what the format needs.
        """
        _work("save")(self, Path(path), overwrite=overwrite)

    def plot(self, axes: Axes | None = None, *, panel: Panel = "after") -> Figure:
        """Draw the registration as a figure of four panels, or one of them into axes.

        Args:
            axes: Matplotlib axes to draw into; None makes a figure of its own.
            panel: What to draw into `axes`: lines between ``matches``, a checkerboard of both
                images ``before`` or ``after`` registration, or ``residuals``.

        Returns:
            The figure. One of its own belongs to no window; notebooks show it.

        Raises:
            OutputError: It was read back from a file, and its images are not where they were.
        """
        figure: Figure = _work("plot")(self, axes, panel)
        return figure

    def report(
        self, path: Place, *, ref: Any = None, tgt: Any = None, overwrite: bool = False
    ) -> None:
        """Write the evidence, before and after registration, as a page or as figures.

        Args:
            path: ``.html``: one page that needs nothing else; ``.json``: its figures.
            ref: The reference image, where it was no file or lies elsewhere now.
            tgt: The target image, likewise.
            overwrite: Whether an existing file may be replaced.

        Raises:
            ConfigError: Another suffix.
            InputError: An image was no file and is not given, or cannot be read.
            OutputError: The place refuses.
        """
        _work("report")(self, Path(path), ref=ref, tgt=tgt, overwrite=overwrite)

    def apply(
        self,
        path: Place,
        out: Place,
        *,
        grid: Literal["reference", "target"] = "reference",
        res: float | None = None,
        bounds: tuple[float, float, float, float] | None = None,
        resampling: Resampling | Literal["auto"] = "auto",
        nodata: float | None = None,
        creation: Mapping[str, str] | None = None,
        cog: bool = False,
        geotransform_only: bool = False,
        inexact: Literal["refuse", "accept", "gcps"] = "refuse",
        max_unpacked: int | None = None,
        force: bool = False,
        overwrite: bool = False,
        progress: ProgressOption = None,
    ) -> Path:
        """Apply the registration to one raster, vector file or product of the target's scene.

        `imatch.apply` does several at once.

        Args:
            path: The file, or the folder of a product.
            out: What to write: a GeoTIFF of a raster, of vectors a file whose suffix tells the
                format, of a product a folder. In a folder that exists it has the name of `path`.
            grid: Whose pixel lattice a raster is written on, ``reference`` or ``target``: its own.
            res: Side of a pixel in units of the output's CRS.
            bounds: (left, bottom, right, top) to cover, in the output's CRS.
            resampling: How to take values between pixels; ``auto`` takes the nearest of classes
                and masks, and interpolates measurements.
            nodata: Value that marks missing ground in a raster, instead of what it says.
            creation: Creation options of GDAL's GTiff driver, or of its COG driver.
            cog: Write a cloud-optimised GeoTIFF.
            geotransform_only: Correct where a raster says it lies, and leave its pixels alone.
            inexact: What to do where a geotransform cannot say it.
            max_unpacked: Bytes that a product may take unpacked.
            force: Apply a registration that is not ok, or not near enough.
            overwrite: Replace a file that exists.
            progress: True shows how far it is on a terminal's stderr; a callback is told.

        Returns:
            What was written.

        Raises:
            InputError: The file cannot be used, or the registration is not to be applied.
            ConfigError: An option makes no sense.
            OutputError: The place refuses.
        """
        written: Path = _work("apply")(
            self,
            path,
            out,
            grid=grid,
            res=res,
            bounds=bounds,
            resampling=resampling,
            nodata=nodata,
            creation=creation or {},
            cog=cog,
            geotransform_only=geotransform_only,
            inexact=inexact,
            max_unpacked=max_unpacked,
            force=force,
            overwrite=overwrite,
            progress=progress,
        )
        return written

    def to_geodataframe(self) -> GeoDataFrame:
        """The tie points as points on the reference.

        Returns:
            A row a tie point, with the columns of the ``.csv`` and of the document's
            ``tie_points``. The CRS is the reference's; without geocoding, positions are pixels as
            QGIS lays them, ``(x + 0.5, -(y + 0.5))``.

        Raises:
            OutputError: The reference's CRS is not understood.
        """
        return _work("to_geodataframe")(self)

    def warp(
        self,
        image: ImageT,
        *,
        grid: Literal["reference", "target"] = "reference",
        res: float | None = None,
        bounds: tuple[float, float, float, float] | None = None,
        resampling: Resampling = "cubic",
        nodata: float | None = None,
        force: bool = False,
    ) -> ImageT:
        """Lay the target, or another image of its scene, on the reference's pixels.

        Args:
            image: A numpy array ((H, W), (H, W, C) or (C, H, W)) of the target's height and width,
                or a DataArray with a CRS, of any pixel size, as rioxarray and odc-geo make them.
            grid: Whose pixel lattice the answer has, ``reference`` or ``target``: the image's own.
            res: Side of a pixel in units of the answer's CRS.
            bounds: (left, bottom, right, top) to cover, in the answer's CRS.
            resampling: How to take values between pixels: ``nearest`` (of classes and masks),
                ``bilinear``, ``cubic`` or ``lanczos``.
            nodata: Value that marks missing ground, in the image and in the answer; what the image
                says when None.
            force: Apply a registration that is not ok, or not near enough.

        Returns:
            The same kind of image, of the same type of numbers and with its bands in the same
            place. Missing ground is NaN in floating-point numbers. In whole ones it is `nodata`;
            without, an array is masked, and a DataArray marks it by the type's largest number, or
            least of signed ones (``_FillValue``). A DataArray has the coordinates and the CRS of
            its new pixels, and is lazy where the image is (dask).

        Raises:
            InputError: The image cannot be used, or the registration is not to be applied.
            ConfigError: An option makes no sense.
        """
        warped: ImageT = _work("warp")(
            self,
            image,
            grid=grid,
            res=res,
            bounds=bounds,
            resampling=resampling,
            nodata=nodata,
            force=force,
        )
        return warped
