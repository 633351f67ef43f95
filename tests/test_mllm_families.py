"""One port for every family: the contract on a tiny random model of each, loaded as a hub name would be."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from mllm_contract import CHECKS
from prefgen.mllm import PreferenceMLLM
from tiny_families import FAMILY_NAMES, save_family


@pytest.fixture(scope="module", params=FAMILY_NAMES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A family's model in a folder."""
    return save_family(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def mllm(folder: Path) -> PreferenceMLLM:
    """A family's port."""
    return PreferenceMLLM.from_pretrained(folder)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_family_keeps_the_contract(check, folder: Path, mllm: PreferenceMLLM, tmp_path: Path) -> None:
    check(mllm, partial(PreferenceMLLM.from_pretrained, folder), tmp_path)
