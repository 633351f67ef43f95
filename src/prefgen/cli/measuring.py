"""Verbs that measure or describe a model: bench, probe, info."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from prefgen.cli.options import Json, Model
from prefgen.cli.output import emit, log_to_stderr

TASKS = ("painting", "prediction", "ablations", "retrained", "mixes", "uses")
PAINTING, PREDICTION, ABLATIONS, RETRAINED, MIXES, USES = TASKS
OutFile = Annotated[Path | None, typer.Option("--out", "-o", help="Also write the result here.")]


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer people: minutes rather than hours.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed is another draw of noise.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Keep pictures and results in this folder.")] = None,
    n_users: Annotated[int | None, typer.Option("--n-users", min=2, help="How many people, at most 96.")] = None,
    methods: Annotated[
        str | None, typer.Option("--methods", help="Names with commas between; of questions, for ablations.")
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Folder that holds emoji/ and dogs/.")] = None,
    report: Annotated[Path | None, typer.Option("--report", help="Write a page with tables and pictures here.")] = None,
    task: Annotated[
        str,
        typer.Option(
            "--task", help="painting, prediction (which of two is chosen?), ablations, retrained, mixes or uses."
        ),
    ] = PAINTING,
    work: Annotated[
        Path | None, typer.Option("--work", help="For retrained, mixes: a training whose features are used.")
    ] = None,
    stranger: Annotated[
        Path | None,
        typer.Option("--stranger", help="Instead, write ten shuffled sheets to match here; grade them once filled."),
    ] = None,
    model: Model = "embedded",
    json_: Json = False,
) -> None:
    """Measure a model on people, prompts and seeds that no training has met."""
    log_to_stderr()
    if stranger is not None:
        return _stranger(stranger, model, seed, json_)
    from prefgen.core import ConfigError, nearest_hint

    if task not in TASKS:
        raise ConfigError(f"expected a task of {TASKS}, got {task!r}", hint=nearest_hint(task, TASKS))
    names = [name.strip() for name in methods.split(",")] if methods else None
    plan: dict[str, Any] = {"quick": quick, "seed": seed, "out": out, "n_users": n_users, "methods": names}
    if task not in (RETRAINED, MIXES):
        _refuse("--work", work, task)
    if task == PAINTING:
        from prefgen.benchmark.run import bench as measure  # pyright: ignore[reportMissingImports]

        result = measure(model, report=report, data=data, **plan)
    elif task == USES:
        for option, value in (("--data", data), ("--quick", quick or None), ("--report", report)):
            _refuse(option, value, task)
        result = _uses(model, out=out, seed=seed, names=names, n_users=n_users)
    elif task == MIXES:
        for option, value in (("--methods", methods), ("--n-users", n_users), ("--quick", quick), ("--seed", seed)):
            _refuse(option, value or None, task)
        result = _mixes(model, data=data, out=out, work=work, report=report)
    elif task == RETRAINED:
        _refuse("--data", data, task)
        _refuse("--quick", quick or None, task)
        _refuse("--seed", seed or None, task)
        result = _retrained(model, out=out, work=work, names=names, n_users=n_users, report=report)
    elif task == ABLATIONS:
        from prefgen.benchmark.ablations import bench_ablations

        _refuse("--data", data, task)
        result = bench_ablations(model, report=report, **plan)
    else:
        from prefgen.benchmark.prediction import bench_prediction

        _refuse("--report", report, task)
        result = bench_prediction(model, data=data, **plan)
    emit(result, as_json=json_, lines=table(result["rows"]))


def _refuse(option: str, value: object, task: str) -> None:
    """A `ConfigError` for an option that a task has no use for."""
    from prefgen.core import ConfigError

    if value is not None:
        raise ConfigError(f"expected no {option} with --task {task}, got one", hint="leave it out")


def _retrained(
    model: str,
    *,
    out: Path | None,
    work: Path | None,
    names: list[str] | None,
    n_users: int | None,
    report: Path | None,
) -> dict[str, Any]:
    """Trains variants anew; where to keep them must be told."""
    from prefgen.core import ConfigError
    from prefgen.recipes.retrained import N_USERS, retrain

    if out is None:
        raise ConfigError("expected a folder for what is trained, got none", hint="give --out")
    return retrain(model, out=out, work=work, names=names, report=report, n_users=n_users or N_USERS)


def _uses(model: str, *, out: Path | None, seed: int, names: list[str] | None, n_users: int | None) -> dict[str, Any]:
    """Paints what people would paint; where sheets go must be told."""
    from prefgen.benchmark.use_cases import bench_uses
    from prefgen.core import ConfigError

    if out is None:
        raise ConfigError("expected a folder for the sheets, got none", hint="give --out")
    return bench_uses(model, out=out, seed=seed, methods=names, n_users=n_users)


def _mixes(
    model: str, *, data: Path | None, out: Path | None, work: Path | None, report: Path | None
) -> dict[str, Any]:
    """Trains on mixes of simulated people and judges of designers' pictures; both folders must be told."""
    from prefgen.core import ConfigError
    from prefgen.recipes.retrained import bench_mixes

    if data is None or out is None:
        raise ConfigError("expected the folder of emoji/ and one for what is trained", hint="give --data and --out")
    return bench_mixes(model, data=data, out=out, work=work, report=report)


