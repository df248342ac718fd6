"""Does what the READMEs of examples/ say: their two commands, in a fresh clone, a new environment and an empty home.

Not part of `make check`, since it installs each application anew; `.ci/run` runs it.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic, sleep

import httpx
from httpx import Client

ROOT = Path(__file__).parents[2]
PORT = "58231"
COMMANDS = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def order_tea(client: Client) -> str:
    order = {"reference": "first", "item": "tea", "quantity": 2}
    return str(client.post("/orders", json=order).raise_for_status().json()["job"])


def subscribe(client: Client) -> str:
    return str(client.post("/subscribers", data={"email": "ada@example.org"}).raise_for_status().json()["job"])


APPLICATIONS: Mapping[str, Callable[[Client], str]] = {"fastapi_app": order_tea, "flask_app": subscribe}


def main() -> None:
    for name, use in APPLICATIONS.items():
        with tempfile.TemporaryDirectory() as directory:
            home = Path(directory)
            subprocess.run(["git", "clone", "--quiet", str(ROOT), str(home / "clone")], check=True)
            check(home / "clone" / "examples" / name, environment(home), use)
        print(f"the two commands of examples/{name} install it and run it")


def check(application: Path, environ: dict[str, str], use: Callable[[Client], str]) -> None:
    found = COMMANDS.search((application / "README.md").read_text())
    install, run = found[1].splitlines() if found else ("", "")
    script = f"set -e\n{install}\nexec {run}"
    with subprocess.Popen(["bash", "-c", script], cwd=application, env=environ) as process:
        try:
            outcome = ask(process, use)
        finally:
            process.send_signal(signal.SIGINT)  # Ctrl-C
            process.wait(30)
    if '"SUCCEEDED"' not in outcome:
        sys.exit(f"{application.name}: the job came to {outcome!r}")


def ask(process: subprocess.Popen[bytes], use: Callable[[Client], str]) -> str:
    """The whole stream about a job, from the application's first answer on."""
    deadline = monotonic() + 300
    with Client(base_url=f"http://127.0.0.1:{PORT}", timeout=60, trust_env=False) as client:
        while True:
            try:
                return client.get(f"/jobs/{use(client)}/events").text
            except httpx.ConnectError:
                if process.poll() is not None or monotonic() > deadline:
                    raise
                sleep(0.5)


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("QUEUER_", "PYTHON", "VIRTUAL"))}
    settings = {"PORT": PORT, "UVICORN_PORT": PORT, "PIP_QUIET": "1"}
    return {**kept, **settings, "HOME": str(home), "QUEUER_EMBEDDED_DIRECTORY": str(home / "data")}


if __name__ == "__main__":
    main()
