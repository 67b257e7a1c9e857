"""What can be tested without a server, and then all that `mkts plugin test` tests."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from {{crate}} import parse

HERE = Path(__file__).parent


def test_a_line_has_a_time_and_a_price():
    assert parse("2, 12.5") == (2, 12.5)
    with pytest.raises(ValueError):
        parse("2;12.5")


def test_it_stands_crashes():
    mkts = os.environ.get("MKTS") or shutil.which("mkts")
    assert mkts, "mkts is not in PATH: set MKTS to the program"
    command = [mkts, "plugin", "test", str(HERE), "--config", '{"into": "X/1Min/PRICE"}']
    command += ["--params", str(HERE / "prices.csv")]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
