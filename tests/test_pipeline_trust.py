"""Labels that the rest of a history speaks against lose their voice; words are read where pictures' tokens stand."""

import math
from collections.abc import Sequence

import pytest
import torch
from PIL import Image

from prefgen.core import History, HistoryItem, Side
from prefgen.embedding import shown_words, word_states, words_of_taste
from prefgen.pipeline.trust import FULL_TRUST, N_FOLDS, NO_TRUST, trust_in_labels
from prefgen.pipeline.voices import FADING_PER_YEAR, weights_by_age
from prefgen.pipeline.word_edits import WordEdits


class Majority:
    """Likes a picture as surely as the share of other pictures of its colour that are liked; keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[int] = []

    def score(self, history: History, images: Sequence[Image.Image]) -> list[float]:
        self.told.append(len(history))
        assert not {id(i) for i in images} & {id(item.image) for item in history.items}
        return [self._share(history, image.getpixel((0, 0))) for image in images]

    @staticmethod
    def _share(history: History, colour: object) -> float:
        alike = [item.side == "like" for item in history.items if item.image.getpixel((0, 0)) == colour]
        return sum(alike) / len(alike) if alike else 0.5


def history_of(*entries: tuple[str, Side]) -> History:
    return History(items=tuple(HistoryItem(image=Image.new("RGB", (4, 4), c), side=side) for c, side in entries))


def trust(history: History, model: Majority | None = None) -> list[float]:
    features = torch.zeros(len(history), 0)
    return trust_in_labels(history, features, WordEdits(), model or Majority()).tolist()  # type: ignore[arg-type]


def test_a_slip_among_pictures_of_its_kind_has_no_voice() -> None:
    history = history_of(("red", "like"), ("red", "like"), ("red", "like"), ("red", "dislike"), ("blue", "dislike"))
    assert trust(history)[3] == 0.0
    assert trust(history)[:3] == [1.0, 1.0, 1.0]
    assert trust(history)[4] == 1.0, "nothing speaks against it"


def test_half_a_doubt_is_half_a_voice() -> None:
    class Unsure(Majority):
        def score(self, history: History, images: Sequence[Image.Image]) -> list[float]:
            return [(NO_TRUST + FULL_TRUST) / 2] * len(images)

    assert trust(history_of(("red", "like"), ("blue", "dislike")), Unsure()) == [pytest.approx(0.5), 1.0]


def test_a_picture_alone_is_trusted_and_nobody_is_asked() -> None:
    model = Majority()
    assert trust(history_of(("red", "like")), model) == [1.0]
    assert model.told == []


def test_a_long_history_is_told_a_bounded_number_of_times() -> None:
    model = Majority()
    n = 3 * N_FOLDS + 1
    assert len(trust(history_of(*[("red", "like")] * n), model)) == n
    assert len(model.told) == N_FOLDS
    assert sum(model.told) == N_FOLDS * n - n, "each picture is left out once"


STATES, SILENCE = torch.tensor([[4.0, 0.0], [0.0, 4.0]]), torch.zeros(2)


def test_a_word_is_shown_where_a_token_stands_at_it() -> None:
    tokens = torch.tensor([[[4.0, 0.0], [0.0, 0.1]], [[0.1, 0.0], [0.0, 3.9]], [[0.0, 0.0], [0.1, 0.0]]])
    shown = shown_words(tokens, STATES, SILENCE, 0.5)
    torch.testing.assert_close(shown, torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), atol=0.01, rtol=0)


def test_words_belong_to_the_side_that_shows_them_more() -> None:
    shown = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    liked = torch.tensor([True, True, False, False])
    found = words_of_taste(("gold", "rose"), shown, liked, torch.ones(4))
    assert [word for word, _, _ in found["likes"]] == ["gold"]
    assert [word for word, _, _ in found["dislikes"]] == ["rose"]
    assert found["likes"][0][1:] == (pytest.approx(1.0), pytest.approx(3 / 4))
    assert found["dislikes"][0][1:] == (pytest.approx(0.5), pytest.approx(3 / 5))


def test_a_picture_without_a_voice_says_nothing() -> None:
    shown, liked = torch.tensor([[1.0], [0.0]]), torch.tensor([True, True])
    assert words_of_taste(("gold",), shown, liked, torch.tensor([0.0, 1.0]))["likes"] == []


def test_a_words_state_is_the_mean_over_its_tokens() -> None:
    places = {"": [[9.0], [1.0], [3.0]], "pop art": [[9.0], [4.0], [6.0]], "gold": [[9.0], [5.0], [7.0]]}
    states, silence = word_states(
        lambda texts: torch.tensor([places[t] for t in texts]), lambda word: len(word.split()), ["pop art", "gold"]
    )
    assert states[:, 0].tolist() == [5.0, 5.0]
    assert silence.item() == 2.0


def test_the_longer_before_the_newest_the_less_a_picture_says_and_undated_ones_say_all() -> None:
    def item(time_s: float | None, weight: float = 1.0) -> HistoryItem:
        return HistoryItem(image=Image.new("RGB", (4, 4)), side="like", time_s=time_s, weight=weight)

    year = 365 * 86_400.0
    said = weights_by_age(History(items=(item(5 * year), item(4 * year, 2.0), item(2 * year), item(None, 3.0))))
    assert said.tolist() == pytest.approx([1.0, 2.0 * math.exp(-FADING_PER_YEAR), math.exp(-3 * FADING_PER_YEAR), 3.0])
    assert FADING_PER_YEAR > 0
