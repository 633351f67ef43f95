"""Laws of painting for a person in every family: who is heard, what a picture depends on, what is refused."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from conftest import FAMILIES, load_quietly, plain
from prefgen import PrefGen, Profile
from prefgen.adapter import UserTokens, concatenate_users, network_of
from prefgen.core import ConfigError, InputError, ModelError, PrefGenError, ProfileError
from prefgen.pipeline import PrefGenOutput
from prefgen.pipeline.loading import check_whole, device_named, dtype_named, folder_of

PROMPT = "a fox by a lake"


@pytest.fixture(scope="module", params=FAMILIES)
def family(request) -> str:
    """Each kind of generator in turn; `model`, `me` and the two below follow."""
    return request.param


@pytest.fixture(scope="module")
def model_folder(family, model_folders):
    return model_folders(family)


@pytest.fixture(scope="module")
def loaded_model(family, loaded_models):
    return loaded_models(family)


def stock(model, n: int) -> list[bytes]:
    """What the stock pipeline paints of `PROMPT` with the model's settings, from seed 3 on."""
    default, generators = model.card.default, [torch.Generator().manual_seed(3 + k) for k in range(n)]
    true = {"true_cfg_scale": default.true_cfg_scale, "negative_prompt": [""] * n}
    told = {"num_inference_steps": default.num_inference_steps, "guidance_scale": default.guidance_scale}
    told |= true if default.true_cfg_scale > 1 else {}
    return [image.tobytes() for image in model.pipe([PROMPT] * n, generator=generators, **told).images]


def pixels(output: PrefGenOutput) -> list[bytes]:
    """Every picture's bytes."""
    return [image.tobytes() for image in output.images]


@pytest.mark.parametrize("nobody", ["no profile", "strengths 0"])
def test_without_a_person_it_is_the_stock_pipeline(model, me, nobody):
    arguments = {} if nobody == "no profile" else {"profile": me, "like_strength": 0.0, "dislike_strength": 0.0}
    ours = model(PROMPT, seed=3, num_images_per_prompt=2, **arguments)
    assert pixels(ours) == stock(model, 2)
    assert ours.seeds == (3, 4)


def test_a_person_changes_the_picture_and_each_side_is_heard(model, me):
    alone = pixels(model(PROMPT, seed=1))
    heard = [
        pixels(model(PROMPT, me, seed=1, like_strength=a, dislike_strength=b)) for a, b in ((1, 1), (1, 0), (0, 1))
    ]
    assert len({alone[0], *(one[0] for one in heard)}) == 4


def test_variety_shows_facets_of_a_taste_and_none_of_them_without(model, me):
    ours = model.embed(me)
    tastes = [ours.row(0), UserTokens(like=-ours.like[:1], dislike=ours.dislike[:1])]
    faceted = me.with_tokens(concatenate_users(tastes))
    whole, facet = (pixels(model(PROMPT, me.with_tokens(taste), seed=[4])) for taste in tastes)
    assert whole != facet
    assert pixels(model(PROMPT, faceted, seed=[4], variety=0.0)) == whole
    assert pixels(model(PROMPT, faceted, seed=[4], variety=1.0)) == facet


def test_strangers_in_the_batch_do_not_matter(model, me):
    other, third = (model.profile(liked=[plain(colour)]) for colour in ("lime", "navy"))
    first = pixels(model([PROMPT] * 3, [me, other, None], seed=[5, 6, 7]))
    second = pixels(model([PROMPT] * 3, [me, third, other], seed=[5, 8, 9]))
    assert first[0] == second[0]
    assert first[1] != second[1]


def test_a_picture_alone_and_in_a_batch_agree(model, me):
    batch = model(PROMPT, me, seed=5, num_images_per_prompt=3)
    for seed, image in zip(batch.seeds, batch.images):
        alone = model(PROMPT, me, seed=seed).images[0]
        difference = np.abs(np.asarray(alone, dtype=int) - np.asarray(image, dtype=int))
        assert (difference <= 2).mean() >= 0.999


