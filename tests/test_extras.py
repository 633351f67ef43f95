"""What an extra is needed for says so in one line with the pip command where it is absent; everything else works on."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import plain
from pages import ROOT
from prefgen.cli.main import status_of
from prefgen.core import PrefGenError
from prefgen.recipes.four_bit import quantise
from raw_choices import steady_choices, write
from tiny_own_data import people_folder

EXTRAS = {
    "ray": ("ray",),
    "data": ("pyarrow", "webdataset"),
    "quant": ("bitsandbytes",),
    "plot": ("matplotlib",),
    "eval-tv": ("lpips", "torch_fidelity", "torchvision"),
}
"""What each extra brings, by the names that are imported."""


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a package, and what was imported of it, as if it were not installed."""

    def absent(package: str) -> None:
        for name in [name for name in sys.modules if name.startswith(f"{package}.")]:
            monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setitem(sys.modules, package, None)

    return absent


def test_extras_are_those_of_the_package() -> None:
    table = (ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]\n")[1].split("\n[")[0]
    named = {
        extra: re.findall(r'"([\w-]+)', listed) for extra, listed in re.findall(r"^(\S+) = \[(.*)\]$", table, re.M)
    }
    assert {extra: [name.replace("-", "_") for name in packages] for extra, packages in named.items()} == {
        extra: sorted(packages, key=lambda name: named[extra].index(name.replace("_", "-")))
        for extra, packages in EXTRAS.items()
    }


COMMANDS = [
    ("ray", "ray", ["embed", "--people", "people.jsonl", "-o", "out", "--engine", "ray"]),
    ("pyarrow", "data", ["embed", "--people", "people.parquet", "-o", "out"]),
    ("pyarrow", "data", ["data", "pick-a-pic", "raw.parquet", "-o", "out"]),
    ("pyarrow", "data", ["data", "frames", "raw.parquet", "-o", "out"]),
    ("webdataset", "data", ["data", "shards", "PEOPLE", "-o", "out"]),
    ("bitsandbytes", "quant", ["train", "--preset", "sd15-smolvlm", "--load-4bit", "--work", "work", "-o", "out"]),
]


@pytest.mark.parametrize(("package", "extra", "words"), COMMANDS, ids=[" ".join(row[2][:2]) for row in COMMANDS])
def test_a_command_says_what_to_install(
    package: str, extra: str, words: list[str], without: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for name in ("raw.parquet", "people.parquet"):
        write(Path(name), steady_choices(1, 4))
    plain("red").save("red.png")
    Path("people.jsonl").write_text(json.dumps({"person": "a", "liked": ["red.png"]}) + "\n")
    people_folder(Path("PEOPLE"), 2)
    without(package)
    assert status_of(words) == 2
    printed = capsys.readouterr()
    *_, error, hint = printed.err.strip().splitlines()  # before them a library may say that it looks for kernels
    assert error.startswith("error: ")
    assert "Traceback" not in printed.err
    assert (printed.out, package.lower() in error.lower()) == ("", True)
    assert hint == f"hint: pip install 'prefgen[{extra}]'"
    assert not list(Path("out").rglob("*.*"))


def four_bits() -> None:
    quantise(torch.nn.Linear(4, 4), "cpu")


def four_bit_language_model() -> None:
    from prefgen.mllm import PreferenceMLLM

    PreferenceMLLM.from_pretrained("HuggingFaceM4/idefics2-8b", four_bit=True)


def fid() -> None:
    from prefgen.benchmark.scorers.inception import InceptionFid

    InceptionFid.from_pretrained("weights.safetensors")


def lpips() -> None:
    from prefgen.benchmark.scorers.perceptual import Lpips

    Lpips.from_pretrained()


@pytest.mark.parametrize(
    ("package", "extra", "call"),
    [
        ("bitsandbytes", "quant", four_bits),
        ("bitsandbytes", "quant", four_bit_language_model),
        ("torch_fidelity", "eval-tv", fid),
        ("lpips", "eval-tv", lpips),
    ],
)
def test_python_says_what_to_install(package: str, extra: str, call: Callable[[], None], without: Any) -> None:
    without(package)
    with pytest.raises(PrefGenError) as caught:
        call()
    assert "\n" not in caught.value.message
    assert f"pip install 'prefgen[{extra}]'" in str(caught.value.hint)
