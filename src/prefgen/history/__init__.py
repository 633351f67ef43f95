"""Liked and disliked pictures, read from wherever a person keeps them, and users split by identity.

Four sources give a `History`: two folders, a JSONL or CSV manifest, the PrefBench JSON layout, and lists in Python.
Whatever the file, a picture arrives upright, 8-bit RGB and without metadata, or one clear error names it.
The same picture (by its pixels) stands in a history once. A picture both liked and disliked is an error in folders;
elsewhere the latest opinion stands where times or the order of choices tell, else the picture is dropped and counted.
"""

from prefgen.history.items import MAX_TEXT_LETTERS, MAX_WEIGHT, parse_text
from prefgen.history.manifest import MANIFEST_COLUMNS, history_from_manifest
from prefgen.history.pictures import FORMATS, MAX_PIXELS, PictureSource, load_picture, shrunk
from prefgen.history.prefbench import PrefBenchRecord, histories_from_prefbench, write_prefbench
from prefgen.history.readers import PerPicture, history_from_folders, history_from_items
from prefgen.history.splits import SPLITS, Split, split_of, split_users

__all__ = [
    "FORMATS",
    "MANIFEST_COLUMNS",
    "MAX_PIXELS",
    "MAX_TEXT_LETTERS",
    "MAX_WEIGHT",
    "SPLITS",
    "PerPicture",
    "PictureSource",
    "PrefBenchRecord",
    "Split",
    "histories_from_prefbench",
    "history_from_folders",
    "history_from_items",
    "history_from_manifest",
    "load_picture",
    "parse_text",
    "shrunk",
    "split_of",
    "split_users",
    "write_prefbench",
]
