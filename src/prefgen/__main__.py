"""`python -m prefgen`: the command, for launchers that start a module (torchrun, accelerate)."""

from prefgen.cli.main import run

if __name__ == "__main__":
    run()
