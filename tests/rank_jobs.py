"""What the tests of several processes run in each process: `python rank_jobs.py JOB FOLDER`, and the starting of it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from prefgen.agents.vocabulary import FAMILIES
from prefgen.core import numpy_rng
from prefgen.embedding import SideFeatures, UserEncoder, UserEncoderConfig
from prefgen.recipes import ranks
from prefgen.recipes.adapter_words import PeopleWords, drawn_to_strings, encoder_tokens
from prefgen.recipes.full_presets import FULL_PRESETS, FullPreset
from prefgen.recipes.loop import Deadline, Loop, LoopSettings, Unfinished
from prefgen.recipes.sharding import Cut

N_PEOPLE, N_STEPS, D_TEXT = 24, 50, 8
SETTINGS = LoopSettings(
    n_samples=N_PEOPLE * N_STEPS,
    batch_size=N_PEOPLE,
    learning_rate=2e-3,
    ema_decay=0.9,
    warmup_samples=1,
    save_every_s=1e9,
    bf16=False,
)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def start_ranks(n: int, job: str, folder: Path, timeout_s: float = 500) -> list[subprocess.CompletedProcess[str]]:
    """Runs a job in n processes, as a launcher would, and returns what each said, in the order of ranks."""
    given = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(n)}
    given |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, job, str(folder)]
    running = [
        subprocess.Popen(
            command, env={**given, "RANK": str(k)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for k in range(n)
    ]
    said = [process.communicate(timeout=timeout_s) for process in running]
    return [subprocess.CompletedProcess(command, p.returncode, *out) for p, out in zip(running, said)]


class RandomPeople:
    """Features of people who do not exist."""

    def side(self, users: list[int], variants: list[int], side: int) -> SideFeatures:
        """Drawn from the people's numbers."""
        rng = numpy_rng("random people", side)
        last, mean, images = (
            torch.from_numpy(rng.normal(size=(N_PEOPLE, 3, *shape)).astype(np.float32))
            for shape in ((2, 6), (2, 6), (3, 5))
        )
        at = torch.tensor(users), torch.tensor(variants)
        return SideFeatures(last=last[at], mean=mean[at], images=images[at], weights=torch.ones(len(users), 3))


def people_words(align: Callable[[Tensor, Tensor], dict[str, Tensor]]) -> tuple[UserEncoder, PeopleWords]:
    """The user encoder and its real loss: words, MMD and the own-string contrast over all people."""
    torch.manual_seed(0)
    config = UserEncoderConfig(
        d_lm=6, d_clip=5, d_text=D_TEXT, d_cross=D_TEXT, n_tokens=3, sem_layers=(0,), core_layers=(1,), vote_width=12
    )
    encoder = UserEncoder(config)
    words = PeopleWords.__new__(PeopleWords)
    words.sides, words.n_people, words.align = ("like", "dislike"), N_PEOPLE, align
    people: Any = RandomPeople()
    words.tokens_of = encoder_tokens(encoder, people, ("core", "sem", "img"))
    rng = torch.Generator().manual_seed(1)
    words.words = {
        side: (torch.randn(N_PEOPLE, len(FAMILIES), D_TEXT, generator=rng), torch.ones(N_PEOPLE, len(FAMILIES)))
        for side in words.sides
    }
    words.strings = {side: torch.randn(N_PEOPLE, D_TEXT, generator=rng) for side in words.sides}
    return encoder, words


def of_own_rows_only(sem: Tensor, strings: Tensor) -> dict[str, Tensor]:
    """Alignment as it is without gathering: each rank's people among themselves, then the mean."""
    parts = drawn_to_strings(ranks.own(sem), ranks.own(strings))
    return {name: ranks.over_ranks(value, 1) for name, value in parts.items()}


def words_loop(folder: Path, align: Callable[..., dict[str, Tensor]] = drawn_to_strings) -> tuple[Loop, list[float]]:
    """The loop, and the losses of its steps as they come."""
    encoder, words = people_words(align)
    losses: list[float] = []

    def loss(step: int, _: torch.Generator) -> dict[str, Tensor]:
        parts = words(numpy_rng("words", 0, step), N_PEOPLE)
        losses.append(float(parts["loss"].detach()))
        return parts

    folder.mkdir(parents=True, exist_ok=True)
    return Loop("words", folder, encoder, loss, SETTINGS), losses


