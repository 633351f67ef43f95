"""The whole chain at `tiny`: trained from nothing, offline, it paints for a person; broken off anywhere it resumes."""

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from prefgen import PrefGen
from prefgen.agents import history_of, paint, training_person
from prefgen.recipes.presets import Preset, preset_named
from prefgen.recipes.retrained import retrain
from prefgen.recipes.train import STAGES, train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
SMALLEST = preset_named("tiny").with_overrides(n_pictures=200, clip_samples=256, unet_samples=96, ae_samples=96)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with every stage done."""
    work = tmp_path_factory.mktemp("chain")
    assert train(SMALLEST, work=work, out=work / "model")
    return work


def files_under(folder: Path) -> dict[str, str]:
    """Sha256 of every weights file."""
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*.safetensors"))
    }


def test_every_stage_leaves_its_part(trained: Path) -> None:
    parts = (
        "unet",
        "vae",
        "text_encoder",
        "image_encoder",
        "mllm",
        "evidence",
        "user_encoder",
        "adapter",
        "prefgen.json",
        "layers.json",
    )
    assert all((trained / "model" / part).exists() for part in parts)
    assert (trained / "shipped" / "embedded" / "prefgen.json").exists()
    assert {p.name for p in (trained / "baselines").iterdir()} == {
        "ip_adapter",
        "ip_adapter_user",
        "e_img_only",
        "instantstyle",
        "easyref",
    }


def test_the_shipped_copy_paints_scores_and_explains(trained: Path) -> None:
    model = PrefGen.from_pretrained(trained / "shipped" / "embedded", device="cpu")
    shown = history_of(training_person(3), seed_class="test")
    pictures = {
        liked: [Image.fromarray(paint(s.scene)) for s in shown if s.liked == liked][:3] for liked in (True, False)
    }
    me = model.profile(liked=pictures[True], disliked=pictures[False])
    made = model("a fox by a lake", profile=me, num_images_per_prompt=2, seed=1, num_inference_steps=3).images
    assert [picture.size for picture in made] == [(64, 64)] * 2
    assert all(0 <= p <= 1 for p in model.score(me, made))
    model.explain(me)


def test_ablations_are_trained_on_the_chains_features_and_kept(trained: Path, tmp_path: Path) -> None:
    names = ["one embedding", "elected tokens", "appended to the text"]

    def run() -> dict:
        return retrain(
            trained / "model",
            out=tmp_path / "out",
            work=tmp_path / "work",
            names=names,
            seeds=(0, 1),
            n_users=2,
            n_samples=256,
            report=tmp_path / "report",
            preset="tiny",
            n_training_people=SMALLEST.n_users,
        )

    result = run()
    assert {row["method"] for row in result["rows"]} == {*names, "e_sem", "e_core", "e_img", "e_sem and e_core"}
    assert (tmp_path / "report" / "retrained.html").read_text().count("<svg") >= 5
    before = files_under(tmp_path / "work" / "retrained")
    assert run()["rows"] == result["rows"]
    assert files_under(tmp_path / "work" / "retrained") == before


def test_a_done_chain_is_left_alone(trained: Path) -> None:
    before = files_under(trained / "model")
    assert train(SMALLEST, work=trained, out=trained / "model")
    assert files_under(trained / "model") == before


def test_a_shipped_model_is_trained_on_and_nothing_else_of_it_is_touched(trained: Path, tmp_path: Path) -> None:
    shipped = trained / "shipped" / "embedded"
    assert train(SMALLEST, work=tmp_path, out=tmp_path / "model", start=shipped)
    before, after = files_under(shipped), files_under(tmp_path / "shipped" / "embedded")
    changed = {name.split("/")[0] for name in before if before[name] != after[name]}
    assert changed == {"image_encoder", "unet", "evidence", "user_encoder", "adapter"}
    cards = [(folder / "shipped" / "embedded" / "prefgen.json").read_text() for folder in (trained, tmp_path)]
    assert cards[0] != cards[1], "what a new tower knows is described anew"
    assert before.keys() == after.keys()
    rivals = files_under(trained / "shipped" / "baselines"), files_under(tmp_path / "shipped" / "baselines")
    assert rivals[0].keys() == rivals[1].keys()
    heard = [name for name in rivals[0] if name.endswith("/like.safetensors")]
    assert len(heard) == 4
    assert all(rivals[0][name] != rivals[1][name] for name in heard)
    judges = files_under(trained / "shipped" / "judges"), files_under(tmp_path / "shipped" / "judges")
    read = [name for name in judges[0] if name.endswith(".safetensors")]
    assert len(read) == 2
    assert all(judges[0][name] != judges[1][name] for name in read)


def run_in_pieces(preset: Preset, work: Path, stage: str) -> int:
    """Runs a stage under a time limit that passes at once, again and again; returns the number of calls."""
    calls = 1
    while not train(preset, work=work, out=work / "model", only=stage, max_minutes=0.0):
        calls += 1
    return calls


@pytest.mark.parametrize("stage", ["autoencoder", "vision"])
def test_in_pieces_equals_in_one_go(trained: Path, tmp_path: Path, stage: str) -> None:
    for name in STAGES:
        calls = run_in_pieces(SMALLEST, tmp_path, name)
        if name == stage:
            assert calls > 1
            break
    part = {"autoencoder": "vae", "vision": "image_encoder"}[stage]
    assert files_under(tmp_path / "model" / part) == files_under(trained / "model" / part)
