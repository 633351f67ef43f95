"""LoRA files are PEFT's own: stock PEFT reads ours, and ours reads stock PEFT's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from prefgen.core import ModelError
from prefgen.mllm import Branch, Pack, chat_frame, load_lora, pack, run_packed, save_lora, with_lora
from prefgen.mllm.wording import like_question
from tiny_mllm import tiny_model, tiny_processor

TOKENS = torch.randn(3, 3, 32, generator=torch.Generator().manual_seed(0))


def tuned() -> Any:
    """A model whose updates say something."""
    torch.manual_seed(1)
    model = with_lora(tiny_model(), rank=2).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    return model


def said(model: Any) -> torch.Tensor:
    """The hidden states of a question."""
    question = Pack(history=[0, 1], branches=(Branch(question=like_question(2), answer="Yes."),))
    batch = pack(tiny_processor(), chat_frame(tiny_processor()), [question])
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    with torch.no_grad():
        return run_packed(plain, batch, TOKENS[torch.tensor(batch.pictures)])


def test_stock_peft_reads_our_files(tmp_path: Path) -> None:
    from peft import PeftModel

    model = tuned()
    save_lora(model, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    again = PeftModel.from_pretrained(tiny_model(), str(tmp_path)).eval()
    assert torch.equal(said(again), said(model))
    assert not torch.equal(said(again), said(tiny_model())), "the updates say something"
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["base_model_name_or_path"]) == ("LORA", 2, "")


def test_we_read_stock_pefts_files_and_no_pickles(tmp_path: Path) -> None:
    model = tuned()
    model.save_pretrained(tmp_path)
    again = load_lora(tiny_model(), tmp_path).eval()
    assert torch.equal(said(again), said(model))
    assert not any(p.requires_grad for p in again.parameters())
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"no adapter_model\.safetensors"):
        load_lora(tiny_model(), tmp_path)
