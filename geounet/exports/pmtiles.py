"""PMTiles of MBTiles, by the format's own library.

Source: https://github.com/protomaps/PMTiles/blob/main/spec/v3/spec.md.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from geounet.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NESTED = ("json", "strategies", "geounet:classes")
"""Metadata that MBTiles hold as JSON within a text."""


@contextmanager
def as_pmtiles(path: Path) -> Iterator[Path]:
    """Where to write MBTiles that become the PMTiles of a path.

    Raises:
        OutputError: pmtiles is not installed.
    """
    try:
        import pmtiles.writer
    except ImportError as error:
        raise OutputError("writing PMTiles needs pmtiles: pip install 'geounet[tiles]'") from error
    draft = path.with_suffix(".mbtiles")
    yield draft
    with closing(sqlite3.connect(draft)) as tiles, pmtiles.writer.write(str(path)) as writer:
        _copy(tiles, writer)
    draft.unlink()


def _copy(tiles: sqlite3.Connection, writer: Any) -> None:
    """Tiles in the order of their ids, so that neighbours lie together; then what is said of them."""
    from pmtiles.convert import mbtiles_to_header_json
    from pmtiles.tile import tileid_to_zxy, zxy_to_tileid

    places = tiles.execute("SELECT zoom_level, tile_column, tile_row FROM tiles")
    # MBTiles count rows from the south, as TMS does.
    for number in sorted(zxy_to_tileid(zoom, col, (1 << zoom) - 1 - row) for zoom, col, row in places):
        zoom, col, row = tileid_to_zxy(number)
        (data,) = tiles.execute(
            "SELECT tile_data FROM tiles WHERE zoom_level = ? AND tile_column = ? AND tile_row = ?",
            (zoom, col, (1 << zoom) - 1 - row),
        ).fetchone()
        writer.write_tile(number, data)
    told = dict(tiles.execute("SELECT name, value FROM metadata").fetchall())
    header, _ = mbtiles_to_header_json(told)  # type: ignore[no-untyped-call]
    nested = {name: json.loads(told.pop(name)) for name in _NESTED if name in told}
    writer.finalize(header, {**told, **nested.pop("json", {}), **nested})