def train_words(folder: Path, n_steps: int = N_STEPS, align: Callable[..., Any] = drawn_to_strings) -> list[float]:
    """The losses of the steps up to the n-th, from the checkpoint on where there is one; saves."""
    loop, losses = words_loop(folder, align)
    loop.restore()
    while loop.step < n_steps:
        loop.one_step()
    loop.save()
    ranks.wait()
    return losses


def gradients(folder: Path) -> dict[str, list[float]]:
    """What one backward pass leaves on the encoder, averaged over ranks."""
    loop, _ = words_loop(folder)
    loop.losses_of(0, torch.Generator())["loss"].backward()
    return {k: p.grad.flatten().tolist() for k, p in loop.parameters.items() if p.grad is not None}


class Frozen(nn.Module):
    """A frozen layer in bfloat16 and a trained low-rank update of it in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(16, 16).requires_grad_(False).bfloat16()
        self.down, self.up = nn.Linear(16, 2, bias=False), nn.Linear(2, 16, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output."""
        return torch.tanh(self.base(x.bfloat16()).float() + self.up(self.down(x)))


def cut_loop(folder: Path) -> tuple[Loop, nn.Module]:
    """Frozen layers with trained updates, cut over the ranks where there are several (FSDP2)."""
    torch.manual_seed(3)
    net = nn.Sequential(Frozen(), Frozen(), nn.Linear(16, 4))

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        x = torch.randn(8, 16, generator=generator)
        made = ranks.shared(net, x)
        return {"loss": F.mse_loss(made, x[:, :4]), "size": made.detach().square().mean()}

    folder.mkdir(parents=True, exist_ok=True)
    cut = Cut(layers=[net[0], net[1]], device=torch.device("cpu"))
    return Loop("cut", folder, net, loss, replace(SETTINGS, learning_rate=3e-2), cut=cut), net


def train_cut(folder: Path, n_steps: int) -> list[float]:
    """The losses of the steps up to the n-th, from the checkpoint on where there is one; saves."""
    loop, _ = cut_loop(folder)
    loop.restore()
    losses = [loop.one_step()["loss"] for _ in range(loop.step, n_steps)]
    loop.save()
    ranks.wait()
    return losses


def train_preferences(n_steps: int = 4) -> list[dict[str, float]]:
    """The losses of preference fine-tuning on real conversations, a random tiny model, LoRA."""
    from prefgen.mllm import answer_token, chat_frame, pack
    from prefgen.recipes.preference_vqa import PreferenceTraining, batch_at, preference_losses
    from tiny_mllm import N_IMAGE_TOKENS, tiny_model, tiny_processor

    torch.manual_seed(0)
    processor = tiny_processor()
    module, frame = PreferenceTraining(tiny_model(n_layers=4), lora_rank=4), chat_frame(processor)
    shown = torch.randn(64, N_IMAGE_TOKENS, 32, generator=torch.Generator().manual_seed(5))
    yes_no = answer_token(processor, frame, "Yes"), answer_token(processor, frame, "No")

    def loss(step: int, _: torch.Generator) -> dict[str, Tensor]:
        asked, twins = batch_at(step, n_people=6, n_packs=4, seed=0)
        asked = ranks.own(asked)
        batch = pack(processor, frame, [one.pack for one in asked])
        features = shown[torch.tensor(batch.pictures) % 64]
        return preference_losses(module, batch, asked, features, yes_no, twins=twins, contrast=0.3, same_user=0.5)

    loop = Loop("preferences", Path("nowhere"), module, loss, SETTINGS)
    return [loop.one_step() for _ in range(n_steps)]


