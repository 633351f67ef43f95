"""How much room this machine has."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch


def bytes_of_card() -> float | None:
    """Memory of this process's card in bytes; None without one."""
    if not torch.cuda.is_available():
        return None
    return float(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)


def free_bytes(folder: Path) -> float:
    """Bytes that are free where a folder is, or will be."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return float(shutil.disk_usage(there).free)
