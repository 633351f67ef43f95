"""`prefgen bench`: every method on the same people, prompts and seeds, and the rows of every metric."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from prefgen.agents import paint
from prefgen.benchmark.by_eye import verdict_rows, write_sheet
from prefgen.benchmark.chain import Chain, Sampling
from prefgen.benchmark.cold_start import cold_start_rows
from prefgen.benchmark.judge import Judge, PictureJudge
from prefgen.benchmark.methods import METHODS, QUICK_METHODS, Bench, FitsEachPerson, Method, NotRun
from prefgen.benchmark.methods.painter import painter_scene
from prefgen.benchmark.metrics import METRICS
from prefgen.benchmark.metrics.prefdisc import DISLIKED, LIKED, held_out_pair
from prefgen.benchmark.ood import not_run, out_of_distribution_rows
from prefgen.benchmark.population import Member, members_of
from prefgen.benchmark.report import write_report
from prefgen.benchmark.results import Results, Row
from prefgen.benchmark.store import PictureStore, fingerprint
from prefgen.benchmark.tasks import Task, cases_of, tasks_of
from prefgen.benchmark.tuning import tuned_parameters
from prefgen.core import ConfigError, InputError, nearest_hint

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is painted: people, ordinary prompts each, seeds a prompt, and prompts of each reserved kind."""

    n_users: int
    n_prompts: int
    n_seeds: int
    n_reserved: int
    n_steps: int = 16

    @property
    def n_pictures(self) -> int:
        """Pictures per method."""
        return self.n_users * (self.n_prompts * self.n_seeds + 2 * self.n_reserved)


QUICK = Plan(n_users=48, n_prompts=1, n_seeds=2, n_reserved=0)
FULL = Plan(n_users=96, n_prompts=4, n_seeds=4, n_reserved=2)


def weights_folder(name: str | Path) -> Path | None:
    """The folder of a model that lies on this machine: a name of the shipped weights, or a path.

    As `PrefGen.from_pretrained` has it, the shipped `embedded` is meant even where a folder of that name lies here.
    """
    for folder in (WEIGHTS / str(name), Path(name)):
        if folder.is_dir():
            return folder
    return None


def weights_sha256(folder: Path | None) -> str:
    """One sha256 (hex) over the names and bytes of every safetensors file below a folder."""
    if folder is None:
        return "unknown"
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        whole.update(path.relative_to(folder).as_posix().encode())
        whole.update(path.read_bytes())
    return whole.hexdigest()


