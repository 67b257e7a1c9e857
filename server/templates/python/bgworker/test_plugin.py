"""What can be tested without a server, and then all that `mkts plugin test` tests."""

import os
import shutil
import subprocess
from pathlib import Path

from {{crate}} import row

HERE = Path(__file__).parent


def test_a_row_has_its_number():
    assert row(3)["Epoch"] == [3]
    assert row(3)["Beat"].tolist() == [3]


def test_it_stands_crashes():
    mkts = os.environ.get("MKTS") or shutil.which("mkts")
    assert mkts, "mkts is not in PATH: set MKTS to the program"
    config = '{"into": "BEAT/1Sec/N", "every_ms": 1, "count": 3}'
    command = [mkts, "plugin", "test", str(HERE), "--config", config]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
