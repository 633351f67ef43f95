"""The user encoder's file, and sides that are read by the same weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from prefgen.core import ModelError
from prefgen.embedding import SideFeatures, UserEncoder, UserEncoderConfig

CONFIG = UserEncoderConfig(
    d_lm=4, d_clip=5, d_text=8, d_cross=6, n_tokens=3, sem_layers=(0,), core_layers=(1,), vote_width=12
)


def features(seed: int) -> SideFeatures:
    torch.manual_seed(seed)
    return SideFeatures(
        last=torch.randn(2, 2, 4), mean=torch.randn(2, 2, 4), images=torch.randn(2, 3, 5), weights=torch.ones(2, 3)
    )


@pytest.mark.parametrize("one_reading", [False, True])
def test_sides_share_their_weights_only_when_asked(one_reading, tmp_path):
    encoder = UserEncoder(replace(CONFIG, one_reading=one_reading)).eval()
    made = encoder(features(0), features(0))
    assert torch.equal(made["like"], made["dislike"]) == one_reading
    encoder.save(tmp_path, torch.float32)
    again = UserEncoder.load(tmp_path)
    assert again.config == encoder.config
    for side, tokens in again(features(1), features(2)).items():
        torch.testing.assert_close(tokens, encoder(features(1), features(2))[side])


def test_shared_weights_are_stored_once(tmp_path):
    for one_reading in (False, True):
        UserEncoder(replace(CONFIG, one_reading=one_reading)).save(tmp_path / str(one_reading), torch.float32)
    sizes = [(tmp_path / str(one) / "model.safetensors").stat().st_size for one in (False, True)]
    assert sizes[1] < 0.6 * sizes[0]


def test_a_file_of_two_readings_is_not_taken_for_one(tmp_path):
    UserEncoder(CONFIG).save(tmp_path)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"one_reading": false', '"one_reading": true'))
    with pytest.raises(ModelError, match="expected a user encoder"):
        UserEncoder.load(tmp_path)
