"""What a prediction's pixels depend on: the tile store's identity, and the tags of its rasters."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geounet.engine.plan import Engine
from geounet.engine.tuning import describe_agreement
from geounet.models.model_file import fingerprint
from geounet.raster.identity import identity_of
from geounet.raster.opening import AS_IS, Opening
from geounet.sources.scenes import source_identity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geounet.engine.plan import Plan


@dataclass(frozen=True, slots=True)
class Work:
    """A plan with all that its pixels depend on."""

    plan: Plan
    """What will be done."""
    model: Path
    """The model file."""
    fingerprint: str
    """Of the model file."""
    device: str
    """Where the network runs."""
    request: str
    """See :func:`request_of`."""
    probabilities: str | None
    """Data type in which the probabilities of all classes are stored; None where they are not asked for."""
    quantized: str | None = None
    """The network in int8, see :mod:`geounet.engine.quantization`."""


def request_of(
    path: str | Path,
    model: Path,
    *,
    bands: Sequence[int] | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    opening: Opening = AS_IS,
    radiometry: str = "auto",
    engine: Engine | None = None,
) -> str:
    """A hash of all that a prediction's pixels depend on: the raster's `REQUEST` tag, by which a rerun knows it."""
    how = engine or Engine()
    choices = [how.window_size, how.halo, how.device, how.precision, how.runtime, how.tta]
    choices += [how.choice.halo, how.choice.precision, how.choice.runtime] if how.choice else []
    parts = [
        source_identity(path, opening),
        fingerprint(model),
        bands,
        bbox,
        asdict(opening),
        radiometry,
        choices,
        version("geounet"),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def store_identity(work: Work) -> dict[str, Any]:
    """All that the pixels depend on, and the layout of the store."""
    plan, region = work.plan, work.plan.grid.region
    return {
        "scene": identity_of(plan.scene.path),
        "bands": plan.scene.bands,
        "numbers": [plan.scene.scales, plan.scene.offsets],
        "opening": [plan.scene.nodata, plan.scene.alpha, plan.scene.georeference],
        "screens": [screen.key for screen in plan.scene.screens],
        "model": work.fingerprint,
        "window": [plan.grid.core_height, plan.grid.core_width, plan.grid.halo],
        "origin": [plan.grid.origin_row, plan.grid.origin_col],
        "blending": plan.reach,
        "tta": plan.tta,
        "bbox": [region.row, region.col, region.height, region.width],
        "tile size": plan.block_shape,
        "device": work.device.partition(":")[0],
        "precision": plan.tuning.precision,
        "runtime": plan.tuning.runtime,
        "probabilities": work.probabilities,
        "version": version("geounet"),
    }


def tags_for(work: Work) -> dict[str, str]:
    """The tags of a prediction's rasters."""
    plan, grid, tuning = work.plan, work.plan.grid, work.plan.tuning
    return {
        "SOFTWARE": f"geounet {version('geounet')}",
        "SCENE": Path(plan.scene.label).name,
        "REQUEST": work.request,
        "MODEL": json.dumps({"name": work.model.name, "sha256": work.fingerprint}),
        "NUMBERS": json.dumps({"scale": plan.scene.scales, "offset": plan.scene.offsets}),
        "RUNTIME": tuning.runtime,
        "PRECISION": tuning.precision,
        "AGREEMENT": describe_agreement(tuning),
        "HALO": str(grid.halo),
        "WINDOW": f"{grid.window_height} x {grid.window_width}",
        "TILING": plan.tiling,
        "TTA": "mean of eight flips and rotations" if plan.tta else "none",
    }
