"""PickScore (arXiv 2305.01569): a CLIP ViT-H fine-tuned on choices of real people; its `scaled` is the score."""

from __future__ import annotations

from prefgen.benchmark.scorers.clip import ClipScorer

PICKSCORE, PICKSCORE_PROCESSOR = "yuvalkirstain/PickScore_v1", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"


def pickscore(name: str = PICKSCORE, processor: str = PICKSCORE_PROCESSOR) -> ClipScorer:
    """The model under its hub name, or from folders. Raises `ModelError` without weights."""
    return ClipScorer.from_pretrained(name, processor)
