"""Scenes without a transform of their own: placed by control points or by coefficients (RPCs)."""

import rasterio
from rasterio.control import GroundControlPoint
from rasterio.rpc import RPC


def write_placed(path, values, *, gcps=None, rpcs=None, crs=None, **profile):
    """Write values (bands, height, width) as a GeoTIFF that lies by one of the two."""
    count, height, width = values.shape
    how = {"driver": "GTiff", "width": width, "height": height, "count": count, "dtype": values.dtype, **profile}
    by = {"gcps": gcps, "crs": crs} if gcps else {"rpcs": rpcs}
    with rasterio.open(path, "w", **how, **by) as file:
        file.write(values)
    return path


def corner_points(height, width, place):
    """Control points at the four corners; `place(row, col)` gives x and y."""
    return [GroundControlPoint(row, col, *place(row, col), 0) for row in (0, height) for col in (0, width)]


def plane_rpcs(height, width, *, latitude, longitude, half):
    """RPCs of a plane, columns to the east, rows to the south; `half` its half size in degrees, latitude first."""
    line, column = [0.0, 0.0, -1.0] + [0.0] * 17, [0.0, 1.0] + [0.0] * 18
    one = [1.0] + [0.0] * 19
    return RPC(
        err_bias=None, err_rand=None, height_off=0, height_scale=1000, lat_off=latitude, lat_scale=half[0],
        long_off=longitude, long_scale=half[1], line_off=height / 2, line_scale=height / 2, samp_off=width / 2,
        samp_scale=width / 2, line_den_coeff=one, line_num_coeff=line, samp_den_coeff=one, samp_num_coeff=column,
    )  # fmt: skip
