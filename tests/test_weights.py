"""The weights inside the package: small enough, of safe formats, and whole."""

from pathlib import Path

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
