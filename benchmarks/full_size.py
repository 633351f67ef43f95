"""Full size, without weights: what SDXL with our adapter and IDEFICS2-8B with LoRA cost beside stock diffusers.

    python benchmarks/full_size.py --counted     # no GPU: operations and bytes, counted on the meta device
    python benchmarks/full_size.py               # a GPU: the same models with random weights, seconds and peak memory

Both build the models from the published configurations that come with the package; random weights cost the same as
trained ones. The result is a JSON file with the command, the commit and which of the two it is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prefgen.adapter import GROUPS, UserAdapter, UserTokens
from prefgen.adapter.attention import GroupState, UserState
from prefgen.recipes.backbone_adapter import PersonalBackbone, adapter_loss
from prefgen.recipes.counting import counted
from prefgen.recipes.full_presets import FULL_PRESETS, published
from prefgen.recipes.full_steps import (
    adapter_step,
    d_user_of,
    latent_shape,
    lora_step,
    meta_lora,
    meta_personal,
    see,
    text_shapes,
)
from prefgen.recipes.meta_models import META, meta_mllm, meta_network, meta_part, n_parameters

PRESET = FULL_PRESETS["sdxl-idefics2"]
N_STEPS, GUIDANCE = 30, 5.0
N_HISTORY = 16
BF16 = torch.bfloat16


def main() -> None:
    """Parses the command, counts or measures, writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counted", action="store_true", help="count on the meta device in place of measuring")
    parser.add_argument("--out", type=Path, default=None, help="default: results/full_size[_counted].json")
    given = parser.parse_args()
    if not given.counted and not torch.cuda.is_available():
        parser.error("there is no GPU here; --counted counts without one")
    out = given.out or Path("results") / ("full_size_counted.json" if given.counted else "full_size.json")
    found = counts() if given.counted else measures()
    head = {
        "command": "python benchmarks/full_size.py" + (" --counted" if given.counted else ""),
        "commit": subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip(),
        "kind": "counted on the meta device, not measured" if given.counted else "measured, random weights",
        "torch": torch.__version__,
    }
    out.write_text(json.dumps(head | found, indent=1) + "\n")
    print(out)


# counted


def counts() -> dict[str, Any]:
    """Operations (a multiply-add is two) and bytes, of one sample each."""
    with torch.no_grad():
        plain, ours, stock = (painting_step(kind) for kind in ("plain", "person", "stock"))
    decode = decoding()
    d_user = d_user_of(PRESET)
    steps = {
        "checkpointing": adapter_step("sdxl", PRESET.user_tokens, d_user, checkpointing=True),
        "no checkpointing": adapter_step("sdxl", PRESET.user_tokens, d_user, checkpointing=False),
    }
    tuning = lora_step("idefics2", 8, PRESET.history_pictures, PRESET.text_tokens, checkpointing=True)
    trained, tuned = meta_personal(PRESET), meta_lora("idefics2", PRESET.lora_rank)
    return {
        "sdxl_1024px_picture": {
            "steps": N_STEPS,
            "guided": True,
            "plain_tflop": tera(N_STEPS * plain + decode),
            "with_a_person_tflop": tera(N_STEPS * ours + decode),
            "stock_ip_adapter_tflop": tera(N_STEPS * stock + decode),
            "decoding_tflop": tera(decode),
            "person_over_plain": (N_STEPS * ours + decode) / (N_STEPS * plain + decode),
            "stock_ip_adapter_over_plain": (N_STEPS * stock + decode) / (N_STEPS * plain + decode),
        },
        "sdxl_adapter_training_step": {
            name: {"tflop": tera(step.flops), "bytes_held_estimate": step.held} for name, step in steps.items()
        },
        "idefics2_lora_training_step": {"tflop": tera(tuning.flops), "bytes_held_estimate": tuning.held},
        "idefics2_embedding_of_8_plus_8": {"tflop": tera(embedding())},
        "parameters": {
            "sdxl": n_parameters(trained.network[0]),
            "adapter": n_parameters(trained.adapter),
            "projector": n_parameters(trained.projector),
            "idefics2": n_parameters(tuned, trainable=False),
            "lora": n_parameters(tuned, trainable=True),
        },
    }


def tera(flops: float) -> float:
    """In units of 10¹², four digits."""
    return float(f"{flops / 1e12:.4g}")


