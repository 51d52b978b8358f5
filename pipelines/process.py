"""The process of a command: begun without looking for garbage, and left without being taken apart.

torch, torchgeo and Dask make more than a million objects while they are imported. To look through all of them for
garbage again and again is a third of the time that importing takes, and to take them apart at the end is a second more.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import logging
import os
import sys

from geounet.allocation import share_freed_memory
from geounet.threads import wait_politely


class OwnProcess:
    """A process that was started for one command, and that ends with it."""

    def __init__(self) -> None:
        self.code: int | None = None
        """What the process is to end with, once the command is done; None while it is not, or if it has failed."""
        # Called last, for it is registered before what the command's libraries register.
        atexit.register(self._leave)

    def load(self, library: str) -> None:
        """Import a module with all that it needs, and never look there for garbage."""
        share_freed_memory()
        load(library)
        gc.freeze()

    def _leave(self) -> None:
        if self.code is None:
            gc.unfreeze()
            return
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(self.code)


def load(library: str) -> None:
    """Import a module with all that it needs, without looking for garbage meanwhile."""
    wait_politely()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        importlib.import_module(library)
    finally:
        if was_enabled:
            gc.enable()
