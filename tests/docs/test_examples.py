"""Runs the examples of the documentation: every fenced block in README.md and docs/ that has a title, the name of a
file into which a reader could paste it.

    ```python title="greet.py"

Each is run from beginning to end on a database of its own, which it finds by `QUEUER_DB_*`. What it asserts is checked,
and what it prints is compared with the comments behind `print(…)`, where … stands for anything.
"""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support.servers import variables

from queuer import DatabaseConfiguration
from queuer.database import migrate
from queuer.tasks import declared

ROOT = migrate.folder().parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r'^```python title="(?P<name>\w+)\.py"\n(?P<code>.*?)^```$', re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)


class Example(NamedTuple):
    page: Path
    name: str
    line: int
    code: str


def examples(page: Path) -> Iterator[Example]:
    text = page.read_text(encoding="utf-8")
    for block in FENCE.finditer(text):
        yield Example(page, block["name"], text.count("\n", 0, block.start("code")), block["code"])


EXAMPLES = [example for page in PAGES for example in examples(page)]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.page.stem}-{example.name}")
def test_an_example_runs(
    example: Example,
    config: DatabaseConfiguration,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for variable, value in variables(config).items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(declared, "_tasks", {})  # what @queuer.task declares is the whole process's
    # A file of its own, so that its functions can be pickled and found by child processes. The empty lines let a
    # traceback name the line of the page.
    (tmp_path / f"{example.name}.py").write_text("\n" * example.line + example.code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        importlib.import_module(example.name)
    finally:
        sys.modules.pop(example.name, None)
    promised = "\n".join(PRINTED.findall(example.code))
    assert re.fullmatch(re.escape(promised).replace("…", ".*"), printed := capsys.readouterr().out.rstrip()), printed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_page_has_an_example(page: Path) -> None:
    assert list(examples(page))


def test_no_example_has_the_name_of_a_module_or_of_another() -> None:
    names = [example.name for example in EXAMPLES]
    assert sorted(names) == sorted(set(names))
    assert not [name for name in names if name in sys.modules or name in sys.stdlib_module_names]
