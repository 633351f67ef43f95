"""The verb for the first day: start, on a user's own base, with public weights and without training."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefgen.cli.generating import file_stem
from prefgen.cli.opening import given_history
from prefgen.cli.options import (
    Device,
    Disliked,
    DislikeStrength,
    Guidance,
    Json,
    Liked,
    LikeStrength,
    Manifest,
    Out,
    Seed,
    Steps,
)
from prefgen.cli.output import emit, log_to_stderr, note

if TYPE_CHECKING:
    from prefgen.core import History
    from prefgen.pipeline import PrefGenOutput
    from prefgen.pipeline.untrained import TasteWords, UntrainedModel, UntrainedPerson

BASE = "stable-diffusion-v1-5/stable-diffusion-v1-5"
WAYS = ("words", "ip-adapter", "fabric")


def start(
    prompt: Annotated[str, typer.Argument(help="What to paint; - reads it from stdin.")],
    base: Annotated[str, typer.Option("--base", help="A Stable Diffusion 1.5 or SDXL: a hub name or a folder.")] = BASE,
    liked: Liked = None,
    disliked: Disliked = None,
    manifest: Manifest = None,
    with_: Annotated[
        str | None,
        typer.Option(
            "--with",
            help="How the taste is heard: words, ip-adapter or fabric (default: ip-adapter; words if given some).",
        ),
    ] = None,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many pictures.")] = 1,
    seed: Seed = None,
    out: Out = Path("out"),
    negative: Annotated[str | None, typer.Option("--negative", help="What not to paint.")] = None,
    like_words: Annotated[
        str | None, typer.Option("--like-words", help="words: what is liked, as in 'watercolour, soft light'.")
    ] = None,
    dislike_words: Annotated[str | None, typer.Option("--dislike-words", help="words: what is disliked.")] = None,
    words_from: Annotated[
        str | None,
        typer.Option(
            "--words-from", help="words: a vision-language model that names them, such as HuggingFaceM4/idefics2-8b."
        ),
    ] = None,
    one_at_a_time: Annotated[
        bool, typer.Option("--one-at-a-time", help="words: show that model one picture a question.")
    ] = False,
    ip_adapter: Annotated[
        str, typer.Option("--ip-adapter", help="ip-adapter: a hub name or a folder.")
    ] = "h94/IP-Adapter",
    ip_adapter_weight: Annotated[
        str | None,
        typer.Option("--ip-adapter-weight", help="ip-adapter: the file in it (default: by the base's kind)."),
    ] = None,
    image_encoder: Annotated[
        str | None, typer.Option("--image-encoder", help="ip-adapter: its picture encoder's folder, if not beside it.")
    ] = None,
    references: Annotated[
        int, typer.Option("--references", min=1, help="fabric: most pictures a side that are heard; each costs time.")
    ] = 4,
    like_strength: LikeStrength = None,
    dislike_strength: DislikeStrength = None,
    guidance: Guidance = None,
    steps: Steps = None,
    height: Annotated[int | None, typer.Option("--height", help="Pixels (default: the base's own).")] = None,
    width: Annotated[int | None, typer.Option("--width", help="Pixels (default: the base's own).")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Pictures painted at once.")] = 1,
    device: Device = "auto",
    dtype: Annotated[
        str, typer.Option("--dtype", help="float32, float16, bfloat16; auto: float16 on cuda, else float32.")
    ] = "auto",
    variant: Annotated[
        str | None, typer.Option("--variant", help="Files of the base to take, such as fp16, where it has several.")
    ] = None,
    offload: Annotated[bool, typer.Option("--offload", help="Keep on the device only the part that works.")] = False,
    tile: Annotated[bool, typer.Option("--tile", help="Decode in tiles: less memory.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is needed and stop before loading.")] = False,
    json_: Json = False,
) -> None:
    """Paint a prompt to a person's taste on your own Stable Diffusion, without any training.

    Prints the files, one a line. Public weights only: words of taste (--with words), a stock IP-Adapter (--with
    ip-adapter) or attention to the pictures themselves (--with fabric). The PNG files tell how they were made.
    """
    log_to_stderr()
    from prefgen.core import ConfigError, nearest_hint
    from prefgen.pipeline.loading import without_loading_bars
    from prefgen.pipeline.untrained import READ_PX, UntrainedModel, base_folder

    if with_ is not None and with_ not in WAYS:
        raise ConfigError(f"expected --with {', '.join(WAYS)}, got {with_!r}", hint=nearest_hint(with_, WAYS))
    if prompt == "-":
        prompt = sys.stdin.read().strip()
    without_loading_bars()
    history = given_history(liked, disliked, manifest, longest_px=READ_PX[with_ or "ip-adapter"])
    told = _told_words(like_words, dislike_words)
    way = _way(with_, history, told, words_from)
    folder = base_folder(base, variant=variant)
    needs = _needs(folder, base, device, dtype, variant, words_from if way == "words" else None)
    if dry_run:
        emit({"with": way, "base": base, **needs}, as_json=json_, lines=[])
        return
    if way == "words":
        told = _all_words(told, words_from, history, device, dtype, one_at_a_time)
        note(f"likes: {', '.join(told.liked) or '-'}; dislikes: {', '.join(told.disliked) or '-'}")
    model = UntrainedModel.from_pretrained(
        folder, device=device, dtype=dtype, variant=variant, offload=offload, tile=tile
    )
    model.name = model.name if Path(base).expanduser().is_dir() else base
    model.pipe.set_progress_bar_config(disable=json_ or not sys.stderr.isatty())
    person = _person(model, way, history, told, ip_adapter, ip_adapter_weight, image_encoder, references)
    settings = model.settings(person, guidance, steps, like_strength, dislike_strength)
    made = model(
        prompt,
        person,
        num_images_per_prompt=number,
        seed=seed,
        negative_prompt=negative,
        height=height,
        width=width,
        batch_size=batch_size,
        **settings,
    )
    settings |= {"negative_prompt": negative}
    files = _saved(made, out, prompt, lambda one: model.told_of(person, prompt, one, **settings))
    data = {
        "prompt": prompt,
        "base": model.name,
        "with": way,
        "profile": None if person is None else person.digest,
        "words": {"liked": list(told.liked), "disliked": list(told.disliked)},
        "images": [{"file": path, "seed": one} for path, one in zip(files, made.seeds)],
    }
    emit(data, as_json=json_, lines=files)


def _saved(made: PrefGenOutput, out: Path, prompt: str, told: Callable[[int], Mapping[str, object]]) -> list[str]:
    """Writes the pictures, each with what is told of its seed."""
    from prefgen.pipeline import save_png

    out.mkdir(parents=True, exist_ok=True)
    stem = file_stem(prompt)
    return [str(save_png(image, out / f"{stem}-{one}.png", told(one))) for image, one in zip(made.images, made.seeds)]


def _told_words(liked: str | None, disliked: str | None) -> TasteWords:
    from prefgen.core import ConflictError
    from prefgen.mllm.taste_words import TasteWords, words_told

    words = TasteWords(liked=words_told(liked or ""), disliked=words_told(disliked or ""))
    if both := set(words.liked) & set(words.disliked):
        raise ConflictError(f"{sorted(both)[0]!r} is liked and disliked", hint="remove one of the two")
    return words


def _way(given: str | None, history: History | None, told: TasteWords, words_from: str | None) -> str | None:
    """The way that is asked for, or that fits what was given; None where nobody is described."""
    from prefgen.core import InputError

    way = given or ("words" if told or words_from else None if history is None else "ip-adapter")
    if way is None:
        note("nobody in particular: give --liked and --disliked, or --like-words, to paint for a person")
    elif way == "words":
        if not told and words_from is None:
            hint = "give --like-words 'watercolour, soft light', or --words-from HuggingFaceM4/idefics2-8b"
            raise InputError("expected words of taste, got none", hint=hint)
        if words_from is not None and history is None:
            raise InputError("expected pictures to ask about, got none", hint="give --liked and --disliked")
        if words_from is None and history is not None:
            note("the pictures are not looked at: --words-from names a model that does")
    elif told or words_from:
        raise InputError(f"words of taste are not heard with {way}", hint="leave them out, or use --with words")
    elif history is None:
        raise InputError(f"expected pictures to paint with {way}, got none", hint="give --liked and --disliked")
    return way


def _needs(
    folder: Path, base: str, device: str, dtype: str, variant: str | None, words_from: str | None
) -> dict[str, Any]:
    """Says what the weights take, before they are read."""
    from prefgen.mllm.taste_words import vlm_parameters
    from prefgen.pipeline.loading import device_named
    from prefgen.pipeline.untrained import dtype_for, numbers_of
    from prefgen.pipeline.untrained.base import hub_arguments

    where = device_named(device)
    kind = dtype_for(dtype, where)
    parts = numbers_of(folder, variant)
    models: dict[str, Mapping[str, int]] = {base: parts}
    if words_from is not None:
        models = {words_from: {"all": vlm_parameters(words_from, **hub_arguments())}, **models}
    bytes_ = {name: sum(n.values()) * kind.itemsize for name, n in models.items()}
    for name, n_bytes in bytes_.items():
        largest = max(models[name].values(), default=0) * kind.itemsize
        whole = f"{_gib(n_bytes)} of weights in {str(kind).removeprefix('torch.')} on {where}"
        note(f"{name}: {whole}" + (f" ({_gib(largest)} with --offload)" if name == base else ", let go after asking"))
    note("painting takes some GiB more; --offload, --tile, --height and --width lower it")
    return {"device": str(where), "dtype": str(kind).removeprefix("torch."), "bytes": bytes_, "numbers": parts}


def _all_words(
    told: TasteWords, words_from: str | None, history: History | None, device: str, dtype: str, one_at_a_time: bool
) -> TasteWords:
    from prefgen.mllm.taste_words import merged_words
    from prefgen.pipeline.untrained import words_of_pictures

    if words_from is None or history is None:
        return told
    found = words_of_pictures(words_from, history, device=device, dtype=dtype, one_at_a_time=one_at_a_time)
    return merged_words(told, found)


def _person(
    model: UntrainedModel,
    way: str | None,
    history: History | None,
    told: TasteWords,
    ip_adapter: str,
    weight: str | None,
    image_encoder: str | None,
    references: int,
) -> UntrainedPerson | None:
    if way == "words":
        return model.by_words(told.liked, told.disliked)
    if way == "ip-adapter":
        return model.by_ip_adapter(history=history, adapter=ip_adapter, weight=weight, image_encoder=image_encoder)
    return model.by_fabric(history=history, n_references=references) if way == "fabric" else None


def _gib(n_bytes: float) -> str:
    return f"{n_bytes / 2**30:.1f} GiB"
