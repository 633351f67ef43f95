"""The weights inside the package: small enough, of safe formats, and whole."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import prefgen
from prefgen import PrefGen
from prefgen.agents import Scene, paint

WEIGHTS = Path(prefgen.__file__).parent / "weights"


def test_the_chain_stays_small_and_holds_nothing_that_carries_code() -> None:
    files = [p for p in (WEIGHTS / "embedded").rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= 64e6
    assert {p.suffix for p in files} <= {".safetensors", ".json", ".txt", ".jinja"}


@pytest.mark.timeout(300)
def test_the_embedded_model_paints_scores_and_explains_for_a_person() -> None:
    model = PrefGen.from_pretrained("embedded", device="cpu")
    likes = [Image.fromarray(paint(Scene(subject=s, values={"palette": "crimson"}, seed=8))) for s in ("cat", "boat")]
    me = model.profile(liked=likes)
    made = model("a fox by a lake", profile=me, num_images_per_prompt=1, seed=7, num_inference_steps=4).images
    assert made[0].size == (64, 64)
    assert 0 <= model.score(me, made)[0] <= 1
    model.explain(me)


@pytest.fixture(scope="module")
def embedded() -> PrefGen:
    return PrefGen.from_pretrained("embedded", device="cpu")


def painted(subject: str, **values: str) -> Image.Image:
    return Image.fromarray(paint(Scene(subject=subject, values=values, seed=5)))


def odds_of_crimson(model: PrefGen, edits: dict[str, list[str]] | None = None, **told: Any) -> float:
    """P(crimson is liked) after a crimson cat was liked and a crimson boat disliked, told with `told`."""
    me = model.profile(liked=[painted("cat", palette="crimson")], disliked=[painted("boat", palette="crimson")], **told)
    return model.score(me.edit(**edits) if edits else me, [painted("fox", palette="crimson")])[0]


@pytest.mark.parametrize(
    ("for_it", "against_it"),
    [
        ({"weights": [3.0, 0.3]}, {"weights": [0.3, 3.0]}),
        ({"times": [6e7, 0.0]}, {"times": [0.0, 6e7]}),
        ({"aspects": ["colours", "composition"]}, {"aspects": ["composition", "colours"]}),
        ({"comments": ["I love the crimson", None]}, {"comments": [None, "too much crimson"]}),
        ({"edits": {"like": ["crimson"]}}, {"edits": {"dislike": ["crimson"]}}),
    ],
    ids=["weight", "age", "aspect", "comment", "words"],
)
def test_what_is_told_of_pictures_moves_the_score_the_right_way(
    embedded: PrefGen, for_it: dict[str, Any], against_it: dict[str, Any]
) -> None:
    assert odds_of_crimson(embedded, **for_it) > 0.55 > 0.45 > odds_of_crimson(embedded, **against_it)


def test_a_taste_is_said_in_its_own_words(embedded: PrefGen) -> None:
    likes = [painted(s, palette="crimson", movement="pointillism") for s in ("cat", "boat", "tree")]
    dislikes = [painted(s, palette="teal", texture="cracked") for s in ("fox", "rabbit", "lighthouse")]
    told = embedded.explain(embedded.profile(liked=likes, disliked=dislikes))
    assert {"crimson", "pointillism"} <= {word.word for word in told.likes}
    assert {"teal", "cracked"} <= {word.word for word in told.dislikes}


def test_who_has_turned_is_painted_for_what_they_like_now(embedded: PrefGen) -> None:
    crimson, teal = ([painted(s, palette=p) for s in ("cat", "boat")] for p in ("crimson", "teal"))
    alone = {
        name: embedded.embed(embedded.profile(liked=own)).like[0] for name, own in (("then", crimson), ("now", teal))
    }
    for times, newer, older in (([0.0, 0.0, 9e7, 9e7], "now", "then"), ([9e7, 9e7, 0.0, 0.0], "then", "now")):
        me = embedded.embed(embedded.profile(liked=[*crimson, *teal], times=times)).like[0]
        assert (me - alone[newer]).norm() < 0.5 * (me - alone[older]).norm()
