"""Polygons with fewer vertices and without stairs, which still fit together: no gaps, no overlaps, none lost.

Outlines are cut into arcs between the points where three or more meet; each arc is changed once, for the polygons at
both of its sides, and does not cross, touch or jump over another. What comes out depends on the polygons of a raster,
which do not depend on its tiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from geounet.outlines.arcs import Arcs, Chains, cut, join
from geounet.outlines.bends import PARTS, arc_areas, cut_stairs, thin
from geounet.outlines.ellipsoid import ellipsoid_of, to_radians, unit_of
from geounet.outlines.measures import measure
from geounet.outlines.shapes import Shape, coordinates, put_together, take_apart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import geopandas as gpd
    from affine import Affine
    from numpy.typing import NDArray
    from pyproj import CRS

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Points = NDArray[np.int32]
    Geometry = NDArray[Any]

_LARGEST_CHANGE = 0.25
"""Share of its pixels that a polygon may gain or lose."""
_NET = 64
"""Cells over the longer side of the raster, at whose corners the size of a pixel on the ground is taken."""


@dataclass(frozen=True, slots=True)
class Simplification:
    """What simplifying has changed."""

    polygons: int
    """As many as before."""
    vertices_before: int
    """Vertices of all rings, neighbours' shared ones counted for each of them."""
    vertices_after: int
    """The same afterwards."""
    area_before: float
    """Hectares (square pixels without a CRS) of all polygons."""
    area_after: float
    """The same afterwards; it differs only by what moved along nodata."""
    largest_change: float
    """Of the polygon whose area changed most: the change, as a share of its area."""

    def __add__(self, other: Simplification) -> Simplification:
        """Of both together."""
        return Simplification(
            polygons=self.polygons + other.polygons,
            vertices_before=self.vertices_before + other.vertices_before,
            vertices_after=self.vertices_after + other.vertices_after,
            area_before=self.area_before + other.area_before,
            area_after=self.area_after + other.area_after,
            largest_change=max(self.largest_change, other.largest_change),
        )


NOTHING = Simplification(0, 0, 0, 0.0, 0.0, 0.0)
"""Of no polygon."""


def simplify(
    frame: gpd.GeoDataFrame, transform: Affine, height: int, width: int, *, tolerance: float = 0.0, smooth: bool = False
) -> tuple[gpd.GeoDataFrame, Simplification]:
    """The polygons of a raster, simplified together: :func:`simplify_batches` of one batch.

    Args:
        frame: all polygons of a raster, or some, as :func:`geounet.tasks.vectorize.polygon_frame` makes them: outlines
            follow the edges of pixels.
        transform: see :func:`simplify_batches`.
        height: see :func:`simplify_batches`.
        width: see :func:`simplify_batches`.
        tolerance: see :func:`simplify_batches`.
        smooth: see :func:`simplify_batches`.

    Returns:
        The same rows and columns with other geometries, `area_ha` and `perimeter_m` measured anew; and what changed.

    Raises:
        ValueError: the tolerance is negative, or a vertex of the frame is no corner of the raster's pixels.
    """
    ((out, change),) = simplify_batches([frame], transform, height, width, tolerance=tolerance, smooth=smooth)
    return out, change


def simplify_batches(
    batches: Iterable[gpd.GeoDataFrame],
    transform: Affine,
    height: int,
    width: int,
    *,
    tolerance: float = 0.0,
    smooth: bool = False,
) -> Iterator[tuple[gpd.GeoDataFrame, Simplification]]:
    """Simplify the polygons of a raster together, shared edges once.

    Points where three or more outlines meet stay, and so does the raster's own outline; edges along nodata within the
    raster are simplified as others are. No polygon gains or loses more than a quarter of its pixels, and an outline
    that nothing else touches keeps four vertices, so that none is lost, however small. Neighbours have their shared
    vertices in common, to the last bit; to that end a polygon gets vertices on its straight sides where neighbours
    meet.

    All batches are read before the first comes back. Meanwhile of a polygon its attributes are held, and the vertices
    of its outline as two whole numbers of 32 bits each; polygons themselves only of one batch at a time.

    Args:
        batches: the polygons of a raster in any division, in frames of one CRS as of :func:`simplify`.
        transform: the raster's, from (column, row) to coordinates.
        height: the raster's rows.
        width: the raster's columns.
        tolerance: metres on the ground, pixels without a CRS: no point of an outline lies farther than this from its
            simpler course. Where the CRS has no coordinates, outlines stay.
        smooth: cut the corners of the pixels' stairs first, through the middles of their steps; that moves nothing
            farther than half a pixel's width or height (whichever is more), to which the tolerance then comes on top.

    Yields:
        Of each batch the same rows and columns with other geometries, `area_ha` and `perimeter_m` measured anew; and
        what changed in it.

    Raises:
        ValueError: the tolerance is negative, or a vertex is no corner of the raster's pixels.
    """
    if not tolerance >= 0:
        raise ValueError(f"the tolerance is {tolerance} m: it must not be negative")
    tables: list[_Table] = []
    shape = take_apart(_put_aside(batches, tables), transform)
    arcs, chains = cut(shape.vertices, shape.rings, height, width)
    forms = _forms(arcs, transform, tables[0].crs if tables else None, (height, width))
    changed = _bend(arcs, _beside(arcs, chains, shape), forms, (height, width), tolerance, smooth)
    before = _vertices(shape)
    bent = Shape(*join(changed, chains), shape.parts, shape.polygons)
    after = _vertices(bent)
    del shape, arcs, changed, chains
    first = 0
    for table in tables:
        last = first + len(table.attributes)
        geometry = put_together(bent, first, last, transform)
        counts = int(before[first:last].sum()), int(after[first:last].sum())
        yield _result(table, geometry, counts, abs(transform.determinant))
        first = last


