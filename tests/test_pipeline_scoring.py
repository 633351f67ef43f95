"""Evidence beside the preference model's answer: each alone, both together, and for somebody nothing is known of."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from conftest import D_CLIP, plain
from prefgen import PrefGen
from prefgen.core import History, HistoryItem, ModelError
from prefgen.embedding import EvidenceConfig, TasteEvidence
from prefgen.mllm.wording import MOST_TOLD
from prefgen.pipeline.scoring import shown_by, told_of, words_by_evidence
from prefgen.pipeline.word_edits import NO_EDITS

WORDS = (("gold", "palette", "colours"), ("ink", "palette", "colours"), ("pop art", "movement", "style"))


@pytest.fixture
def evidence() -> TasteEvidence:
    torch.manual_seed(4)
    return TasteEvidence(EvidenceConfig(d_clip=D_CLIP, d_manner=2, words=WORDS)).eval()


def weighed(evidence: TasteEvidence, **weights: float) -> TasteEvidence:
    made = TasteEvidence(replace(evidence.config, **weights)).eval()
    made.load_state_dict(evidence.state_dict())
    return made


def likings_with(model: PrefGen, evidence: TasteEvidence | None, history: History) -> list[float]:
    model.evidence = evidence
    return model.score_history(history, [plain("crimson"), plain("navy")])


def history() -> History:
    sides = (("red", "like"), ("blue", "dislike"), ("gold", "like"))
    return History(items=tuple(HistoryItem(image=plain(colour), side=side) for colour, side in sides))  # type: ignore[arg-type]


def test_evidence_and_answer_are_weighed_beyond_what_is_said_of_nobody(model: PrefGen, evidence: TasteEvidence) -> None:
    def odds(whose: History) -> torch.Tensor:
        return torch.tensor(likings_with(model, None, whose)).logit()

    likes = History(items=history().liked)  # one side alone, whose pictures say nothing by themselves
    said = odds(likes) - odds(History(items=()))
    assert likings_with(model, weighed(evidence, scale=0.0, said_share=1.0), likes) == pytest.approx(
        said.sigmoid().tolist(), abs=1e-5
    )
    alone = torch.tensor(likings_with(model, weighed(evidence, scale=1.0), likes)).logit()
    both = likings_with(model, weighed(evidence, scale=2.0, said_share=0.5), likes)
    assert both == pytest.approx((2 * alone + 0.5 * said).sigmoid().tolist(), abs=1e-5)


def test_evidence_of_another_tower_is_refused(model: PrefGen) -> None:
    parts = {name: getattr(model, name) for name in ("pipe", "adapter", "user_encoder", "image_encoder", "mllm")}
    foreign = TasteEvidence(EvidenceConfig(d_clip=D_CLIP + 1, d_manner=2, words=WORDS))
    with pytest.raises(ModelError, match=f"width {D_CLIP + 1}"):
        PrefGen(**parts, feature_extractor=model.feature_extractor, evidence=foreign, sha256=model.sha256)


def test_a_picture_scores_the_same_in_any_company(model: PrefGen, evidence: TasteEvidence) -> None:
    model.evidence = evidence
    together = model.score_history(history(), [plain("crimson"), plain("navy")])
    assert model.score_history(history(), [plain("navy")]) == pytest.approx(together[1:], abs=1e-6)
    assert model.score_history(history(), []) == []


def test_of_nobody_nothing_is_claimed(model: PrefGen, evidence: TasteEvidence) -> None:
    with torch.no_grad():
        evidence.bias.fill_(2.0)
    assert likings_with(model, weighed(evidence, said_share=0.5), History(items=())) == [0.5, 0.5]
    assert likings_with(model, weighed(evidence, said_share=0.5), history()) != [0.5, 0.5]


def test_a_profile_scores_as_its_history_and_edits_do(model: PrefGen, evidence: TasteEvidence) -> None:
    model.evidence = evidence
    me = model.profile(history=history()).edit(like=["gold"])
    told = model.score_history(me.pictures(), [plain("navy")], edits=me.edits)
    assert model.score(me, [plain("navy")]) == told
    assert model.score_history(me.pictures(), [plain("navy")]) != told, "a said word is heard"


def test_each_told_picture_keeps_its_own_features_in_a_long_history(evidence: TasteEvidence) -> None:
    n = MOST_TOLD + 20
    items = tuple(
        HistoryItem(image=plain("red"), side="like" if k % 40 else "dislike", sha256=str(k)) for k in range(n)
    )
    told, places = told_of(History(items=items))
    assert len(told) == len(places) < n
    assert all(
        items[place].image is item.picture and items[place].side == item.side for item, place in zip(told, places)
    )
    words, manner = evidence.seen(torch.randn(n, D_CLIP)[places])
    shown = shown_by(told, (words, manner), NO_EDITS, evidence.config)
    torch.testing.assert_close(shown.words[0], words)
    torch.testing.assert_close(shown.manner[0], manner)


def test_words_are_said_of_the_side_that_shows_them_strongest_first(evidence: TasteEvidence) -> None:
    class Shows(torch.nn.Module):
        def forward(self, told: torch.Tensor) -> torch.Tensor:
            return 2 * (told[..., :1] - told[..., 1:2])

    class Reads(torch.nn.Module):
        def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
            return embeddings[:, :3]

    evidence.word_opinion, evidence.reader = Shows(), Reads()  # type: ignore[assignment]
    features = torch.zeros(3, D_CLIP)
    features[0, 0] = features[1, 1] = features[2, 0] = features[2, 2] = (
        1.0  # gold liked; ink disliked; gold, pop art liked
    )
    found = words_by_evidence(history(), features, torch.ones(3), evidence)
    assert [word for word, _, _ in found["likes"]] == ["gold", "pop art"]
    assert [word for word, _, _ in found["dislikes"]] == ["ink"]
    weights, sure = [w for _, w, _ in found["likes"]], [p for _, _, p in found["likes"]]
    assert weights == pytest.approx([2 * p - 1 for p in sure])
    assert sure[0] > sure[1] > 0.5
    silent = words_by_evidence(history(), features, torch.tensor([0.0, 1.0, 0.0]), evidence)
    assert silent["likes"] == []
