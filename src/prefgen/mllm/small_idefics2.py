"""The embedded backbone: an Idefics2 (the paper's family) small enough to train from nothing on a CPU."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

SPECIAL = ("<pad>", "<fake_token_around_image>", "<image>", "<end_of_utterance>")
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].capitalize() + ': ' }}{% for line in message['content'] %}"
    "{% if line['type'] == 'text' %}{{ line['text'] }}{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}"
    "{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str], n_tokens: int) -> Any:
    """A byte-level BPE tokenizer: whole words for what it has often read, bytes for the rest; pads on the left."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=n_tokens,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token=SPECIAL[0], eos_token=SPECIAL[3], padding_side="left", model_max_length=4096
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL[1:])})
    return tokenizer


def new_processor(tokenizer: Any, *, n_image_tokens: int, side_px: int) -> Any:
    """An Idefics2 processor for pictures of one side, without splitting."""
    from transformers import Idefics2Processor
    from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil

    images = Idefics2ImageProcessorPil(
        size={"height": side_px, "width": side_px},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        do_image_splitting=False,
    )
    return Idefics2Processor(images, tokenizer, image_seq_len=n_image_tokens, chat_template=CHAT_TEMPLATE)


def new_idefics2(
    processor: Any,
    *,
    width: int,
    n_layers: int,
    vision_width: int,
    vision_layers: int,
    side_px: int,
    patch_px: int,
    seed: int,
) -> Any:
    """An untrained Idefics2 for a processor of `new_processor`. Heads are 32 wide where the width allows.

    Weights start at 1/√width: the library's 0.02 suits widths of thousands, and delays learning several-fold here.
    """
    from transformers import Idefics2Config, Idefics2ForConditionalGeneration

    torch.manual_seed(seed)
    tokenizer = processor.tokenizer
    n_heads = max(width // 32, 1)
    config = Idefics2Config(
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        text_config={
            "model_type": "mistral",
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": width * 11 // 4 // 8 * 8,
            "num_hidden_layers": n_layers,
            "num_attention_heads": n_heads,
            "num_key_value_heads": n_heads,
            "head_dim": width // n_heads,
            "initializer_range": width**-0.5,
            "max_position_embeddings": 8192,
            "sliding_window": None,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
        },
        vision_config={
            "hidden_size": vision_width,
            "intermediate_size": vision_width * 4,
            "num_hidden_layers": vision_layers,
            "num_attention_heads": max(vision_width // 32, 1),
            "initializer_range": vision_width**-0.5,
            "image_size": side_px,
            "patch_size": patch_px,
        },
        perceiver_config={
            "hidden_size": width,
            "rms_norm_eps": 1e-5,
            "initializer_range": width**-0.5,
            "resampler_n_latents": processor.image_seq_len,
            "resampler_depth": 2,
            "resampler_n_heads": n_heads,
            "resampler_head_dim": width // n_heads,
            "num_key_value_heads": n_heads,
        },
    )
    model = Idefics2ForConditionalGeneration(config)
    with torch.no_grad():
        # Equal latents, as the library starts them, would all learn the same thing.
        model.model.connector.perceiver_resampler.latents.normal_(generator=torch.Generator().manual_seed(seed))
        for name, weight in model.named_parameters():  # what joins a residual stream starts small
            if name.endswith(("o_proj.weight", "down_proj.weight", "out_proj.weight", "fc2.weight")):
                weight.mul_((2 * (n_layers if "text_model" in name else vision_layers)) ** -0.5)
    return model
