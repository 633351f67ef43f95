"""Verbs of a study that people answer: study make, serve, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from prefgen.cli.measuring import table
from prefgen.cli.opening import given_history
from prefgen.cli.options import Disliked, Json, Liked, given_path
from prefgen.cli.output import emit, log_to_stderr, note

app = typer.Typer(rich_markup_mode=None)

Compared = "RUN:METHOD of a prefgen bench --out folder, or a folder of PNG files."
Study = Annotated[Path, typer.Argument(parser=given_path, metavar="STUDY", help="A study's folder.")]


@app.command()
def make(
    a: Annotated[str, typer.Option("--a", help=Compared)],
    b: Annotated[str, typer.Option("--b", help="What it is compared with, of the same kind.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", parser=given_path, metavar="STUDY", help="A new folder for the study.")
    ],
    n_questions: Annotated[int, typer.Option("--n-questions", "-n", min=1, help="How many pairs at most.")] = 60,
    n_checks: Annotated[
        int | None, typer.Option("--n-checks", min=0, help="How many attention checks (default: one for ten pairs).")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Repeats a study's draw (default: one that nobody can guess).")
    ] = None,
    ask: Annotated[str | None, typer.Option("--ask", help="The question put to the rater.")] = None,
    liked: Liked = None,
    disliked: Disliked = None,
    json_: Json = False,
) -> None:
    """Make a blind study of pairs from two methods of bench runs, or from two folders with equal file names.

    --liked and --disliked say whom the pictures of two folders were made for; runs have their people's histories.
    """
    log_to_stderr()
    from prefgen.study import make_study, pairs_of

    pairs = pairs_of(a, b, given_history(liked, disliked, None))
    study = make_study(pairs, out, n_questions=n_questions, n_checks=n_checks, seed=seed, ask=ask)
    note(f"{len(study.questions)} questions with their checks; {out}/key.json tells the sides: keep it from raters")
    data = {"folder": str(out), "study": study.id, "a": pairs.a, "b": pairs.b, "n_questions": len(study.questions)}
    emit(data, as_json=json_, lines=[str(out)])


@app.command()
def serve(
    study: Study,
    host: Annotated[str, typer.Option("--host", help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 0,
    json_: Json = False,
) -> None:
    """Let people answer a study in their browser, until Ctrl-C. Prints the page's address."""
    log_to_stderr()
    from prefgen.study.serve import address_of, study_server

    server = study_server(study, host=host, port=port)
    if host not in ("127.0.0.1", "localhost", "::1"):
        note("warning: whoever reaches this address can answer, under any name, and nothing is encrypted")
    note("Ctrl-C ends it; every answer is kept at once, and raters come back with the same name")
    emit({"url": address_of(server), "folder": str(study)}, as_json=json_, lines=[address_of(server)])
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        note(f"ended; answers are in {study}/answers.jsonl")
    finally:
        server.server_close()


@app.command()
def report(
    studies: Annotated[list[Path], typer.Argument(metavar="STUDY...", help="Studies' folders.")],
    least_checks: Annotated[
        float, typer.Option("--least-checks", min=0, max=1, help="Share of checks a rater must get right.")
    ] = 0.75,
    json_: Json = False,
) -> None:
    """Say what was chosen: win rates, Bradley-Terry strengths and agreement, with 95 % intervals."""
    log_to_stderr()
    from prefgen.study.report import study_report

    result = study_report(studies, least_checks=least_checks)
    emit(result, as_json=json_, lines=[*_lines(result), *table(result["rows"])])


def _lines(result: dict[str, Any]) -> list[str]:
    lines = [
        f"{one['a']} against {one['b']}: {one['n_a']} to {one['n_b']}, {one['n_ties']} ties; {one['n_raters']} raters,"
        f" {one['n_left_out']} left out ({one['folder']})"
        for one in result["studies"]
    ]
    return lines + [
        f"left out: {rater['rater']}: {rater['left_out']}" for rater in result["raters"] if rater["left_out"]
    ]
