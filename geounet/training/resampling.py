"""Patches turned, scaled and made noisy: image, label and valid mask in one pass over the pixels.

Compiled, since a general grid sampler reads a grid of coordinates from memory, once for the image and once for the
label, and a general source of normal numbers takes as long as both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geounet.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Codes = NDArray[np.int64]
    Floats = NDArray[np.float32]
    Indices = NDArray[np.uint32]
    Mask = NDArray[np.bool_]

_WHOLLY = 0.999
"""Share of a resampled pixel that valid ones must make up: all of it, up to rounding."""
_BYTE_SUM_MEAN = 510.0
_BYTE_SUM_STD = 147.8
"""Of the sum of four even bytes: sqrt(4 * (256**2 - 1) / 12)."""


@compiled
def resample(
    image: Floats, label: Codes, valid: Mask, back: NDArray[np.float64], gains: Floats, offsets: Floats,
    noise: float, colours: int, seed: int, ignored: int, out: Floats, shown: Codes,
) -> None:  # fmt: skip
    """Each output pixel from its place in the patch: bilinear for the image, the nearest pixel for the label.

    Beyond the edge a patch is mirrored about its outermost pixels. Noise is added first, then gain and offset.

    Args:
        image: (bands, H, W), contiguous like all arrays here.
        label: (H, W).
        valid: (H, W), or (0, 0) where all pixels are valid.
        back: (2, 3), from an output pixel's (column, row) to the place in the patch that it shows.
        gains: (bands,).
        offsets: (bands,).
        noise: standard deviation of the noise; none where it is not above 0.
        colours: how many of the bands, the first ones, get noise.
        seed: of the noise.
        ignored: the label of a pixel into which an invalid one is mixed; its image is 0.
        out: (bands, H, W), written.
        shown: (H, W), the labels, written.
    """
    bands, height, width = image.shape
    corner, nearest = np.empty(width, np.uint32), np.empty(width, np.uint32)
    across, down = np.empty(width, np.float32), np.empty(width, np.float32)
    right, below = np.uint32(min(1, width - 1)), np.uint32(width if height > 1 else 0)
    flat, codes, mask = image.reshape(bands, -1), label.reshape(-1), valid.reshape(-1)
    for row in range(height):
        _places(back, row, height, width, corner, nearest, across, down)
        for col in range(width):
            shown[row, col] = codes[nearest[col]]
        for band in range(bands):
            line = out[band, row]
            _mixed(flat[band], corner, across, down, right, below, line)
            if noise > 0 and band < colours:
                _grained(line, noise, seed + (band * height + row) * width)
            _scaled(line, gains[band], offsets[band])
        if mask.size:
            _hide(mask, corner, across, down, right, below, shown[row], out[:, row], ignored)


@compiled
def _places(
    back: NDArray[np.float64], row: int, height: int, width: int,
    corner: Indices, nearest: Indices, across: Floats, down: Floats,
) -> None:  # fmt: skip
    """What an output row shows: the upper left of four pixels and the shares of the others, and the nearest pixel."""
    x0, y0 = back[0, 1] * row + back[0, 2], back[1, 1] * row + back[1, 2]
    wide, last_left, last_top = np.int32(width), np.int32(max(0, width - 2)), np.int32(max(0, height - 2))
    for col in range(width):
        x = _mirrored(np.float32(back[0, 0] * col + x0), width - 1)
        y = _mirrored(np.float32(back[1, 0] * col + y0), height - 1)
        left, top = min(np.int32(x), last_left), min(np.int32(y), last_top)
        corner[col] = top * wide + left
        nearest[col] = np.int32(np.rint(y)) * wide + np.int32(np.rint(x))
        across[col], down[col] = x - np.float32(left), y - np.float32(top)


@compiled
def _mirrored(at: np.float32, last: int) -> np.float32:
    """A place on the axis from 0 to the last pixel, mirrored at both ends as often as it takes."""
    if last == 0:
        return np.float32(0)
    period = np.float32(2 * last)
    at = abs(at)
    at -= period * np.floor(at / period)
    return max(np.float32(0), min(at, period - at))


@compiled
def _mixed(
    source: Floats, corner: Indices, across: Floats, down: Floats, right: np.uint32, below: np.uint32, line: Floats
) -> None:
    for col in range(line.size):
        at = corner[col]
        upper = source[at] + (source[at + right] - source[at]) * across[col]
        lower = source[at + below] + (source[at + below + right] - source[at + below]) * across[col]
        line[col] = upper + (lower - upper) * down[col]


@compiled
def _grained(line: Floats, strength: float, seed: int) -> None:
    """Add noise of a standard deviation: sums of four even numbers, which are close to normal ones."""
    unit, mean, byte = np.float32(strength / _BYTE_SUM_STD), np.float32(_BYTE_SUM_MEAN), np.uint32(255)
    for col in range(line.size):
        # The four bytes of a mixed counter. Constants: https://nullprogram.com/blog/2018/07/31/ (public domain).
        word = np.uint32(seed + col)
        word = np.uint32((word ^ (word >> np.uint32(16))) * np.uint32(0x7FEB352D))
        word = np.uint32((word ^ (word >> np.uint32(15))) * np.uint32(0x846CA68B))
        word = np.uint32(word ^ (word >> np.uint32(16)))
        low = (word & byte) + (word >> np.uint32(8) & byte)
        high = (word >> np.uint32(16) & byte) + (word >> np.uint32(24))
        line[col] += unit * (np.float32(low + high) - mean)


@compiled
def _scaled(line: Floats, gain: float, offset: float) -> None:
    for col in range(line.size):
        line[col] = line[col] * gain + offset


@compiled
def _hide(
    valid: Mask, corner: Indices, across: Floats, down: Floats, right: np.uint32, below: np.uint32,
    shown: Codes, lines: Floats, ignored: int,
) -> None:  # fmt: skip
    """What an invalid pixel is mixed into becomes 0 and is ignored."""
    for col in range(shown.size):
        at = corner[col]
        upper = valid[at] * (1 - across[col]) + valid[at + right] * across[col]
        lower = valid[at + below] * (1 - across[col]) + valid[at + below + right] * across[col]
        if upper * (1 - down[col]) + lower * down[col] <= _WHOLLY:
            shown[col] = ignored
            for band in range(lines.shape[0]):
                lines[band, col] = 0
