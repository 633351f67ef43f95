"""The installed command, as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from PIL import Image


def run(*arguments: object, given: str = "") -> subprocess.CompletedProcess[str]:
    """`python -c …` rather than a script on the path, so that it runs wherever the package can be imported."""
    command = [sys.executable, "-c", "from prefgen.cli.main import run; run()", *map(str, arguments)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, input=given, capture_output=True, text=True, env=environment, timeout=300)


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom prefgen.cli.main import status_of\nassert status_of(['--help']) == 0\n"
        "heavy = {'torch', 'numpy', 'PIL', 'transformers', 'diffusers'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for verb in ("demo", "generate", "profile", "explain", "rank", "bench", "train", "probe", "info", "study", "push"):
        assert verb in done.stdout


def test_importing_the_package_is_light_and_its_names_are_there():
    code = (
        "import sys, prefgen\nassert 'torch' not in sys.modules\n"
        "assert prefgen.PrefGen.__name__ == 'PrefGen' and prefgen.Profile.__name__ == 'Profile'\n"
        "assert set(prefgen.__all__) == set(dir(prefgen))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_generate_reads_stdin_and_keeps_logs_off_stdout(model_folder, tmp_path):
    done = run("generate", "-", "--model", model_folder, "-o", tmp_path, "--seed", 3, "--json", given="a foxx\n")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["prompt"] == "a foxx"
    assert data["unknown_words"] == [{"word": "foxx", "nearest": ["fox"]}]
    with Image.open(data["images"][0]["file"]) as image:
        assert image.text["seed"] == "3"
    assert all(line.startswith(("warning: ", "nobody")) for line in done.stderr.splitlines()), done.stderr


def test_a_mistake_ends_with_status_2_and_no_traceback(tmp_path):
    (tmp_path / "me.safetensors").write_bytes(b"not a profile")
    done = run("profile", "show", tmp_path / "me.safetensors")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
