"""Full size, without weights: what SDXL with our adapter and IDEFICS2-8B with LoRA cost beside stock diffusers.

    python benchmarks/full_size.py --counted     # no GPU: operations and bytes, counted on the meta device
    python benchmarks/full_size.py               # a GPU: the same models with random weights, seconds and peak memory
    python benchmarks/full_size.py --tiny        # any machine: the second on tiny sizes, to see that it runs

The first two build the models from the published configurations that come with the package; random weights cost the
same as trained ones. The result is a JSON file with the command, the commit and which of the three it is. What is
measured is written after every round; what fails or runs out of memory is in it with its message, the rest is measured
all the same, and the exit code is 1. `--tiny` writes to runs/full_size_tiny.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from prefgen.adapter import GROUPS, UserAdapter
from prefgen.adapter.attention import GroupState, UserState
from prefgen.recipes.counting import flops_of
from prefgen.recipes.full_presets import FULL_PRESETS, published
from prefgen.recipes.full_steps import (
    adapter_step,
    d_user_of,
    latent_shape,
    lora_step,
    meta_lora,
    meta_personal,
    read_words,
    see,
    text_shapes,
)
from prefgen.recipes.meta_models import META, meta_mllm, meta_network, meta_part, n_parameters

PRESET = FULL_PRESETS["sdxl-idefics2"]
N_STEPS, GUIDANCE = 30, 5.0
N_HISTORY = 16
BF16 = torch.bfloat16


def main() -> int:
    """Parses the command, counts or measures, writes the file. Returns 1 where a part was not measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--counted", action="store_true", help="count on the meta device in place of measuring")
    which.add_argument("--tiny", action="store_true", help="the same classes at a width of 32, on a CPU too")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds of each call, 2 or more (default: 5)")
    parser.add_argument("--out", type=Path, default=None, help="default: results/full_size.json; see above")
    given = parser.parse_args()
    if given.rounds < 2:
        parser.error(f"expected 2 rounds or more, which an interval needs, got {given.rounds}")
    if given.counted:
        out = given.out or Path("results") / "full_size_counted.json"
        out.write_text(json.dumps(head("counted on the meta device, not measured") | counts(), indent=1) + "\n")
        print(out)
        return 0
    if not given.tiny and not torch.cuda.is_available():
        parser.error("there is no GPU here; --counted counts without one, --tiny shows that the code runs")
    out = given.out or (Path("runs/full_size_tiny.json") if given.tiny else Path("results/full_size.json"))
    return measured(tiny=given.tiny, n_rounds=given.rounds, out=out)


def measured(*, tiny: bool, n_rounds: int, out: Path) -> int:
    """Measures part by part, writing after each round."""
    import full_size_sizes
    from full_size_gpu import parts_of
    from full_size_timing import Measurement, device_told

    size = full_size_sizes.tiny() if tiny else full_size_sizes.full()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = "measured, random weights" + (", tiny sizes of the same classes: no figures to cite" if tiny else "")
    told = head(kind) | {"size": size.name, "device": device_told(device), "n": n_rounds, "dtype": "bfloat16"}
    bench = Measurement(device=device, n_rounds=n_rounds, path=out, head=told)
    for name, part in parts_of(size).items():
        bench.part(name, part)
    print(out)
    for name, message in bench.failures.items():
        print(f"not measured: {name}: {message}", file=sys.stderr)
    return 1 if bench.failures else 0


def head(kind: str) -> dict[str, Any]:
    """What every file begins with."""
    here = Path(__file__).parent
    commit, changes = (
        subprocess.run(["git", *words], capture_output=True, text=True, cwd=here).stdout.strip()
        for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
    )
    command = " ".join(["python benchmarks/full_size.py", *sys.argv[1:]])
    return {"command": command, "commit": commit, "changed": bool(changes), "kind": kind, "torch": torch.__version__}


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
        return flops_of(step)
    adapter = UserAdapter.for_network(network)
    strength, heard = torch.ones(2, device=META), torch.ones(2, dtype=torch.bool, device=META)
    groups = {
        name: GroupState(tokens=tokens, strength=strength, heard=heard, span=span)
        for name, span in zip(GROUPS, (slice(1, 2), slice(0, 1)))
    }
    with adapter.injected(network), adapter.users(None):
        adapter.hear(UserState(groups=groups, n_rows=2, n_plain_rows=0, nobody_heard=False))
        return flops_of(step)


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
    latents = torch.empty(1, *latent_shape("sdxl"), device=META)
    with torch.no_grad():
        return flops_of(lambda: vae.decode(latents, return_dict=False)[0])


def embedding() -> int:
    """Eight liked and eight disliked pictures, each seen once, and the language model over all of them, hidden states
    only."""
    whole = meta_mllm("idefics2").to(BF16)
    length = N_HISTORY * published("idefics2")["tokens_per_picture"] + PRESET.text_tokens
    words = torch.empty(1, length, whole.config.text_config.hidden_size, device=META, dtype=BF16)

    def read() -> None:
        see(whole, "idefics2", N_HISTORY)
        read_words(whole.model.text_model, words)

    with torch.no_grad():
        return flops_of(read)


if __name__ == "__main__":
    sys.exit(main())