def test_one_generator_gives_each_picture_a_seed_of_its_own(model):
    def made(n: int) -> PrefGenOutput:
        return model(PROMPT, generator=torch.Generator().manual_seed(1), num_images_per_prompt=n, output_type="latent")

    one, two = made(1), made(2)
    assert one.seeds == two.seeds[:1]
    assert len(set(two.seeds)) == 2
    torch.testing.assert_close(one.images[0], two.images[0], atol=1e-3, rtol=1e-3)


def test_small_batches_paint_the_same_pictures_in_the_same_order(model, me):
    whole = model([PROMPT, "a fox"], [me, None], seed=0, num_images_per_prompt=2, output_type="np").images
    parts = model([PROMPT, "a fox"], [me, None], seed=0, num_images_per_prompt=2, output_type="np", batch_size=1).images
    assert whole.shape == parts.shape
    np.testing.assert_allclose(whole, parts, atol=1e-4)


def test_separate_guidance_negative_prompts_and_callbacks_reach_the_pipeline(model, me):
    steps = []

    def note_step(pipe, step, timestep, values):
        steps.append(step)
        return values

    plainly = pixels(model(PROMPT, me, seed=1, num_inference_steps=3, callback_on_step_end=note_step))
    assert steps == [0, 1, 2]
    guided = pixels(model(PROMPT, me, seed=1, num_inference_steps=3, user_guidance_scale=6.0))
    negative = pixels(model(PROMPT, me, seed=1, num_inference_steps=3, negative_prompt="gold"))
    assert len({plainly[0], guided[0], negative[0]}) == 3


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"prompt": []}, InputError),
        ({"prompt": [PROMPT], "profile": [None, None]}, InputError),
        ({"prompt": PROMPT, "profile": "me.safetensors"}, InputError),
        ({"prompt": PROMPT, "num_images_per_prompt": 0}, InputError),
        ({"prompt": PROMPT, "seed": 1, "generator": torch.Generator()}, InputError),
        ({"prompt": PROMPT, "seed": [1, 2]}, InputError),
        ({"prompt": PROMPT, "seed": -1}, InputError),
        ({"prompt": PROMPT, "negative_prompt": ["a", "b"]}, InputError),
        ({"prompt": PROMPT, "like_strength": float("nan")}, ConfigError),
        ({"prompt": PROMPT, "num_inference_steps": 0}, ConfigError),
        ({"prompt": PROMPT, "variety": 1.5}, ConfigError),
        ({"prompt": PROMPT, "user_start": float("nan")}, ConfigError),
        ({"prompt": PROMPT, "user_start": 0.5, "user_end": 0.5}, InputError),
        ({"prompt": PROMPT, "user_end": 1.5}, InputError),
        ({"prompt": PROMPT, "variety": float("nan")}, ConfigError),
    ],
)
def test_mistakes_are_named(model, arguments, error):
    with pytest.raises(error):
        model(**arguments)


def test_scores_order_pictures_and_do_not_depend_on_their_company(model, me):
    good, bad = plain("crimson"), plain("navy")
    assert model.score(me, [good])[0] > model.score(me, [bad])[0]
    assert model.score(me, [bad, good])[1] == model.score(me, [good])[0]
    assert model.score(me, []) == []


def test_a_large_picture_scores_like_its_stored_copy(model, me):
    from prefgen.pipeline import stored_picture

    large = plain("crimson", 700)
    assert model.score(me, [large]) == model.score(me, [stored_picture(large)])


def test_explanations_put_the_persons_own_words_first_and_leave_out_what_they_unsaid(model, me):
    assert [word.word for word in model.explain(me).likes] == ["red", "red"]
    edited = model.explain(me.edit(like=["gold"], forget=["blue"]))
    assert edited.likes[0].said
    assert edited.likes[0].word == "gold"
    assert edited.dislikes == ()
    assert "likes gold" in edited.in_words()


def test_word_edits_reach_a_model_that_takes_notes(model, mllm, me):
    edited = me.edit(like=["gold"], dislike=["ink"])
    model.score(edited, [plain("red")])
    model.with_embedding(edited)
    assert mllm.log[-2:] == ["score gold|ink", "encode gold|ink"]


def test_unknown_words_are_named_with_the_nearest(model, caplog):
    model("a foxx by a lake", seed=0)
    assert "'foxx'" in caplog.text
    assert "'fox'" in caplog.text
    caplog.clear()
    model("a fox by a lake, gold", seed=0)
    assert caplog.text == ""


