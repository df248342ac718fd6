"""Checks that mypy finds the mistakes that the files in tests/typing mark, and no others. Part of `make check`."""

import re
import sys
from pathlib import Path

from mypy import api

ROOT = Path(__file__).parents[2]
REPORTED = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+): error: (?P<text>.*)$", re.MULTILINE)
MARKED = re.compile(r"# E: (?P<text>.*)$")


def main() -> None:
    wrong, marks = [], 0
    for path in sorted((ROOT / "tests" / "typing").glob("*.py")):
        expected = marked(path)
        found = reported(path)
        marks += len(expected)
        for line in sorted(expected.keys() | found.keys()):
            wanted, got = expected.get(line), found.get(line, [])
            if wanted is None or not any(wanted in text for text in got):
                wrong.append(f"{path}:{line}: expected {wanted or 'no error'}, mypy says {got or 'nothing'}")
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"mypy finds the {marks} mistakes that are marked, and no others")


def marked(path: Path) -> dict[int, str]:
    lines = enumerate(path.read_text().splitlines(), start=1)
    return {number: found["text"] for number, line in lines if (found := MARKED.search(line))}


def reported(path: Path) -> dict[int, list[str]]:
    out, err, _ = api.run([str(path), "--config-file", str(ROOT / "pyproject.toml"), "--show-absolute-path"])
    if err:
        sys.exit(err)
    found: dict[int, list[str]] = {}
    for error in REPORTED.finditer(out):
        if Path(error["file"]) != path:
            sys.exit(out)
        found.setdefault(int(error["line"]), []).append(error["text"])
    return found


if __name__ == "__main__":
    main()
