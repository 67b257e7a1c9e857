"""What can be tested without a server, and then all that `mkts plugin test` tests."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
from {{crate}} import count_above

HERE = Path(__file__).parent


def test_only_what_is_above_counts():
    assert count_above(np.array([1.0, 2.0, 2.5]), 2.0) == 1
    assert count_above(np.array([], "f4"), 2.0) == 0


def test_it_stands_crashes_panics_and_retries():
    mkts = os.environ.get("MKTS") or shutil.which("mkts")
    assert mkts, "mkts is not in PATH: set MKTS to the program"
    command = [mkts, "plugin", "test", str(HERE), "--config", '{"above": 100}']
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
