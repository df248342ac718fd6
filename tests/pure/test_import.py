import json
import subprocess
import sys
from typing import Any

import pytest

import queuer


def test_every_public_name_is_there() -> None:
    assert set(queuer.__all__) <= set(dir(queuer))
    for name in queuer.__all__:
        assert getattr(queuer, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'queuer' has no attribute 'nothing'"):
        queuer.nothing  # noqa: B018


def loaded_by(statement: str) -> Any:
    program = f"{statement}; import json, sys; print(json.dumps(sorted(sys.modules)))"
    return json.loads(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)


def test_what_a_child_process_needs_does_not_import_sqlalchemy() -> None:
    light = loaded_by("import queuer.worker.serve; from queuer import current_job, task")
    assert {"sqlalchemy", "alembic", "psycopg", "asyncio"}.isdisjoint(light)
    assert "sqlalchemy" in loaded_by("from queuer import new_queuer")
