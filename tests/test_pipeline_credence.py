"""The models are believed as far as they foresee a person's own labels; the pictures by themselves say the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import D_CLIP, plain
from prefgen import PrefGen
from prefgen.core import History, HistoryItem
from prefgen.embedding import EvidenceConfig, Opinions, Shown, TasteEvidence
from prefgen.pipeline.credence import left_out
from prefgen.pipeline.scoring import shown_by, told_of
from prefgen.pipeline.trust import trust_in_labels
from prefgen.pipeline.word_edits import NO_EDITS

WORDS = (("gold", "palette", "colours"),)


def grainy(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (64, 64, 3)).astype(np.uint8))


FLAT, GRAINY = [plain(c) for c in ("red", "blue", "gold", "green", "pink")], [grainy(k) for k in range(5)]


def history(liked: Sequence[Image.Image], disliked: Sequence[Image.Image], **values: object) -> History:
    sides = [(p, "like") for p in liked] + [(p, "dislike") for p in disliked]
    return History(items=tuple(HistoryItem(image=p, side=side, **values) for p, side in sides))  # type: ignore[arg-type]


class Says(TasteEvidence):
    """Evidence that says of every picture how grainy it is, times `sign`, as soon as it is told anything."""

    def __init__(self, sign: float) -> None:
        super().__init__(EvidenceConfig(d_clip=D_CLIP, d_manner=2, words=WORDS, scale=1.0))
        self.sign = sign

    def forward(self, shown: Shown) -> Opinions:
        known = (shown.weights.sum(1) > 0).float()[:, None]
        return Opinions(
            words=self.sign * known.expand(-1, len(WORDS)),
            manner=torch.zeros(len(known), self.config.d_manner),
            offset=torch.zeros(len(known)),
        )

    def seen(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        grain = embeddings[..., :1] - 0.5
        return 20 * grain, torch.zeros(*embeddings.shape[:-1], self.config.d_manner)


@pytest.fixture
def scored(model: PrefGen, monkeypatch: pytest.MonkeyPatch) -> object:
    """`score_history` where the CLIP embeddings say of each picture whether it is grainy, and evidence says `sign`."""

    def features(pictures: Sequence[Image.Image]) -> torch.Tensor:
        steps = [np.abs(np.diff(np.asarray(picture.convert("L"), dtype=float), axis=0)).mean() for picture in pictures]
        told = torch.zeros(len(pictures), D_CLIP)
        told[:, 0] = torch.tensor(steps) > 20
        return told

    def score(sign: float, whose: History, asked: Sequence[Image.Image]) -> list[float]:
        model.evidence = Says(sign).eval()
        monkeypatch.setattr(model, "_features", features)
        return model.score_history(whose, asked)

    return score


def test_models_that_foresee_the_labels_are_believed(scored) -> None:  # type: ignore[no-untyped-def]
    likes_grain = history(GRAINY[:4], FLAT[:4])
    grain, plain_one = scored(+1.0, likes_grain, [GRAINY[4], FLAT[4]])
    assert grain > 0.8
    assert plain_one < 0.2


def test_models_that_are_wrong_of_every_label_give_way_to_the_pictures_themselves(scored) -> None:  # type: ignore[no-untyped-def]
    likes_grain = history(GRAINY[:4], FLAT[:4])
    grain, plain_one = scored(-1.0, likes_grain, [GRAINY[4], FLAT[4]])
    assert grain > 0.6, "evidence alone would say the contrary"
    assert plain_one < 0.4


def test_of_one_side_alone_the_models_speak(scored) -> None:  # type: ignore[no-untyped-def]
    grain, plain_one = scored(-1.0, history(GRAINY[:4], []), [GRAINY[4], FLAT[4]])
    assert grain < 0.1
    assert plain_one > 0.9


def test_a_picture_that_stands_for_its_colours_is_no_example_of_the_whole(scored) -> None:  # type: ignore[no-untyped-def]
    colours = history(GRAINY[:4], FLAT[:4], aspect="colours")
    grain, plain_one = scored(-1.0, colours, [GRAINY[4], FLAT[4]])
    assert grain < 0.1, "with no whole picture the models speak"
    assert plain_one > 0.9


def test_words_said_count_whatever_the_models_are_believed(model: PrefGen) -> None:
    torch.manual_seed(1)
    model.evidence = TasteEvidence(EvidenceConfig(d_clip=D_CLIP, d_manner=2, words=WORDS)).eval()
    whose = model.profile(liked=GRAINY[:4], disliked=FLAT[:4])
    before, after = (torch.tensor(model.score(who, [FLAT[4]])).logit() for who in (whose, whose.edit(like=["gold"])))
    images, asked = [item.image for item in whose.pictures().items], model._features([FLAT[4]])
    told, places = told_of(whose.pictures())
    seen = model.evidence.seen(model._features(images)[places])
    words, manner = model.evidence.seen(asked)
    by_evidence = [
        model.evidence(shown_by(told, seen, edits, model.evidence.config)).margins(words[None], manner[None])[0]
        for edits in (NO_EDITS, whose.edit(like=["gold"]).edits)
    ]
    heard = float((after - before)[0])
    expected = float((by_evidence[1] - by_evidence[0])[0].detach())
    assert abs(expected) > 1e-4
    assert heard == pytest.approx(expected, abs=0.5 * abs(expected))


def test_left_out_is_what_evidence_says_without_the_picture_beyond_nobody() -> None:
    torch.manual_seed(3)
    evidence = TasteEvidence(EvidenceConfig(d_clip=D_CLIP, d_manner=2, words=WORDS, scale=1.3)).eval()
    whose, features = history(FLAT[:2], GRAINY[:2]), torch.randn(4, D_CLIP)
    told, places = told_of(whose)
    words, manner = evidence.seen(features[places])
    by_others = left_out(shown_by(told, (words, manner), NO_EDITS, evidence.config), evidence)
    nobody = evidence(shown_by([], (words[:0], manner[:0]), NO_EDITS, evidence.config)).margins(
        words[None], manner[None]
    )
    for k in range(4):
        rest = [i for i in range(4) if i != k]
        without = shown_by([told[i] for i in rest], (words[rest], manner[rest]), NO_EDITS, evidence.config)
        expected = 1.3 * (evidence(without).margins(words[None], manner[None])[0, k] - nobody[0, k])
        assert float(by_others[k]) == pytest.approx(float(expected.detach()), abs=1e-5)


def test_a_profile_tells_how_far_the_models_are_believed(model: PrefGen, scored) -> None:  # type: ignore[no-untyped-def]
    me = model.profile(liked=GRAINY[:4], disliked=FLAT[:4])
    assert model.credence(me) is None, "without evidence there is nothing to weigh"
    told = []
    for sign in (1.0, -1.0):
        scored(sign, me.pictures(), [FLAT[4]])
        told.append(model.credence(me))
    assert told[0] > 0.5 > 0.1 > told[1] >= 0


def test_models_that_foresee_no_label_silence_none() -> None:
    whose = history(GRAINY[:4], FLAT[:4])
    features = torch.zeros(8, D_CLIP)
    features[:4, 0] = 1

    class Backwards:
        """Says of every picture the contrary of its label."""

        def score(self, history: History, images: Sequence[Image.Image]) -> list[float]:
            return [0.02 if any(image is g for g in GRAINY) else 0.98 for image in images]

    def voices(sign: float) -> torch.Tensor:
        evidence = Says(sign).eval()
        evidence.config = replace(evidence.config, said_share=3.0)
        return trust_in_labels(whose, features, NO_EDITS, Backwards(), evidence)  # type: ignore[arg-type]

    assert voices(-1.0).min() > 0.7
    assert trust_in_labels(whose, features, NO_EDITS, Backwards(), None).max() == 0  # type: ignore[arg-type]
