"""How well the MLLM knows people it never met: yes/no accuracy with noise-free labels, controls, calibration."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from prefgen.agents import paint
from prefgen.core import numpy_rng
from prefgen.mllm import (
    Branch,
    Pack,
    PreferenceMLLM,
    Told,
    answer_token,
    calibration_error,
    chat_frame,
    fit_temperature,
    history_parts,
    like_question,
    pack,
    run_packed,
)
from prefgen.recipes.mllm_people import N_EVERYTHING, N_ONE, pairs_of, scenes_of
from prefgen.recipes.vqa_slots import Slot, chosen_slots, slots_of, told


def evaluation_queries(index: int, split: str) -> list[tuple[Slot, Slot]]:
    """The pairs that one person is asked about: two that differ in everything, then `N_ONE` in one attribute."""
    person = pairs_of(index, split)[0]
    current = [k for k in range(N_EVERYTHING) if person.kind != "drifting" or k / (N_EVERYTHING - 1) >= person.turn]
    asked = [int(k) for k in numpy_rng("evaluation queries", split, index).permutation(current)[:2]]
    return slots_of(index, split, [*asked, *range(N_EVERYTHING, N_EVERYTHING + N_ONE)])


def evaluation_history(index: int, split: str, condition: str, *, n_people: int, n_each: int = 4) -> list[Told]:
    """One person's history (`own`, another's or none), as noisy as the person, without the queries' subjects."""
    if condition == "none":
        return []
    rng = numpy_rng("evaluation", split, index, condition)
    person = pairs_of(index, split)[0]
    subjects = {pair[0].scene.subject for pair in evaluation_queries(index, split)}
    owner = index if condition == "own" else (index + n_people // 2) % n_people
    rest = [p for p in slots_of(owner, split, range(N_EVERYTHING)) if p[0].scene.subject not in subjects]
    slots = chosen_slots(rng, rest, n_each, n_each)
    return told(rng, slots, flipped=person.flipped, timed=person.kind == "drifting")


def evaluation_pack(index: int, split: str, condition: str, *, n_people: int, n_each: int = 4) -> Pack:
    """`evaluation_history` and every pair of `evaluation_queries`; branch 2k is liked, 2k + 1 disliked."""
    items = evaluation_history(index, split, condition, n_people=n_people, n_each=n_each)
    queries = evaluation_queries(index, split)
    branches = [Branch(question=like_question(slot.key)) for pair in queries for slot in pair]
    return Pack(history=history_parts(items), branches=tuple(branches))


@torch.no_grad()
def yes_margins(model: Any, processor: Any, features: np.ndarray, packs: list[Pack]) -> np.ndarray:
    """l_yes - l_no of every branch, [n_packs, n_branches], for packs with equally many branches."""
    model.eval()
    frame = chat_frame(processor)
    yes, no = answer_token(processor, frame, "Yes"), answer_token(processor, frame, "No")
    rows = []
    for start in range(0, len(packs), 8):
        batch = pack(processor, frame, packs[start : start + 8])
        hidden = run_packed(model, batch, torch.from_numpy(features[batch.pictures].astype(np.float32)))
        for r in range(min(8, len(packs) - start)):
            at = [batch.ends[r, k] for k in range(len(packs[start + r].branches))]
            logits = model.lm_head(hidden[r, at]).float()
            rows.append((logits[:, yes] - logits[:, no]).numpy())
    return np.stack(rows)


def _pairs(margins: np.ndarray, which: slice) -> tuple[np.ndarray, np.ndarray]:
    return margins[:, 0::2][:, which], margins[:, 1::2][:, which]


def _accuracy(margins: np.ndarray, which: slice) -> float:
    liked, disliked = _pairs(margins, which)
    return float(((liked > 0).mean() + (disliked <= 0).mean()) / 2)


def _pairwise(margins: np.ndarray, which: slice) -> float:
    liked, disliked = _pairs(margins, which)
    return float((liked > disliked).mean())


def evaluate_packed(
    model: Any, processor: Any, features: np.ndarray, n_people: int, split: str = "validation"
) -> dict[str, float]:
    """Accuracies and calibration over a split's people. `features` as `people_features` made them.

    `*_accuracy` judges each picture at P(yes) = 0.5; `*_pairwise` asks whether the liked one of a pair scores higher.
    The temperature is fitted on the even people and the calibration error measured on the odd ones.
    """
    margins: dict[tuple[str, int], np.ndarray] = {}
    for condition, n in (("own", 4), ("own", 8), ("other", 4), ("none", 0)):
        packs = [evaluation_pack(i, split, condition, n_people=n_people, n_each=n) for i in range(n_people)]
        margins[condition, n] = yes_margins(model, processor, features, packs)
    everything, one, all_pairs = slice(0, 2), slice(2, None), slice(None)
    own = margins["own", 4]
    labels = np.tile([True, False], own.shape[1] // 2)[None].repeat(len(own), 0)
    fitted = fit_temperature(own[0::2].ravel(), labels[0::2].ravel())
    p = 1 / (1 + np.exp(-own[1::2].ravel() / fitted))
    return {
        "everything_accuracy": _accuracy(own, everything),
        "everything_pairwise": _pairwise(own, everything),
        "one_accuracy": _accuracy(own, one),
        "one_pairwise": _pairwise(own, one),
        "everything_accuracy_8": _accuracy(margins["own", 8], everything),
        "one_accuracy_8": _accuracy(margins["own", 8], one),
        "other_accuracy": _accuracy(margins["other", 4], all_pairs),
        "other_pairwise": _pairwise(margins["other", 4], all_pairs),
        "none_accuracy": _accuracy(margins["none", 0], all_pairs),
        "none_pairwise": _pairwise(margins["none", 0], all_pairs),
        "temperature": fit_temperature(own.ravel(), labels.ravel()),
        "calibration_error": calibration_error(p, labels[1::2].ravel()),
    }


def evaluate_vqa(mllm: PreferenceMLLM, split: str = "validation", n_people: int = 100) -> dict[str, float]:
    """`evaluate_packed` for a loaded model, painting what it needs."""
    pictures = [Image.fromarray(paint(scene)) for i in range(n_people) for scene in scenes_of(i, split)]
    rows = [mllm.vision.tokens(pictures[i : i + 100]) for i in range(0, len(pictures), 100)]
    features = np.stack([tokens.cpu().numpy() for part in rows for tokens in part])
    return evaluate_packed(mllm.model, mllm.processor, features, n_people, split)
