"""The chain with a real (random, tiny) vision-language model in its folder, loaded as a person would load it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conftest import FAMILIES, load_quietly, plain
from prefgen import PrefGen
from prefgen.embedding import UserEncoder


@pytest.fixture(scope="module", params=FAMILIES)
def whole_folder(request, model_folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each family's tiny model folder with a vision-language model of width 32 in `mllm/`."""
    from tiny_mllm import tiny_model, tiny_processor

    folder = tmp_path_factory.mktemp("whole") / "model"
    shutil.copytree(model_folders(request.param), folder)
    shutil.rmtree(folder / "mllm")
    tiny_model().save_pretrained(folder / "mllm")
    tiny_processor().save_pretrained(folder / "mllm")
    words = [{"word": "gold", "family": "palette"}, {"word": "pop art", "family": "movement"}]
    (folder / "mllm" / "words.json").write_text(json.dumps(words))
    (folder / "mllm" / "calibration.json").write_text(json.dumps({"temperature": 2.0}))
    UserEncoder(replace(UserEncoder.load(folder / "user_encoder").config, d_lm=32)).save(folder / "user_encoder")
    return folder


def test_the_whole_chain_from_a_folder(whole_folder: Path) -> None:
    model = load_quietly(whole_folder)
    me = model.profile(liked=[plain("red"), plain("gold")], disliked=[plain("blue")], weights=[2.0, 1.0, 1.0])
    assert len(model("a fox by a lake", me, seed=0, num_images_per_prompt=2).images) == 2
    assert all(0 < p < 1 for p in model.score(me, [plain("crimson"), plain("navy")]))
    understood = model.explain(me)
    assert {word.word for word in understood.likes + understood.dislikes} <= {"gold", "pop art"}
    again = PrefGen.from_pretrained(whole_folder, device="cpu")
    back = again.with_embedding(me.add(disliked=[plain("lime")]).remove(plain("lime")))
    assert back.to_bytes() == me.to_bytes()
    other = again.embed(me.add(disliked=[plain("lime")]))
    assert not torch.equal(other.dislike, me.tokens.dislike)
