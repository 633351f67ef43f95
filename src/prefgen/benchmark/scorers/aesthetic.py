"""The LAION aesthetic predictor ("sac+logos+ava1-l14-linearMSE"): a head on unit CLIP embeddings (ViT-L/14)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from prefgen.benchmark.scorers.clip import CLIP_L14, ClipScorer
from prefgen.benchmark.scorers.reward_head import RewardHead
from prefgen.benchmark.scorers.weights import found, state_of


class Aesthetic:
    """About 1 (ugly) to 10 (beautiful), whatever the prompt and the person."""

    def __init__(self, clip: ClipScorer, head: RewardHead) -> None:
        self.clip, self.head = clip, head.eval()

    @classmethod
    def from_pretrained(cls, path: str | Path, clip: str = CLIP_L14) -> Aesthetic:
        """From the head's weights as a safetensors file and a CLIP's hub name or folder."""
        state = state_of(path, "the aesthetic predictor")
        width = state["layers.0.weight"].shape[1] if "layers.0.weight" in state else 768
        head = RewardHead(width)
        found(str(path), "the aesthetic predictor", lambda: head.load_state_dict(state))
        return cls(ClipScorer.from_pretrained(clip), head)

    @torch.no_grad()
    def score(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """float [n]."""
        return self.head(self.clip.images(pictures).to(next(self.head.parameters()))).float().cpu().numpy()
