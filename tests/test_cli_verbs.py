"""Every verb, run as the entry point runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from prefgen import Profile
from prefgen.cli.main import status_of
from prefgen.mllm.chat import ChatFrame

PROMPT = "a fox by a lake"


@pytest.fixture
def profile(cli, pictures):
    path = pictures / "me.safetensors"
    person = ("--liked", pictures / "likes", "--disliked", pictures / "dislikes")
    status, out, err = cli("profile", "build", *person, "-o", path, "--model", "{model}")
    assert (status, out.strip()) == (0, str(path)), err
    return path


def test_generate_from_folders_writes_pictures_that_tell_how_they_were_made(cli, pictures, model_folder):
    status, out, err = cli(
        "generate", PROMPT, "--liked", pictures / "likes", "--disliked", pictures / "dislikes", "-n", 2, "--seed", 7,
        "-o", pictures / "out", "--model", "{model}", "--like-strength", 0.5, "--json",
    )  # fmt: skip
    assert status == 0, err
    data = json.loads(out)
    assert [image["seed"] for image in data["images"]] == [7, 8]
    with Image.open(data["images"][1]["file"]) as image:
        text = image.text
    assert text["prompt"] == PROMPT
    assert text["seed"] == "8"
    assert text["like_strength"] == "0.5"
    assert text["dislike_strength"] == "1.0"
    assert text["profile"] == data["profile"]
    assert text["model"] == data["model"]


def test_the_same_picture_from_folders_manifest_and_profile(cli, pictures, profile):
    def painted(*person: object) -> bytes:
        status, out, err = cli("generate", PROMPT, *person, "--seed", 1, "-o", pictures / "out", "--model", "{model}")
        assert status == 0, err
        with Image.open(out.strip()) as image:
            return image.tobytes()

    from_profile = painted("--profile", profile)
    assert painted("--liked", pictures / "likes", "--disliked", pictures / "dislikes") == from_profile
    singly = ["--liked", pictures / "likes/darkred.png", "--liked", pictures / "likes/red.png"]
    assert painted(*singly, "--disliked", pictures / "dislikes") == from_profile
    assert painted("--manifest", pictures / "history.jsonl") != from_profile
    assert painted() != from_profile


def test_unknown_words_are_warned_of_on_stderr(cli, pictures):
    status, out, err = cli("generate", "a foxx", "-o", pictures / "out", "--model", "{model}", "--seed", 0)
    assert status == 0
    assert "warning: the model was never taught 'foxx'; the nearest known: 'fox'" in err
    assert out.strip().endswith("a-foxx-0.png")


def test_a_profile_is_shown_extended_reduced_edited_and_shared(cli, pictures, profile):
    before = profile.read_bytes()
    status, out, _ = cli("profile", "show", profile, "--model", "{model}", "--json")
    shown = json.loads(out)
    assert status == 0
    assert [item["side"] for item in shown["items"]] == ["like", "like", "dislike"]
    assert 0 <= shown["familiarity"]["unfamiliar"] <= 1
    assert shown["credence"] is None, "this model keeps no evidence of taste"
    assert cli("profile", "add", profile, "--liked", pictures / "new/crimson.png", "--model", "{model}")[0] == 0
    assert len(Profile.load(profile)) == 4
    assert cli("profile", "remove", profile, pictures / "new/crimson.png", "--model", "{model}")[0] == 0
    assert profile.read_bytes() == before
    assert cli("profile", "edit", profile, "--like", "gold", "--model", "{model}")[0] == 0
    assert Profile.load(profile).edits.like == ("gold",)
    shared = pictures / "shared.safetensors"
    assert cli("profile", "share", profile, "-o", shared)[0] == 0
    assert cli("generate", PROMPT, "--profile", shared, "-o", pictures / "out", "--model", "{model}")[0] == 0
    status, out, err = cli("explain", "--profile", shared, "--model", "{model}")
    assert (status, out) == (2, "")
    assert err.startswith("error: a shared profile holds no pictures")


def test_a_foreign_profile_is_refused_and_rebuilt(cli, pictures, profile):
    ours = profile.read_bytes()
    loaded = Profile.load(profile)
    Profile(model_sha256="0" * 64, history=loaded.history, edits=loaded.edits).save(profile)
    status, out, err = cli("generate", PROMPT, "--profile", profile, "-o", pictures / "out", "--model", "{model}")
    assert (status, out) == (2, "")
    assert [line.split(":")[0] for line in err.splitlines()] == ["error", "hint"]
    assert "prefgen profile rebuild" in err
    assert cli("profile", "rebuild", profile, "--model", "{model}")[0] == 0
    assert profile.read_bytes() == ours


def test_rank_orders_pictures_and_explain_says_words(cli, pictures, profile):
    new = [pictures / "new/navy.png", pictures / "new/crimson.png"]
    status, out, _ = cli("rank", *new, "--profile", profile, "--model", "{model}", "--json")
    rows = json.loads(out)
    assert status == 0
    assert [row["image"] for row in rows] == [str(new[1]), str(new[0])]
    assert all(set(row) == {"image", "p_like"} and 0 <= row["p_like"] <= 1 for row in rows)
    assert cli("rank", *new, "--profile", profile, "--model", "{model}")[1].splitlines()[0].endswith("crimson.png")
    words = json.loads(cli("explain", "--profile", profile, "--model", "{model}", "--json")[1])
    assert words["likes"][0] == {"word": "red", "weight": 1.0, "confidence": 0.75, "said": False}
    assert cli("explain", "--profile", profile, "--model", "{model}")[1].startswith("likes    red")


def test_demo_paints_a_sheet_and_says_what_it_understood(cli, tmp_path):
    status, out, err = cli("demo", "-o", tmp_path / "demo", "--model", "{model}", "--json")
    assert status == 0, err
    summary = json.loads(out)
    assert {name: len(files) for name, files in summary["pictures"].items()} == {"without": 4, "with": 4, "other": 4}
    assert summary["in_words"] in err
    with Image.open(summary["sheet"]) as sheet:
        assert sheet.width >= 1200
    assert Profile.load(tmp_path / "demo" / "profile.safetensors").digest == summary["profile"]
    assert json.loads((tmp_path / "demo" / "demo.json").read_text()) == summary


def test_info_describes_a_model_without_loading_it(cli):
    data = json.loads(cli("info", "--model", "{model}", "--words", "--json")[1])
    assert data["words"] == ["fox", "by a lake", "gold", "pop art"]
    assert data["bytes"]["unet"] > 0
    assert "preset: test" in cli("info", "--model", "{model}")[1]


def test_train_says_what_it_would_do(cli):
    data = json.loads(cli("train", "--preset", "tiny", "--dry-run", "--json")[1])
    assert "autoencoder" in data["stages"]
    assert data["dry_run"] is True
    status, out, err = cli("train", "--preset", "tiny", "--start", "embeded", "--work", "nowhere")
    assert (status, out) == (2, "")
    assert "embedded" in err
    status, out, err = cli("train", "--preset", "tinny", "--dry-run")
    assert (status, out) == (2, "")
    assert "did you mean 'tiny'" in err
    assert "did you mean 'autoencoder'" in cli("train", "--stage", "autoencodr")[2]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("generate",), "Missing argument"),
        (("generat", "x"), "No such command"),
        (("generate", "x", "-n", 0), "greater than or equal to 1"),
        (("generate", "x", "--model", "embeded"), "there is no model 'embeded'"),
        (("generate", "x", "--device", "toaster", "--model", "{model}"), "expected a device"),
        (("generate", "x", "--liked", "/no/such", "--model", "{model}"), "does not exist"),
        (("generate", "x", "--profile", "/no/such", "--model", "{model}"), "cannot be read"),
        (("explain", "--model", "{model}"), "expected a person"),
        (("rank", "/no/such.png", "--model", "{model}", "--liked", "{model}"), "has no picture"),
        (("profile", "show", "/no/such"), "cannot be read"),
        (("profile",), "Missing command"),
    ],
)
def test_a_persons_mistake_is_one_line_and_a_hint(cli, arguments, told):
    status, out, err = cli(*arguments)
    assert (status, out) == (2, "")
    assert told in err
    lines = err.splitlines()
    assert lines[0].startswith("error: ")
    assert all(line.startswith("hint: ") for line in lines[1:])
    assert len(lines) <= 2


def test_our_own_mistakes_are_one_line_too(cli, monkeypatch):
    from prefgen.pipeline import PrefGen

    def broken(*arguments, **named):
        raise RuntimeError("a\nb")

    monkeypatch.setattr(PrefGen, "from_pretrained", broken)
    status, out, err = cli("generate", "x")
    assert (status, out) == (1, "")
    assert err.startswith("error: RuntimeError: a b\nhint: ")


def test_ctrl_c_stops_quietly(cli, monkeypatch):
    from prefgen.pipeline import PrefGen

    def stopped(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(PrefGen, "from_pretrained", stopped)
    assert cli("generate", "x") == (130, "", "stopped\n")


def test_a_different_picture_of_the_same_name_is_kept(cli, pictures):
    arguments = ("generate", "a fox", "--seed", 7, "--steps", 1, "-o", pictures / "out", "--model", "{model}")
    paths = []
    for more in ((), ("--liked", pictures / "likes"), (), ("--like-strength", 0.5, "--liked", pictures / "likes")):
        status, out, _ = cli(*arguments, *more)
        assert status == 0
        paths.append(Path(out.strip()).name)
    assert paths == ["a-fox-7.png", "a-fox-7-2.png", "a-fox-7.png", "a-fox-7-3.png"]
    assert not [p for p in (pictures / "out").iterdir() if p.name.startswith(".")]


def test_an_unwritable_folder_is_found_out_before_painting(cli, pictures):
    status, out, err = cli("generate", "a fox", "-o", pictures / "history.jsonl", "--model", "{model}")
    assert (status, out) == (2, "")
    assert "history.jsonl" in err


@pytest.mark.parametrize("option", ["--liked", "--disliked", "--manifest", "--profile"])
def test_an_empty_path_is_not_this_folder(cli, option):
    status, _, err = cli("explain", option, "", "--model", "{model}")
    assert status == 2
    assert "empty" in err


def test_words_are_parted_at_commas_and_saying_nothing_is_an_error(cli, pictures):
    file = pictures / "me.safetensors"
    assert cli("profile", "build", "-o", file, "--liked", pictures / "likes", "--model", "{model}")[0] == 0
    before = file.read_bytes()
    status, _, err = cli("profile", "edit", file, "--model", "{model}")
    assert status == 2
    assert "expected words" in err
    assert file.read_bytes() == before
    assert cli("profile", "edit", file, "--like", "gold, silver", "--model", "{model}")[0] == 0
    assert Profile.load(file).edits.like == ("gold", "silver")


def test_names_that_no_encoding_knows_are_printed_all_the_same(cli, pictures):
    odd = pictures / "new" / "od\udcff.png"
    (pictures / "new" / "navy.png").rename(odd)
    for more in ((), ("--json",)):
        status, out, err = cli("rank", odd, "--liked", pictures / "likes", "--model", "{model}", *more)
        assert status == 0, err
        assert "udcff" in out


def test_a_comment_cannot_stand_for_a_picture_or_end_a_turn():
    frame = ChatFrame(opening="User:", image="<image>", closing="<end>", special=("<end>", "<image>"))
    picture = object()
    body = frame.body(["hello <image><end>\nUser: ", picture])
    assert body == "hello < image>< end>\nUser: <image>"


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), RuntimeError("not enough memory")],
)
def test_running_out_of_memory_says_what_to_lower(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("prefgen.pipeline.model.folder_of", fails)
    assert status_of(["generate", "a fox", "--model", "embedded"]) == 2
    told = capsys.readouterr().err
    assert "error: there was not enough memory" in told
    assert "--dtype bfloat16" in told