def test_another_models_profile_is_refused_and_can_be_rebuilt(model, me):
    foreign = Profile(model_sha256="0" * 64, history=me.history, tokens=me.tokens)
    for use in (lambda: model(PROMPT, foreign), lambda: model.score(foreign, []), lambda: model.explain(foreign)):
        with pytest.raises(ProfileError) as caught:
            use()
        assert "prefgen profile rebuild" in str(caught.value)
    rebuilt = model.rebuild(foreign)
    assert rebuilt.to_bytes() == me.to_bytes()


def test_familiar_and_unfamiliar_pictures_are_told_apart(model, me):
    near = model.familiarity(model.profile(liked=[plain("#b41414")]))
    far = model.familiarity(model.profile(liked=[plain("lime"), plain("aqua")]))
    assert near.unfamiliar == 0.0
    assert far.unfamiliar == 1.0
    assert "outside" in far.in_words()


def test_one_side_is_enough_and_the_other_is_nobody(model):
    profile = model.profile(disliked=[plain("blue")])
    assert not profile.tokens.like.any()
    assert profile.tokens.dislike.any()
    assert model.with_embedding(profile.edit(like=["gold"])).tokens.like.any()


def test_the_preference_model_is_loaded_only_when_it_is_needed(loaded_model, mllm):
    loads = []

    def load():
        loads.append(1)
        return mllm

    parts = ("pipe", "adapter", "user_encoder", "image_encoder", "feature_extractor", "card", "sha256")
    model = PrefGen(mllm=load, **{part: getattr(loaded_model, part) for part in parts})
    model(PROMPT, seed=0)
    assert loads == []
    model.profile(liked=[plain("red")])
    model.profile(liked=[plain("blue")])
    assert loads == [1]


