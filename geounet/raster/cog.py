"""Pieces of a raster to a Cloud Optimized GeoTIFF (https://docs.ogc.org/is/21-026/21-026.html), in flat memory.

The file appears under its name only when it is whole.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import rasterio
import rasterio.errors
import rasterio.shutil
import rasterio.windows

from geounet.classes import LandClass, default_class
from geounet.errors import OutputError
from geounet.outputs import atomic
from geounet.raster.scene import Scene, load_scene, opened, pixel_coordinates_allowed, small_cache
from geounet.raster.styles import write_qml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from affine import Affine
    from numpy.typing import NDArray

    from geounet.grid import Window

    Put = Callable[[Window, NDArray[Any]], None]

CLASSES_TAG = "CLASSES"
"""TIFF tag with the class table as JSON: a list of value, name, color."""


@dataclass(frozen=True, slots=True)
class RasterProfile:
    """What a raster is, but for its pixels."""

    height: int
    """Rows."""
    width: int
    """Columns."""
    transform: Affine
    """From (column, row) to coordinates; the identity for pixel coordinates."""
    crs: rasterio.CRS | None
    """Coordinate reference system, None for pixel coordinates."""
    dtype: str
    """NumPy's name of the data type; float16 becomes a half precision TIFF, which GDAL reads as float32 or float16."""
    nodata: float | None
    """Value of invalid pixels."""
    classes: tuple[LandClass, ...] = ()
    """Class table, for a class raster."""
    names: tuple[str, ...] = ("class",)
    """One description a band."""
    scale: float = 1.0
    """Value = stored * scale."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """More tags, written as they are."""


ENDINGS = (".tif", ".tiff")
"""What a raster's name ends in, see :func:`geounet.outputs.check_ending`."""


def write_cog(path: Path, profile: RasterProfile, pieces: Iterable[tuple[Window, NDArray[Any]]]) -> None:
    """Write a raster whose pieces come in any order; what no piece covers is nodata.

    Args:
        path: replaced if it exists.
        profile: what the raster is.
        pieces: windows of the raster and their arrays `(bands, height, width)`.

    Raises:
        OutputError: the file cannot be written.
    """
    with cog_writer(path, profile) as put:
        for window, array in pieces:
            put(window, array)


