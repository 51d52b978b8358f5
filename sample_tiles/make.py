"""Draw the sample tiles: two invented farm landscapes in spring and summer, with labels, from fixed seeds.

Run it as `python sample_tiles/make.py [FOLDER]`; the same pixels come out each time. The ground is drawn at a third of
the pixel size and then blurred and averaged, so pixels at edges are mixed, as a real sensor's are.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import rasterio.features
from rasterio.transform import from_origin
from scipy import ndimage
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Codes = NDArray[np.uint8]
    Mask = NDArray[np.bool_]

PIXEL = 10.0
"""Metres."""
FINER = 3
"""Pixels of the drawing along one pixel of the picture."""
CRS = "EPSG:32633"
BANDS = ("B02", "B03", "B04", "B08")
UNLABELLED = 255

CLASSES = {
    10: ("water", "#2b7bba"),
    20: ("forest", "#1b6e3a"),
    30: ("built_up", "#c0392b"),
    40: ("cereal", "#e8c547"),
    50: ("row_crop", "#8fbf4d"),
    60: ("bare_soil", "#a0714f"),
}
WATER, FOREST, BUILT_UP, CEREAL, ROW_CROP, BARE_SOIL = CLASSES

# What covers the ground, and its reflectance x 10000 (blue, green, red, near infrared) in spring and in summer.
MATERIALS = {
    "water": ((430, 500, 330, 190), (370, 510, 290, 160)),
    "forest": ((260, 400, 300, 2250), (210, 380, 230, 2900)),
    "cereal": ((330, 700, 350, 4300), (760, 1200, 1560, 2900)),
    "row_crop": ((640, 860, 1100, 1650), (270, 590, 290, 4950)),
    "bare_soil": ((1150, 1580, 2050, 2600), (1300, 1720, 2250, 2850)),
    "grass": ((430, 780, 620, 3000), (500, 820, 760, 2700)),
    "red_roof": ((820, 960, 2150, 2600), (850, 1000, 2250, 2700)),
    "grey_roof": ((1500, 1560, 1600, 1800), (1580, 1640, 1690, 1900)),
    "road": ((950, 1030, 1120, 1450), (1000, 1090, 1190, 1500)),
    "garden": ((440, 690, 570, 2500), (420, 680, 540, 2700)),
    "broadleaf": ((300, 510, 370, 2900), (240, 450, 260, 3650)),
}
MATERIAL = {name: index for index, name in enumerate(MATERIALS)}
FIELD_OF = {CEREAL: "cereal", ROW_CROP: "row_crop", BARE_SOIL: "bare_soil"}
# How much the brightness of each material varies from one crown, roof or clod to the next.
ROUGHNESS = np.array([0.015, 0.20, 0.04, 0.05, 0.06, 0.08, 0.15, 0.15, 0.05, 0.16, 0.15])


@dataclass(frozen=True, slots=True)
class Picture:
    """One date of an area."""

    name: str
    """File name without ending."""
    season: int
    """0 in spring, 1 in summer."""
    collar: tuple[float, float, float] | None = None
    """The swath's edge: nodata where a * row + b * column < c, row and column as fractions of the picture."""
    cloud: tuple[float, float] | None = None
    """Middle of the cloud: row and column as fractions of the picture."""


@dataclass(frozen=True, slots=True)
class Area:
    """A landscape and its pictures."""

    folder: str
    """Where its files go, below the output folder."""
    seed: int
    """Of all that is drawn by chance."""
    height: int
    """Rows of a picture."""
    width: int
    """Columns of a picture."""
    left: float
    """Easting of the west edge, metres."""
    top: float
    """Northing of the north edge, metres."""
    village: tuple[float, float]
    """Middle of the village: row and column as fractions of the picture."""
    lake: tuple[float, float]
    """Middle of the lake, likewise."""
    river: tuple[float, float]
    """Rows at which the river enters in the west and leaves in the east, as fractions."""
    pictures: tuple[Picture, ...]
    """The dates."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the drawing."""
        return self.height * FINER, self.width * FINER


AREAS = (
    Area(
        folder="train", seed=11, height=384, width=320, left=480_000, top=5_430_000,
        village=(0.40, 0.36), lake=(0.80, 0.70), river=(0.55, 0.72),
        pictures=(
            Picture("train_spring", 0, cloud=(0.18, 0.80)),
            Picture("train_summer", 1, collar=(-1.0, 0.45, -0.90)),
        ),
    ),
    Area(
        folder="val", seed=29, height=288, width=352, left=496_000, top=5_423_500,
        village=(0.66, 0.66), lake=(0.24, 0.24), river=(0.30, 0.62),
        pictures=(
            Picture("scene_spring", 0, collar=(0.35, 1.0, 0.13)),
            Picture("scene_summer", 1, cloud=(0.28, 0.66)),
        ),
    ),
)  # fmt: skip


