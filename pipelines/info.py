"""`geounet info`: describe a scene, and say whether a model fits it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from . import options


@click.command()
@click.argument("scene", required=False)
@options.option(
    "--model",
    "-m",
    type=click.Path(path_type=Path),
    callback=options.file_of_model,
    help="Model file; say whether it fits the scene.",
)
@options.opening
@options.radiometry
@options.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options.searched("scene", one=True)
@options.common
def command(scene: str, model: Path | None, as_json: bool, quiet: bool, **given: Any) -> None:  # noqa: ARG001 - no progress here
    """Say what SCENE is: size, bands, CRS, pixel size, nodata, values; and what can be done with it.

    Products, batches, jobs, models, polygons and class tables are told, too.
    """
    from geounet.tasks.info import info

    description = info(scene, model, **given)
    click.echo(json.dumps(description, indent=2) if as_json else _text(description))


def _text(found: dict[str, Any]) -> str:
    lines = _other(found) if "facts" in found else _scene(found)
    return "\n".join([*lines, *(f"  next        {line}" for line in found.get("next", ()))])


def _other(found: dict[str, Any]) -> list[str]:
    """What is no scene."""
    rows = [f"{found['path']}", f"  is a        {found['kind']}"]
    for name, value in found["facts"].items():
        told = ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, dict) else value
        rows.append(f"  {name:<11} {told}")
    return rows


def _scene(found: dict[str, Any]) -> list[str]:
    size = found["pixel_size_m"]
    ground = f"{size[0]:g} x {size[1]:g} m" if size else "unknown"
    rows = [
        f"{found['path']}",
        f"  is a        {found['kind']}",
        f"  size        {found['height']} rows x {found['width']} columns, {found['bands']} bands of {found['dtype']}",
        f"  CRS         {_crs(found)}",
        f"  pixel       {ground}",
        f"  bounds      {', '.join(f'{value:.10g}' for value in found['bounds'])}",
        f"  valid       {found['valid_share']:.1%} (by {found['validity']})",
    ]
    for band in found["band_values"]:
        values = f"{band['min']:g} .. {band['mean']:g} .. {band['max']:g}" if "min" in band else "no valid pixel"
        scaled = f"  (scale {band['scale']:g}, offset {band['offset']:g})" if "scale" in band else ""
        rows.append(f"  band {band['band']:<6} {band['name']:<12} {values}{scaled}")
    if "fits" in found:
        verdict = (
            f"yes, with bands {found['reads_bands']}, numbers {found['numbers']}"
            if found["fits"]
            else f"no: {found['reason']}"
        )
        rows.append(f"  model fits  {verdict}")
    return [*rows, *(f"  note        {remark}" for remark in found["remarks"])]


def _crs(found: dict[str, Any]) -> str:
    """The name of the CRS and its code."""
    name = found["crs_name"] or "none: pixel coordinates"
    return f"{name} ({found['crs']})" if found["crs"] else name