def everything(folder: Path) -> dict[str, Any]:
    """All that two ranks are compared in with one; a rank that is not the first gets a folder of its own."""
    at = folder if ranks.is_first() else folder / "not-first"
    found: dict[str, Any] = {
        "world": ranks.n_ranks(),
        "rows": len(ranks.own(list(range(N_PEOPLE)))),
        "gathered": train_words(at / "gathered"),
        "apart": train_words(at / "apart", align=of_own_rows_only),
        "gradients": gradients(at / "gradients"),
        "preferences": train_preferences(),
        "resumed": train_words(folder / "begun-by-one"),
        "uneven": uneven(),
    }
    train_words(folder / "begun-by-two", 25) if ranks.is_first() else train_words(at / "begun-by-two", 25)
    adjoint = ranks._EveryRows.backward
    ranks._EveryRows.backward = staticmethod(without_others)  # type: ignore[method-assign,assignment]
    found["gradients without others"] = gradients(at / "cut-off")
    ranks._EveryRows.backward = adjoint  # type: ignore[method-assign]
    found["deadline"] = time_is_up(at / "deadline")
    return found


def without_others(ctx: Any, *given: Tensor) -> tuple[Tensor, None]:
    """The gathering's adjoint as it is where other ranks' losses are forgotten."""
    start = sum(ctx.counts[: ranks.rank()])
    return given[0][start : start + ctx.counts[ranks.rank()]], None


def uneven() -> list[float]:
    """A mean over 3 values on the first rank and 9 on the second, and its gradient with respect to one of them, as
    averaged over ranks; a mean that the first rank has no value for."""
    n = 3 if ranks.rank() == 0 else 9
    values = torch.full((n,), float(ranks.rank()), requires_grad=True)
    mean = ranks.over_ranks(values.mean(), n)
    mean.backward()
    assert values.grad is not None
    absent = ranks.over_ranks(torch.tensor(float("nan") if ranks.rank() == 0 else 5.0), 4 * ranks.rank())
    return [float(mean.detach()), float(values.grad[0]) / ranks.n_ranks(), float(absent)]


def time_is_up(folder: Path) -> int:
    """The step at which a rank stops whose first rank alone is out of time."""
    loop, _ = words_loop(folder)
    try:
        loop.run(Deadline(minutes=0.0 if ranks.is_first() else 1e6))
    except Unfinished:
        return loop.step
    return -1


def one_dies(folder: Path) -> None:
    """The second rank is killed in the third step."""
    loop, _ = words_loop(folder / str(ranks.rank()))
    while True:
        if loop.step == 2 and ranks.rank() == 1:
            os._exit(9)
        loop.one_step()


def whole_chain(folder: Path) -> dict[str, Any]:
    """The smallest chain in float32: every step's losses by loop, over as many ranks as there are."""
    from prefgen.recipes.presets import preset_named
    from prefgen.recipes.train import train

    seen: dict[str, list[float]] = {}
    step = Loop.one_step

    def noted(loop: Loop) -> dict[str, float]:
        loop.settings = replace(loop.settings, bf16=False)
        losses = step(loop)
        seen.setdefault(loop.name, []).append(losses["loss"])
        return losses

    Loop.one_step = noted  # type: ignore[method-assign]
    few = dict.fromkeys(("unet_samples", "ae_samples", "vision_samples", "mllm_match_samples", "eye_samples"), 96)
    few |= {"mllm_pretrain_samples": 64, "mllm_vqa_samples": 96, "judge_samples": 64, "adapter_word_samples": 256}
    preset = preset_named("tiny").with_overrides(n_pictures=200, clip_samples=128, mllm_lora_rank=2, n_users=20, **few)
    assert train(preset, work=folder / "work", out=folder / "work" / "model")
    return seen


def share_held(loop: Loop) -> float:
    """The share of all weights in a step, frozen and trained, that lies in this process."""
    if not isinstance(loop.losses_of, nn.Module):
        return 1.0
    weights = list(loop.losses_of.parameters())
    own = (p.to_local() if isinstance(p, DTensor) else p for p in weights)
    return sum(p.numel() for p in own) / sum(p.numel() for p in weights)


