"""The same work on many pieces: one after another here, or by a pool of workers on Ray Data (the extra `ray`).

A piece is named by JSON, does its own reading and writes its own file under a name that depends on the piece alone. So
a worker that dies costs its piece, which another one does again, and nothing is ever done twice or held in memory here.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np

from prefgen.core import ConfigError, nearest_hint

ENGINES = ("local", "ray")
MOST_BLOCKS = 1000
"""Parts that Ray Data cuts the pieces into, at most; a dead worker's part is gone through again."""

Work = Callable[[Any], Any]
"""From a piece to what is to be told of it, both JSON."""


def each(
    make: Callable[[], Work], pieces: Iterable[Any], *, engine: str = "local", n_workers: int = 1
) -> Iterator[Any]:
    """What `make()(piece)` tells of every piece, in any order; `make` is called once in each worker, here not before
    there is a piece.

    With `ray`, `make` must be importable on the workers (a module's function, or a `partial` of one). The cluster is
    the one of `RAY_ADDRESS`, else one on this machine for as long as the work lasts.

    Raises:
        ConfigError: no such engine, Ray is not installed, or the cluster has too few CPUs for the workers.
    """
    if engine not in ENGINES:
        hint = nearest_hint(engine, ENGINES)
        raise ConfigError(f"expected an engine of {', '.join(ENGINES)}, got {engine!r}", hint=hint)
    if engine == "ray":
        yield from _on_ray(make, pieces, n_workers)
        return
    work: Work | None = None
    for piece in pieces:
        work = work or make()  # not before the first piece is read: what is wrong with it need not wait for a model
        yield work(piece)


class _Worker:
    """One actor of the pool."""

    def __init__(self, make: Callable[[], Work]) -> None:
        self.work = make()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A batch of pieces to what is told of them."""
        return {"told": np.array([json.dumps(self.work(json.loads(str(piece)))) for piece in batch["piece"]])}


def _on_ray(make: Callable[[], Work], pieces: Iterable[Any], n_workers: int) -> Iterator[Any]:
    if not find_spec("ray"):
        raise ConfigError("the engine ray needs Ray, which is not installed", hint="pip install 'prefgen[ray]'")
    rows = [{"piece": json.dumps(piece)} for piece in pieces]
    if not rows:
        return
    import ray.data

    ours = not ray.is_initialized()
    if ours:
        _connect(n_workers)
    try:
        check_cpus(ray.cluster_resources().get("CPU", 0), n_workers)
        ray.data.DataContext.get_current().enable_progress_bars = False
        made = ray.data.from_items(rows, override_num_blocks=min(len(rows), MOST_BLOCKS)).map_batches(
            _Worker,
            fn_constructor_args=(make,),
            batch_size=1,
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=n_workers),
        )
        for row in made.iter_rows():
            yield json.loads(str(row["told"]))
    finally:
        if ours:
            ray.shutdown()


def _connect(n_workers: int) -> None:
    import ray

    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
        return
    n_cpus = max(os.cpu_count() or 1, n_workers + 4)  # logical ones: a pool whose stages lack a CPU waits for ever
    ray.init(num_cpus=n_cpus, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


def check_cpus(n_cpus: float, n_workers: int) -> None:
    """Raises `ConfigError` where a pool would wait for ever: each worker holds a CPU, and reading needs one beside."""
    if n_cpus < n_workers + 1:
        raise ConfigError(
            f"expected a cluster of at least {n_workers + 1} CPUs for {n_workers} workers, got {n_cpus:g}",
            hint="fewer --workers, or a larger cluster: a pool without a free CPU never begins",
        )
