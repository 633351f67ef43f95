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
        self.parameters = {k: p for k, p in module.named_parameters() if p.requires_grad}

    def look(self, n_seen: int) -> None:
        """Measures the weights as they are, and keeps them if they are better than all before; once for each count."""
        if n_seen == self.looked_after:
            return
        self.looked_after = n_seen
        lost = self.lost(self.module)
        known = load_metadata(self.path) if self.path.exists() else {}
        if known and known["made_from"] != self.made_from:
            raise ModelError(f"{self.path} is another training's", hint="give another --work")
        is_best = not known or lost < known["lost"]
        self.say(f"{self.path.name.split('.')[0]}: {lost:.4f} lost on validation people after {n_seen}")
        if is_best:
            metadata = {"lost": lost, "samples": n_seen, "made_from": self.made_from}
            save_tensors(self.path, {k: p.detach() for k, p in self.parameters.items()}, metadata)

    def of(self, loop: Loop, deadline: Deadline) -> None:
        """Runs `loop`, whose looks are this one's, to its end, and leaves the module in the best weights of all looks,
        the averaged weights of the end among them."""
        loop.run(deadline)
        loop.use_ema()
        self.module.eval()
        if ranks.is_first():
            with ranks.alone():
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
                parameter.copy_(tensors[name])
