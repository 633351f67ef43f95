"""`PrefGen` and `Profile`: the whole chain behind two names."""

from prefgen.pipeline.card import Defaults, ModelCard, hash_of_folder, read_card, write_card
from prefgen.pipeline.demo import paint_demo
from prefgen.pipeline.embed import EMBEDDING_VERSION, Encoders, person_tokens, picture_features
from prefgen.pipeline.explanation import Explanation, Word
from prefgen.pipeline.export import Exported, export_to_diffusers
from prefgen.pipeline.hub_card import HubCard
from prefgen.pipeline.known import Familiarity, describe_known, familiarity
from prefgen.pipeline.loading import model_folder
from prefgen.pipeline.model import PrefGen, PrefGenOutput
from prefgen.pipeline.png import save_png
from prefgen.pipeline.ports import PreferenceModel, SideStates
from prefgen.pipeline.profile import Profile
from prefgen.pipeline.profile_file import FORMAT_VERSION
from prefgen.pipeline.publishing import model_upload
from prefgen.pipeline.publishing_adapter import adapter_upload, exported_folder, push_adapter_to_hub
from prefgen.pipeline.sheet import Sentence, Strip, contact_sheet
from prefgen.pipeline.stored import MAX_STORED_PX, stored_history, stored_picture
from prefgen.pipeline.upload import Upload
from prefgen.pipeline.word_edits import WordEdits
from prefgen.pipeline.words import UnknownWord, unknown_words

__all__ = [
    "EMBEDDING_VERSION",
    "FORMAT_VERSION",
    "MAX_STORED_PX",
    "Defaults",
    "Encoders",
    "Explanation",
    "Exported",
    "Familiarity",
    "HubCard",
    "ModelCard",
    "PrefGen",
    "PrefGenOutput",
    "PreferenceModel",
    "Profile",
    "Sentence",
    "SideStates",
    "Strip",
    "UnknownWord",
    "Upload",
    "Word",
    "WordEdits",
    "adapter_upload",
    "contact_sheet",
    "describe_known",
    "export_to_diffusers",
    "exported_folder",
    "familiarity",
    "hash_of_folder",
    "model_folder",
    "model_upload",
    "paint_demo",
    "person_tokens",
    "picture_features",
    "push_adapter_to_hub",
    "read_card",
    "save_png",
    "stored_history",
    "stored_picture",
    "unknown_words",
    "write_card",
]
