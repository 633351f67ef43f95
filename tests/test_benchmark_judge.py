"""The judges as objects: reading, saving, and features blind to attributes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from prefgen.agents import random_scene
from prefgen.benchmark.judge import CLASSES, TRAITS, Judge, judge_config, new_network
from prefgen.benchmark.judge_networks import ARCHITECTURES
from prefgen.core import ModelError, numpy_rng
from prefgen.recipes.judges import RECIPES, reading_loss, roughened, scene_showing, targets_of


def _judge(architecture: str = "residual") -> Judge:
    torch.manual_seed(0)
    config = judge_config(architecture, 16)  # type: ignore[arg-type]
    return Judge(new_network(config), config)


def _pictures(n: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_reading_is_probabilities_alone_or_together_and_survives_saving(architecture: str, tmp_path: Path) -> None:
    judge, pictures = _judge(architecture), _pictures()
    reading = judge.read(pictures)
    assert set(reading.classes) == set(CLASSES)
    for head, p in reading.classes.items():
        assert p.shape == (5, len(CLASSES[head]))
        np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(judge.read(pictures[2:3]).traits, reading.traits[2:3], atol=1e-5)
    judge.save(tmp_path)
    again = Judge.load(tmp_path).read(pictures)
    np.testing.assert_allclose(again.classes["palette"], reading.classes["palette"], atol=5e-3)
    assert len(judge.read(pictures[:0])) == 0


def test_structure_moves_no_attribute_head() -> None:
    judge = _judge()
    structure = torch.from_numpy(judge.read(_pictures()).structure)
    for name, head in judge.network.heads.items():
        assert isinstance(head, torch.nn.Linear)
        moved = float((structure @ head.weight.detach().T).abs().max())
        assert (moved < 1e-4) == (name not in ("subject", "setting"))


def test_style_is_blind_to_subject_and_setting_and_moved_by_attributes() -> None:
    judge = _judge()
    basis = judge._style
    assert judge.read(_pictures()).style.shape == (5, basis.shape[1])
    torch.testing.assert_close(basis.T @ basis, torch.eye(basis.shape[1]), atol=1e-4, rtol=0)
    for name, head in judge.network.heads.items():
        assert isinstance(head, torch.nn.Linear)
        seen = (head.weight.detach() @ basis).norm(dim=1) / head.weight.detach().norm(dim=1)
        if name in ("subject", "setting"):
            assert float(seen.max()) < 1e-4
        else:
            assert float(seen.min()) > 0.3


def test_judges_differ_in_architecture_and_pictures_and_stay_small() -> None:
    assert len({r.architecture for r in RECIPES}) == len({r.split for r in RECIPES}) == 2
    for recipe in RECIPES:
        network = new_network(judge_config(recipe.architecture, recipe.width))
        assert sum(p.numel() for p in network.parameters()) < 3_000_000


def test_a_judge_of_another_vocabulary_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected a judge in"):
        Judge.load(tmp_path)
    _judge().save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["classes"]["palette"][0] = "mauve"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="today's vocabulary"):
        Judge.load(tmp_path)


def test_targets_name_what_the_scene_shows_and_the_loss_falls() -> None:
    scenes = [random_scene(numpy_rng("t", i), seed_class="judge") for i in range(6)]
    targets = targets_of(scenes)
    for i, scene in enumerate(scenes):
        assert CLASSES["subject"][int(targets["subject"][i])] == scene.subject
        assert CLASSES["palette"][int(targets["palette"][i])] == scene.values.get("palette", "none")
        assert CLASSES["look"][int(targets["look"][i])] == (scene.look or "none")
    right = {h: 20.0 * torch.nn.functional.one_hot(targets[h], len(CLASSES[h])).float() for h in CLASSES}
    assert float(reading_loss(right | {TRAITS: targets[TRAITS]}, targets)["loss"]) < 1e-4


def test_roughening_keeps_a_third_untouched_and_the_rest_near() -> None:
    x = torch.rand(300, 3, 8, 8) * 2 - 1
    y = roughened(x, torch.Generator().manual_seed(0))
    same = (x == y).flatten(1).all(1).float().mean()
    assert 0.25 < same < 0.42
    assert float((x - y).abs().mean()) < 0.2


@pytest.mark.parametrize(
    ("head", "value"), [("palette", "gold"), ("look", "look-3"), ("subject", "owl"), ("setting", "in a room")]
)
def test_a_tested_scene_shows_the_value_among_at_most_three_others(head: str, value: str) -> None:
    for i in range(8):
        scene = scene_showing(head, value, i)
        shown = {"subject": scene.subject, "setting": scene.setting, "look": scene.look, **scene.values}
        assert shown[head] == value
        assert len([f for f in scene.values if f != head]) <= 3
        assert scene.seed % 8 == 5
