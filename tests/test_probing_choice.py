"""The choice of layers from curves, its JSON, and the picture of the report."""

import builtins
import json

import pytest
from PIL import Image

from prefgen.core import ConfigError, DataError, InputError, PrefGenError
from prefgen.probing import LayerChoice, ProbeCurve, ProbeReport, choose_layers, plot_report


def curve(*accuracy: float, probe: str = "inter_user", chance: float = 0.01) -> ProbeCurve:
    return ProbeCurve(
        probe=probe,
        accuracy=accuracy,
        low=tuple(a - 0.02 for a in accuracy),
        high=tuple(a + 0.02 for a in accuracy),
        control=(chance,) * len(accuracy),
        control_low=(chance - 0.005,) * len(accuracy),
        control_high=(chance + 0.005,) * len(accuracy),
        chance=chance,
        n_users=100,
        seed=0,
    )


INTER = curve(0.01, 0.2, 0.3, 0.99, 0.5, 0.8, 0.6, 0.4, 0.7, 0.3, 0.3, 0.2, 0.2)
INTRA = curve(*[0.5 + 0.03 * i for i in range(13)], probe="intra_user", chance=0.5)


def test_e_sem_is_the_top_and_e_core_the_best_below_it() -> None:
    choice = choose_layers(INTER, INTRA)
    assert choice.e_sem == (9, 10, 11, 12)
    assert choice.e_core == (4, 5, 6, 8)  # 3 is better still, but lies in the lower third
    assert choose_layers(INTER, INTRA, n_layers=2) == LayerChoice(
        e_core=(5, 8), e_sem=(11, 12), reason=choose_layers(INTER, INTRA, n_layers=2).reason
    )
    assert "layers 4 to 8" in choice.reason
    assert "no lower layer is better" in choice.reason


def test_equal_layers_go_to_the_upper_and_few_layers_may_be_shared() -> None:
    flat = curve(*[0.9] * 13)
    assert choose_layers(flat, INTRA, n_layers=3).e_core == (7, 8, 9)
    small = choose_layers(curve(0.1, 0.2, 0.5, 0.4), curve(0.5, 0.6, 0.7, 0.8, chance=0.5), n_layers=2)
    assert small.e_sem == (2, 3)
    assert small.e_core == (2, 3)
    assert choose_layers(curve(0.3), curve(0.5, chance=0.5), n_layers=1).e_core == (0,)


def test_the_reason_names_a_lower_layer_that_beats_the_top() -> None:
    peaked = curve(*[0.5] * 5, 0.9, *[0.6] * 7, probe="intra_user", chance=0.5)
    choice = choose_layers(INTER, peaked)
    assert choice.e_sem == (9, 10, 11, 12)
    assert "layer 5 reaches 0.900" in choice.reason


def test_choosing_refuses_curves_of_different_depth_and_too_many_layers() -> None:
    with pytest.raises(InputError, match="same layers"):
        choose_layers(INTER, curve(0.5, 0.6))
    with pytest.raises(ConfigError, match="between 1 and 13"):
        choose_layers(INTER, INTRA, n_layers=14)


def test_a_curve_refuses_series_of_unequal_length() -> None:
    with pytest.raises(InputError, match="one value a layer"):
        ProbeCurve.from_json(INTER.to_json() | {"low": [0.1]})


def report() -> ProbeReport:
    return ProbeReport(inter=INTER, intra=INTRA, choice=choose_layers(INTER, INTRA))


def test_choice_and_report_survive_json() -> None:
    whole = report()
    assert LayerChoice.from_json(json.loads(json.dumps(whole.choice.to_json()))) == whole.choice
    assert ProbeReport.from_json(json.loads(json.dumps(whole.to_json()))) == whole
    assert whole.to_json()["n_users"] == {"inter": 100, "intra": 100}
    assert whole.to_json()["seeds"] == {"inter": 0, "intra": 0}


def test_damaged_json_is_refused_by_name() -> None:
    choice = report().choice.to_json()
    with pytest.raises(DataError, match="did you mean 'e_core'"):
        LayerChoice.from_json({**choice, "e_cor": [1]})
    with pytest.raises(DataError, match="list of layer numbers"):
        LayerChoice.from_json({**choice, "e_sem": ["12"]})
    with pytest.raises(DataError, match="JSON object"):
        LayerChoice.from_json([1, 2])
    with pytest.raises(DataError, match="version 1, got 2"):
        ProbeReport.from_json(report().to_json() | {"version": 2})


def test_the_plot_is_a_picture(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    path = plot_report(report(), tmp_path / "new folder" / "probes.png")
    with Image.open(path) as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(2**24) or []) > 50
    with pytest.raises(InputError, match=r"probes\.txt"):
        plot_report(report(), tmp_path / "probes.txt")


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch) -> None:
    real_import = builtins.__import__

    def no_matplotlib(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    with pytest.raises(PrefGenError, match=r"prefgen\[plot\]"):
        plot_report(report(), tmp_path / "probes.png")
