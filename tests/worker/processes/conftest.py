import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.process_bench import Bench

from queuer.worker import child as child_module


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.runner.close()


@pytest.fixture
def pipe(tmp_path: Path) -> str:
    os.mkfifo(tmp_path / "pipe")
    return str(tmp_path / "pipe")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "KILL_AFTER", 0.1)
    monkeypatch.setattr(child_module, "LOOK_EVERY", 0.01)
