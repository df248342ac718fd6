"""Runs the examples of the documentation: every fenced block in README.md and docs/ that has a title, the name of a
file into which a reader could paste it.

    ```python title="greet.py"

Each is run from beginning to end on a database of its own, which it finds by `QUEUER_DB_*`. What it asserts is checked,
and what it prints is compared with the comments behind `print(…)`, where … stands for anything.

Tests are run by pytest, with all files of their page beside them.
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

pytestmark = pytest.mark.owner  # the examples are of applications that own their database

ROOT = migrate.folder().parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r'^```python title="(?P<name>\w+)\.py"\n(?P<code>.*?)^```$', re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)


class Example(NamedTuple):
    page: Path
    name: str
    line: int
    code: str

    @property
    def is_for_pytest(self) -> bool:
        return self.name.startswith("test_") or self.name == "conftest"

    def write(self, folder: Path) -> None:
        # The empty lines let a traceback name the line of the page.
        (folder / f"{self.name}.py").write_text("\n" * self.line + self.code, encoding="utf-8")


def examples(page: Path) -> Iterator[Example]:
    text = page.read_text(encoding="utf-8")
    for block in FENCE.finditer(text):
        yield Example(page, block["name"], text.count("\n", 0, block.start("code")), block["code"])


BLOCKS = [example for page in PAGES for example in examples(page)]
EXAMPLES = [example for example in BLOCKS if not example.is_for_pytest]
PAGES_WITH_TESTS = list(dict.fromkeys(example.page for example in BLOCKS if example.is_for_pytest))


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
    example.write(tmp_path)  # a file of its own, so that its functions can be pickled and found by child processes
    monkeypatch.syspath_prepend(tmp_path)
    try:
        importlib.import_module(example.name)
    finally:
        sys.modules.pop(example.name, None)
    promised = "\n".join(PRINTED.findall(example.code))
    assert re.fullmatch(re.escape(promised).replace("…", ".*"), printed := capsys.readouterr().out.rstrip()), printed


@pytest.mark.parametrize("page", PAGES_WITH_TESTS, ids=lambda page: page.stem)
def test_the_tests_of_a_page_pass(
    page: Path, config: DatabaseConfiguration, monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester
) -> None:
    url = config.url.set(drivername="postgresql").render_as_string(hide_password=False)
    monkeypatch.setenv("QUEUER_TEST_DATABASE_URL", url)
    for example in examples(page):
        example.write(pytester.path)
    promised = sum(example.code.count("def test_") for example in examples(page))
    pytester.runpytest_subprocess("-W", "error").assert_outcomes(passed=promised)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_page_has_an_example(page: Path) -> None:
    assert list(examples(page))


def test_no_example_has_the_name_of_a_module_or_of_another() -> None:
    names = [example.name for example in BLOCKS if example.name != "conftest"]
    assert sorted(names) == sorted(set(names))
    assert not [name for name in names if name in sys.modules or name in sys.stdlib_module_names]