def current_commit() -> str:
    """The commit of the checkout this package runs from, marked where files differ from it; "unknown" elsewhere."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        return commit + ("-modified" if git("status", "--porcelain", "--untracked-files=no", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def bench(
    model_folder: str | Path = "embedded",
    quick: bool = True,
    seed: int = 0,
    out: str | Path | None = None,
    n_users: int | None = None,
    methods: Sequence[str] | None = None,
    data: str | Path | None = None,
    report: str | Path | None = None,
) -> dict[str, Any]:
    """Runs the benchmark on the test people with the test judge.

    `model_folder` is whatever `PrefGen.from_pretrained` takes. `out` keeps the pictures (the same call goes on where a
    broken one stopped), a sheet to check the judge by eye, and `bench.json`. `methods` are names of `METHODS`; without
    them the quick run takes five and the full run all. `data` is the folder with `emoji/` and `dogs/`; without it
    their rows say "not run here". `report` is a folder for the page `report.html` and the rows as `bench.json`. Gives
    `{"commit", "weights_sha256", "n_users", "seeds", "rows", "command"}`.
    """
    from prefgen.pipeline import PrefGen  # pyright: ignore[reportAttributeAccessIssue]

    folder = weights_folder(model_folder)
    result = run_bench(
        PrefGen.from_pretrained(str(model_folder)),
        Judge.load(judges_folder(folder) / "test"),
        members_of("test"),
        plan=planned(quick=quick, n_users=n_users),
        methods=methods or (QUICK_METHODS if quick else tuple(METHODS)),
        quick=quick,
        seed=seed,
        out=None if out is None else Path(out),
        data=None if data is None else Path(data),
        weights=weights_sha256(folder),
        baselines=(folder or WEIGHTS / "embedded").parent / "baselines",
        command=command_of(model_folder, quick, seed, out, n_users, methods, data, report),
        page=None if report is None else Path(report) / "report.html",
        cold_start=model_folder,
    )
    if report is not None:
        (Path(report) / "bench.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


def judges_folder(model: Path | None) -> Path:
    """Where the judges lie: beside the model, or among the shipped weights."""
    beside = None if model is None else model.parent / "judges"
    return beside if beside is not None and beside.is_dir() else WEIGHTS / "judges"


def planned(*, quick: bool, n_users: int | None = None) -> Plan:
    """The quick or the full plan, with another number of people if asked for."""
    plan = QUICK if quick else FULL
    if n_users is None:
        return plan
    if n_users < 2:
        raise InputError(f"expected at least 2 users, got {n_users}", hint="a stranger is needed for every person")
    return Plan(**{**asdict(plan), "n_users": n_users})


def command_of(
    model_folder: str | Path,
    quick: bool,
    seed: int,
    out: str | Path | None,
    n_users: int | None,
    methods: Sequence[str] | None,
    data: str | Path | None,
    report: str | Path | None = None,
    task: str | None = None,
) -> str:
    """The command line that repeats a run."""
    words = ["prefgen", "bench", "--json", "--seed", str(seed)]
    words += ["--quick"] if quick else []
    words += [] if task is None else ["--task", task]
    words += [] if str(model_folder) == "embedded" else ["--model", str(model_folder)]
    for option, value in (("--out", out), ("--n-users", n_users), ("--data", data), ("--report", report)):
        words += [] if value is None else [option, str(value)]
    words += [] if methods is None else ["--methods", ",".join(methods)]
    return " ".join(words)


def run_bench(
    chain: Chain,
    judge: PictureJudge,
    members: Sequence[Member],
    *,
    plan: Plan,
    methods: Sequence[str],
    metrics: Sequence[str] | None = None,
    quick: bool = True,
    seed: int = 0,
    out: Path | None = None,
    data: Path | None = None,
    weights: str = "unknown",
    baselines: Path = WEIGHTS / "baselines",
    command: str = "",
    page: Path | None = None,
    cold_start: str | Path | None = None,
) -> dict[str, Any]:
    """`bench` on a model, a judge and people that are given; `page` is the report's HTML file, `cold_start` the model
    that a process of its own is to load and paint the demo with."""
    check_names(methods, METHODS)
    check_names(metrics or (), METRICS)
    cases = cases_of(members[: plan.n_users])
    tasks = tasks_of(cases, n_prompts=plan.n_prompts, n_seeds=plan.n_seeds, n_reserved=plan.n_reserved, seed=seed)
    setup = Bench(chain=chain, sampling=Sampling(n_steps=plan.n_steps), baselines=baselines)
    ready, absent = _ready(setup, methods)
    pictures = _paint_all(ready, tasks, out, key=[weights, asdict(plan), seed], baselines=baselines)
    extra = _extra_pictures(tasks, painter="painter" in pictures)
    results = Results(
        cases=cases,
        tasks=tasks,
        pictures=pictures,
        readings={name: judge.read(made) for name, made in pictures.items()},
        extra_pictures=extra,
        extra_readings={name: judge.read(of) for name, of in extra.items()},
        bench=setup,
        seed=seed,
        quick=quick,
    )
    rows = absent + [r for name in metrics or METRICS for r in METRICS[name].measure(results)]
    rows += [] if cold_start is None else cold_start_rows(cold_start, 1 if quick else 5)
    rows += verdict_rows()
    rows += [_training_row(m.name, m.training_seconds) for m in ready if isinstance(m, FitsEachPerson)]
    if data is not None or not quick:
        rows += out_of_distribution_rows(chain, data, quick=quick, seed=seed)
    report = {
        "commit": current_commit(),
        "weights_sha256": weights,
        "n_users": len(cases),
        "seeds": [seed],
        "rows": [r.to_json() for r in rows],
        "command": command,
    }
    if page is not None:
        write_report(page, results, rows, report, ready)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_sheet(results, out, seed)
        (out / "bench.json").write_text(json.dumps(report, indent=1) + "\n")
    return report


def check_names(names: Sequence[str], known: Mapping[str, object]) -> None:
    """Raises `ConfigError`, naming the nearest, for a name that is not known."""
    for name in names:
        if name not in known:
            raise ConfigError(f"expected names of {list(known)}, got {name!r}", hint=nearest_hint(name, known))


def _ready(setup: Bench, names: Sequence[str]) -> tuple[list[Method], list[Row]]:
    """The methods that can run here, and the rows of those that cannot."""
    methods: list[Method] = []
    absent: list[Row] = []
    for name in names:
        try:
            methods.append(METHODS[name](setup, **tuned_parameters(name)))
        except NotRun as reason:
            absent.append(not_run(name, str(reason)))
    return methods, absent


def _training_row(name: str, seconds: Sequence[float]) -> Row:
    """Mean, least and most minutes of training a person; "n/a" where every picture had been painted before."""
    metric, minutes = "training_minutes_per_person", np.array(seconds) / 60
    if not len(minutes):
        return Row(method=name, metric=metric, value=float("nan"))
    low, high = float(minutes.min()), float(minutes.max())
    return Row(method=name, metric=metric, value=float(minutes.mean()), low=low, high=high, n=len(minutes))


def _paint_all(
    methods: Sequence[Method], tasks: Sequence[Task], out: Path | None, key: list[Any], baselines: Path
) -> dict[str, np.ndarray]:
    """Every method's pictures; kept ones stand where model, plan, seed, tuning and a rival's weights are the same."""
    store = PictureStore(folder=None if out is None else out / "pictures")
    pictures: dict[str, np.ndarray] = {}
    with tqdm(total=len(methods) * len(tasks), unit="picture", file=sys.stderr, disable=None) as bar:
        for method in methods:
            bar.set_description(method.name)
            of_its_own = weights_sha256(baselines / method.name) if (baselines / method.name).is_dir() else None
            whole_key = fingerprint(*key, tuned_parameters(method.name), *([of_its_own] if of_its_own else []))
            pictures[method.name] = store.painted(method.name, whole_key, tasks, method.paint, done=bar.update)
    return pictures


def _extra_pictures(tasks: Sequence[Task], *, painter: bool) -> dict[str, np.ndarray]:
    """Paintings, uint8 [n_tasks, 64, 64, 3] each: of held-out pairs, and the painter's before the autoencoder."""
    pairs = [held_out_pair(t) for t in tasks]
    scenes = {LIKED: [liked for liked, _ in pairs], DISLIKED: [disliked for _, disliked in pairs]}
    if painter:
        scenes["painting"] = [painter_scene(t) for t in tasks]
    return {name: np.stack([paint(s) for s in of]) for name, of in scenes.items()}
