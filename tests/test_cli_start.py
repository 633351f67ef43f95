"""`prefgen start`, and every command of docs/day_one.md, on tiny models in the places of the real ones."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pages import blocks, commands
from tiny_untrained import save_adapters, save_base, save_vlm

PAGE = "docs/day_one.md"
COMMANDS = commands(PAGE)
PROMPT = "a fox by a lake"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a tiny folder stands in for."""
    made = {name: tmp_path_factory.mktemp(name) for name in ("sd15", "sdxl", "adapters", "vlm")}
    return {
        "stable-diffusion-v1-5/stable-diffusion-v1-5": str(save_base("sd15", made["sd15"])),
        "stabilityai/stable-diffusion-xl-base-1.0": str(save_base("sdxl", made["sdxl"])),
        "h94/IP-Adapter": str(save_adapters(made["adapters"])),
        "HuggingFaceM4/idefics2-8b": str(save_vlm(made["vlm"])),
    }


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the vision-language model says, question by question, whatever its random weights."""
    from transformers import Idefics2ForConditionalGeneration

    from tiny_mllm import tiny_processor

    said = [" gold, pop art", " olive"]

    def generate(self, input_ids, **named):
        tokens = tiny_processor().tokenizer(said.pop(0), return_tensors="pt").input_ids
        return torch.cat([input_ids, tokens], 1)

    monkeypatch.setattr(Idefics2ForConditionalGeneration, "generate", generate)
    return said


@pytest.fixture
def start(cli, places: dict[str, str], pictures: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs `prefgen start` where `likes/` and `dislikes/` lie, with tiny models and few steps."""
    from prefgen.cli import starting

    monkeypatch.chdir(pictures)

    def run(*arguments: object) -> tuple[int, str, str]:
        given = [places.get(str(one), str(one)) for one in arguments]
        for option, name in (("--base", starting.BASE), ("--ip-adapter", "h94/IP-Adapter")):
            given += [] if option in given else [option, places[name]]
        given += [] if "--steps" in given else ["--steps", "2"]
        return cli("start", *given, "--device", "cpu")

    return run


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_page_runs(command: str, start, answers) -> None:
    verb, *arguments = shlex.split(command)[1:]
    assert verb == "start"
    assert len(COMMANDS) >= 9
    small = ["32" if one == "512" else "2" if one == "30" else one for one in arguments]
    status, out, err = start(*small)
    assert status == 0, err
    files = out.split()
    n = 0 if "--dry-run" in small else int(small[small.index("-n") + 1]) if "-n" in small else 1
    assert len(files) == n
    for file in files:
        with Image.open(file) as image:
            assert image.text["prompt"] == PROMPT
            assert np.asarray(image).std() > 0
    assert "GiB of weights in float32 on cpu" in err


