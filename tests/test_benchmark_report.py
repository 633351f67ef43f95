"""The page of a run: complete, self-contained, safe, and true to its rows."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from fake_judge import FakeChain, FakeJudge
from prefgen.benchmark.interval_plot import Scale, interval_plot, scale_of
from prefgen.benchmark.population import members_of
from prefgen.benchmark.report import COLUMNS, _claims, _table
from prefgen.benchmark.results import Row
from prefgen.benchmark.run import Plan, run_bench

ABSENT = ("ip_adapter", "instantstyle", "easyref", "bagel")
METHODS = ("prompt", "oracle", "painter", "prefgen", "rewrite", *ABSENT)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, str]:
    path = tmp_path_factory.mktemp("report") / "deep" / "report.html"
    report = run_bench(
        FakeChain(),
        FakeJudge(),
        members_of("validation"),
        plan=Plan(n_users=2, n_prompts=1, n_seeds=2, n_reserved=0, n_steps=1),
        methods=METHODS,
        metrics=["gain", "win_rate", "prefdisc"],
        baselines=Path("nowhere"),
        weights="abc",
        command="prefgen bench --seed 0 <b>",
        page=path,
    )
    return report, path.read_text()


class Balanced(HTMLParser):
    """Fails on tags that are closed in the wrong order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "img", "line", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_asks_for_nothing_from_outside(run) -> None:
    _, page = run
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert "<!--" not in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "<script" not in page
    assert "&lt;b&gt;" in page, "a command is text, never markup"


def test_every_picture_of_the_first_people_is_shown(run) -> None:
    report, page = run
    n_shown = sum(len(c) for c in re.findall(r'class="(?:liked|disliked)"', page)) and len(
        re.findall(r'<img class="(?:liked|disliked)"', page)
    )
    n_made = len(re.findall(r'<img class=""', page))
    assert n_shown == report["n_users"] * 8
    assert n_made == report["n_users"] * 2 * (len(METHODS) - len(ABSENT)), "methods that cannot run have no pictures"
    assert "because there are no weights" in page


def test_a_method_that_cannot_run_stands_in_the_table_with_its_reason_and_without_a_number(run) -> None:
    report, page = run
    table = page[page.index("<h2>All methods</h2>") : page.index("<h2>", page.index("<h2>All methods</h2>") + 1)]
    for name in ABSENT:
        (row,) = [one for one in report["rows"] if one["method"] == name]
        assert row["metric"].startswith("not run here, because")
        assert row["value"] == "n/a"
        line = re.search(rf"<tr class=absent><th scope=row>{name}</th>(.*?)</tr>", table)
        assert line is not None
        assert "not run here, because" in line[1]
        assert line[1].count("<td") == 1


def test_every_row_of_the_run_stands_on_the_page(run) -> None:
    report, page = run
    for one in report["rows"]:
        assert f"<td>{one['method']}</td><td>{one['metric']}</td>" in page


class Named:
    def __init__(self, name: str, *needs: str) -> None:
        self.name, self.needs = name, needs


def test_bold_is_the_highest_of_those_not_told_the_truth() -> None:
    rows = [
        Row(method=m, metric="gain", value=v, low=v - 0.1, high=v + 0.1, n=3)
        for m, v in (("oracle", 1.0), ("prompt", 2.0), ("other_user", 0.9), ("rewrite", 0.4), ("prefgen", 0.3))
    ]
    methods = [
        Named("oracle", "truth"),
        Named("prompt"),
        *(Named(m, "images") for m in ("other_user", "rewrite", "prefgen")),
    ]
    table = _table(rows, methods)  # type: ignore[arg-type]
    assert len(re.findall("class=best", table)) == 1
    assert re.search(r"rewrite</th>.*?class=best>0\.40", table)
    assert COLUMNS["gain_wordless"] not in table, "no column without a figure"


@pytest.mark.parametrize(
    ("low", "high", "said"), [(0.1, 0.3, "above"), (-0.3, -0.1, "below"), (-0.1, 0.2, "level with")]
)
def test_claims_follow_the_interval(low: float, high: float, said: str) -> None:
    rows = [
        Row(method="prefgen", metric="utility_above:rival", value=(low + high) / 2, low=low, high=high, n=9),
        Row(method="prefgen", metric="utility_above_p_holm:rival", value=0.02, n=9),
    ]
    assert f"<li>{said} <b>rival</b>" in _claims(rows)
    assert "p = 0.020" in _claims(rows)


def test_a_plot_has_a_dot_for_each_finite_figure() -> None:
    rows = [
        Row(method="a<b", metric="gain", value=0.5, low=0.2, high=0.9, n=1),
        Row(method="prefgen", metric="gain", value=-0.2, low=-np.inf, high=0.1, n=1),
        Row(method="none", metric="gain", value=np.nan, n=0),
    ]
    drawn = interval_plot(rows)
    assert drawn.count("<circle") == 2
    assert "a&lt;b" in drawn
    assert 'class="ours"' in drawn
    assert interval_plot(rows[2:]) == ""


def test_scales_hold_every_figure_and_have_round_ticks() -> None:
    rows = [Row(method="a", metric="m", value=0.31, low=0.1, high=1.27, n=1)]
    scale = scale_of(rows)
    assert scale.low < 0
    assert scale.high > 1.27
    assert 0.0 in scale.ticks()
    for low, high in ((-0.2, 1.3), (0, 0.03), (-40, 170)):
        ticks = Scale(low=low, high=high).ticks()
        assert 3 <= len(ticks) <= 10
        assert np.allclose(np.diff(ticks), ticks[1] - ticks[0])
