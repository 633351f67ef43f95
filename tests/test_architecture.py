"""Imports run one way through the rooms, and each fenced library stays in its room."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "prefgen"
ABOVE = {
    "core": set(),
    "history": {"core"},
    "agents": {"core", "history"},
    "mllm": {"core", "history", "embedding"},
    "probing": {"core"},
    "alignment": {"core"},
    "embedding": {"core", "alignment"},
    "adapter": {"core"},
    "diffusion": {"core", "adapter"},
    "pipeline": {"core", "history", "agents", "mllm", "probing", "embedding", "alignment", "adapter", "diffusion"},
    "benchmark": {"core", "history", "agents", "mllm", "embedding", "alignment", "adapter", "diffusion", "pipeline"},
    "study": {"core", "history", "pipeline", "benchmark"},
    "recipes": {"*"},
    "cli": {"*"},
}
FENCES = {
    "aggdraw": {"agents"},
    "peft": {"mllm"},
    "diffusers": {"adapter", "diffusion", "pipeline", "benchmark", "recipes"},
    "typer": {"cli"},
    "ray": {"recipes"},
    "bitsandbytes": {"adapter", "recipes"},
    "accelerate": {"recipes"},
    "pyarrow": {"history", "recipes"},
    "webdataset": {"history"},
    "datasets": {"history"},
}


def imports_of(path: Path) -> set[str]:
    """Every module a file imports, dotted."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names if node.module == "prefgen"}
    return found


@pytest.mark.parametrize("room", ABOVE)
def test_arrows_point_one_way(room: str) -> None:
    for path in (SOURCE / room).rglob("*.py"):
        for name in imports_of(path):
            parts = name.split(".")
            if parts[0] == "prefgen" and len(parts) > 1 and parts[1] in ABOVE and "*" not in ABOVE[room]:
                assert parts[1] in ABOVE[room] | {room}, f"{path.relative_to(SOURCE)} imports {name}"


@pytest.mark.parametrize("library", FENCES)
def test_fenced_libraries_stay_in_their_rooms(library: str) -> None:
    for path in SOURCE.rglob("*.py"):
        if any(name.split(".")[0] == library for name in imports_of(path)):
            assert path.relative_to(SOURCE).parts[0] in FENCES[library], f"{path.relative_to(SOURCE)} imports {library}"


def test_nothing_is_unpickled() -> None:
    for path in SOURCE.rglob("*.py"):
        text = path.read_text()
        assert "import pickle" not in text, path
        assert "torch.load(" not in text, path
        assert "allow_pickle=True" not in text, path