@dataclass(frozen=True, slots=True)
class _Table:
    """A batch without its polygons."""

    attributes: Any
    """pandas frame."""
    columns: Any
    """Names of all columns, the geometry's among them."""
    geometry: str
    """Name of the geometry column."""
    crs: Any
    """As pyproj has it; None for pixel coordinates."""
    areas: Floats
    """`(polygons,)`: areas before, in the frame's coordinates."""


def _put_aside(batches: Iterable[gpd.GeoDataFrame], tables: list[_Table]) -> Iterator[Geometry]:
    """The polygons of each batch; all else of it is appended to `tables`."""
    for frame in batches:
        name, geometry = frame.geometry.name, frame.geometry.to_numpy()
        areas = shapely.area(geometry)
        tables.append(_Table(frame.drop(columns=name), frame.columns, name, frame.crs, areas))
        yield geometry


def _vertices(shape: Shape) -> Integers:
    """`(polygons,)`: vertices of all rings of each polygon."""
    of_rings = np.diff(shape.rings, prepend=0)[1:]
    ends = np.concatenate([[0], np.cumsum(of_rings)])[shape.parts][shape.polygons]
    counts: Integers = np.diff(ends)
    return counts


def _result(
    table: _Table, geometry: Geometry, vertices: tuple[int, int], pixel: float
) -> tuple[gpd.GeoDataFrame, Simplification]:
    """The new batch, and what changed."""
    import geopandas as gpd

    out = gpd.GeoDataFrame(table.attributes.copy(), geometry=geometry, crs=table.crs)
    out = out.rename_geometry(table.geometry) if table.geometry != "geometry" else out
    if table.crs is None:
        areas = [table.areas / pixel, shapely.area(geometry) / pixel]
    else:
        areas = [table.attributes["area_ha"].to_numpy(), *measure(geometry, table.crs)]
        out["area_ha"], out["perimeter_m"] = areas[1], areas.pop()
    relative = np.abs(areas[1] - areas[0]) / areas[0]
    return out[list(table.columns)], Simplification(
        polygons=len(out),
        vertices_before=vertices[0],
        vertices_after=vertices[1],
        area_before=float(areas[0].sum()),
        area_after=float(areas[1].sum()),
        largest_change=float(relative.max(initial=0.0)),
    )


@dataclass(frozen=True, slots=True)
class _Beside:
    """The polygons at the sides of arcs; areas are twice their size in squared parts of a pixel."""

    steps: Integers
    """`(steps,)`: the arc of each step of a ring."""
    polygons: Integers
    """`(steps,)`: the polygon that the ring belongs to."""
    signs: Integers
    """`(steps,)`: by what sign its area grows with that of the arc, see :func:`geounet.outlines.bends.arc_areas`."""
    areas: Integers
    """`(polygons,)`: the first area of each polygon."""

    def sum_up(self, of_arcs: Integers) -> Integers:
        """Areas of polygons from those of arcs."""
        starts = np.flatnonzero(np.diff(self.polygons, prepend=-1))
        sums: Integers = np.add.reduceat(self.signs * of_arcs[self.steps], starts)
        return sums

    def sides(self, arcs: int) -> Integers:
        """`(arcs, 4)`: for each of two sides the polygon and the sign, 0 and 0 where there is none."""
        out = np.zeros((arcs, 2, 2), np.int64)
        order = np.argsort(self.steps, kind="stable")
        steps = self.steps[order]
        is_second = np.diff(steps, prepend=-1) == 0
        out[steps, is_second.astype(np.int64)] = np.stack([self.polygons, self.signs], axis=-1)[order]
        return out.reshape(arcs, 4)


