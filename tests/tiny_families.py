"""Every family's tiny random model: its real classes, processor, chat template and file layout, saved to a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers as T
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from prefgen.mllm import image_only
from tiny_mllm import TEXTS

FAMILY_NAMES = ("idefics2", "idefics3", "smolvlm", "qwen2_5_vl", "qwen3_vl", "llava_onevision")

IDEFICS = (
    "{% for message in messages %}{{message['role']|capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
QWEN_PARTS = (
    "{% for content in message['content'] %}{% if content['type'] == 'image' or 'image' in content %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}"
)
QWEN3 = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}" + QWEN_PARTS + "<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN2_5 = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    + QWEN_PARTS
    + "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAVA = (  # puts every picture before every text
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + ' '}}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ '\n' + content['text'] }}"
    "{% endfor %}{{'<|im_end|>'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
VIDEO_LAYOUT = {"qwen2_5_vl": QWEN2_5, "qwen3_vl": QWEN3, "llava_onevision": LLAVA, "smolvlm": "<|im_start|>" + IDEFICS}


def text_config(tokenizer: Any, **changes: Any) -> dict[str, Any]:
    """A language model of width 32 and three layers, uneven enough for answers to differ."""
    return {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 4096,
        "initializer_range": 0.2,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    } | changes


VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 56,
    "patch_size": 14,
    "initializer_range": 0.2,
}


def byte_tokenizer(special: list[str], end: str, start: str | None = None) -> Any:
    """Byte-level BPE, as Llama 3, SmolLM and Qwen have; with `start`, the tokenizer puts that before every text."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    return _trained(raw, special, end, start, pre_tokenizers.ByteLevel.alphabet())


def word_tokenizer(special: list[str], end: str, start: str) -> Any:
    """BPE with a space before every text, as Mistral's: what follows a cut reads as a new text."""
    raw = Tokenizer(models.BPE(unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    made = _trained(raw, special, end, start, [chr(c) for c in range(33, 127)])
    made.backend_tokenizer.pre_tokenizer = None
    made.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.backend_tokenizer.decoder = decoders.Metaspace()
    return made


def _trained(raw: Any, special: list[str], end: str, start: str | None, alphabet: list[str]) -> Any:
    own = ["<pad>", "<unk>", *([start] if start and start not in special else [])]
    texts = [*TEXTS, *["Yes No First Second user assistant system You are a helpful assistant."] * 20]
    texts += [f"{word}" for word in ("Yes", "No", "First", "Second")] * 40
    trainer = trainers.BpeTrainer(
        vocab_size=460, special_tokens=own, initial_alphabet=alphabet, show_progress=False, min_frequency=2
    )
    raw.train_from_iterator(texts, trainer)
    made = T.PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token=start,
        eos_token=end,
        padding_side="left",
        model_max_length=4096,
    )
    made.add_special_tokens({"additional_special_tokens": [s for s in special if s != start]})
    if start:
        made.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{start} $A", special_tokens=[(start, made.convert_tokens_to_ids(start))]
        )
    return made


def idefics2(**text: Any) -> tuple[Any, Any]:
    """Idefics2 over Mistral, with its start token, space before every text, and sliding window."""
    special = ["<fake_token_around_image>", "<image>", "<end_of_utterance>"]
    tokenizer = word_tokenizer(special, "</s>", "<s>")
    config = T.Idefics2Config(
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        text_config=text_config(tokenizer, model_type="mistral", **{"sliding_window": 30, **text}),
        vision_config=VISION,
        perceiver_config={
            "hidden_size": 32,
            "resampler_n_latents": 4,
            "resampler_depth": 1,
            "resampler_n_heads": 4,
            "resampler_head_dim": 8,
            "num_key_value_heads": 2,
            "initializer_range": 0.2,
        },
    )
    images = T.Idefics2ImageProcessor(size={"shortest_edge": 28, "longest_edge": 56}, do_image_splitting=True)
    processor = T.Idefics2Processor(images, tokenizer, image_seq_len=4, chat_template=IDEFICS)
    model = T.Idefics2ForConditionalGeneration(config)
    with torch.no_grad():  # equal latents, as the library starts them, all see the same
        model.model.connector.perceiver_resampler.latents.normal_(generator=torch.Generator().manual_seed(0))
    return model, processor


def idefics3(name: str = "idefics3") -> tuple[Any, Any]:
    """Idefics3 over Llama 3 or SmolVLM over SmolLM, whose pictures are split into tiles unless told otherwise."""
    places = [f"<row_{i}_col_{j}>" for i in range(1, 7) for j in range(1, 7)]
    special = ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", "<|im_start|>", *places]
    small = name == "smolvlm"
    kind = "SmolVLM" if small else "Idefics3"
    tokenizer = byte_tokenizer(special, "<end_of_utterance>", None if small else "<|begin_of_text|>")
    config = getattr(T, f"{kind}Config")(
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        text_config=text_config(tokenizer, model_type="llama"),
        vision_config=VISION,
        tie_word_embeddings=small,
    )
    images = getattr(T, f"{kind}ImageProcessor")(size={"longest_edge": 224}, max_image_size={"longest_edge": 56})
    template = VIDEO_LAYOUT["smolvlm"] if small else "<|begin_of_text|>" + IDEFICS
    parts = (images, tokenizer, None) if small else (images, tokenizer)
    processor = image_only(getattr(T, f"{kind}Processor"))(*parts, image_seq_len=4, chat_template=template)
    return getattr(T, f"{kind}ForConditionalGeneration")(config), processor


