"""Square metres and metres of outlines on a raster's lattice, without a coordinate transformation per vertex.

A pixel's size on the ground changes slowly over a raster. It is surveyed at the nodes of a coarse net (from places on
the ellipsoid, by differences) and taken as bilinear between them. A ring on the lattice runs along rows and columns
only, so its area is the sum, over its edges along columns, of what lies in their rows between the edge and a column of
choice (Green's theorem): column 0, or the corner of the net's cell where the ring lies in one. Its length is a sum of
differences along rows and columns. Both integrals are exact for the bilinear net: areas of neighbours add up. The net
is made so fine that it departs from the ellipsoid by 1e-8 of the value; rasters that span more than a continent get as
many nodes as there may be, which keeps to a few 1e-6, or none.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, hypot, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.compiling import compiled
from geounet.outlines.ellipsoid import ellipsoid_of, to_radians, unit_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from affine import Affine
    from numpy.typing import NDArray
    from pyproj import CRS

    from geounet.outlines.ellipsoid import Ellipsoid

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Place = Callable[[Floats, Floats], Floats]

_TOLERANCE = 1e-8
"""What bilinear interpolation may leave out, relative to the value."""
_NODES = 1 << 18
"""Nodes at most."""
_REFUSED = 5e-6
"""What is too much."""
_LOOKS = 128
"""Rows and columns of cells that are looked at."""
_REACH = 640.0
"""Metres to either side of a node over which its pixel size is taken."""
_SAMPLES = 8
"""Parts of the raster's height and width over which the bend of the pixel size is looked at."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Sizes of pixels at the nodes of a net over a raster, `(rows, columns)` of nodes, and their sums."""

    row_step: float
    """Pixels between rows of nodes."""
    col_step: float
    """Pixels between columns of nodes."""
    area: Floats
    """Square metres of a pixel."""
    area_sums: Floats
    """Integral of `area` along the row, from column 0 on."""
    width: Floats
    """Metres along a row in a pixel."""
    width_sums: Floats
    """Integral of `width` along the row, from column 0 on."""
    height: Floats
    """Metres along a column in a pixel, `(columns, rows)` of nodes."""
    height_sums: Floats
    """Integral of `height` along the column, from row 0 on."""

    def measure(self, vertices: NDArray[np.int32], offsets: Integers) -> tuple[Floats, Floats]:
        """Area and length of rings.

        Args:
            vertices: `(vertices, 2)`, row and column of each turn; edges run along rows and columns.
            offsets: `(rings + 1,)`, where each ring starts in `vertices`, and the end.

        Returns:
            Square metres, negative for rings that run counter-clockwise on the screen, and metres.
        """
        # A product takes a fraction of the time of a quotient.
        steps = np.array([self.row_step, self.col_step, 1 / self.row_step, 1 / self.col_step])
        return _measure(
            vertices, offsets, steps, self.area, self.area_sums, self.width, self.width_sums, self.height,
            self.height_sums,
        )  # fmt: skip


@compiled
def _between(values: Floats, line: int, node: int, share: float, along: float) -> float:
    """The value at a place in a cell, given in shares of the cell across and along the second axis."""
    here = values[line, node] + (values[line, node + 1] - values[line, node]) * along
    there = values[line + 1, node] + (values[line + 1, node + 1] - values[line + 1, node]) * along
    return float(here + (there - here) * share)


@compiled
def _integral(
    density: Floats, sums: Floats, step: float, inverse: float, line: int, share: float, at: float
) -> float:  # fmt: skip
    """What `density`, `(nodes across, nodes along)`, comes to from 0 to `at` along one line."""
    node = min(int(at * inverse), sums.shape[1] - 2)
    rest = at - node * step
    # Linear between nodes: the middle of what is left is its mean.
    start = sums[line, node] + (sums[line + 1, node] - sums[line, node]) * share
    return float(start + rest * _between(density, line, node, share, rest * inverse / 2))


@compiled
def _along(
    density: Floats, sums: Floats, step: float, inverse: float, across: float, first: int, last: int
) -> float:  # fmt: skip
    """Length of an edge from `first` to `last` along a line at `across`, counted in nodes."""
    line = min(int(across), sums.shape[0] - 2)
    share = across - line
    node = min(int(min(first, last) * inverse), sums.shape[1] - 2)
    if max(first, last) <= (node + 1) * step:
        middle = (first + last) * inverse / 2 - node
        return float(abs(last - first) * _between(density, line, node, share, middle))
    stop = _integral(density, sums, step, inverse, line, share, last)
    return float(abs(stop - _integral(density, sums, step, inverse, line, share, first)))


@compiled
def _beside(first: int, last: int, col: int, steps: Floats, area: Floats, sums: Floats) -> float:
    """Ground between column 0 and `col` in the rows from `first` to `last`, negative where `last` comes first."""
    low, high = float(min(first, last)), float(max(first, last))
    total, line = 0.0, min(int(low * steps[2]), area.shape[0] - 2)
    while low < high:
        # Between two rows of nodes the integral is linear, so that its middle is its mean.
        stop = high if line == area.shape[0] - 2 else min((line + 1) * steps[0], high)
        if stop > low:
            share = (low + stop) * steps[2] / 2 - line
            total += (stop - low) * _integral(area, sums, steps[1], steps[3], line, share, float(col))
            low = stop
        line += 1
    return total if last > first else -total


