"""A person's taste on stock bases: three ways, each the plain pipeline at strength 0 and without a trace afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import plain
from prefgen.core import ConfigError, InputError
from prefgen.diffusion.references import attending, liked_and_disliked, reference_latents, weighted_attention
from prefgen.diffusion.word_steering import steered_by_words, text_states
from prefgen.history import history_from_items
from prefgen.pipeline.untrained import UntrainedModel
from tiny_mllm import noise
from tiny_untrained import BASES, HOME, save_adapters, save_base

PROMPT, STEPS = "a fox by a lake", 3
LIKED, DISLIKED = [noise(1), noise(2)], [noise(3)]
WAYS = ("words", "ip-adapter", "fabric")
KINDS = tuple(BASES)


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapters(tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, UntrainedModel]:
    folders = {kind: save_base(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}
    return {kind: UntrainedModel.from_pretrained(folder, device="cpu") for kind, folder in folders.items()}


def person_of(model: UntrainedModel, way: str, adapters: Path, liked=None, disliked=None, words=("gold", "neon")):
    liked, disliked = LIKED if liked is None else liked, DISLIKED if disliked is None else disliked
    if way == "words":
        return model.by_words([words[0]], [words[1]])
    if way == "ip-adapter":
        return model.by_ip_adapter(liked, disliked, adapter=str(adapters))
    return model.by_fabric(liked, disliked)


def painted(model: UntrainedModel, person=None, seed=7, n: int = 1, **changes) -> list[np.ndarray]:
    settings = {"num_inference_steps": STEPS, "guidance_scale": 4.0, **changes}
    made = model(PROMPT, person, seed=seed, num_images_per_prompt=n, **settings)
    return [np.asarray(image) for image in made.images]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_strengths_count_each_by_itself_and_0_is_the_plain_pipeline_bit_for_bit(way, kind, models, adapters) -> None:
    model = models[kind]
    stock = model.pipe(
        PROMPT, num_inference_steps=STEPS, guidance_scale=4.0, generator=[torch.Generator().manual_seed(7)]
    ).images[0]
    processors = {name: id(one) for name, one in model.pipe.unet.attn_processors.items()}
    person = person_of(model, way, adapters)
    silent = painted(model, person, like_strength=0, dislike_strength=0)[0]
    np.testing.assert_array_equal(silent, stock)
    said = {
        strengths: painted(model, person, like_strength=strengths[0], dislike_strength=strengths[1])[0]
        for strengths in ((0.5, 0.0), (0.5, 0.5), (0.9, 0.5), (0.5, 0.9))
    }
    every = [stock := np.asarray(stock), *said.values()]
    assert all((a != b).any() for i, a in enumerate(every) for b in every[:i])
    if way != "ip-adapter":
        assert (painted(model, person, like_strength=0, dislike_strength=0.5)[0] != stock).any()
    np.testing.assert_array_equal(painted(model, person, like_strength=0.9, dislike_strength=0.5)[0], said[0.9, 0.5])
    np.testing.assert_array_equal(painted(model)[0], stock)
    unet = model.pipe.unet
    assert {name: id(one) for name, one in unet.attn_processors.items()} == processors
    assert unet.encoder_hid_proj is None
    assert not unet._forward_pre_hooks
    assert not unet._forward_hooks


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_a_picture_is_its_own_seeds_and_its_own_persons_alone(way: str, kind: str, models, adapters) -> None:
    model = models[kind]
    person = person_of(model, way, adapters)
    apart = painted(model, person, seed=[5, 6, 7], n=3)
    np.testing.assert_array_equal(painted(model, person, seed=6)[0], apart[1])
    together = painted(model, person, seed=[5, 6, 7], n=3, batch_size=3)
    others = painted(model, person, seed=[9, 6, 8], n=3, batch_size=3)
    np.testing.assert_array_equal(together[1], others[1])
    assert (together[0] != others[0]).any()
    for a, b in zip(apart, together):
        assert (np.abs(a.astype(int) - b) <= 2).mean() > 0.999
    swapped = person_of(model, way, adapters, DISLIKED, LIKED, words=("neon", "gold"))
    assert (painted(model, swapped, seed=6)[0] != apart[1]).any()
    assert swapped.digest != person.digest
    assert person_of(model, way, adapters).digest == person.digest


@pytest.mark.parametrize("kind", KINDS)
def test_the_ip_adapter_is_stock_diffusers_own(kind: str, models, adapters: Path) -> None:
    model, stock = models[kind], BASES[kind]()
    stock.set_progress_bar_config(disable=True)
    stock.load_ip_adapter(str(adapters), subfolder=HOME[kind], weight_name=f"ip-adapter_{kind}.safetensors")
    stock.set_ip_adapter_scale(0.7)
    one = noise(4)
    theirs = stock(
        PROMPT,
        ip_adapter_image=one,
        num_inference_steps=STEPS,
        guidance_scale=4.0,
        generator=[torch.Generator().manual_seed(7)],
    ).images[0]
    person = model.by_ip_adapter([one], adapter=str(adapters))
    assert np.abs(painted(model, person, like_strength=0.7)[0].astype(int) - np.asarray(theirs)).max() <= 1
    both = model.by_ip_adapter([one, noise(5)], adapter=str(adapters))
    other = model.by_ip_adapter([noise(5)], adapter=str(adapters))
    torch.testing.assert_close(both.liked, (person.liked + other.liked) / 2)
    weighted = history_from_items([one, noise(5)], None, weights=[3.0, 1.0])
    told = model.by_ip_adapter(history=weighted, adapter=str(adapters))
    torch.testing.assert_close(told.liked, 0.75 * person.liked + 0.25 * other.liked)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("degrees", [(0.85, 0.85), (0.9, 0.3), (0.7, 0.0), (0.0, 0.7)])
def test_words_guide_by_their_formula(kind: str, degrees: tuple[float, float], models) -> None:
    pipe, n = models[kind].pipe, 2
    texts = {k: text_states(pipe, [k] * n)[0] for k in ("", "a fox", "gold", "neon")}
    x = torch.randn(n, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    time, sizes = torch.tensor(500.0), torch.tensor([[16.0, 16, 0, 0, 16, 16]] * n)

    def predicted(names: list[str]) -> torch.Tensor:
        rows = [texts[name] for name in names]
        pooled = None if rows[0].pooled is None else torch.cat([row.pooled for row in rows])
        conditions = None if pooled is None else {"text_embeds": pooled, "time_ids": sizes.repeat(len(rows), 1)}
        states = torch.cat([row.states for row in rows])
        return pipe.unet(
            x.repeat(len(rows), 1, 1, 1), time, encoder_hidden_states=states, added_cond_kwargs=conditions
        ).sample

    liked, disliked = (texts[k] if d else None for k, d in zip(("gold", "neon"), degrees))
    with torch.no_grad():
        e = {k: predicted([k]) for k in texts}
        with steered_by_words(pipe.unet, liked, disliked, *degrees):
            nothing, text = predicted(["", "a fox"]).chunk(2)
    plus, minus = degrees
    wanted = e["a fox"] + plus * e["gold"] - minus * e["neon"] - (plus - minus) * e[""]
    torch.testing.assert_close(nothing, e[""], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(text, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("way", WAYS)
def test_without_guidance_likes_are_heard_and_dislikes_are_silent(way: str, models, adapters, caplog) -> None:
    model = models["sd15"]
    person = person_of(model, way, adapters)
    only_liked = painted(model, person, guidance_scale=1.0, dislike_strength=0)[0]
    assert (only_liked != painted(model, guidance_scale=1.0)[0]).any()
    assert not [record for record in caplog.records if record.name.startswith("prefgen")]
    np.testing.assert_array_equal(painted(model, person, guidance_scale=1.0)[0], only_liked)
    assert "without guidance" in caplog.text


def test_texts_that_are_too_long_to_be_heard_are_told(models, caplog) -> None:
    model = models["sd15"]
    painted(model, model.by_words(["gold"], ["neon " * 40]))
    assert "the last" in caplog.text
    assert "neon" in caplog.text
    assert "gold" not in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_references_reach_the_network_as_the_scheduler_has_it(kind: str, models, monkeypatch) -> None:
    """Noised to the step's time and scaled as the sampler's own latents are: about unit variance in every step."""
    model, seen = models[kind], []
    forward = model.pipe.unet.forward
    monkeypatch.setattr(
        model.pipe.unet, "forward", lambda x, *a, **k: (seen.append((len(x), float(x.std()))), forward(x, *a, **k))[1]
    )
    painted(model, model.by_fabric([noise(1), noise(2)], [noise(3)], n_references=2))
    assert [n for n, _ in seen[:4]] == [3, 2, 3, 2]
    assert all(0.6 < deviation < 1.6 for n, deviation in seen[:1] if n == 3)
    one_side = model.by_fabric([noise(1), noise(2), noise(4), noise(6)], n_references=2)
    assert one_side.told == {"n_liked": 2, "n_disliked": 0}


def test_references_of_another_size_and_shared_by_a_batch_are_read_alike(models) -> None:
    pipe = models["sd15"].pipe
    latents = reference_latents(pipe, [noise(1)])[None]
    x = torch.randn(2, 4, 12, 8, generator=torch.Generator().manual_seed(0))
    states = text_states(pipe, ["a fox"] * 2)[0].states
    pipe.scheduler.set_timesteps(STEPS)

    def read(there: torch.Tensor) -> torch.Tensor:
        weights = torch.full((len(there), 1), 0.7)
        with torch.no_grad(), attending(pipe, there, liked_and_disliked(weights, weights[:, :0], guided=False)):
            return pipe.unet(x, pipe.scheduler.timesteps[0], encoder_hidden_states=states).sample

    torch.testing.assert_close(read(latents), read(latents.repeat(2, 1, 1, 1, 1)), atol=1e-5, rtol=1e-4)


def test_the_conditional_rows_hear_the_liked_ones_and_the_others_the_disliked_ones(models) -> None:
    layer = next(m for name, m in models["sd15"].pipe.unet.named_modules() if name.endswith("attn1"))
    width, draw = layer.to_q.in_features, torch.Generator().manual_seed(0)
    states, references = (torch.randn(*shape, width, generator=draw) for shape in ((4, 6), (1, 3, 5)))
    like, dislike = torch.tensor([[0.5, 0.9]]), torch.tensor([[0.3]])
    with torch.no_grad():
        nothing, text = liked_and_disliked(like, dislike)(layer, states, references).chunk(2)
        unguided = liked_and_disliked(like, dislike[:, :0], guided=False)(layer, states[2:], references[:, :2])
        for k in (0, 1):
            heard = weighted_attention(layer, states[k : k + 1], references[:, 2:], dislike)
            torch.testing.assert_close(nothing[k : k + 1], heard)
            heard = weighted_attention(layer, states[2 + k : 3 + k], references[:, :2], like)
            torch.testing.assert_close(text[k : k + 1], heard)
    torch.testing.assert_close(unguided, text)


def test_wide_pictures_are_cut_and_not_squeezed(models) -> None:
    pipe, square = models["sd15"].pipe, noise(1, 16)
    wide = Image.new("RGB", (48, 16))
    wide.paste(square, (16, 0))
    torch.testing.assert_close(reference_latents(pipe, [wide]), reference_latents(pipe, [square]))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_paints_too(way: str, dtype: torch.dtype, tmp_path: Path, adapters: Path) -> None:
    model = UntrainedModel.from_pretrained(save_base("sdxl", tmp_path), device="cpu", dtype=dtype)
    assert model.pipe.unet.dtype == dtype
    picture = painted(model, person_of(model, way, adapters))[0]
    assert picture.std() > 0
    assert model.pipe.vae.dtype == dtype


def test_tiles_and_negative_prompts_and_sizes_reach_the_pipeline(models, tmp_path: Path, adapters: Path) -> None:
    model = models["sd15"]
    person = person_of(model, "words", adapters)
    assert (painted(model, person, negative_prompt="blurry")[0] != painted(model, person)[0]).any()
    for way in WAYS:
        person = person_of(model, way, adapters)
        assert painted(model, person, height=24, width=16)[0].shape == (24, 16, 3)
    tiled = UntrainedModel.from_pretrained(save_base("sd15", tmp_path), device="cpu", tile=True)
    assert tiled.pipe.vae.use_tiling
    assert tiled.pipe.vae.use_slicing


def test_defaults_are_the_ways_then_the_pipelines(models, adapters: Path) -> None:
    model = models["sd15"]
    words, fabric = person_of(model, "words", adapters), person_of(model, "fabric", adapters)
    assert model.settings(None) == {"guidance_scale": 7.5, "num_inference_steps": 50}
    assert model.settings(words)["guidance_scale"] == 5.0
    assert model.settings(fabric, num_inference_steps=4) == {
        "guidance_scale": 7.5, "num_inference_steps": 4, "like_strength": 0.5, "dislike_strength": 0.25,
    }  # fmt: skip
    told = model.told_of(words, PROMPT, 7, **model.settings(words))
    assert told["liked_words"] == "gold"
    assert told["with"] == "words"
    assert "/" not in str(told["base"])


def test_mistakes_are_told(models, adapters: Path) -> None:
    model = models["sd15"]
    for settings in ({"like_strength": -1}, {"dislike_strength": float("nan")}, {"num_inference_steps": 0}):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            model.settings(model.by_words(["gold"]), **settings)
    with pytest.raises(ConfigError, match="multiples of 8"):
        painted(model, height=20)
    with pytest.raises(InputError, match="one prompt"):
        model([PROMPT], seed=1)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="words of taste"):
        model.by_words()
    with pytest.raises(InputError, match="liked picture"):
        model.by_ip_adapter(disliked=[plain("red")], adapter=str(adapters))
    with pytest.raises(InputError, match="reference"):
        model.by_fabric([plain("red")], n_references=0)
    with pytest.raises(InputError, match="got both"):
        model.by_fabric([plain("red")], history=history_from_items([plain("red")], None))
    assert model.by_fabric(disliked=[plain("red")]).told["n_disliked"] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_offloaded_parts_paint_the_same(kind: str, tmp_path: Path, models, adapters: Path, monkeypatch) -> None:
    """diffusers' own hooks, which move a part when it is called; here from the processor to the processor."""
    monkeypatch.setattr("diffusers.pipelines.pipeline_utils.get_device", lambda: "cpu:0")
    offloaded = UntrainedModel.from_pretrained(save_base(kind, tmp_path), device="cpu")
    offloaded.pipe.enable_model_cpu_offload(device="cpu")
    assert hasattr(offloaded.pipe.unet, "_hf_hook")
    for way in WAYS:
        ours, theirs = (person_of(model, way, adapters) for model in (offloaded, models[kind]))
        for _ in range(2):
            np.testing.assert_array_equal(painted(offloaded, ours)[0], painted(models[kind], theirs)[0])
        assert hasattr(offloaded.pipe.unet, "_hf_hook")