def test_half_precision_weights_are_used_in_the_precision_asked_for(model_folder, mllm, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "shipped"
    shutil.copytree(model_folder, folder)
    for path in folder.rglob("*.safetensors"):
        half = {name: t.half() if t.is_floating_point() else t for name, t in load_file(path).items()}
        save_file(half, path, {"format": "pt"})
    for dtype in (torch.float32, torch.bfloat16):
        model = load_quietly(folder, dtype=dtype, mllm=mllm)
        parts = (network_of(model.pipe), model.pipe.vae, model.pipe.text_encoder, model.adapter)
        assert {next(part.parameters()).dtype for part in parts} == {dtype}
        assert {next(part.parameters()).dtype for part in (model.user_encoder, model.image_encoder)} == {torch.float32}
        me = model.profile(liked=[plain("red")]).edit(like=["gold"])
        assert len(model(PROMPT, me, seed=0, user_guidance_scale=2.0).images) == 1


def test_half_downloaded_folders_are_named_by_what_is_missing(model_folder, tmp_path):
    folder = tmp_path / "half"
    shutil.copytree(model_folder, folder)
    check_whole(folder)
    shutil.rmtree(folder / "adapter")
    network = "unet" if (folder / "unet").exists() else "transformer"
    (folder / network / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelError, match=rf"missing {network}/\*\.safetensors, adapter/"):
        PrefGen.from_pretrained(folder)


def test_a_file_cut_short_is_named(model_folder, tmp_path):
    folder = tmp_path / "short"
    shutil.copytree(model_folder, folder)
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(ModelError, match=r"vae/diffusion_pytorch_model\.safetensors .* cut short"):
        PrefGen.from_pretrained(folder)


def test_a_description_that_does_not_fit_is_named(model_folder, tmp_path):
    folder = tmp_path / "odd"
    shutil.copytree(model_folder, folder)
    (folder / "prefgen.json").write_text('{"version": 99}')
    with pytest.raises(ModelError, match="version 99"):
        PrefGen.from_pretrained(folder)


@pytest.mark.parametrize(
    ("name", "told"),
    [("embeded", "did you mean 'embedded'"), ("nobody/nothing", "without a network"), ("/no/such/folder", "give")],
)
def test_unknown_models_are_told_with_a_hint(name, told):
    with pytest.raises(ModelError) as caught:
        folder_of(name)
    assert told in str(caught.value)


def test_missing_embedded_weights_are_told_with_a_hint(monkeypatch, tmp_path):
    from prefgen.pipeline import loading

    monkeypatch.setattr(loading.importlib.resources, "files", lambda package: tmp_path)
    with pytest.raises(ModelError) as caught:
        folder_of("embedded")
    assert "prefgen train --preset embedded" in str(caught.value)


def test_devices_and_dtypes():
    assert device_named("cpu") == torch.device("cpu")
    assert device_named("auto").type in ("cpu", "cuda", "mps")
    assert dtype_named("bfloat16") is torch.bfloat16
    with pytest.raises(ConfigError, match="cuda"):
        device_named("cudda")
    with pytest.raises(ConfigError, match="float32"):
        dtype_named("float23")


def test_the_models_hash_follows_its_weights_and_nothing_else(model_folder, tmp_path):
    from prefgen.pipeline import hash_of_folder

    folder = tmp_path / "same"
    shutil.copytree(model_folder, folder)
    (folder / "README.md").write_text("words")
    assert hash_of_folder(folder) == hash_of_folder(model_folder)
    (folder / "mllm" / "config.json").write_text("{} ")
    assert hash_of_folder(folder) != hash_of_folder(model_folder)


def test_nobody_is_heard_in_anothers_call(model, me):
    """A call from a callback would paint with the person of the call it stands in."""
    told: list[str] = []

    def again(pipe, step, timestep, tensors):
        with pytest.raises(InputError) as caught:
            model("a fox", seed=1, num_inference_steps=1)
        told.append(caught.value.message)
        return tensors

    for outer in (me, None):
        model("a fox", profile=outer, seed=1, num_inference_steps=2, callback_on_step_end=again)
    assert len(told) == 4
    assert all("one call after another" in message for message in told)
    assert len(model("a fox", seed=1, num_inference_steps=1).images) == 1


def test_a_whole_number_of_steps_may_be_a_float_and_a_text_is_no_number(model, me):
    assert len(model(PROMPT, me, seed=1, num_inference_steps=2.0).images) == 1
    for setting in ({"like_strength": "high"}, {"guidance_scale": True}, {"variety": "some"}):
        with pytest.raises(ConfigError, match="expected a number"):
            model(PROMPT, me, seed=1, **setting)


def test_threads_take_turns_and_paint_what_they_would_alone(model, me):
    stranger = model.profile(liked=[plain("yellow")], disliked=[plain("purple")])
    people = [me, None, stranger, me, None, stranger]

    def painted(place: int) -> list[bytes]:
        return pixels(model("a fox", profile=people[place], seed=place, num_inference_steps=2))

    alone = [painted(place) for place in range(len(people))]
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(painted, range(len(people))))
    assert made == alone


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"strenght": 3}, "strenght"),
        ({"return_dict": False}, "return_dict"),
        ({"output_type": "jpeg"}, "output_type"),
        ({"user_guidance_scale": float("nan")}, "user_guidance_scale"),
        ({"num_inference_steps": 2.5}, "whole number of steps"),
        ({"seed": [3.5]}, "seed"),
        ({"seed": "7"}, "seed"),
    ],
)
def test_slips_are_named_before_anything_is_painted(model, arguments, told):
    with pytest.raises(PrefGenError, match=told):
        model("a fox", **arguments)


def test_numpy_integers_are_seeds(model):
    whole = model("a fox", seed=3, num_inference_steps=1)
    assert pixels(model("a fox", seed=np.int64(3), num_inference_steps=1)) == pixels(whole)


def test_negative_prompts_are_checked_and_long_prompts_told_of(model, caplog):
    with caplog.at_level("WARNING", logger="prefgen"):
        model("a fox", negative_prompt="zzzqq", seed=1, num_inference_steps=1)
    assert "zzzqq" in caplog.text
    caplog.clear()
    with caplog.at_level("WARNING", logger="prefgen"):
        model("a fox " * 200, seed=1, num_inference_steps=1)
    assert "are not heard" in caplog.text


def test_another_preference_model_gives_the_model_another_name(model_folder, mllm):
    own = PrefGen.from_pretrained(model_folder, device="cpu")
    assert own.sha256 != PrefGen.from_pretrained(model_folder, device="cpu", mllm=mllm).sha256