def painting_step(kind: str) -> int:
    """One guided step of one picture on the meta device: plain, with a person (likes in one half, dislikes in the
    other), or with a stock IP-Adapter of as many tokens."""
    network = meta_network("sdxl").to(BF16)
    given = {k: torch.empty(2, *shape, device=META, dtype=BF16) for k, shape in text_shapes("sdxl").items()}
    added = {"text_embeds": given["pooled"], "time_ids": given["time_ids"]}
    latents, d_cross = torch.empty(2, *latent_shape("sdxl"), device=META, dtype=BF16), given["text"].shape[-1]
    tokens = torch.empty(2, PRESET.user_tokens, d_cross, device=META, dtype=BF16)

    def step() -> None:
        network(latents, torch.empty(2, device=META), given["text"], added_cond_kwargs=added)

    if kind == "stock":
        _stock_processors(network, d_cross)
        network.process_encoder_hidden_states = lambda encoder_hidden_states, added_cond_kwargs: (
            encoder_hidden_states,
            [tokens[:, None]],
        )
    if kind != "person":
        return counted(step).flops
    adapter = UserAdapter.for_network(network)
    strength, heard = torch.ones(2, device=META), torch.ones(2, dtype=torch.bool, device=META)
    groups = {
        name: GroupState(tokens=tokens, strength=strength, heard=heard, span=span)
        for name, span in zip(GROUPS, (slice(1, 2), slice(0, 1)))
    }
    with adapter.injected(network), adapter.users(None):
        adapter.hear(UserState(groups=groups, n_rows=2, n_plain_rows=0, nobody_heard=False))
        return counted(step).flops


def _stock_processors(network: Any, d_cross: int) -> None:
    from diffusers.models.attention_processor import AttnProcessor2_0, IPAdapterAttnProcessor2_0

    chosen: dict[str, Any] = {}
    for name in network.attn_processors:
        if name.endswith("attn1.processor"):
            chosen[name] = AttnProcessor2_0()
            continue
        width = network.get_submodule(name.removesuffix(".processor")).to_k.out_features
        with META:
            chosen[name] = IPAdapterAttnProcessor2_0(width, d_cross, (PRESET.user_tokens,), 1.0).to(BF16)
    network.set_attn_processor(chosen)


def decoding() -> int:
    """The autoencoder's way back for one picture."""
    vae = meta_part(published("sdxl")["vae"])
    with torch.no_grad():
        return counted(
            lambda: vae.decode(torch.empty(1, *latent_shape("sdxl"), device=META), return_dict=False)[0]
        ).flops


def embedding() -> int:
    """Eight liked and eight disliked pictures, each seen once, and the language model over all of them, hidden states
    only."""
    whole = meta_mllm("idefics2").to(BF16)
    length = N_HISTORY * published("idefics2")["tokens_per_picture"] + PRESET.text_tokens
    words = torch.empty(1, length, whole.config.text_config.hidden_size, device=META, dtype=BF16)

    def read() -> None:
        see(whole, "idefics2", N_HISTORY)
        whole.model.text_model(inputs_embeds=words, use_cache=False)

    with torch.no_grad():
        return counted(read).flops


# measured


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


def on_card(part: dict[str, Any]) -> Any:
    """A part of a generator with random weights, bfloat16."""
    return random_weights(meta_part(part).to(BF16).to_empty(device="cuda"))


def random_weights(module: Any) -> Any:
    """Small random numbers in every parameter and buffer, so that nothing overflows."""
    with torch.no_grad():
        for value in module.parameters():
            value.normal_(std=0.02)
        for value in module.buffers():
            if value.is_floating_point():
                value.normal_(std=0.02)
    return module


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
    tuned = random_weights(meta_lora("idefics2", PRESET.lora_rank).to(BF16).to_empty(device="cuda"))
    whole = tuned.get_base_model()
    whole.model.text_model.rotary_emb = type(whole.model.text_model.rotary_emb)(whole.config.text_config).to("cuda")
    whole.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    trained = [p for p in tuned.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, 1e-5, fused=True)
    tuned.train()

    def conversation(n_pictures: int) -> dict[str, Tensor]:
        record = published("idefics2")
        words = torch.randint(5, 30_000, (1, n_pictures * record["tokens_per_picture"] + PRESET.text_tokens))
        words[:, : n_pictures * record["tokens_per_picture"]] = whole.config.image_token_id
        pixels = torch.randn(1, n_pictures, 3, record["side_px"], record["side_px"], dtype=BF16)
        return {
            "input_ids": words.cuda(),
            "pixel_values": pixels.cuda(),
            "attention_mask": torch.ones_like(words).cuda(),
        }

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


if __name__ == "__main__":
    sys.exit(main())
