"""Draw docs/figures/tiling.png from a real run: the sample scene in tiles without a halo, with one, and in one window.

python docs/figures/tiling.py
"""

from __future__ import annotations

import tempfile
from importlib.resources import files
from pathlib import Path

import matplotlib as mpl
import numpy as np
import rasterio

import geounet

mpl.use("Agg")
from matplotlib import pyplot as plt

SIDE = 96
"""Pixels of a window, halo included."""


def probabilities(scene: Path, model: Path, out: Path, **how: int) -> np.ndarray:
    """The largest probability of each pixel, 0 to 1, by windows of a kind."""
    geounet.predict(scene, model, out, confidence=out.with_suffix(".c.tif"), precision="fp32", **how)
    with rasterio.open(out.with_suffix(".c.tif")) as file:
        return np.ma.masked_equal(file.read(1), 255) / 254


def main() -> None:
    """Three runs, two differences, one picture."""
    samples = Path(str(files("geounet_sample_tiles")))
    scene, model = samples / "val/images/scene_summer.tif", samples / "model.safetensors"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = probabilities(scene, model, folder / "whole.tif", window_size=512)
        bare = probabilities(scene, model, folder / "bare.tif", window_size=SIDE, halo=0)
        ours = probabilities(scene, model, folder / "ours.tif", window_size=160)
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    axes[0].imshow(whole, cmap="gray", vmin=0, vmax=1)
    axes[0].set_title("Confidence, the scene in one window", fontsize=10, loc="left")
    for place, (found, text) in enumerate(((bare, "without a halo"), (ours, "with the receptive field's halo")), 1):
        apart = np.abs(found - whole)
        shown = axes[place].imshow(apart, cmap="magma", vmin=0, vmax=0.2)
        axes[place].set_title(f"Windows {text}: up to {apart.max():.2f} apart", fontsize=10, loc="left")
    for each in axes:
        each.set_axis_off()
    figure.colorbar(shown, ax=axes[2], shrink=0.8, label="difference of the probability")
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=90)


if __name__ == "__main__":
    main()
