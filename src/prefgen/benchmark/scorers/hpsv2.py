"""HPSv2 (arXiv 2306.09341): open_clip's ViT-H/14 fine-tuned on choices of real people; its `scaled` is the score."""

from __future__ import annotations

from pathlib import Path

from prefgen.benchmark.scorers.clip import ClipScorer
from prefgen.benchmark.scorers.open_clip import from_open_clip
from prefgen.benchmark.scorers.weights import found, state_of

VIT_H14 = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"


def hpsv2(path: str | Path, base: str = VIT_H14) -> ClipScorer:
    """From HPSv2's own weights, in open_clip's layout as a safetensors file, on the configuration of `base`.

    They are published as pickles (hub: xswu/HPSv2, `HPS_v2.1_compressed.pt`), which nothing here opens.
    """
    state = state_of(path, "HPSv2")
    return found(str(path), "HPSv2", lambda: _filled(state, base))


def _filled(state: dict, base: str) -> ClipScorer:
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor

    model = CLIPModel(CLIPConfig.from_pretrained(base))
    missing, unexpected = model.load_state_dict(from_open_clip(state), strict=False)
    missing = [key for key in missing if not key.endswith("position_ids")]
    if missing or unexpected:
        raise ValueError(f"weights of another shape: {[*missing, *unexpected][0]}")
    return ClipScorer(model, CLIPProcessor.from_pretrained(base))
