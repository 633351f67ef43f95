"""InstantStyle: the stock IP-Adapter, heard in the blocks of style alone and rid of what the pictures' prompts say."""

from __future__ import annotations

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from prefgen.adapter import UserAdapter, UserTokens, cross_attentions
from prefgen.agents import prompt_of
from prefgen.benchmark.chain import clip_embeddings
from prefgen.benchmark.methods.ip_adapter import IpAdapterMethod
from prefgen.benchmark.methods.protocol import Bench, Need, NotRun
from prefgen.benchmark.tasks import Shelf

EVERY_UP_BLOCK = -1
"""As `up_block`: all blocks on the way up."""
PROJECTION = "text_projection.safetensors"


class InstantStyleMethod(IpAdapterMethod):
    """Re-implementation of InstantStyle (arXiv 2404.02733) on the weights of `ip_adapter`, which it does not train.

    Injection into style blocks only (§3.2): the picture is heard in one block. In SDXL that is `up_blocks.0`'s second
    attention, in Stable Diffusion 1.5 the authors' code names the first block on the way up that has cross-attention.
    In a network of three levels with seven cross-attentions nothing says that this role falls to the same place, so
    `up_block` is tuned as the strengths are: the index of the block, or -1 for all blocks on the way up.

    Separating content (§3.2): the content text's embedding is subtracted from each picture's. That asks for a CLIP with
    both towers in one space. The embedded model's has none: the heads that joined its towers in training are thrown
    away (text states as they are name a picture's subject among 48 no better than chance). So the text tower is given
    back the linear projection that CLIP has, fitted by least squares on training pictures and their prompts
    (`prefgen.recipes.text_projection`), and what is subtracted is `content_strength` times what a picture's own prompt,
    subject and setting, says of it.
    """

    name = "instantstyle"
    needs: tuple[Need, ...] = ("images", "prompts", "training")

    def __init__(
        self,
        bench: Bench,
        *,
        guidance_scale: float = 3.0,
        like_strength: float = 1.0,
        up_block: float = EVERY_UP_BLOCK,
        content_strength: float = 1.0,
    ) -> None:
        super().__init__(bench, guidance_scale=guidance_scale, like_strength=like_strength)
        self.content_strength = content_strength
        where = "up_blocks." if up_block == EVERY_UP_BLOCK else f"up_blocks.{int(up_block)}."
        if not heard_only_in(self.baseline.adapter, bench.chain.pipe.unet, where):
            raise NotRun(f"because the network has no cross-attention in {where.rstrip('.')}")
        folder = bench.baselines / self.name
        try:
            state = load_file(folder / PROJECTION)
            d_clip, d_text = state["weight"].shape
            self.projection = nn.Linear(d_text, d_clip)
            self.projection.load_state_dict({name: value.float() for name, value in state.items()})
        except FileNotFoundError as error:
            raise NotRun(f"because there are no weights in {folder.parent.name}/{folder.name}") from error
        except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
            raise NotRun(f"because its weights cannot be used: {error}") from error

    @torch.no_grad()
    def tokens(self, shelf: Shelf) -> UserTokens:
        """One row of tokens from the mean over the liked pictures of what their prompts do not say."""
        seen = clip_embeddings(self.bench.chain, shelf.liked)
        said = self.content([prompt_of(shown.scene) for shown in shelf.shown if shown.liked]).to(seen)
        return self.baseline.tokens(seen - self.content_strength * said)

    @torch.no_grad()
    def content(self, prompts: list[str]) -> Tensor:
        """float32 [n, d_clip]: what texts say of a picture, in the space of its embedding."""
        pipe = self.bench.chain.pipe
        batch = pipe.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt")
        return self.projection(pipe.text_encoder(input_ids=batch.input_ids.to(pipe.device)).pooler_output.float().cpu())


@torch.no_grad()
def heard_only_in(adapter: UserAdapter, unet: nn.Module, where: str) -> int:
    """Silences the adapter's likes in every cross-attention whose name does not start with `where`; returns how many
    still speak. Their values become zero, so that a silent layer's output is the plain model's."""
    n_heard = 0
    for name, layer in zip(cross_attentions(unet), adapter.layers):  # pyright: ignore[reportArgumentType]
        if name.startswith(where):
            n_heard += 1
        else:
            layer.get_submodule("like.to_v_ip").weight.zero_()  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
    return n_heard
