"""A product in Python: rasters as xarray, polygons as GeoDataFrame, and a look at it in a notebook."""

from __future__ import annotations

import base64
import tempfile
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import geopandas as gpd
import pandas as pd

from geounet.arrays import class_array, open_scene
from geounet.errors import OutputError
from geounet.exports.subjects import Subject, find_subjects
from geounet.formats.reading import read_batches
from geounet.pages.markup import png_url, swatch
from geounet.pages.pictures import paint_classes
from geounet.pages.plane import NODATA, few, stored_overview
from geounet.raster.scene import load_scene, small_cache
from geounet.tasks.report import report

if TYPE_CHECKING:
    import xarray

    from geounet.classes import LandClass

__all__ = ["OpenProduct", "Page", "open_product"]

_HIGH = 640
"""Pixels: how high a page is in a notebook."""


@dataclass(frozen=True, slots=True)
class OpenProduct:
    """A product, or a map; what it holds is read when it is asked for."""

    subject: Subject
    """Where its files are."""
    chunk_size: int
    """Side of a chunk of its arrays, in pixels."""

    @property
    def name(self) -> str:
        """The scene's id; of a map the file's name without its ending."""
        return self.subject.name

    @property
    def legend(self) -> tuple[LandClass, ...]:
        """The classes: value, name, colour."""
        return self.subject.legend

    @property
    def classes(self) -> xarray.DataArray:
        """Class of each pixel: `(y, x)` uint8, 255 where nodata, see :func:`geounet.arrays.class_array`.

        Raises:
            SceneError: the raster cannot be read.
            OutputError: there is none.
        """
        return class_array(_there(self.subject.classes, self.name, "class raster"), self.chunk_size)

    @property
    def confidence(self) -> xarray.DataArray:
        """Probability of the class: `(y, x)` float32 from 0 to 1, NaN where nodata.

        Raises:
            SceneError: the raster cannot be read.
            OutputError: there is none.
        """
        raster = _there(self.subject.confidence, self.name, "raster of confidences")
        array: xarray.DataArray = open_scene(raster, chunk_size=self.chunk_size)[0].drop_vars("band")
        return array.rename("confidence")

    @property
    def polygons(self) -> gpd.GeoDataFrame:
        """All polygons, in memory; see :func:`geounet.tasks.vectorize.polygon_frame` for the columns.

        Raises:
            LabelError: the file cannot be read.
            OutputError: there is none.
        """
        batches = list(read_batches(_there(self.subject.polygons, self.name, "polygon file")))
        return gpd.GeoDataFrame(pd.concat(batches, ignore_index=True), crs=batches[0].crs)

    @property
    def areas(self) -> pd.DataFrame:
        """Polygons and hectares by class, the largest first: `name`, `polygons`, `area_ha`, by `class`.

        Raises:
            LabelError: the file cannot be read.
            OutputError: there is none.
        """
        path = _there(self.subject.polygons, self.name, "polygon file")
        wanted = ["class", "class_name", "area_ha"]
        whole = pd.concat([frame[wanted] for frame in read_batches(path, wanted)])
        grouped = whole.groupby("class")
        table = pd.DataFrame(
            {
                "name": grouped["class_name"].first(),
                "polygons": grouped.size(),
                "area_ha": grouped["area_ha"].sum(),
            }
        )
        return table.sort_values("area_ha", ascending=False)

    def explore(self) -> Page:
        """An interactive map in a notebook, see :func:`geounet.tasks.report.report`; it needs no network.

        Raises:
            OutputError: Bokeh is not installed.
        """
        with tempfile.TemporaryDirectory() as folder:
            source = self.subject.classes if self.subject.polygons is None else self._folder()
            made = report(_there(source, self.name, "class raster"), Path(folder, "page.html"))
            return Page(made.read_text(encoding="utf-8"))

    def _folder(self) -> Path | None:
        return None if self.subject.polygons is None else self.subject.polygons.parent

    def _repr_html_(self) -> str:
        """A picture, and the classes with their areas."""
        picture = f'<img alt="{escape(self.name)}" style="max-width:100%" src="{self._picture()}">'
        return f"<h4>{escape(self.name)}</h4>{picture}{self._table()}"

    def _picture(self) -> str:
        if self.subject.polygons is not None:
            preview = self.subject.polygons.with_name("preview.png")
            if preview.exists():
                return "data:image/png;base64," + base64.b64encode(preview.read_bytes()).decode("ascii")
        with small_cache():
            scene = load_scene(_there(self.subject.classes, self.name, "class raster"))
            codes = stored_overview(scene, few(scene))
        return png_url(paint_classes(codes, codes != NODATA, self.legend))

    def _table(self) -> str:
        if self.subject.polygons is None:
            return "<p>" + " ".join(swatch(item.name, item.color) for item in self.legend) + "</p>"
        colors = {item.value: item.color for item in self.legend}
        rows = "".join(
            f"<tr><td>{swatch(str(row.name), colors.get(int(str(value)), '#808080'))}</td><td>{row.polygons:,}</td>"
            f"<td>{row.area_ha:,.2f}</td></tr>"
            for value, row in zip(self.areas.index, self.areas.itertuples(index=False), strict=True)
        )
        return f"<table><tr><th>class</th><th>polygons</th><th>ha</th></tr>{rows}</table>"


@dataclass(frozen=True, slots=True)
class Page:
    """An HTML page, which a notebook shows in a frame."""

    html: str
    """The whole page."""

    def _repr_html_(self) -> str:
        return f'<iframe srcdoc="{escape(self.html)}" style="width:100%;height:{_HIGH}px;border:0"></iframe>'


def _there(path: Path | None, name: str, what: str) -> Path:
    if path is None:
        raise OutputError(f"{name} has no {what}")
    return path


def open_product(path: str | Path, chunk_size: int = 1024) -> OpenProduct:
    """Open a product's folder, or a class raster; rasters and polygons are read when they are asked for.

    Args:
        path: the folder of one product, or a class raster.
        chunk_size: side of a chunk of the arrays, in pixels.

    Raises:
        OutputError: there is neither; the product is unfinished, or there are several.
        SceneError: the raster cannot be opened.
        LabelError: it is none of classes.
    """
    found = find_subjects([path])
    if len(found) > 1:
        raise OutputError(f"{path} holds {len(found)} products; open one of them, such as {found[0].name}")
    return OpenProduct(found[0], chunk_size)