@compiled
def _cell(vertices: NDArray[np.int32], first: int, stop: int, steps: Floats, rows: int, cols: int) -> tuple[int, int]:
    """The cell in which a ring lies, by its first nodes; -1 twice where it lies in several."""
    low_row = high_row = vertices[first, 0]
    low_col = high_col = vertices[first, 1]
    for at in range(first + 1, stop):
        row, col = vertices[at, 0], vertices[at, 1]
        low_row, high_row = min(low_row, row), max(high_row, row)
        low_col, high_col = min(low_col, col), max(high_col, col)
    line, node = min(int(low_row * steps[2]), rows - 2), min(int(low_col * steps[3]), cols - 2)
    below = line < rows - 2 and high_row > (line + 1) * steps[0]
    beyond = node < cols - 2 and high_col > (node + 1) * steps[1]
    return (-1, -1) if below or beyond else (line, node)


@compiled
def _bilinear(
    values: Floats, line: int, node: int, across: float, along: float
) -> tuple[float, float, float, float]:  # fmt: skip
    """What is bilinear in a cell, by pixels from its corner: there, and for each pixel across, along, and both."""
    here, there = values[line, node], values[line + 1, node]
    slope, other = values[line, node + 1] - here, values[line + 1, node + 1] - there
    return here, (there - here) * across, slope * along, (other - slope) * across * along


@compiled
def _measure_in_cell(
    vertices: NDArray[np.int32], first: int, stop: int, corner: tuple[float, float], sizes: Any
) -> tuple[float, float]:  # fmt: skip
    """Area and length of a ring that lies in one cell, as nearly all do: from its corner instead of from column 0."""
    area, width, height = sizes
    ground, length = 0.0, 0.0
    row, col = vertices[stop - 1, 0] - corner[0], vertices[stop - 1, 1] - corner[1]
    for at in range(first, stop):
        next_row, next_col = vertices[at, 0] - corner[0], vertices[at, 1] - corner[1]
        # The middle of an edge is its mean, for along it all is linear.
        down, across = (row + next_row) / 2, (col + next_col) / 2
        if row == next_row:
            length += abs(next_col - col) * (width[0] + width[1] * row + (width[2] + width[3] * row) * across)
        else:
            length += abs(next_row - row) * (height[0] + height[1] * col + (height[2] + height[3] * col) * down)
            beside = area[0] + area[1] * down + (area[2] + area[3] * down) * (col / 2)
            ground += (next_row - row) * col * beside
        row, col = next_row, next_col
    return ground, length


@compiled
def _measure(
    vertices: NDArray[np.int32],
    offsets: Integers,
    steps: Floats,
    area: Floats,
    area_sums: Floats,
    width: Floats,
    width_sums: Floats,
    height: Floats,
    height_sums: Floats,
) -> tuple[Floats, Floats]:
    areas, lengths = np.zeros(offsets.size - 1), np.zeros(offsets.size - 1)
    for ring in range(offsets.size - 1):
        first, stop = offsets[ring], offsets[ring + 1]
        line, node = _cell(vertices, first, stop, steps, area.shape[0], area.shape[1])
        if line >= 0:
            sizes = (
                _bilinear(area, line, node, steps[2], steps[3]),
                _bilinear(width, line, node, steps[2], steps[3]),
                _bilinear(height, node, line, steps[3], steps[2]),
            )
            corner = line * steps[0], node * steps[1]
            areas[ring], lengths[ring] = _measure_in_cell(vertices, first, stop, corner, sizes)
            continue
        row, col = vertices[stop - 1, 0], vertices[stop - 1, 1]
        for at in range(first, stop):
            next_row, next_col = vertices[at, 0], vertices[at, 1]
            if row == next_row:
                lengths[ring] += _along(width, width_sums, steps[1], steps[3], row * steps[2], col, next_col)
            else:
                lengths[ring] += _along(height, height_sums, steps[0], steps[2], col * steps[3], row, next_row)
                areas[ring] += _beside(row, next_row, col, steps, area, area_sums)
            row, col = next_row, next_col
    return areas, lengths


def survey(transform: Affine, height: int, width: int, crs: CRS | None) -> Ground | None:
    """The ground of a raster.

    Args:
        transform: from (column, row) to coordinates.
        height: rows.
        width: columns.
        crs: of the coordinates.

    Returns:
        None where there is no CRS, or where pixels cannot be had from a net: the CRS has no coordinates for some
        node, or bends more than the net does. Then geometries must be measured one by one, see
        :mod:`geounet.outlines.measures`.
    """
    if crs is None:
        return None
    ellipsoid = ellipsoid_of(crs)
    if ellipsoid is None:
        return _plan(transform, height, width, unit_of(crs))
    metre = unit_of(crs) * (ellipsoid.radius if crs.is_geographic else 1.0)
    reach = _REACH / (metre * hypot(transform.b, transform.e)), _REACH / (metre * hypot(transform.a, transform.d))
    place = _placing(transform, crs, ellipsoid)
    down, across = _cells(place, height, width, reach)
    rows, cols = np.linspace(0, height, down + 1), np.linspace(0, width, across + 1)
    sizes = np.stack(_sizes(place, rows, cols, reach))
    return _net(height, width, *sizes) if _is_fit(place, rows, cols, reach, sizes) else None


