"""Simulated people at scale: painted procedurally or by any pipeline, in shards, after kills, each picture once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prefgen.agents import FAMILIES, Dials, Scene
from prefgen.core import ConfigError, InputError, ModelError
from prefgen.history.collect import PeopleFolders, Quality, Rules, collect, people_in
from prefgen.recipes.agents_at_scale import AgentPeople, DiffusersPainter, ProceduralPainter
from raw_choices import bytes_under
from tiny_diffusion import tiny_pipeline

FEW = Dials(n_likes=(2, 3), n_dislikes=(1, 2))
ANYBODY = Rules(min_liked=0, min_disliked=0)


def quiet(message: str) -> None:
    """Says nothing."""


def agents(n_people: int = 3, **settings) -> AgentPeople:
    return AgentPeople(n_people=n_people, dials=FEW, **settings)


def test_people_are_painted_with_their_words(tmp_path: Path) -> None:
    head = collect(agents(), tmp_path, ANYBODY, say=quiet)
    found = list(people_in(tmp_path))
    assert sorted(person.user_id for person in found) == [f"agent-0-{n:06d}" for n in range(3)]
    for person in found:
        history = person.history()
        assert {item.image.size for item in history.items} == {(64, 64)}
        assert all(item.prompt and item.time_s is not None for item in history.items)
        words = {word for values in FAMILIES.values() for word in values}
        assert set(person.attributes[1].split(", ")) <= words
    assert head["source"]["kind"] == "agents"  # type: ignore[index]


@pytest.mark.parametrize("n_batches", [0, 1, 2])
def test_a_stopped_run_ends_in_the_same_bytes(tmp_path: Path, n_batches: int) -> None:
    collect(agents(), tmp_path / "whole", ANYBODY, say=quiet)
    assert collect(agents(), tmp_path / "broken", ANYBODY, say=quiet, max_batches=n_batches) == {}
    collect(agents(), tmp_path / "broken", ANYBODY, say=quiet)
    assert bytes_under(tmp_path / "broken") == bytes_under(tmp_path / "whole")


def test_shards_together_are_the_whole(tmp_path: Path) -> None:
    collect(agents(), tmp_path / "whole", ANYBODY, say=quiet)
    for shard in range(2):
        collect(agents(shard=shard, n_shards=2), tmp_path / f"part{shard}", ANYBODY, say=quiet)
    collect(PeopleFolders([tmp_path / "part0", tmp_path / "part1"]), tmp_path / "joined", ANYBODY, say=quiet)
    whole, joined = bytes_under(tmp_path / "whole"), bytes_under(tmp_path / "joined")
    told = ("data.json", "counts.json")
    assert {name: data for name, data in joined.items() if name not in told} == {
        name: data for name, data in whole.items() if name not in told
    }
    with pytest.raises(ConfigError):
        agents(shard=2, n_shards=2)


def test_another_seed_gives_other_people() -> None:
    assert agents().person(0).tastes != agents(seed=1).person(0).tastes
    assert agents().person(0) == agents().person(0)


class Plain:
    """Paints every scene alike."""

    free_words = True

    def describe(self) -> dict[str, object]:
        return {"painter": "plain"}

    def paint(self, scenes: Sequence[Scene]) -> list[Image.Image]:
        ramp = (np.arange(64 * 64 * 3) % 256).astype(np.uint8).reshape(64, 64, 3)
        return [Image.fromarray(ramp) for _ in scenes]


def test_the_same_picture_is_stored_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nobody is left"):  # it stands once in everybody's history
        collect(agents(n_people=2, painter=Plain()), tmp_path, Rules(min_liked=2), say=quiet)
    assert len(list((tmp_path / "images").rglob("*.png"))) == 1


class Scripted:
    """A language model that answers by the person it is asked about; `asked` counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def describe(self) -> dict[str, object]:
        return {"writer": "scripted"}

    def answer(self, question: str, seed: int) -> str:
        identity = next(word for word in question.split() if word.startswith("agent-")).rstrip(":")
        self.asked.append(identity)
        colours = FAMILIES["palette"]
        number = int(identity.rsplit("-", 1)[1])
        return json.dumps({"liked": {"palette": [colours[number]]}, "disliked": {"palette": [colours[number + 5]]}})


def test_written_people_like_what_was_written_and_are_not_asked_twice(tmp_path: Path) -> None:
    first = Scripted()
    collect(agents(writer=first), tmp_path, ANYBODY, say=quiet, max_batches=2)
    again = Scripted()
    collect(agents(writer=again), tmp_path, ANYBODY, say=quiet)
    assert again.asked == ["agent-0-000002"]
    words = {person.user_id: person.attributes for person in people_in(tmp_path)}
    assert words["agent-0-000001"] == (FAMILIES["palette"][6], FAMILIES["palette"][1])


# ---- any pipeline of diffusers


@pytest.fixture(scope="module")
def pipeline_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipeline")
    tiny_pipeline().save_pretrained(folder)
    return folder


def painter(folder: Path, batch_size: int = 3) -> DiffusersPainter:
    return DiffusersPainter(str(folder), side_px=16, n_steps=2, batch_size=batch_size)


def test_a_pipeline_paints_captions_each_by_its_own_seed(pipeline_folder: Path) -> None:
    paints = painter(pipeline_folder)
    scenes = [Scene(subject="fox", values={"palette": "gold"}, seed=seed) for seed in (1, 2, 3, 1)]
    asked: list[list[str]] = []
    real = paints.pipe.encode_prompt
    paints.pipe.encode_prompt = lambda prompt, *a, **k: asked.append(prompt) or real(prompt, *a, **k)
    made = [np.asarray(image).astype(int) for image in paints.paint(scenes)]
    assert asked == [["a fox, gold"] * 3, ["a fox, gold"]]
    assert made[0].shape == (16, 16, 3)
    assert np.abs(made[0] - made[3]).max() <= 2
    assert np.abs(made[0] - made[1]).max() > 8


def test_a_stopped_run_with_a_pipeline_ends_in_the_same_bytes(pipeline_folder: Path, tmp_path: Path) -> None:
    rules = Rules(min_liked=0, min_disliked=0, quality=Quality(min_side_px=16))
    source = agents(n_people=2, painter=painter(pipeline_folder))
    collect(source, tmp_path / "whole", rules, say=quiet)
    collect(source, tmp_path / "broken", rules, say=quiet, max_batches=1)
    collect(source, tmp_path / "broken", rules, say=quiet)
    assert bytes_under(tmp_path / "broken") == bytes_under(tmp_path / "whole")


def test_what_is_no_pipeline_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded as a pipeline"):
        DiffusersPainter(str(tmp_path))
    assert ProceduralPainter(side_px=32).paint([Scene(subject="fox")])[0].size == (32, 32)
