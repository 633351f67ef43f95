"""Preference questions, the fine-tuned multimodal language model, and its hidden states: one port for every family."""

from prefgen.mllm.budget import set_picture_budget
from prefgen.mllm.calibration import calibration_error, fit_temperature
from prefgen.mllm.capture import captured_layers, language_model
from prefgen.mllm.chat import ChatFrame, answer_token, answer_tokens, chat_frame, pictures_in
from prefgen.mllm.families import FAMILIES, Family, family_of
from prefgen.mllm.lora import load_lora, merged, save_lora, with_lora
from prefgen.mllm.losses import answer_loss, preference_loss, same_user_loss
from prefgen.mllm.packing import Branch, Pack, PackedBatch, pack
from prefgen.mllm.plain import plain_inputs, plain_logits
from prefgen.mllm.port import PreferenceMLLM
from prefgen.mllm.processors import image_only
from prefgen.mllm.reading import answer_log_likelihoods, run_packed
from prefgen.mllm.reference_tokens import ReferenceReader, ReferenceStates, reference_states
from prefgen.mllm.small_idefics2 import new_idefics2, new_processor, train_tokenizer
from prefgen.mllm.states import HistoryStates, SideStates
from prefgen.mllm.vision import Seen, VisionCache
from prefgen.mllm.wording import (
    DISLIKES_QUESTION,
    LIKES_QUESTION,
    Told,
    choice_question,
    history_parts,
    like_question,
    same_user_question,
    told_from,
    with_reason,
    word_question,
)

__all__ = [
    "DISLIKES_QUESTION",
    "FAMILIES",
    "LIKES_QUESTION",
    "Branch",
    "ChatFrame",
    "Family",
    "HistoryStates",
    "Pack",
    "PackedBatch",
    "PreferenceMLLM",
    "ReferenceReader",
    "ReferenceStates",
    "Seen",
    "SideStates",
    "Told",
    "VisionCache",
    "answer_log_likelihoods",
    "answer_loss",
    "answer_token",
    "answer_tokens",
    "calibration_error",
    "captured_layers",
    "chat_frame",
    "choice_question",
    "family_of",
    "fit_temperature",
    "history_parts",
    "image_only",
    "language_model",
    "like_question",
    "load_lora",
    "merged",
    "new_idefics2",
    "new_processor",
    "pack",
    "pictures_in",
    "plain_inputs",
    "plain_logits",
    "preference_loss",
    "reference_states",
    "run_packed",
    "same_user_loss",
    "same_user_question",
    "save_lora",
    "set_picture_budget",
    "told_from",
    "train_tokenizer",
    "with_lora",
    "with_reason",
    "word_question",
]
