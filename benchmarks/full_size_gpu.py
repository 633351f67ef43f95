"""The half of `full_size.py` that measures: seconds and peak memory of whole models with random weights.

It is meant for a GPU. A tiny size of the same classes runs on a CPU too, to show that it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from full_size_sizes import Size
from full_size_timing import Call, Measurement
from torch import Tensor

from prefgen.adapter import UserAdapter, UserTokens
from prefgen.mllm.lora import with_lora
from prefgen.recipes.backbone_adapter import PersonalBackbone, adapter_loss
from prefgen.recipes.full_steps import d_text_in, latent_shape_in, text_shapes_in
from prefgen.recipes.meta_models import mllm_on, part_on

BF16 = torch.bfloat16
PROMPT = "a fox by a lake"

Part = Callable[[Measurement, str], None]


def parts_of(size: Size) -> dict[str, Part]:
    """Everything that is measured, by name, in order."""
    return {
        "sdxl_adapter_training_step": partial(adapter_training, size),
        "sdxl_picture": partial(pictures, size),
        "idefics2_lora_training_step": partial(lora_training, size),
        "idefics2_embedding_of_8_plus_8": partial(embedding, size),
    }


@contextmanager
def as_bfloat16() -> Iterator[None]:
    """While open, new weights are bfloat16."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(BF16)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def on_device(part: Mapping[str, Any], device: torch.device) -> Any:
    """A part of a generator with random weights, bfloat16."""
    with as_bfloat16():
        return part_on(dict(part), device)


def adapter_training(size: Size, bench: Measurement, name: str) -> None:
    """One step of the adapter's training, batch 1, gradient checkpointing, AdamW in float32."""
    from diffusers import DDPMScheduler

    from prefgen.diffusion import Conditions
    from prefgen.recipes.prepared_rows import Rows

    record, device = size.generator, bench.device
    network = on_device(record["network"], device)
    network.enable_gradient_checkpointing()
    d_user = 3 * d_text_in(record)
    model = PersonalBackbone.for_network(network, d_user=d_user, n_tokens=size.user_tokens)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    given = {k: torch.randn(1, *shape, device=device, dtype=BF16) for k, shape in text_shapes_in(record).items()}
    rows = Rows(
        latents=torch.randn(1, *latent_shape_in(record), device=device, dtype=BF16),
        conditions=Conditions.of(given),
        like=torch.randn(1, d_user, device=device),
        dislike=torch.randn(1, d_user, device=device),
    )

    def step() -> None:
        adapter_loss(model, scheduler, rows, torch.Generator().manual_seed(0))["loss"].backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    with model.adapter.injected(network), model.adapter.users(None):
        bench.rounds(name, {"step": Call(run=step)})


def pictures(size: Size, bench: Measurement, name: str) -> None:
    """One guided picture: plain, with a person, and with a stock IP-Adapter of as many tokens, in turns."""
    from prefgen.diffusion import sample

    pipe, device = pipeline(size.generator, bench.device), bench.device
    adapter = UserAdapter.for_network(pipe.unet)
    adapter.to(device, BF16).requires_grad_(False)
    draw = partial(torch.randn, device=device, dtype=BF16)
    like, dislike = (draw(1, size.user_tokens, adapter.d_cross) for _ in range(2))
    embeds = draw(2, 1, size.user_tokens, adapter.d_cross)
    state = stock_state(pipe.unet)
    settings: dict[str, Any] = {
        "guidance_scale": size.guidance_scale,
        "num_inference_steps": size.n_steps,
        "output_type": "pt",
    }

    def paint(who: UserTokens | None) -> Any:
        seed = [torch.Generator().manual_seed(0)]
        return sample(pipe, adapter, [PROMPT], who, generators=seed, **settings)

    def paint_stock() -> Any:
        return pipe(PROMPT, generator=torch.Generator().manual_seed(0), ip_adapter_image_embeds=[embeds], **settings)

    @contextmanager
    def stock() -> Iterator[None]:
        pipe.load_ip_adapter(state, subfolder="", weight_name="", image_encoder_folder=None)
        try:
            yield
        finally:
            pipe.unload_ip_adapter()

    calls = {
        "plain": Call(run=lambda: paint(None)),
        "stock_ip_adapter": Call(run=paint_stock, around=stock),
        "with_a_person": Call(run=lambda: paint(UserTokens(like=like, dislike=dislike))),
    }
    bench.parts[name] |= {"side_px": size.generator["side_px"], "steps": size.n_steps, "guided": True}
    bench.rounds(name, calls)


