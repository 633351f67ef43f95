"""The best weights of a training, by what is lost on people it does not learn from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from prefgen.core import ModelError
from prefgen.recipes import ranks
from prefgen.recipes.checkpoint import load_metadata, load_tensors, save_tensors
from prefgen.recipes.loop import Deadline, Loop
from prefgen.recipes.sharding import cut_like


class Best:
    """Keeps the weights of the look that lost least. Looks are pure functions of the weights, so that a training that
    goes on after a kill, and looks again at what it has looked at, keeps the same."""

    def __init__(
        self,
        path: Path,
        module: nn.Module,
        lost: Callable[[nn.Module], float],
        say: Callable[[str], None],
        made_from: str,
    ) -> None:
        self.path, self.module, self.lost, self.say, self.made_from = path, module, lost, say, made_from
        self.looked_after = -1
        self.loop: Loop | None = None

    def look(self, n_seen: int) -> None:
        """Measures the weights as they are in the loop that runs, and keeps them if they are better than all before;
        once for each count. The first rank looks, or all of them where weights are cut."""
        if n_seen == self.looked_after or self.loop is None:
            return
        self.looked_after = n_seen
        lost = self.loop.measured(lambda: self.lost(self.module))
        known = load_metadata(self.path) if self.path.exists() else {}
        if known and known["made_from"] != self.made_from:
            raise ModelError(f"{self.path} is another training's", hint="give another --work")
        is_best = bool(not known or lost < known["lost"])
        if self.loop.is_cut:
            is_best = bool(ranks.agreed(int(is_best)))
        self.say(f"{self.path.name.split('.')[0]}: {lost:.4f} lost on validation people after {n_seen}")
        weights = self.loop.whole_parameters() if is_best else {}
        if is_best and ranks.is_first():
            save_tensors(self.path, weights, {"lost": lost, "samples": n_seen, "made_from": self.made_from})

    def of(self, loop: Loop, deadline: Deadline) -> None:
        """Runs `loop`, whose looks are this one's, to its end, and leaves the module in the best weights of all looks,
        the averaged weights of the end among them."""
        self.loop = loop
        loop.run(deadline)
        loop.use_ema()
        self.module.eval()
        if ranks.is_first() or loop.is_cut:
            self.look(loop.n_seen)
        ranks.wait()
        self.take()

    def take(self) -> None:
        """Puts the kept weights into the module."""
        take(self.path, self.module)


def take(path: Path, module: nn.Module) -> None:
    """Puts weights that a `Best` has kept into a module's trainable ones."""
    tensors = load_tensors(path)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(cut_like(tensors[name], parameter))
