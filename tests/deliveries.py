"""Small Sentinel-2 and Landsat products, with the metadata that readers need, drawn in code."""

import numpy as np
import rasterio
from affine import Affine

SAFE = "S2A_MSIL2A_20230625T234621_N0509_R073_T01WCP_20230626T022157.SAFE"
LANDSAT = "LC08_L2SP_005009_20150710_20200908_02_T2"
_GRANULE = "GRANULE/L2A_T01WCP_A041826_20230625T234624/IMG_DATA"


def write_band(path, array, size, **more):
    """A band of a product: JPEG 2000 without loss, or GeoTIFF, in UTM 1N."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lossless = (
        {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"}
        if path.suffix == ".jp2"
        else {"driver": "GTiff"}
    )
    with rasterio.open(
        path, "w", height=array.shape[0], width=array.shape[1], count=1, dtype=array.dtype, crs="EPSG:32601",
        transform=Affine(size, 0, 300_000, 0, -size, 7_400_040), **lossless, **more,
    ) as dataset:  # fmt: skip
        dataset.write(array, 1)


def write_safe(folder, *, offset=-1000, level="2A", names=("B02", "B03", "B8A", "SCL"), seed=0):
    """A product of few bands, those at 10 m of 24 x 36 pixels; the pixels by name."""
    random, root = np.random.default_rng(seed), folder / SAFE.replace("2A_", f"{level}_", 1)
    sizes = {name: 10 if name in ("B02", "B03", "B04", "B08") else 20 for name in names}
    pixels, images = {}, []
    for name, size in sizes.items():
        shape = (240 // size, 360 // size)
        pixels[name] = random.integers(0 if name == "B02" else 1, 3000, shape).astype(np.uint16)
        at = (
            f"{_GRANULE}/R{size}m/T01WCP_20230625T234621_{name}_{size}m"
            if level == "2A"
            else f"{_GRANULE}/T01WCP_{name}"
        )
        write_band(root / f"{at}.jp2", pixels[name], size)
        images.append(f"<IMAGE_FILE>{at}</IMAGE_FILE>")
    what = "BOA" if level == "2A" else "RADIO"
    tag = "BOA_QUANTIFICATION_VALUE" if level == "2A" else "QUANTIFICATION_VALUE"
    offsets = "".join(f'<{what}_ADD_OFFSET band_id="{i}">{offset}</{what}_ADD_OFFSET>' for i in range(13) if offset)
    (root / f"MTD_MSIL{level}.xml").write_text(
        f"<p><PRODUCT_START_TIME>2023-06-25T23:46:21.024Z</PRODUCT_START_TIME><PRODUCT_URI>{root.name}</PRODUCT_URI>"
        f"{''.join(images)}<{tag}>10000</{tag}>{offsets}</p>"
    )
    return root, pixels


def write_landsat(folder, *, seed=1):
    """A Level-2 product of two bands and a quality band of 12 x 18 pixels; the pixels by name."""
    random, root = np.random.default_rng(seed), folder / LANDSAT
    pixels = {name: random.integers(1, 50_000, (12, 18)).astype(np.uint16) for name in ("SR_B4", "SR_B5", "QA_PIXEL")}
    for name, array in pixels.items():
        write_band(root / f"{LANDSAT}_{name}.TIF", array, 30)
    (root / f"{LANDSAT}_MTL.txt").write_text(
        f'GROUP = PRODUCT_CONTENTS\n LANDSAT_PRODUCT_ID = "{LANDSAT}"\n'
        f' FILE_NAME_BAND_4 = "{LANDSAT}_SR_B4.TIF"\n FILE_NAME_BAND_5 = "{LANDSAT}_SR_B5.TIF"\n'
        f' FILE_NAME_BAND_6 = "{LANDSAT}_SR_B6.TIF"\n FILE_NAME_QUALITY_L1_PIXEL = "{LANDSAT}_QA_PIXEL.TIF"\n'
        ' SPACECRAFT_ID = "LANDSAT_8"\n DATE_ACQUIRED = 2015-07-10\n SCENE_CENTER_TIME = "14:34:35.9783990Z"\n'
        " REFLECTANCE_MULT_BAND_4 = 2.75e-05\n REFLECTANCE_ADD_BAND_4 = -0.2\n"
        " REFLECTANCE_MULT_BAND_5 = 3e-05\n REFLECTANCE_ADD_BAND_5 = -0.1\nEND_GROUP = PRODUCT_CONTENTS\n"
        f'GROUP = LEVEL1\n LANDSAT_PRODUCT_ID = "OTHER"\n FILE_NAME_BAND_4 = "OTHER_B4.TIF"\n'
        " REFLECTANCE_MULT_BAND_4 = 2e-05\n REFLECTANCE_ADD_BAND_4 = -0.1\nEND_GROUP = LEVEL1\nEND\n"
    )
    return root, pixels