@contextmanager
def cog_writer(path: Path, profile: RasterProfile) -> Iterator[Put]:
    """A function that takes a raster's pieces as :func:`write_cog` has them; the raster is whole at the end.

    Args:
        path: replaced if it exists.
        profile: what the raster is.

    Raises:
        OutputError: the file cannot be written.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file in it")
    try:
        with atomic(path, _companions(path)) as cog:
            plain = cog.with_name(f"{path.name}.plain")
            # GDAL would hold up to a twentieth of the memory in blocks that nobody asks for again.
            with small_cache():
                with plain_writer(plain, profile) as put:
                    yield put
                _copy_to_cog(plain, cog, {"nbits": 16} if profile.dtype == "float16" else {})
            plain.unlink()
            if profile.classes:
                Path(f"{cog}.aux.xml").write_text(_categories_xml(profile.classes), encoding="utf-8")
                write_qml(cog, profile.classes)
    except rasterio.errors.RasterioError as error:
        raise OutputError(f"{path} cannot be written: {error}") from error


def _companions(path: Path) -> tuple[Path, ...]:
    """What a class raster has beside it, where one is replaced; the style of others is not ours."""
    sidecar = Path(f"{path}.aux.xml")
    # The sidecar, which tells, goes last.
    return (path.with_suffix(".qml"), sidecar) if sidecar.exists() else ()


@contextmanager
def plain_writer(path: Path, profile: RasterProfile) -> Iterator[Put]:
    """As :func:`cog_writer`, of a plain GeoTIFF that is at its place from the start: for what is needed for a while."""
    # Uncompressed, so that a piece which covers a part of a TIFF tile is written in place.
    with (
        pixel_coordinates_allowed(),
        rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=profile.height,
            width=profile.width,
            count=len(profile.names),
            **_type_options(profile),
            crs=profile.crs,
            transform=profile.transform,
            nodata=profile.nodata,
            tiled=True,
            blockxsize=512,
            blockysize=512,
            bigtiff="IF_SAFER",
            sparse_ok=True,
        ) as dataset,
    ):
        _describe(dataset, profile)

        def put(window: Window, array: NDArray[Any]) -> None:
            area = rasterio.windows.Window(window.col, window.row, window.width, window.height)
            dataset.write(array.astype(dataset.dtypes[0], copy=False), window=area)

        yield put


def _type_options(profile: RasterProfile) -> dict[str, Any]:
    half = profile.dtype == "float16"
    # Before 3.11 GDAL has no data type of half precision, but reads and writes such files: as float32 of 16 bits.
    options = {"dtype": "float32", "nbits": 16} if half else {"dtype": profile.dtype}
    # Three or four bands of bytes would be taken for red, green, blue and alpha.
    return options | ({"photometric": "MINISBLACK", "alpha": "NO"} if len(profile.names) > 1 else {})


def _describe(dataset: Any, profile: RasterProfile) -> None:
    dataset.descriptions = profile.names
    dataset.scales = [profile.scale] * len(profile.names)
    dataset.update_tags(**profile.tags)
    if profile.classes:
        table = [{"value": item.value, "name": item.name, "color": item.color} for item in profile.classes]
        dataset.update_tags(**{CLASSES_TAG: json.dumps(table)})
        dataset.write_colormap(1, {item.value: (*item.rgb, 255) for item in profile.classes})


def _copy_to_cog(plain: Path, cog: Path, more: Mapping[str, Any]) -> None:
    rasterio.shutil.copy(
        plain,
        cog,
        driver="COG",
        compress="ZSTD",
        # Zstandard's own default: GDAL's, 9, takes two and a half times as long for a tenth of the size.
        level=3,
        blocksize=512,
        overview_resampling="nearest",
        overview_compress="ZSTD",
        num_threads="ALL_CPUS",
        bigtiff="IF_SAFER",
        **more,
    )


def _categories_xml(classes: tuple[LandClass, ...]) -> str:
    """GDAL's sidecar with what no TIFF tag holds: category names, one a value from 0, and an attribute table.

    QGIS reads the palette, GDAL's own tools the names, ArcGIS the table; field types and usages are those of
    GDALRATFieldType and GDALRATFieldUsage (https://gdal.org/en/stable/doxygen/gdal_8h.html).
    """
    names = {item.value: item.name for item in classes}
    rows = "".join(f"<Category>{escape(names.get(value, ''))}</Category>" for value in range(max(names) + 1))
    whole, text = 0, 2
    columns = (("VALUE", whole, 5), ("CLASS", text, 2), ("RED", whole, 6), ("GREEN", whole, 7), ("BLUE", whole, 8))
    fields = "".join(
        f'<FieldDefn index="{index}"><Name>{name}</Name><Type>{kind}</Type><Usage>{usage}</Usage></FieldDefn>'
        for index, (name, kind, usage) in enumerate(columns)
    )
    entries = "".join(
        f'<Row index="{index}">'
        + "".join(f"<F>{escape(str(cell))}</F>" for cell in (item.value, item.name, *item.rgb))
        + "</Row>"
        for index, item in enumerate(classes)
    )
    table = f'<GDALRasterAttributeTable tableType="thematic">{fields}{entries}</GDALRasterAttributeTable>'
    return (
        f'<PAMDataset><PAMRasterBand band="1"><CategoryNames>{rows}</CategoryNames>{table}</PAMRasterBand>'
        "</PAMDataset>\n"
    )


def tags_of(path: str | Path) -> dict[str, str]:
    """The tags of a raster.

    Raises:
        SceneError: it cannot be opened.
    """
    with opened(load_scene(path)) as dataset:
        return dict(dataset.tags())


def classes_of(raster: str | Path | Scene) -> tuple[LandClass, ...]:
    """The class table of a raster: from its tag, else its colour table's values and colours, else nothing.

    Raises:
        SceneError: it cannot be opened.
    """
    with opened(raster if isinstance(raster, Scene) else load_scene(raster)) as dataset:
        text = dataset.tags().get(CLASSES_TAG)
        if text:
            return tuple(LandClass(row["value"], row["name"], row["color"]) for row in json.loads(text))
        return _classes_of_colormap(dataset)


def _classes_of_colormap(dataset: Any) -> tuple[LandClass, ...]:
    if dataset.colorinterp[0] is not rasterio.enums.ColorInterp.palette:
        return ()
    nodata = dataset.nodata
    shown = {value: rgba for value, rgba in dataset.colormap(1).items() if value != nodata and value < 255}  # noqa: PLR2004
    return tuple(
        LandClass(value, default_class(value).name, "#{:02x}{:02x}{:02x}".format(*rgba[:3]))
        for value, rgba in shown.items()
        if any(rgba[:3])
    )