def people_job(folder: Path, name: str, *, shard: bool = False) -> None:
    """Published weights learn from people, as `prefgen train --people` has it; `stop`, where it lies in the folder,
    says at which step of which stage the time is up, or that it is from the start."""
    from prefgen.recipes.full_people.run import train_full_on_people
    from tiny_published import published_preset

    lengths = {"mllm_batch": 4, "preference_samples": 120, "adapter_samples": 64, "lora_dropout": 0.0}
    rates = {"preference_rate": 2e-3, "adapter_rate": 2e-3}
    preset = published_preset(folder, "sd15-idefics2", **lengths, **rates)
    stop = (folder / "stop").read_text().split() if (folder / "stop").exists() else None
    if name == "sharded":
        watched(stop or ())
    minutes = 0.0 if stop == [] else None
    args = {"work": folder / f"work-{name}", "out": folder / f"model-{name}", "max_minutes": minutes, "shard": shard}
    report = train_full_on_people(folder / "people", preset, **args)
    print("done" if report else "none", flush=True)


ROW_FAMILIES = ("sd15", "sd3", "flux")


def rows_preset(folder: Path, family: str) -> FullPreset:
    """A few steps of an adapter on tiny published weights that lie in the folder."""
    return FULL_PRESETS["sd15-smolvlm"].with_overrides(
        generator=str(folder / family), dtype="float32", user_tokens=2, adapter_batch=4, adapter_samples=24,
        adapter_rate=3e-3,
    )  # fmt: skip


def rows_job(folder: Path) -> None:
    """Adapters of several families on prepared rows, cut over the ranks: stopped after a step, kept, and ended."""
    from prefgen.recipes.full_run import train_full

    for family in ROW_FAMILIES:
        preset, work = rows_preset(folder, family), folder / f"{family}-two"
        args = {"work": work, "out": work / "model", "shard": True}
        assert not train_full(preset, **args, max_minutes=0.0)
        if ranks.is_first():
            shutil.copytree(work, folder / f"{family}-begun-by-two")
        assert train_full(preset, **args)


def own_job(folder: Path) -> None:
    """A finished model of the embedded kind learns on from people, in float32."""
    from prefgen.recipes.own_data.run import train_on_people
    from tiny_own_data import smallest

    step = Loop.one_step

    def exact(loop: Loop) -> dict[str, float]:
        loop.settings = replace(loop.settings, bf16=False)
        return step(loop)

    Loop.one_step = exact  # type: ignore[method-assign]
    n = ranks.launched()
    rates = {"preference_rate": 1e-3, "adapter_rate": 1e-3, "adapter_samples": 48}
    places = {"work": folder / f"work-{n}", "out": folder / f"model-{n}", "n_processes": n}
    report = train_on_people(folder / "people", str(folder / "start"), smallest(**rates), **places)
    print("done" if report else "none", flush=True)


def watched(stop: Sequence[str] = ()) -> None:
    """From the step on that `stop` names, if it does (stage, step), no time is left. Every stage says at its first step
    which share of all weights lies in this process."""
    one_step, told = Loop.one_step, set[str]()

    def counted(loop: Loop) -> dict[str, float]:
        losses = one_step(loop)
        if loop.name not in told:
            print(f"{loop.name} holds {share_held(loop):.3f}", flush=True)
        told.add(loop.name)
        if [loop.name, str(loop.step)] == list(stop):
            Deadline.passed = property(lambda _: True)  # type: ignore[assignment,method-assign]
        return losses

    Loop.one_step = counted  # type: ignore[method-assign]


def main(job: str, folder: Path) -> int:
    """Runs a job as `prefgen train` would be run, and the first rank writes what it found."""
    from prefgen.cli.main import _told

    torch.set_num_threads(1)
    begin = time.monotonic()
    try:
        if job == "own":
            own_job(folder)
            return 0
        if job in ("people", "sharded"):
            people_job(folder, job, shard=job == "sharded" and ranks.launched() > 1)
            return 0
        if job == "chain":
            found = whole_chain(folder)
            (folder / f"chain.{os.environ.get('RANK', 0)}.json").write_text(json.dumps(found))
            return 0
        with ranks.joined():
            if job == "rows":
                rows_job(folder)
                return 0
            if job == "die":
                one_dies(folder)
            found = everything(folder) if job == "everything" else {"cut": train_cut(folder, 50)}
            if job == "cut":
                found["resumed"] = train_cut(folder / "begun-by-one", 50)
                train_cut(folder / "begun-by-two", 25)
    except Exception as error:
        return _told(error)
    found["elapsed_s"] = time.monotonic() - begin
    (folder / f"{job}.{os.environ.get('RANK', 0)}.json").write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