@dataclass(slots=True)
class Ground:
    """An area's drawing, painted on layer by layer; all arrays `(height, width)` of the drawing."""

    code: Codes
    """The class, as a careful interpreter would label it."""
    material: Codes
    """What is seen from above."""
    vigour: Floats
    """How far a crop covers its soil, about 0.6 to 1."""
    tone: Floats
    """Brightness factor of a field's soil or variety, its sowing rows and tramlines, about 1."""

    def paint(self, where: Mask, material: str, code: int | None = None) -> None:
        """Cover the ground with a material; its class stays where no code is given."""
        self.material[where] = MATERIAL[material]
        if code is not None:
            self.code[where] = code


def coordinates(shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """Metres from the top and from the left of each pixel of a drawing."""
    step = PIXEL / FINER
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    return (rows + 0.5) * step, (cols + 0.5) * step


def noise(rng: np.random.Generator, shape: tuple[int, int], metres: float) -> Floats:
    """Smooth noise of mean 0 and deviation 1 whose features are about `metres` wide."""
    sigma = metres / 3 * FINER / PIXEL
    coarser = max(1, int(sigma // 2))
    # Two rows and columns more than needed: bilinear enlargement does not reach the last ones.
    small = rng.standard_normal([size // coarser + 3 for size in shape])
    smooth = ndimage.gaussian_filter(small, sigma / coarser, mode="wrap")
    large = ndimage.zoom(smooth / smooth.std(), coarser, order=1, grid_mode=True, mode="nearest")
    return np.asarray(large[: shape[0], : shape[1]], dtype=np.float64)


def blocks(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[NDArray[np.int64], Floats]:
    """Land between tracks: the number of each pixel's block, and the metres to the block's edge."""
    y, x = coordinates(shape)
    spacing = 620.0
    grid = np.mgrid[-1 : y.max() // spacing + 2, -1 : x.max() // spacing + 2].reshape(2, -1).T
    sites = (grid + rng.uniform(0.05, 0.95, grid.shape)) * spacing
    bent = np.stack([y + 14 * noise(rng, shape, 500), x + 14 * noise(rng, shape, 500)], axis=-1)
    distance, nearest = cKDTree(sites).query(bent, k=2)
    apart = np.linalg.norm(sites[nearest[..., 0]] - sites[nearest[..., 1]], axis=-1)
    number = np.asarray(nearest[..., 0], dtype=np.int64)
    return number, np.asarray((distance[..., 1] ** 2 - distance[..., 0] ** 2) / (2 * apart))


def cuts(rng: np.random.Generator, along: Floats, narrow: float, wide: float) -> Floats:
    """Where a row of parcels is cut, in metres along it."""
    widths = rng.uniform(narrow, wide, int(np.ptp(along) // narrow) + 2)
    return np.asarray(along.min() + np.cumsum(widths) - widths[0] * rng.uniform(0.3, 1.0))


def margin_of(along: Floats, at: Floats) -> Floats:
    """Metres to the nearest cut."""
    after = np.searchsorted(at, along).clip(1, len(at) - 1)
    return np.asarray(np.minimum(np.abs(along - at[after]), np.abs(along - at[after - 1])))


def plough(rng: np.random.Generator, ground: Ground, block: Mask, y: Floats, x: Floats) -> None:
    """Divide one block into parcels, sow each, and leave narrow grass margins between them."""
    angle = rng.uniform(0, np.pi)
    across = x[block] * np.cos(angle) + y[block] * np.sin(angle)
    along = -x[block] * np.sin(angle) + y[block] * np.cos(angle)
    sides, ends = cuts(rng, across, 90, 260), cuts(rng, along, 260, 620)
    parcel = np.searchsorted(sides, across) * (len(ends) + 1) + np.searchsorted(ends, along)
    count = (len(sides) + 1) * (len(ends) + 1)
    codes = rng.choice([CEREAL, ROW_CROP, BARE_SOIL], count, p=[0.46, 0.38, 0.16]).astype(np.uint8)
    ground.code[block] = codes[parcel]
    names = np.zeros(256, np.uint8)
    names[list(FIELD_OF)] = [MATERIAL[name] for name in FIELD_OF.values()]
    ground.material[block] = names[codes[parcel]]
    ground.vigour[block] = rng.uniform(0.78, 1.0, count)[parcel]
    tramline = 0.05 * (np.mod(across, 27.0) < 3.5)
    sown = 1 + 0.025 * rng.standard_normal(4096)[(across // 5).astype(int) % 4096] + tramline
    ground.tone[block] = sown * rng.uniform(0.84, 1.12, count)[parcel]
    between = np.minimum(margin_of(across, sides), margin_of(along, ends)) < 2.5
    ground.material[block] = np.where(between, MATERIAL["grass"], ground.material[block])


def farm(rng: np.random.Generator, area: Area) -> Ground:
    """Fields everywhere."""
    y, x = coordinates(area.shape)
    number, inside = blocks(rng, area.shape)
    flat = np.zeros(area.shape, np.uint8)
    ground = Ground(flat, flat.copy(), np.ones(area.shape), np.ones(area.shape))
    for block in np.unique(number):
        plough(rng, ground, number == block, y, x)
    ground.vigour += 0.06 * noise(rng, area.shape, 130)
    ground.paint(inside < 4.5, "grass")
    return ground


def plant(rng: np.random.Generator, ground: Ground) -> None:
    """Woods with lobed edges, conifers and broadleaved trees in patches, and a few thickets."""
    shape = ground.code.shape
    height = noise(rng, shape, 1500) + 0.28 * noise(rng, shape, 280) + 0.10 * noise(rng, shape, 60)
    wood = height > np.quantile(height, 0.80)
    thicket = noise(rng, shape, 160) > 2.35
    trees = ndimage.binary_opening(wood | thicket, iterations=4)
    ground.paint(trees, "forest", FOREST)
    ground.paint(trees & (noise(rng, shape, 420) + 0.4 * noise(rng, shape, 70) > 0.5), "broadleaf")


def dig(rng: np.random.Generator, area: Area, ground: Ground) -> None:
    """A gravel pit, so that bare soil is not only fields."""
    y, x = coordinates(area.shape)
    row, col = (rng.uniform(0.1, 0.9) * size * PIXEL for size in (area.height, area.width))
    radius = 130 * (1 + 0.22 * noise(rng, area.shape, 220))
    ground.paint(np.hypot((y - row) * 1.3, x - col) < radius, "bare_soil", BARE_SOIL)


def build(rng: np.random.Generator, area: Area, ground: Ground) -> None:
    """A main road, and a village along it: streets, houses and gardens."""
    y, x = coordinates(area.shape)
    row, col = area.village[0] * area.height * PIXEL, area.village[1] * area.width * PIXEL
    slope = rng.uniform(0.35, 0.6) * rng.choice([-1, 1])
    road = y - row - slope * (x - col) - 60 * np.sin((x - col) / 520)
    # Vertical distance, made perpendicular.
    road = np.abs(road) / np.hypot(1, slope)
    yard = np.hypot((y - row) * 1.2, x - col) < 320 * (1 + 0.26 * noise(rng, area.shape, 300))
    ground.paint(yard, "garden", BUILT_UP)
    ground.paint(_houses(rng, area.shape, slope, "red") & yard, "red_roof", BUILT_UP)
    ground.paint(_houses(rng, area.shape, slope, "grey") & yard, "grey_roof", BUILT_UP)
    angle = np.arctan(slope)
    across, along = x * np.sin(angle) - y * np.cos(angle), x * np.cos(angle) + y * np.sin(angle)
    streets = (np.mod(across, 96) < 8) | (np.mod(along, 170) < 8)
    ground.paint(streets & yard, "road")
    ground.paint(road < 11, "road", BUILT_UP)


def _houses(rng: np.random.Generator, shape: tuple[int, int], slope: float, kind: str) -> Mask:
    """Small rectangles on a turned lattice, jittered, some missing; grey ones are halls, fewer and larger."""
    y, x = coordinates(shape)
    step, size, share = (27.0, 13.0, 0.62) if kind == "red" else (62.0, 30.0, 0.22)
    angle = np.arctan(slope)
    across, along = x * np.sin(angle) - y * np.cos(angle), x * np.cos(angle) + y * np.sin(angle)
    i, j = (np.floor(axis / step).astype(int) % 256 for axis in (across, along))
    wanted = rng.random((256, 256)) < share
    height, width = (rng.uniform(0.7, 1.2, (256, 256)) * size for _ in range(2))
    inside = (np.mod(across, step) < height[i, j]) & (np.mod(along, step) < width[i, j])
    return np.asarray(inside & wanted[i, j])


def flood(rng: np.random.Generator, area: Area, ground: Ground) -> None:
    """A lake with bays, and a meandering river with trees along it."""
    y, x = coordinates(area.shape)
    tall, wide = area.height * PIXEL, area.width * PIXEL
    bays = 1 + 0.17 * noise(rng, area.shape, 420) + 0.05 * noise(rng, area.shape, 110)
    lake = np.hypot((y - area.lake[0] * tall) * 1.35, x - area.lake[1] * wide) < 330 * bays
    phases = rng.uniform(0, 2 * np.pi, 3)
    bends = 130 * np.sin(x / 290 + phases[0]) + 55 * np.sin(x / 127 + phases[1])
    middle = np.interp(x, [0, wide], [area.river[0] * tall, area.river[1] * tall]) + bends
    # The slope of the bends makes the vertical distance longer than the true one.
    steep = np.hypot(1, np.gradient(middle, axis=1) / (PIXEL / FINER))
    river = np.abs(y - middle) / steep + 5 * noise(rng, area.shape, 90)
    bank = (river < 42) & (noise(rng, area.shape, 240) > 0.3)
    ground.paint(bank, "forest", FOREST)
    ground.paint(lake | (river < 17 + 5 * np.sin(x / 800 + phases[2])), "water", WATER)


def draw(area: Area) -> Ground:
    """The whole landscape of an area, which its dates share."""
    rng = np.random.default_rng(area.seed)
    ground = farm(rng, area)
    plant(rng, ground)
    dig(rng, area, ground)
    build(rng, area, ground)
    flood(rng, area, ground)
    return ground


def averaged(fine: Floats) -> Floats:
    """Means over the drawing's pixels within each pixel: `(..., height * FINER, width * FINER)` to a ninth."""
    *more, height, width = fine.shape
    # (..., rows, FINER, columns, FINER) -> (..., rows, columns)
    cells = fine.reshape(*more, height // FINER, FINER, width // FINER, FINER)
    return np.asarray(cells.mean(axis=(-3, -1)))


def labels_of(ground: Ground) -> Codes:
    """The class that holds most of each pixel, patches of less than four pixels given to their surroundings."""
    shares = np.stack([averaged((ground.code == code).astype(np.float64)) for code in CLASSES])
    most = np.array(list(CLASSES), np.uint8)[shares.argmax(axis=0)]
    return np.asarray(rasterio.features.sieve(most, 4))


def reflectance(rng: np.random.Generator, ground: Ground, season: int) -> Floats:
    """What the drawing reflects, x 10000, `(bands, height, width)` of the drawing."""
    shape = ground.code.shape
    spectra = np.array([spectrum[season] for spectrum in MATERIALS.values()], np.float64)
    seen = np.moveaxis(spectra[ground.material], -1, 0)  # (rows, columns, bands) -> (bands, rows, columns)
    crop = np.isin(ground.material, [MATERIAL["cereal"], MATERIAL["row_crop"]])
    cover = np.where(crop, ground.vigour + 0.03 * noise(rng, shape, 45), 1).clip(0.55, 1)
    soil = spectra[MATERIAL["bare_soil"]][:, None, None] * 0.85
    seen = seen * cover + soil * (1 - cover)
    field = np.isin(ground.material, [MATERIAL[name] for name in FIELD_OF.values()])
    grain = ROUGHNESS[ground.material] * noise(rng, shape, 14) + 0.035 * noise(rng, shape, 190)
    light = 1 + 0.035 * noise(rng, shape, 1800)
    return np.asarray(seen * np.exp(grain) * np.where(field, ground.tone, 1) * light * tree_shade(ground))


def tree_shade(ground: Ground) -> Floats:
    """The sun stands in the south-east, so woods darken the ground to their north-west by a few metres."""
    wood = ground.code == FOREST
    cast = np.zeros_like(wood)
    cast[:-2, :-2] = wood[2:, 2:]
    return np.where(cast & ~wood, 0.72, 1.0)


def cloud_of(rng: np.random.Generator, area: Area, middle: tuple[float, float]) -> tuple[Floats, Floats]:
    """Opacity of a ragged cloud and of its shadow 400 m to the north-west, 0 to 1, on the drawing."""
    y, x = coordinates(area.shape)
    away = np.hypot((y - middle[0] * area.height * PIXEL) * 1.4, x - middle[1] * area.width * PIXEL) / 260
    ragged = 1.1 - away + 0.18 * noise(rng, area.shape, 220) + 0.05 * noise(rng, area.shape, 60)
    cloud = np.clip(ragged * 2.2, 0, 1)
    step = int(280 * FINER / PIXEL)
    shadow = np.zeros_like(cloud)
    shadow[:-step, :-step] = cloud[step:, step:]
    return cloud, shadow


def photograph(
    rng: np.random.Generator, area: Area, ground: Ground, picture: Picture
) -> tuple[NDArray[np.uint16], Codes]:
    """One date: bands `(4, height, width)` and labels `(height, width)`."""
    seen, hidden = reflectance(rng, ground, picture.season), np.zeros((area.height, area.width), np.bool_)
    if picture.cloud:
        cloud, shadow = cloud_of(rng, area, picture.cloud)
        white = np.array([5600, 5500, 5600, 6100])[:, None, None] * (1 + 0.06 * noise(rng, area.shape, 90))
        seen = seen * (1 - np.array([0.45, 0.5, 0.55, 0.6])[:, None, None] * shadow) * (1 - cloud) + white * cloud
        hidden = averaged(np.maximum(cloud, shadow)) > 0.12
    blurred = ndimage.gaussian_filter(seen, (0, 0.5 * FINER, 0.5 * FINER), mode="nearest")
    exact = averaged(blurred)
    noisy = exact + rng.standard_normal(exact.shape) * (8 + 0.006 * exact)
    bands = noisy.round().clip(1, 65_535).astype(np.uint16)
    outside = beyond_swath(area, picture)
    bands[:, outside] = 0
    return bands, np.where(outside | hidden, UNLABELLED, labels_of(ground)).astype(np.uint8)


def beyond_swath(area: Area, picture: Picture) -> Mask:
    """True where the picture holds nodata."""
    if picture.collar is None:
        return np.zeros((area.height, area.width), np.bool_)
    down, right, limit = picture.collar
    rows, cols = np.mgrid[: area.height, : area.width]
    return np.asarray(down * rows / area.height + right * cols / area.width < limit)


def write_raster(path: Path, area: Area, values: NDArray[Any], **more: Any) -> None:
    """A tiled, deflated GeoTIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff", "count": len(values), "height": area.height, "width": area.width, "crs": CRS,
        "dtype": values.dtype, "transform": from_origin(area.left, area.top, PIXEL, PIXEL),
        "tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "deflate", "zlevel": 9,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile | more) as file:
        file.write(values)
        if values.dtype == np.uint16:
            file.descriptions = BANDS
        else:
            file.update_tags(CLASSES=json.dumps(_class_table()))
            file.write_colormap(1, {code: _rgb(color) for code, (_, color) in CLASSES.items()})


def _class_table() -> list[dict[str, Any]]:
    """The classes as geounet's own class rasters carry them in a tag."""
    return [{"value": code, "name": name, "color": color} for code, (name, color) in CLASSES.items()]


def _rgb(color: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(color[1:]))


def write_polygons(path: Path, area: Area, labels: Codes) -> None:
    """The labels as polygons that fill the same pixels; columns `class` and `class_name`."""
    import geopandas
    from shapely.geometry import shape

    transform = from_origin(area.left, area.top, PIXEL, PIXEL)
    found = [(shape(ring), int(code)) for ring, code in rasterio.features.shapes(labels, transform=transform)]
    codes = [code for _, code in found]
    names = [CLASSES[code][0] for code in codes]
    columns = {"class": codes, "class_name": names}
    frame = geopandas.GeoDataFrame(columns, geometry=[ring for ring, _ in found], crs=CRS)
    path.unlink(missing_ok=True)
    # GeoPackage keeps the time of its last change.
    os.environ["OGR_CURRENT_DATE"] = "2026-01-01T00:00:00Z"
    frame.to_file(path, driver="GPKG", layer="labels", SPATIAL_INDEX="NO")


def write_area(area: Area, folder: Path) -> None:
    """All files of one area."""
    ground = draw(area)
    for number, picture in enumerate(area.pictures):
        rng = np.random.default_rng([area.seed, number])
        bands, labels = photograph(rng, area, ground, picture)
        name = f"{picture.name}.tif"
        write_raster(folder / "images" / name, area, bands, nodata=0, predictor=2, interleave="band")
        write_raster(folder / "labels" / name, area, labels[None], nodata=UNLABELLED)
    write_polygons(folder / "labels.gpkg", area, labels_of(ground))


def make(folder: Path) -> None:
    """Write the whole set below `folder`."""
    for area in AREAS:
        write_area(area, folder / area.folder)
    rows = [f"{code},{name},{color}\n" for code, (name, color) in CLASSES.items()]
    (folder / "classes.csv").write_text("value,name,color\n" + "".join(rows), encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