def stock_state(unet: Any) -> dict[str, dict[str, Tensor]]:
    """A stock IP-Adapter of our keys and values, with a projection that takes any number of tokens, bfloat16."""
    from prefgen.adapter import to_ip_adapter_state

    one = UserAdapter.for_network(unet, ("like",))
    c, flat = one.d_cross, to_ip_adapter_state(one, "like")
    keys = {name.removeprefix("ip_adapter."): value.to(BF16) for name, value in flat.items()}
    shapes = {"proj.0": (c, c), "proj.2": (c, c), "proj.3": (c,)}
    projection = {f"{name}.weight": 0.02 * torch.randn(*shape) for name, shape in shapes.items()}
    projection |= {f"{name}.bias": torch.zeros(c) for name in shapes}
    return {"image_proj": {k: v.to(BF16) for k, v in projection.items()}, "ip_adapter": keys}


def pipeline(record: Mapping[str, Any], device: torch.device) -> Any:
    """The stock SDXL pipeline of a record's parts, with a tokenizer of single letters."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=[], model_max_length=77)
    encoders = [on_device(part, device) for part in record["text_encoders"]]
    pipe = StableDiffusionXLPipeline(
        vae=on_device(record["vae"], device),
        text_encoder=encoders[0],
        text_encoder_2=encoders[1],
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=on_device(record["network"], device),
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        add_watermarker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def lora_training(size: Size, bench: Measurement, name: str) -> None:
    """One LoRA step on a conversation, gradient checkpointing, the frozen weights in bfloat16.

    Checkpoints are not reentrant, so the inputs need no gradient. Transformers asks for one all the same once there is
    LoRA, of the vision tower's inputs too; taken back, no gradient goes through the frozen tower.
    """
    tuned = with_lora(language_model(size, bench.device), rank=size.lora_rank)
    whole = tuned.get_base_model()
    whole.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    whole.disable_input_require_grads()
    optimiser = torch.optim.AdamW([p for p in tuned.parameters() if p.requires_grad], 1e-5, fused=True)
    tuned.train()
    given = conversation(size, whole, size.conversation_pictures, bench.device)

    def step() -> None:
        whole(**given, labels=given["input_ids"], use_cache=False).loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    bench.parts[name] |= {"pictures": size.conversation_pictures, "tokens": given["input_ids"].shape[1]}
    bench.rounds(name, {"step": Call(run=step)})


def embedding(size: Size, bench: Measurement, name: str) -> None:
    """Hidden states of every layer over eight liked and eight disliked pictures."""
    whole = language_model(size, bench.device)
    given = conversation(size, whole, size.n_history, bench.device)

    @torch.no_grad()
    def read() -> None:
        whole.model(**given, output_hidden_states=True, use_cache=False)

    bench.parts[name] |= {"pictures": size.n_history, "tokens": given["input_ids"].shape[1]}
    bench.rounds(name, {"reading": Call(run=read)})


def language_model(size: Size, device: torch.device) -> Any:
    """The language model of a size with random weights, bfloat16, frozen."""
    with as_bfloat16():
        return mllm_on(size.mllm, device)


def conversation(size: Size, whole: Any, n_pictures: int, device: torch.device) -> dict[str, Tensor]:
    """Random pictures and then random words."""
    record, picture = size.mllm, whole.config.image_token_id
    n_seen = n_pictures * record["tokens_per_picture"]
    words = torch.randint(5, min(picture, 30_000), (1, n_seen + size.text_tokens))
    words[:, :n_seen] = picture
    pixels = torch.randn(1, n_pictures, 3, record["side_px"], record["side_px"]).to(device, BF16)
    return {"input_ids": words.to(device), "pixel_values": pixels, "attention_mask": torch.ones_like(words).to(device)}
