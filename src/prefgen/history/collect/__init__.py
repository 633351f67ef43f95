"""Many people's opinions from large files into one folder of people, with flat memory, after any kill.

A `Source` yields rows (Pick-a-Pic's parquet, a PrefBench release, the predecessor's frames, folders of one's own,
simulated people); `collect` drops, groups, merges and keeps; `people_in` reads the folder. See `docs/data.md`.
"""

from prefgen.history.collect.checked import Quality
from prefgen.history.collect.collecting import Rules, collect
from prefgen.history.collect.entries import Batch, Dropped, Entry, Seen, Source
from prefgen.history.collect.frames import Frames
from prefgen.history.collect.joined import PeopleFolders
from prefgen.history.collect.people import CollectedPerson, people_in
from prefgen.history.collect.person_folders import PersonFolders
from prefgen.history.collect.pick_a_pic import PickAPic
from prefgen.history.collect.release import PrefBenchRelease
from prefgen.history.collect.shards import write_shards
from prefgen.history.collect.tars import unpack

__all__ = [
    "Batch",
    "CollectedPerson",
    "Dropped",
    "Entry",
    "Frames",
    "PeopleFolders",
    "PersonFolders",
    "PickAPic",
    "PrefBenchRelease",
    "Quality",
    "Rules",
    "Seen",
    "Source",
    "collect",
    "people_in",
    "unpack",
    "write_shards",
]