def qwen(name: str) -> tuple[Any, Any]:
    """Qwen2.5-VL or Qwen3-VL, whose positions follow the pictures' grids."""
    special = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer = byte_tokenizer(special, "<|im_end|>")
    names = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start", "vision_end": "vision_end"}
    ids = {f"{key}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>") for key, token in names.items()}
    third = name == "qwen3_vl"
    px = 16 if third else 14
    sections = {"mrope_section": [2, 1, 1], "mrope_interleaved": True} if third else {"mrope_section": [1, 1, 2]}
    eye = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4, "patch_size": px}
    eye |= {"out_hidden_size": 32, "initializer_range": 0.2}
    eye |= (
        {"num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
        if third
        else {"window_size": 4 * px, "fullatt_block_indexes": [1]}
    )
    rope = {"rope_type": "default", "rope_theta": 1e4, **sections}
    text = text_config(tokenizer, rope_parameters=rope, **({"head_dim": 8} if third else {}))
    config = getattr(T, "Qwen3VLConfig" if third else "Qwen2_5_VLConfig")(text_config=text, vision_config=eye, **ids)
    images = T.Qwen2VLImageProcessor(
        patch_size=px, merge_size=2, temporal_patch_size=2, min_pixels=(2 * px) ** 2, max_pixels=(8 * px) ** 2
    )
    kind = image_only(T.Qwen3VLProcessor if third else T.Qwen2_5_VLProcessor)
    model = (T.Qwen3VLForConditionalGeneration if third else T.Qwen2_5_VLForConditionalGeneration)(config)
    return model, kind(images, tokenizer, None, chat_template=VIDEO_LAYOUT[name])


def llava_onevision() -> tuple[Any, Any]:
    """LLaVA-OneVision over Qwen2, whose template puts pictures first and whose lone picture is laid out in tiles."""
    tokenizer = byte_tokenizer(["<|im_start|>", "<|im_end|>", "<image>", "<video>"], "<|im_end|>")
    pins = [[56, 56], [56, 112], [112, 56]]
    config = T.LlavaOnevisionConfig(
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        text_config=text_config(tokenizer, model_type="qwen2"),
        image_grid_pinpoints=pins,
        vision_config={"model_type": "siglip_vision_model", "vision_use_head": False, **VISION},
    )
    images = T.LlavaOnevisionImageProcessor(size={"height": 56, "width": 56}, image_grid_pinpoints=pins)
    kind = image_only(T.LlavaOnevisionProcessor)
    processor = kind(
        images, tokenizer, None, num_image_tokens=16, vision_feature_select_strategy="full", chat_template=LLAVA
    )
    return T.LlavaOnevisionForConditionalGeneration(config), processor


BUILDERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "idefics2": idefics2,
    "idefics3": idefics3,
    "smolvlm": partial(idefics3, "smolvlm"),
    "qwen2_5_vl": partial(qwen, "qwen2_5_vl"),
    "qwen3_vl": partial(qwen, "qwen3_vl"),
    "llava_onevision": llava_onevision,
}


def save_family(name: str, folder: Path) -> Path:
    """A tiny model of a family in a folder, as a download leaves it: weights in shards, a file for each part."""
    torch.manual_seed(0)
    model, processor = BUILDERS[name]()
    with torch.no_grad():
        for weight in model.parameters():  # norms and biases differ from their start, as trained ones do
            weight.add_(0.02 * torch.randn_like(weight))
    model.float().eval().save_pretrained(folder, max_shard_size="100KB")
    processor.save_pretrained(folder)
    _as_published(name, folder)
    return folder


def _as_published(name: str, folder: Path) -> None:
    """Today's one file of everything, taken apart into the files of the published folders."""
    whole = json.loads((folder / "processor_config.json").read_text())
    images = whole.pop("image_processor")
    kind = whole["processor_class"]
    images["image_processor_type"] = images["image_processor_type"].removesuffix("Pil")
    if name == "qwen3_vl":
        images["image_processor_type"] += "Fast"
    (folder / "preprocessor_config.json").write_text(json.dumps({**images, "processor_class": kind}))
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    (folder / "chat_template.jinja").unlink()
    if name.startswith("qwen"):
        (folder / "processor_config.json").unlink()
    else:
        (folder / "processor_config.json").write_text(json.dumps(whole))