def test_the_pages_python_runs(places: dict[str, str], pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [block] = blocks(PAGE, "python")
    base = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    monkeypatch.chdir(pictures)
    monkeypatch.setattr("prefgen.pipeline.untrained.model.STOCK", places["h94/IP-Adapter"])
    from prefgen.pipeline.untrained import UntrainedModel

    monkeypatch.setitem(UntrainedModel.by_ip_adapter.__kwdefaults__, "adapter", places["h94/IP-Adapter"])
    block.run({base: places[base], "seed=7)": "seed=7, num_inference_steps=2)"})
    for way in ("words", "ip-adapter", "fabric"):
        assert Path(f"{way}.png").is_file()


def test_words_of_a_model_and_own_words_and_what_files_tell(start, answers) -> None:
    status, out, err = start(
        PROMPT, "--liked", "likes/", "--disliked", "dislikes/", "--with", "words", "--words-from",
        "HuggingFaceM4/idefics2-8b", "--like-words", "soft light, olive", "--seed", 7, "-n", 2, "--json",
        "--like-strength", 0.4, "--negative", "blurry",
    )  # fmt: skip
    assert status == 0, err
    data = json.loads(out)
    assert data["words"] == {"liked": ["soft light", "olive", "gold", "pop art"], "disliked": []}
    assert data["with"] == "words"
    assert [one["seed"] for one in data["images"]] == [7, 8]
    with Image.open(data["images"][1]["file"]) as image:
        text = image.text
    wanted = {
        "prompt": PROMPT,
        "seed": "8",
        "with": "words",
        "liked_words": "soft light, olive, gold, pop art",
        "like_strength": "0.4",
        "dislike_strength": "0.85",
        "guidance_scale": "5.0",
        "num_inference_steps": "2",
        "negative_prompt": "blurry",
        "profile": data["profile"],
        "base": data["base"],
    }
    assert {name: text[name] for name in wanted} == wanted
    assert "/" not in text["base"]
    assert text["software"].startswith("prefgen ")
    assert "let go after asking" in err


def test_ways_differ_and_nobody_is_the_plain_base(start) -> None:
    def picture(*arguments: object) -> bytes:
        status, out, err = start(PROMPT, "--seed", 3, "--guidance", 4, *arguments)
        assert status == 0, err
        with Image.open(out.strip()) as image:
            return image.tobytes()

    person = ("--liked", "likes/", "--disliked", "dislikes/")
    ways = [picture(*person, "--with", way) for way in ("ip-adapter", "fabric")]
    ways.append(picture("--like-words", "gold"))
    nobody = picture()
    assert len({nobody, *ways}) == 4
    silent = ("--like-strength", 0, "--dislike-strength", 0)
    assert picture(*person, "--with", "fabric", *silent) == nobody
    assert picture(*person, *silent) == nobody
    assert picture(*person) == ways[0]


def test_a_dry_run_says_what_is_needed_and_paints_nothing(start) -> None:
    status, out, err = start(PROMPT, "--liked", "likes/", "--dry-run", "--json", "-o", "nothing")
    assert status == 0, err
    data = json.loads(out)
    assert data["with"] == "ip-adapter"
    assert data["numbers"]["unet"] > 10_000
    assert list(data["bytes"].values()) == [4 * sum(data["numbers"].values())]
    assert not Path("nothing").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--with", "fabrik", "--liked", "likes/"), "did you mean 'fabric'"),
        (("--with", "fabric"), "expected pictures to paint with fabric"),
        (("--with", "words", "--liked", "likes/"), "--like-words 'watercolour"),
        (("--words-from", "x/y"), "expected pictures to ask about"),
        (("--with", "fabric", "--liked", "likes/", "--like-words", "gold"), "not heard with fabric"),
        (("--like-words", "gold", "--dislike-words", "gold"), "'gold' is liked and disliked"),
        (("--disliked", "dislikes/"), "expected at least one liked picture"),
        (("--base", "stable-difusion-v1-5"), "did you mean 'stable-diffusion-v1-5/stable-diffusion-v1-5'"),
        (("--base", "someone/nothing"), "HF_HUB_OFFLINE"),
        (("--liked", "likes/", "--ip-adapter-weight", "ip-adapter_sdxl.safetensors"), "another base's IP-Adapter"),
        (("--liked", "likes/", "--words-from", "someone/nothing"), "expected a vision-language model"),
        (("--offload",), "to offload from"),
        (("--height", "20"), "multiples of 8"),
        (("--like-words", "gold", "--like-strength", "-1"), "like_strength"),
        (("--dtype", "float8"), "expected a dtype"),
    ],
)
def test_mistakes_are_one_line_and_a_hint(arguments: tuple[str, ...], told: str, start) -> None:
    status, out, err = start(PROMPT, *arguments)
    assert (status, out) == (2, "")
    assert told in err
    lines = [line for line in err.splitlines() if "GiB" not in line and not line.startswith("nobody")]
    assert lines[-2 if lines[-1].startswith("hint: ") else -1].startswith("error: ")
    assert "Traceback" not in err