def _beside(arcs: Arcs, chains: Chains, shape: Shape) -> _Beside:
    steps = np.where(chains.arcs < 0, ~chains.arcs, chains.arcs)
    ways = np.where(chains.arcs < 0, -1, 1)
    if not steps.size:
        return _Beside(steps, steps, ways, steps)
    of_arcs = arc_areas(PARTS * arcs.vertices, arcs.offsets, arcs.closed)
    of_rings = np.add.reduceat(ways * of_arcs[steps], chains.offsets[:-1])
    is_exterior = np.zeros(of_rings.size, np.bool_)
    is_exterior[shape.parts[:-1]] = True
    ring_signs = np.sign(of_rings) * np.where(is_exterior, 1, -1)
    ring_starts = shape.parts[shape.polygons]
    lengths = np.diff(chains.offsets)
    return _Beside(
        steps=steps,
        polygons=np.repeat(np.repeat(np.arange(ring_starts.size - 1), np.diff(ring_starts)), lengths),
        signs=np.repeat(ring_signs, lengths) * ways,
        areas=np.add.reduceat(ring_signs * of_rings, ring_starts[:-1]),
    )


def _bend(arcs: Arcs, beside: _Beside, forms: Floats, shape: tuple[int, int], tolerance: float, smooth: bool) -> Arcs:
    """Arcs on their new course, in parts of a pixel."""
    vertices, offsets = PARTS * arcs.vertices, arcs.offsets
    if smooth:
        vertices, offsets = cut_stairs(arcs.vertices, offsets, arcs.closed)
    if len(arcs) and (tolerance > 0 or smooth):
        changes = beside.sum_up(arc_areas(vertices, offsets, arcs.closed)) - beside.areas
        slack = (beside.areas * _LARGEST_CHANGE).astype(np.int64)
        far = PARTS * shape[0], PARTS * shape[1]
        vertices, offsets = thin(
            vertices, offsets, arcs.closed, forms, tolerance, _pairs(arcs), beside.sides(len(arcs)), changes, slack, far
        )
    return Arcs(vertices, offsets, arcs.closed)


def _pairs(arcs: Arcs) -> Integers:
    """A number for the two nodes that an arc joins, whichever comes first."""
    if not len(arcs):
        return np.zeros(0, np.int64)
    ends = np.stack([arcs.vertices[arcs.offsets[:-1]], arcs.vertices[arcs.offsets[1:] - 1]]).astype(np.int64)
    places = np.sort((ends[..., 0] << 32) + ends[..., 1], axis=0)
    nodes, which = np.unique(places, return_inverse=True)
    low, high = which.reshape(places.shape)
    pairs: Integers = np.unique(low * nodes.size + high, return_inverse=True)[1]
    return pairs


def _forms(arcs: Arcs, transform: Affine, crs: CRS | None, shape: tuple[int, int]) -> Floats:
    """For each arc what makes squared metres of parts of a pixel, `(arcs, 3)`, at the middle of its vertices' box."""
    if not len(arcs):
        return np.zeros((0, 3))
    low = np.minimum.reduceat(arcs.vertices, arcs.offsets[:-1])
    middles = (low + np.maximum.reduceat(arcs.vertices, arcs.offsets[:-1])) / 2
    step = max(1.0, max(shape) / _NET)
    lines = [np.arange(int(np.ceil(side / step)) + 1) * step for side in shape]
    rows, cols = np.meshgrid(*lines, indexing="ij")
    net = _first_form(rows, cols, transform, crs)
    return _between(net, middles / step) / PARTS**2


def _first_form(rows: Floats, cols: Floats, transform: Affine, crs: CRS | None) -> Floats:
    """The first fundamental form of the ground over rows and columns of pixels, `(..., 3)`; NaN beyond the CRS."""
    place = _placing(transform, crs)
    down = place(rows + 0.5, cols) - place(rows - 0.5, cols)
    right = place(rows, cols + 0.5) - place(rows, cols - 0.5)
    return np.stack([(down * down).sum(-1), (down * right).sum(-1), (right * right).sum(-1)], axis=-1)


def _placing(transform: Affine, crs: CRS | None) -> Callable[[Floats, Floats], Floats]:
    """A function from rows and columns to metres in space or in the plane; to pixels without a CRS."""
    ellipsoid = None if crs is None else ellipsoid_of(crs)

    def place(rows: Floats, cols: Floats) -> Floats:
        if crs is None:
            return np.stack([rows, cols], axis=-1)
        points = coordinates(rows, cols, transform)
        if ellipsoid is None:
            return points * unit_of(crs)
        longitude, latitude = to_radians(crs)(points.reshape(-1, 2))
        return ellipsoid.cartesian(longitude, latitude).reshape(*rows.shape, 3)

    return place


def _between(net: Floats, at: Floats) -> Floats:
    """Values `(places, 3)` at places given in cells of a net, bilinear."""
    cell = np.clip(at.astype(np.int64), 0, np.array(net.shape[:2]) - 2)
    share = (at - cell)[..., None]
    row, col = cell.T
    above = net[row, col] * (1 - share[:, 1]) + net[row, col + 1] * share[:, 1]
    below = net[row + 1, col] * (1 - share[:, 1]) + net[row + 1, col + 1] * share[:, 1]
    values: Floats = above * (1 - share[:, 0]) + below * share[:, 0]
    return values
