"""The training loop: resumed is bit for bit unbroken, and a time limit loses nothing."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from prefgen.core import ConfigError, ModelError
from prefgen.recipes.loop import Deadline, Loop, LoopSettings, Unfinished
from prefgen.recipes.presets import preset_named

SETTINGS = LoopSettings(n_samples=96, batch_size=8, learning_rate=1e-2, ema_decay=0.9, save_every_s=1e9, bf16=False)


class Small(nn.Module):
    """A network with dropout, so that the global random state matters."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.3), nn.Linear(16, 1))


def new_loop(folder: Path, stop_at: int | None = None) -> Loop:
    """A loop that breaks off, as if killed, when it comes to step `stop_at`."""
    model = Small()

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        if step == stop_at:
            raise KeyboardInterrupt
        x = torch.randn(8, 4, generator=generator)
        return {"loss": (model.net(x) - x.sum(1, keepdim=True)).square().mean()}

    return Loop("small", folder, model, loss, SETTINGS)


def weights(loop: Loop) -> dict[str, Tensor]:
    """Everything that must be equal."""
    return {**dict(loop.parameters), **{f"ema.{k}": v for k, v in loop.ema.items()}}


def test_killed_and_resumed_equals_unbroken(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = new_loop(tmp_path / "a")
    whole.run(Deadline())
    first = new_loop(tmp_path / "b", stop_at=5)
    with pytest.raises(KeyboardInterrupt):
        first.run(Deadline())
    first.save()
    second = new_loop(tmp_path / "b")
    second.run(Deadline())
    assert second.step == whole.step == 12
    for key, value in weights(whole).items():
        assert torch.equal(value, weights(second)[key]), key


def test_a_passed_deadline_saves_and_says_so(tmp_path: Path) -> None:
    loop = new_loop(tmp_path)
    with pytest.raises(Unfinished):
        loop.run(Deadline(minutes=0.0))
    again = new_loop(tmp_path)
    assert again.restore()
    assert again.step == loop.step == 1


def test_a_checkpoint_of_other_frozen_parts_is_refused(tmp_path: Path) -> None:
    new_loop(tmp_path).save()
    other = new_loop(tmp_path)
    other.made_from = "abc"
    with pytest.raises(ModelError, match="other frozen parts"):
        other.restore()


def test_learning_rate_warms_up_and_decays() -> None:
    s = LoopSettings(n_samples=1000, batch_size=10, learning_rate=1.0, warmup_samples=100, decay_fraction=0.2)
    assert s.rate_at(0) == pytest.approx(0.1)
    assert s.rate_at(500) == pytest.approx(1.0)
    assert s.rate_at(1000) == pytest.approx(0.05)


def test_unknown_preset_and_setting_name_the_nearest() -> None:
    with pytest.raises(ConfigError, match="embedded"):
        preset_named("embeded")
    with pytest.raises(ConfigError) as error:
        preset_named("tiny").with_overrides(unet_batches=3)
    assert error.value.hint == "did you mean 'unet_batch'?"


def test_moments_of_channels_last_weights_return_to_their_weights(tmp_path: Path) -> None:
    def loop_in(folder: Path) -> Loop:
        torch.manual_seed(0)
        net = nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

        def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
            return {"loss": net(torch.randn(2, 4, 8, 8, generator=generator)).square().mean()}

        return Loop("conv", folder, net, loss, SETTINGS)

    whole = loop_in(tmp_path)
    whole.one_step(), whole.one_step()
    whole.save()
    resumed = loop_in(tmp_path)
    resumed.restore()
    whole.one_step(), resumed.one_step()
    assert torch.equal(whole.parameters["weight"], resumed.parameters["weight"])
