"""`prefgen push`: says first what goes, is private unless told otherwise, takes no token; a dry run leaves no trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fake_hub import FakeHub, installed
from raw_choices import bytes_under

NAME, ADAPTERS = "someone/their-model", "someone/their-adapter"
CARD = ("--licence", "openrail++", "--training-data", "Twelve pictures of one colour.")
TOKEN = "hf_AbCdEfGhIjKlMnOp"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    return installed(tmp_path / "cache", monkeypatch)


@pytest.fixture
def person(cli, pictures: Path) -> Path:
    """The profile file of who likes reds."""
    out = pictures / "me.prefgen"
    assert cli("profile", "build", "--liked", pictures / "likes", "-o", out, "--model", "{model}")[0] == 0
    return out


def test_a_model_goes_with_what_was_said_of_it(cli, hub: FakeHub, model_folder: Path) -> None:
    more = ("--metric", "gain=0.91 [0.86, 0.96]", "--metric", "subject = 0.89", "--base-model", "someone/base")
    status, out, err = cli("push", NAME, "--model", "{model}", *CARD, *more, "--summary", "Reds.", "--public")
    assert status == 0, err
    assert out.strip().startswith(f"https://huggingface.co/{NAME}/commit/")
    assert hub.private == {NAME: False}
    assert hub.tokens == [None]
    sent = hub.files(NAME)
    assert {line.split()[1]: int(line.split()[0].replace(",", "")) for line in err.splitlines()[:-1]} == {
        name: len(data) for name, data in sent.items()
    }
    assert err.splitlines()[-1].startswith(f"{NAME}: {len(sent)} files, {sum(map(len, sent.values())):,} bytes; public")
    page = sent["README.md"].decode()
    for words in ("| gain | 0.91 [0.86, 0.96] |", "| subject | 0.89 |", "- someone/base", "Reds.", "openrail++"):
        assert words in page


def test_private_json_and_the_other_spelling(cli, hub: FakeHub) -> None:
    status, out, err = cli(
        "push", NAME, "--model", "{model}", "--license", "mit", "--training-data", "Colours.", "--json"
    )
    assert status == 0, err
    told = json.loads(out)
    assert hub.private == {NAME: True}
    assert told["private"]
    assert told["commit"].endswith(hub.snapshot(NAME).name)
    assert told["files"] == {name: len(data) for name, data in hub.files(NAME).items()}


@pytest.mark.parametrize("what", [(), ("--adapter-only",)])
def test_a_dry_run_leaves_no_trace(
    cli, hub: FakeHub, tmp_path: Path, what: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def calls(*_: object, **__: object) -> None:
        raise AssertionError("somebody was contacted")

    for name in ("HfApi", "get_token"):
        monkeypatch.setattr(huggingface_hub, name, calls)
    monkeypatch.setattr("tempfile.TemporaryDirectory", calls)
    before = bytes_under(tmp_path)
    status, out, err = cli("push", NAME, "--model", "{model}", *CARD, *what, "--dry-run")
    assert status == 0, err
    assert "like.safetensors" in out
    assert "Twelve pictures" in out
    assert "load_ip_adapter" in out if what else f'from_pretrained("{NAME}")' in out
    status, out, _ = cli("push", NAME, "--model", "{model}", *CARD, *what, "--dry-run", "--json")
    assert json.loads(out)["commit"] is None
    assert bytes_under(tmp_path) == before


def test_a_dry_run_downloads_nothing(cli, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[bool] = []
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *_, local_files_only=False, **__: asked.append(local_files_only)
    )
    for what in ((), ("--adapter-only",)):
        assert cli("push", NAME, "--model", "someone/other", *CARD, *what, "--dry-run")[0] != 0
    assert asked == [True, True]


def test_adapters_go_and_people_are_exported_to_them(cli, hub: FakeHub, person: Path, tmp_path: Path) -> None:
    status, out, err = cli("push", ADAPTERS, "--adapter-only", "--model", "{model}", *CARD)
    assert status == 0, err
    assert f"{ADAPTERS}/commit/" in out
    told = ("export", person, "--model", "{model}", "--adapters", ADAPTERS, "-o", tmp_path / "x", "--json")
    status, out, err = cli(*told)
    assert status == 0, err
    assert max(json.loads(out)["lost"].values()) > 1e-4
    assert (tmp_path / "x" / "like.safetensors").read_bytes() == hub.files(ADAPTERS)["like.safetensors"]
    folder = ("--adapters", hub.snapshot(ADAPTERS), "-o", tmp_path / "y")
    assert cli("export", person, "--model", "{model}", *folder)[0] == 0
    assert bytes_under(tmp_path / "x") == bytes_under(tmp_path / "y")


@pytest.mark.parametrize(
    ("words", "part", "hint"),
    [
        ((NAME, "--model", "{model}"), "says licence and training_data", "--licence and --training-data"),
        ((NAME, *CARD), "Missing option '--model'", "prefgen push --help"),
        (("their-model", "--model", "{model}", *CARD), "expected a hub name such as", ""),
        ((NAME, "--model", "gone", *CARD), "there is no model 'gone'", "someone/their-model"),
        ((NAME, "--model", "{model}", *CARD, "--metric", "0.9"), "expected --metric NAME=VALUE, got '0.9'", "as in"),
        ((NAME, "--model", "{model}", *CARD, "--metric", "a=1", "--metric", "a=2"), "got 'a' twice", "its own name"),
        ((NAME, "--model", "{model}", *CARD, f"--token={TOKEN}"), "No such option", "prefgen push --help"),
    ],
)
def test_mistakes_are_one_line(cli, hub: FakeHub, words: tuple[str, ...], part: str, hint: str) -> None:
    status, out, err = cli("push", *words)
    assert (status, out) == (2, "")
    first, *rest = [line for line in err.splitlines() if line.startswith(("error: ", "hint: "))]
    assert part in first
    assert hint in " ".join(rest)
    assert TOKEN not in err
    assert not hub.private


def test_wrong_adapters_are_one_line(cli, hub: FakeHub, person: Path, tmp_path: Path) -> None:
    for adapters, part in (
        ("", "got an empty text"),
        ("gone", "no adapters 'gone'"),
        ("a/b", "is not on this machine"),
    ):
        status, _, err = cli("export", person, "--model", "{model}", "--adapters", adapters, "-o", tmp_path / "x")
        assert status == 2
        assert part in err
        assert not (tmp_path / "x").exists()


def test_without_a_network_a_push_is_one_line(cli) -> None:
    status, out, err = cli("push", NAME, "--model", "{model}", *CARD)
    assert (status, out) == (2, "")
    assert f"error: {NAME} could not be pushed" in err
    assert "HF_HUB_OFFLINE" in err or "offline" in err.lower()
    assert "hf auth login" in err