def _plan(transform: Affine, height: int, width: int, metre: float) -> Ground:
    """A plane, where all pixels are alike."""
    sizes = abs(transform.determinant) * metre**2, hypot(transform.a, transform.d), hypot(transform.b, transform.e)
    nodes = np.ones((2, 2))
    return _net(height, width, nodes * sizes[0], nodes * sizes[1] * metre, nodes * sizes[2] * metre)


def _net(height: int, width: int, area: Floats, across: Floats, down: Floats) -> Ground:
    row_step, col_step = height / (area.shape[0] - 1), width / (area.shape[1] - 1)
    down = np.ascontiguousarray(down.T)
    return Ground(
        row_step, col_step, area, _sums(area, col_step), across, _sums(across, col_step), down, _sums(down, row_step)
    )  # fmt: skip


def _sums(density: Floats, step: float) -> Floats:
    """Integrals along the second axis, of what is linear between nodes."""
    steps = (density[:, 1:] + density[:, :-1]) * (step / 2)
    return np.concatenate([np.zeros((density.shape[0], 1)), np.cumsum(steps, axis=1)], axis=1)


def _placing(transform: Affine, crs: CRS, ellipsoid: Ellipsoid) -> Place:
    """A function from rows and columns to geocentric metres `(..., 3)`, which know no pole and no antimeridian."""
    radians = to_radians(crs)

    def place(rows: Floats, cols: Floats) -> Floats:
        x = cols * transform.a + rows * transform.b + transform.c
        y = cols * transform.d + rows * transform.e + transform.f
        longitude, latitude = radians(np.column_stack([x.ravel(), y.ravel()]))
        return ellipsoid.cartesian(longitude, latitude).reshape(*rows.shape, 3)

    return place


def _sizes(place: Place, rows: Floats, cols: Floats, reach: tuple[float, float]) -> tuple[Floats, Floats, Floats]:
    """Area, width and height of a pixel at the crossings of rows and columns, in metres."""
    row, col = np.meshgrid(rows, cols, indexing="ij")
    across = (place(row, col + reach[1]) - place(row, col - reach[1])) / (2 * reach[1])
    down = (place(row + reach[0], col) - place(row - reach[0], col)) / (2 * reach[0])
    return (
        np.linalg.norm(np.cross(across, down), axis=-1),
        np.linalg.norm(across, axis=-1),
        np.linalg.norm(down, axis=-1),
    )


def _cells(place: Place, height: int, width: int, reach: tuple[float, float]) -> tuple[int, int]:
    """How many cells of the net lie below and beside each other."""
    rows, cols = np.linspace(0, height, _SAMPLES + 1), np.linspace(0, width, _SAMPLES + 1)
    sizes = np.stack(_sizes(place, rows, cols, reach))
    wanted = [_parts(sizes), _parts(sizes.swapaxes(1, 2))]
    excess = sqrt(max(1.0, wanted[0] * wanted[1] / _NODES))
    # Where one direction needs a cell or two, the other must give way alone.
    limits = [max(1.0, count / excess) for count in wanted]
    limits = [min(limits[0], _NODES / limits[1]), min(limits[1], _NODES / limits[0])]
    return ceil(limits[0]), ceil(limits[1])


def _is_fit(place: Place, rows: Floats, cols: Floats, reach: tuple[float, float], sizes: Floats) -> bool:
    """Whether the middles of cells are what the net says, looked at in some cells from edge to edge."""
    i, j = (np.unique(np.linspace(0, nodes.size - 2, _LOOKS).astype(int)) for nodes in (rows, cols))
    corners = [sizes[:, i + down][:, :, j + across] for down in (0, 1) for across in (0, 1)]
    found = np.stack(_sizes(place, (rows[i] + rows[i + 1]) / 2, (cols[j] + cols[j + 1]) / 2, reach))
    error = np.abs(np.mean(corners, axis=0) - found)
    return bool(np.isfinite(sizes).all() and (error <= _REFUSED * found).all())


def _parts(sizes: Floats) -> float:
    """Parts into which the second axis must be cut, so that straight lines between their ends are near enough."""
    middle = sizes[:, 1:-1]
    bend = np.abs(sizes[:, 2:] - 2 * middle + sizes[:, :-2])
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(middle > 0, bend / middle, 0.0)
    # A chord over a length leaves out an eighth of the bend over that length, which falls with its square.
    return min(_SAMPLES * sqrt(np.nanmax(relative, initial=0.0) / (8 * _TOLERANCE)), float(_NODES))