def _stranger(folder: Path, model: str, seed: int, as_json: bool) -> None:
    """Grades a stranger's test if the folder holds one, else writes it."""
    from prefgen.benchmark.stranger import ANSWERS, KEY, grade_stranger_test, stranger_test

    if (folder / KEY).exists():
        result = grade_stranger_test(folder)
        line = f"{result['n_right']} of {result['n']} sheets matched ({result['low']:.2f} to {result['high']:.2f})"
        return emit(result, as_json=as_json, lines=[line])
    stranger_test(model, folder, seed=seed)
    told = f"look at {folder}/history-*.png and {folder}/pictures-*.png, fill {ANSWERS}, then run this again"
    emit({"folder": str(folder), "answers": str(folder / ANSWERS)}, as_json=as_json, lines=[told])


def probe(out: OutFile = None, model: Model = "embedded", json_: Json = False) -> None:
    """Measure what each layer of the preference model knows of a person."""
    log_to_stderr()
    from prefgen.pipeline import model_folder
    from prefgen.recipes.probe import probe as measure  # pyright: ignore[reportMissingImports]

    result = measure(model_folder(model), out=out)
    emit(result, as_json=json_, lines=(f"{name}: {value}" for name, value in result.items()))


def info(
    words: Annotated[bool, typer.Option("--words", help="List the words the generator was taught.")] = False,
    model: Model = "embedded",
    json_: Json = False,
) -> None:
    """Describe a model: its hash, parts, defaults and words."""
    from prefgen import __version__
    from prefgen.pipeline import hash_of_folder, model_folder, read_card
    from prefgen.pipeline.card import model_files
    from prefgen.pipeline.embed import EMBEDDING_VERSION

    folder = model_folder(model)
    card = read_card(folder)
    data: dict[str, Any] = {
        "prefgen": __version__,
        "folder": str(folder),
        "model": hash_of_folder(folder, EMBEDDING_VERSION),
        "preset": card.preset,
        "default": card.default.told(),
        "n_words": len(card.words),
        "n_subjects": len(card.subjects),
        "bytes": _bytes_of_parts(folder, model_files(folder)),
    }
    if words:
        data |= {"words": list(card.words), "subjects": list(card.subjects)}
    emit(data, as_json=json_, lines=_info_lines(data))


def _bytes_of_parts(folder: Path, files: list[Path]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for path in files:
        part = path.relative_to(folder).parts[0]
        sizes[part] = sizes.get(part, 0) + path.stat().st_size
    return sizes


def _info_lines(data: dict[str, Any]) -> list[str]:
    if "words" in data:
        return ["subjects: " + ", ".join(data["subjects"]), "words: " + ", ".join(data["words"])]
    told = [f"{name}: {data[name]}" for name in ("prefgen", "folder", "model", "preset", "n_words", "n_subjects")]
    told += [f"{name}: {value}" for name, value in data["default"].items()]
    return told + [f"{part}: {size / 2**20:.1f} MiB" for part, size in data["bytes"].items()]


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Rows of figures as lines for a person."""

    def number(value: object) -> str:
        return f"{value:8.3f}" if isinstance(value, (int, float)) else f"{value!s:>8}"

    return [
        f"{row['method']:<18}{row['metric']:<26}{number(row['value'])}  [{number(row['low'])}, {number(row['high'])}]"
        f"  n={row['n']}"
        for row in rows
    ]
