"""Checks, with Alembic's own commands, that the revisions lead to what the models say. Part of `make check`."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("QUEUER_DB_")}
        environ["QUEUER_EMBEDDED_DIRECTORY"] = str(Path(directory) / "data")
        for arguments in (["upgrade", "head"], ["check"], ["downgrade", "base"], ["upgrade", "head"]):
            subprocess.run([sys.executable, "-m", "alembic", *arguments], cwd=ROOT, env=environ, check=True)


if __name__ == "__main__":
    main()
