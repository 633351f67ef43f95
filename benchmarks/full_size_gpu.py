"""The half of `full_size.py` that needs a GPU: seconds and peak memory of full-size models with random weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from prefgen.adapter import UserAdapter, UserTokens
from prefgen.mllm.lora import with_lora
from prefgen.recipes.backbone_adapter import PersonalBackbone, adapter_loss
from prefgen.recipes.full_presets import FULL_PRESETS, published
from prefgen.recipes.full_steps import d_user_of, latent_shape, text_shapes
from prefgen.recipes.meta_models import mllm_on, part_on

PRESET = FULL_PRESETS["sdxl-idefics2"]
N_STEPS, GUIDANCE = 30, 5.0
N_HISTORY = 16
BF16 = torch.bfloat16


def measures() -> dict[str, Any]:
    """Seconds (median of a few, after a warm-up) and peak bytes on the card."""
    return {
        "device": torch.cuda.get_device_name(),
        "sdxl_adapter_training_step": training_step(),
        "sdxl_1024px_picture": pictures(),
        "idefics2": language_model(),
    }


def timed(call: Callable[[], Any], n: int = 5) -> dict[str, float]:
    """Median seconds of `n` calls after one that is not counted, and the peak bytes among them."""
    call()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(n):
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return {"seconds": sorted(seconds)[n // 2], "peak_bytes": torch.cuda.max_memory_allocated()}


@contextmanager
def as_bfloat16() -> Iterator[None]:
    """While open, new weights are bfloat16."""
    torch.set_default_dtype(BF16)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def on_card(part: dict[str, Any]) -> Any:
    """A part of a generator with random weights, bfloat16."""
    with as_bfloat16():
        return part_on(part, torch.device("cuda"))


def training_step() -> dict[str, float]:
    """One step of the adapter's training, batch 1, gradient checkpointing, AdamW in float32."""
    from diffusers import DDPMScheduler

    from prefgen.diffusion import Conditions
    from prefgen.recipes.prepared_rows import Rows

    network = on_card(published("sdxl")["network"])
    network.enable_gradient_checkpointing()
    d_user = d_user_of(PRESET)
    model = PersonalBackbone.for_network(network, d_user=d_user, n_tokens=PRESET.user_tokens)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    given = {k: torch.randn(1, *shape, device="cuda", dtype=BF16) for k, shape in text_shapes("sdxl").items()}
    rows = Rows(
        latents=torch.randn(1, *latent_shape("sdxl"), device="cuda", dtype=BF16),
        conditions=Conditions.of(given),
        like=torch.randn(1, d_user, device="cuda"),
        dislike=torch.randn(1, d_user, device="cuda"),
    )

    def step() -> None:
        adapter_loss(model, scheduler, rows, torch.Generator().manual_seed(0))["loss"].backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    with model.adapter.injected(network), model.adapter.users(None):
        return timed(step)


def pictures() -> dict[str, Any]:
    """One guided picture of 1024² px in 30 steps: plain, with a person, and with a stock IP-Adapter."""
    from prefgen.diffusion import sample

    pipe = _pipeline()
    adapter = UserAdapter.for_network(pipe.unet)
    adapter.to("cuda", BF16).requires_grad_(False)
    draw = lambda: torch.randn(1, PRESET.user_tokens, adapter.d_cross, device="cuda", dtype=BF16)  # noqa: E731
    tokens = UserTokens(like=draw(), dislike=draw())
    settings: dict[str, Any] = {"guidance_scale": GUIDANCE, "num_inference_steps": N_STEPS, "output_type": "pt"}

    def paint(who: UserTokens | None) -> Any:
        seed = [torch.Generator().manual_seed(0)]
        return sample(pipe, adapter, ["a fox by a lake"], who, generators=seed, **settings)

    found: dict[str, Any] = {"steps": N_STEPS}
    found["plain"] = timed(lambda: paint(None), 3)
    found["with_a_person"] = timed(lambda: paint(tokens), 3)
    pipe.load_ip_adapter(_stock_state(pipe.unet), subfolder="", weight_name="", image_encoder_folder=None)
    embeds = torch.randn(2, 1, PRESET.user_tokens, adapter.d_cross, device="cuda", dtype=BF16)
    found["stock_ip_adapter"] = timed(lambda: pipe("a fox by a lake", ip_adapter_image_embeds=[embeds], **settings), 3)
    return found


def _stock_state(unet: Any) -> dict[str, dict[str, Tensor]]:
    from prefgen.adapter import to_ip_adapter_state

    one = UserAdapter.for_network(unet, ("like",))
    c, flat = one.d_cross, to_ip_adapter_state(one, "like")
    keys = {name.removeprefix("ip_adapter."): value.to(BF16) for name, value in flat.items()}
    shapes = {"proj.0": (c, c), "proj.2": (c, c), "proj.3": (c,)}
    projection = {f"{name}.weight": 0.02 * torch.randn(*shape) for name, shape in shapes.items()}
    projection |= {f"{name}.bias": torch.zeros(c) for name in shapes}
    return {"image_proj": {k: v.to(BF16) for k, v in projection.items()}, "ip_adapter": keys}


def _pipeline() -> Any:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    record, letters = published("sdxl"), sorted(ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=[], model_max_length=77)
    encoders = [on_card(part) for part in record["text_encoders"]]
    pipe = StableDiffusionXLPipeline(
        vae=on_card(record["vae"]),
        text_encoder=encoders[0],
        text_encoder_2=encoders[1],
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=on_card(record["network"]),
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        add_watermarker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def language_model() -> dict[str, Any]:
    """One LoRA step on a conversation of 17 pictures, and hidden states of 8 + 8 pictures."""
    with as_bfloat16():
        base = mllm_on("idefics2", torch.device("cuda"))
    tuned = with_lora(base, rank=PRESET.lora_rank)
    whole = tuned.get_base_model()
    whole.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    trained = [p for p in tuned.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, 1e-5, fused=True)
    tuned.train()

    def conversation(n_pictures: int) -> dict[str, Tensor]:
        record = published("idefics2")
        words = torch.randint(5, 30_000, (1, n_pictures * record["tokens_per_picture"] + PRESET.text_tokens))
        words[:, : n_pictures * record["tokens_per_picture"]] = whole.config.image_token_id
        pixels = torch.randn(1, n_pictures, 3, record["side_px"], record["side_px"], dtype=BF16)
        mask = torch.ones_like(words).cuda()
        return {"input_ids": words.cuda(), "pixel_values": pixels.cuda(), "attention_mask": mask}

    def step() -> None:
        given = conversation(PRESET.history_pictures)
        whole.enable_input_require_grads()
        whole(**given, labels=given["input_ids"], use_cache=False).loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    def read() -> None:
        with torch.no_grad():
            whole.model(**conversation(N_HISTORY), output_hidden_states=True, use_cache=False)

    found = {"lora_training_step": timed(step)}
    tuned.eval()
    return found | {"embedding_of_8_plus_8": timed(read)}
