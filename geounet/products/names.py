"""What the folder of a product is called."""

from __future__ import annotations

import hashlib
import re

TAKEN = frozenset({"catalog.json", "collection.json", "items.parquet", "summary.json"})
"""What lies beside the products' folders."""
_LONGEST = 180
"""Bytes; file systems hold 255, and drafts have longer names than what they become."""
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def folder_name(identifier: str) -> str:
    """A name for the folder of the product of a scene: its id, where that is a plain name.

    Whatever is in an id, the name is one of a folder right where it is put, on any file system; where the id had to be
    changed for that, a hash of it at the end keeps two of them apart.
    """
    whole = identifier.encode("utf-8", "surrogatepass")
    start = whole[:_LONGEST].decode("utf-8", "ignore")
    plain = re.sub(r"[^\w.+=@ -]", "_", start).strip(" .")
    if plain == identifier and plain and not _DEVICES.fullmatch(plain) and plain.lower() not in TAKEN:
        return plain
    return f"{plain or 'scene'}-{hashlib.sha256(whole).hexdigest()[:8]}"
