"""A first result on day one: a person's taste on a stock base, with public weights and without training.

Three ways: words of taste through ViPer's guidance, a stock IP-Adapter on the mean of what is liked, and FABRIC's
attention to liked and disliked pictures. `prefgen start` is the command, docs/day_one.md the page.
"""

from prefgen.mllm.taste_words import TasteWords
from prefgen.pipeline.untrained.base import KNOWN_BASES, base_folder, dtype_for, numbers_of
from prefgen.pipeline.untrained.by_fabric import FabricPerson
from prefgen.pipeline.untrained.by_ip_adapter import IpAdapter, IpAdapterPerson, load_ip_adapter
from prefgen.pipeline.untrained.by_words import WordsPerson, words_of_pictures
from prefgen.pipeline.untrained.model import UntrainedModel
from prefgen.pipeline.untrained.person import READ_PX, UntrainedPerson

__all__ = [
    "KNOWN_BASES",
    "READ_PX",
    "FabricPerson",
    "IpAdapter",
    "IpAdapterPerson",
    "TasteWords",
    "UntrainedModel",
    "UntrainedPerson",
    "WordsPerson",
    "base_folder",
    "dtype_for",
    "load_ip_adapter",
    "numbers_of",
    "words_of_pictures",
]
