"""Hidden states and CLIP features to a user embedding: e_core, e_sem, e_img."""

from prefgen.embedding.appearance import appearances
from prefgen.embedding.comments import words_named
from prefgen.embedding.evidence import EvidenceConfig, Opinions, Shown, TasteEvidence
from prefgen.embedding.features import SideFeatures, stack_sides
from prefgen.embedding.manner import Manner
from prefgen.embedding.own_pictures import OwnPictures
from prefgen.embedding.reading import shown_words, word_states, words_of_taste
from prefgen.embedding.user_encoder import PARTS, SIDES, UserEncoder, UserEncoderConfig

__all__ = [
    "PARTS",
    "SIDES",
    "EvidenceConfig",
    "Manner",
    "Opinions",
    "OwnPictures",
    "Shown",
    "SideFeatures",
    "TasteEvidence",
    "UserEncoder",
    "UserEncoderConfig",
    "appearances",
    "shown_words",
    "stack_sides",
    "word_states",
    "words_named",
    "words_of_taste",
]
