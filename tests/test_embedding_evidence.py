"""Evidence adds up: weights are pictures, old pictures fade, aspects speak of a part, words count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from prefgen.core import ASPECTS, ModelError, Side
from prefgen.embedding import EvidenceConfig, Shown, TasteEvidence, words_named

WORDS = (("gold", "palette", "colours"), ("ink", "palette", "colours"), ("cubism", "movement", "style"))
CONFIG = EvidenceConfig(d_clip=6, d_manner=2, words=WORDS, reading_width=8, opinion_width=8)


class Counting(torch.nn.Module):
    """An opinion that is simply likes minus dislikes, so that counts can be read from it."""

    def forward(self, told: Tensor) -> Tensor:
        return (told[..., 0].expm1() - told[..., 1].expm1())[..., None]


@pytest.fixture
def evidence() -> TasteEvidence:
    torch.manual_seed(0)
    made = TasteEvidence(CONFIG).eval()
    made.word_opinion = Counting()  # type: ignore[assignment]
    return made


def shown(*pictures: tuple[str, Side], **changes: Tensor) -> Shown:
    """One history whose pictures show one word each."""
    n, k = len(pictures), len(WORDS)
    words = torch.tensor([[float(name == word) for name, _, _ in WORDS] for word, _ in pictures])
    made = Shown(
        words=words[None],
        manner=torch.zeros(1, n, 2),
        side=torch.tensor([[1.0 if side == "like" else -1.0 for _, side in pictures]]),
        weights=torch.ones(1, n),
        ages=torch.zeros(1, n),
        aspects=torch.zeros(1, n, dtype=torch.long),
        comments=torch.zeros(1, n, 2, k),
        notes=torch.zeros(1, 2, k),
        forgotten=torch.zeros(1, k),
    )
    return replace(made, **changes)


def opinions(evidence: TasteEvidence, history: Shown) -> list[float]:
    return [round(x, 4) for x in evidence(history).words[0].tolist()]


def test_likes_and_dislikes_are_counted_apart(evidence: TasteEvidence) -> None:
    history = shown(("gold", "like"), ("gold", "like"), ("ink", "dislike"), ("cubism", "like"), ("cubism", "dislike"))
    assert opinions(evidence, history) == [2.0, -1.0, 0.0]


def test_a_weight_is_so_many_pictures(evidence: TasteEvidence) -> None:
    history = shown(("gold", "like"), ("ink", "dislike"), weights=torch.tensor([[3.0, 0.5]]))
    assert opinions(evidence, history) == [3.0, -0.5, 0.0]


def test_old_pictures_fade_and_only_by_age(evidence: TasteEvidence) -> None:
    new, old = (opinions(evidence, shown(("gold", "like"), ages=torch.tensor([[age]])))[0] for age in (0.0, 3.0))
    assert 0 < old < new == 1.0


def test_an_aspect_is_heard_of_its_own_families_alone(evidence: TasteEvidence) -> None:
    for aspect, heard in (("colours", [1.0, 0.0]), ("style", [0.0, 1.0]), ("subject", [0.0, 0.0])):
        aspects = torch.full((1, 2), ASPECTS.index(aspect))  # type: ignore[arg-type]
        told = opinions(evidence, shown(("gold", "like"), ("cubism", "like"), aspects=aspects))
        assert [told[0], told[2]] == heard


def test_words_said_and_words_of_comments_count_on_their_side(evidence: TasteEvidence) -> None:
    notes, comments = torch.zeros(1, 2, 3), torch.zeros(1, 1, 2, 3)
    notes[0, 0, 0], notes[0, 1, 1], comments[0, 0, 0, 2] = 1, 1, 1
    told = opinions(evidence, shown(("gold", "like"), notes=notes, comments=comments))
    assert told[0] > 1
    assert told[1] < 0 < told[2]


def test_a_forgotten_word_is_neither_liked_nor_disliked(evidence: TasteEvidence) -> None:
    assert opinions(evidence, shown(("gold", "like"), forgotten=torch.tensor([[1.0, 0.0, 0.0]])))[0] == 0.0


def test_order_and_padding_change_nothing() -> None:
    torch.manual_seed(1)
    evidence = TasteEvidence(CONFIG).eval()
    history = shown(("gold", "like"), ("ink", "dislike"), ("cubism", "like"))
    turned = shown(("cubism", "like"), ("gold", "like"), ("ink", "dislike"))
    padded = shown(("gold", "like"), ("ink", "dislike"), ("cubism", "like"), ("gold", "like"),
                   weights=torch.tensor([[1.0, 1.0, 1.0, 0.0]]))  # fmt: skip
    for other in (turned, padded):
        torch.testing.assert_close(evidence(other).words, evidence(history).words)
        torch.testing.assert_close(evidence(other).offset, evidence(history).offset)


def test_margins_are_sums_over_what_a_picture_shows() -> None:
    torch.manual_seed(2)
    evidence = TasteEvidence(CONFIG).eval()
    held = evidence(shown(("gold", "like"), ("ink", "dislike")))
    words, manner = torch.tensor([[[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]]), torch.tensor([[[0.0, 2.0], [0.0, 0.0]]])
    margins = held.margins(words, manner)
    told = held.words[0, 0] + held.words[0, 2] + 2 * held.manner[0, 1]
    torch.testing.assert_close(margins[0, 0] - margins[0, 1], told)
    torch.testing.assert_close(margins[0, 1], held.offset[0])


def test_a_picture_shows_at_most_one_word_of_a_family() -> None:
    words, manner = TasteEvidence(CONFIG).eval().seen(torch.randn(5, 6))
    assert (words.shape, manner.shape) == ((5, 3), (5, 2))
    assert (words > 0).all()
    assert (words[:, :2].sum(1) < 1).all()


def test_saved_and_loaded_it_says_the_same(tmp_path: Path) -> None:
    torch.manual_seed(3)
    made = TasteEvidence(replace(CONFIG, scale=1.5, said_share=0.25)).eval()
    made.save(tmp_path / "evidence", torch.float32)
    back = TasteEvidence.load(tmp_path / "evidence")
    assert back.config == made.config
    history = shown(("gold", "like"), ("ink", "dislike"))
    torch.testing.assert_close(back(history).words, made(history).words)
    torch.testing.assert_close(back.seen(torch.ones(1, 6))[0], made.seen(torch.ones(1, 6))[0])
    (tmp_path / "evidence" / "config.json").write_text('{"words": 3}')
    with pytest.raises(ModelError, match="evidence"):
        TasteEvidence.load(tmp_path / "evidence")


NUMBERS = {"gold": 0, "ink": 1, "pop art": 2}


@pytest.mark.parametrize(
    ("comment", "side", "found"),
    [
        ("I love the gold and ink", "like", [(0, "like"), (1, "like")]),
        ("too much gold", "dislike", [(0, "dislike")]),
        ("Love the gold, but too much ink", "like", [(0, "like"), (1, "dislike")]),
        ("great gold; the ink is boring. No pop art!", "like", [(0, "like"), (1, "like"), (2, "dislike")]),
        ("I don't like the gold", "like", [(0, "dislike")]),
        ("pop art", "dislike", [(2, "dislike")]),
        ("a golden inkwell of popping art", "like", []),
        ("", "like", []),
    ],
)
def test_comments_name_words_in_praise_or_in_blame(comment: str, side: Side, found: list[tuple[int, Side]]) -> None:
    assert words_named(comment, NUMBERS, side) == found
