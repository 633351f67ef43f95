"""What differs between generators behind one `PrefGen`: whose profile and adapter it is, guidance, texts."""

from __future__ import annotations

import shutil
from itertools import permutations

import pytest
import torch

from conftest import FAMILIES, FakeMLLM, load_quietly, plain
from prefgen import PrefGen, Profile
from prefgen.core import ConfigError, ModelError, ProfileError
from prefgen.pipeline.texts import n_unheard, pooled_texts, word_places

PROMPT = "a fox by a lake"
TRANSFORMERS = pytest.mark.parametrize("family", ["sd3", "flux"])


def profile_of(model: PrefGen) -> Profile:
    return model.profile(liked=[plain("red"), plain("darkred")], disliked=[plain("blue")])


def painted(model: PrefGen, me: Profile | None, **arguments) -> bytes:
    return model(PROMPT, me, seed=5, **arguments).images[0].tobytes()


@TRANSFORMERS
def test_a_model_and_a_profile_come_back_from_disk_and_paint_the_same(
    family, model_folders, loaded_models, tmp_path
) -> None:
    model = loaded_models(family)
    me = profile_of(model)
    me.save(tmp_path / "me.prefgen")
    again = load_quietly(model_folders(family), mllm=FakeMLLM())
    back = Profile.load(tmp_path / "me.prefgen")
    assert again.sha256 == model.sha256
    assert painted(again, back) == painted(model, me) != painted(model, None)


@pytest.mark.parametrize(("family", "other"), permutations(FAMILIES, 2))
def test_another_backbones_profile_and_adapter_are_refused(
    family, other, model_folders, loaded_models, tmp_path
) -> None:
    model, theirs = loaded_models(family), profile_of(loaded_models(other))
    with pytest.raises(ProfileError) as caught:
        model(PROMPT, theirs)
    assert "prefgen profile rebuild" in (caught.value.hint or "")
    assert model.rebuild(theirs).to_bytes() == profile_of(model).to_bytes()
    folder = shutil.copytree(model_folders(family), tmp_path / "mixed")
    shutil.rmtree(folder / "adapter")
    shutil.copytree(model_folders(other) / "adapter", folder / "adapter")
    with pytest.raises(ModelError, match="adapter"):
        PrefGen.from_pretrained(folder, device="cpu", mllm=FakeMLLM())


def test_an_adapter_of_the_same_shape_from_another_class_of_network_is_refused(loaded_models) -> None:
    """Tiny Stable Diffusion 3 and FLUX are equally many layers of equal width: names tell them apart, not shapes."""
    sd3, flux = (loaded_models(family) for family in ("sd3", "flux"))
    assert {n: w.shape for n, w in sd3.adapter.state_dict().items()} == {
        n: w.shape for n, w in flux.adapter.state_dict().items()
    }
    with pytest.raises(ModelError, match="expected an adapter for FluxTransformer2DModel, got one for SD3") as caught:
        flux.adapter.__class__.inject(sd3.adapter, flux.pipe.transformer)
    assert "backbone" in (caught.value.hint or "")


def test_flux_hears_dislikes_where_its_true_guidance_is_on(loaded_models, caplog) -> None:
    model = loaded_models("flux")
    me = profile_of(model)
    quiet = {"true_cfg_scale": 1.0}
    with caplog.at_level("WARNING", logger="prefgen"):
        silent = painted(model, me, **quiet)
    assert "dislikes are not heard" in caplog.text
    assert silent == painted(model, me, dislike_strength=0.0, **quiet)
    caplog.clear()
    heard = painted(model, me)
    assert "dislikes are not heard" not in caplog.text
    assert heard == painted(model, me, true_cfg_scale=model.card.default.true_cfg_scale, negative_prompt="")
    assert heard != painted(model, me, dislike_strength=0.0)
    with pytest.raises(ConfigError, match="number as true_cfg_scale"):
        painted(model, me, true_cfg_scale="high")
    assert "true_cfg_scale" in model.told_of(me, PROMPT, 5)
    assert "true_cfg_scale" not in loaded_models("sd3").told_of(me, PROMPT, 5)


@TRANSFORMERS
def test_texts_are_heard_as_far_as_the_longest_encoder_hears(family, loaded_models, caplog) -> None:
    pipe = loaded_models(family).pipe
    n, unheard = n_unheard(pipe, "a fox " * 20)
    assert n > 77
    assert unheard == 0
    assert n_unheard(pipe, "a fox " * 20, longest_text=100)[1] == n - 100


@pytest.mark.parametrize("family", FAMILIES)
def test_words_have_places_among_the_states_that_the_network_hears(family, loaded_models) -> None:
    model = loaded_models(family)
    states, silence = word_places(model.pipe, ("gold", "pop art"))
    assert states.shape == (2, model.adapter.d_cross)
    assert silence.shape == (model.adapter.d_cross,)
    assert states.isfinite().all()
    assert not torch.allclose(states[0], states[1])
    assert pooled_texts(model.pipe, ["gold"], 32).shape == (1, 32)
    with pytest.raises(ModelError, match="width 33"):
        pooled_texts(model.pipe, ["gold"], 33)
