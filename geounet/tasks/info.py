"""What a scene is, in plain values, and whether a model fits it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.engine.compatibility import scene_for_model
from geounet.engine.radiometry import read_how
from geounet.errors import GeounetError, SceneError
from geounet.models.model_file import read_card
from geounet.raster.class_raster import load_class_raster
from geounet.raster.cog import classes_of
from geounet.raster.opening import AS_IS, Opening
from geounet.raster.placement import bounds_of, crs_code, crs_name, pixel_size
from geounet.raster.remarks import remarks_on
from geounet.raster.samples import read_sample
from geounet.raster.scene import read_overview
from geounet.recognition import recognise
from geounet.sources.listing import list_scenes
from geounet.sources.scenes import described, frame_of, scene_id, scene_time

if TYPE_CHECKING:
    from geounet.raster.scene import Scene

_SAMPLE = 512


def info(
    path: str | Path,
    model: Path | None = None,
    *,
    opening: Opening = AS_IS,
    radiometry: str = "auto",
    force: bool = False,
) -> dict[str, Any]:
    """A scene's size, bands, georeference, nodata and values (on a sample of at most 512 x 512 pixels), as JSON.

    Of what is no scene (a product, a batch, a job, a model, polygons, a class table) it says what it is instead, see
    :func:`geounet.recognition.recognise`; `next` are command lines that make sense with either. `remarks` are
    sentences about what it says of itself and its values contradict. With a model, `fits` says whether it can be
    applied, and `reason` why not; `numbers` how they are read for it.

    Args:
        path: the scene, see :func:`geounet.sources.scenes.open_scene`.
        model: a model file, to be told whether it fits; None for the scene alone.
        opening: what the user says of the scene.
        radiometry: see :func:`geounet.engine.radiometry.with_numbers`.
        force: see :func:`geounet.engine.compatibility.scene_for_model`.

    Raises:
        SceneError: the scene cannot be opened.
        ModelError: the model file cannot be read.
    """
    found = recognise(path) if model is None else None
    if found is not None:
        return found
    item = described(path)
    if item is None and Path(path).is_dir():
        return _folder_of_scenes(path)
    scene = frame_of(path, opening=opening)
    size = pixel_size(scene)
    values, valid = read_overview(scene, _SAMPLE, _SAMPLE)
    description: dict[str, Any] = {
        "path": scene.label,
        "kind": "class raster" if _is_class_raster(path) else "scene",
        "id": scene_id(path, item),
        "datetime": scene_time(path, scene, item) or None,
        "height": scene.height,
        "width": scene.width,
        "bands": scene.count,
        "dtype": scene.dtype,
        "crs": crs_code(scene),
        "crs_name": crs_name(scene),
        "crs_wkt": scene.crs.to_wkt() if scene.crs else None,
        "pixel_size_m": [round(length, 6) for length in size] if size else None,
        "bounds": list(bounds_of(scene)),
        "valid_share": round(float(valid.mean()), 4),
        "validity": _validity(scene),
        "band_values": _band_values(scene, values, valid),
        "remarks": [remark.text for remark in remarks_on(scene, read_sample(scene))],
    }
    description["next"] = _next(description)
    if model is not None:
        card = read_card(model)
        try:
            fitted = scene_for_model(
                path, card, opening=opening, radiometry=radiometry, force=force, say=lambda _remarks: None
            )
        except SceneError as error:
            return {**description, "fits": False, "reason": str(error)}
        return {**description, "fits": True, "reads_bands": list(fitted.bands), "numbers": read_how(scene, fitted)}
    return description


def _folder_of_scenes(path: str | Path) -> dict[str, Any]:
    """Raises SceneError where there is none."""
    names = list_scenes([path])
    facts = {"scenes": len(names), "first": names[0], "last": names[-1]}
    following = [f"geounet info {names[0]}", f"geounet run {path} -m MODEL -o products/"]
    return {"path": str(path), "kind": "folder of scenes", "facts": facts, "next": following}


def _is_class_raster(path: str | Path) -> bool:
    try:
        return bool(load_class_raster(Path(path)) and classes_of(path))
    except (GeounetError, OSError):
        return False


def _next(told: dict[str, Any]) -> list[str]:
    """Command lines that make sense with it."""
    path = told["path"]
    if told["kind"] == "class raster":
        return [f"geounet vectorize {path} -o fields.gpkg", f"geounet report {path} -o page.html",
                f"geounet evaluate {path} LABELS"]  # fmt: skip
    return [f"geounet info {path} -m MODEL", f"geounet run {path} -m MODEL -o products/",
            f"geounet train {path} --labels LABELS -o MODEL"]  # fmt: skip


def _validity(scene: Scene) -> str:
    """What says which pixels are valid."""
    if scene.alpha is not None:
        return f"alpha band {scene.alpha}"
    if scene.has_mask:
        return "mask"
    values = sorted({f"{value:g}" for value in scene.nodata if value is not None})
    return f"nodata {', '.join(values)}" if values else "all pixels"


def _band_values(scene: Scene, values: Any, valid: Any) -> list[dict[str, Any]]:
    rows = []
    told = zip(scene.band_names, scene.bands, scene.scales, scene.offsets, values, strict=True)
    for name, number, scale, offset, band in told:
        pixels = band[valid].astype(np.float64)
        row: dict[str, Any] = {"band": number, "name": name}
        if (scale, offset) != (1.0, 0.0):
            row |= {"scale": scale, "offset": offset}
        if pixels.size:
            row |= {"min": float(pixels.min()), "mean": round(float(pixels.mean()), 4), "max": float(pixels.max())}
        rows.append(row)
    return rows
