"""The package itself: types, names, its place beside others."""

import importlib.util
import pathlib
import subprocess
import sys

import mkts.client
import mkts.compat

ROOT = pathlib.Path(__file__).resolve().parent.parent


def test_types_are_strict():
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", "/dev/null"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_mkts_is_open_for_other_packages():
    import mkts

    assert getattr(mkts, "__file__", None) is None
    # Installed beside it, from a distribution of its own.
    assert importlib.util.find_spec("mkts.plugin") is not None
    for package in (mkts.client, mkts.compat):
        assert (pathlib.Path(package.__file__).parent / "py.typed").exists()


def test_all_that_is_public_is_described():
    for package in (mkts.client, mkts.compat):
        for name in package.__all__:
            assert getattr(package, name).__doc__, name


def test_importing_it_needs_no_library_of_frames():
    """Only what a program uses must be installed."""
    hidden = ("pandas", "pyarrow", "polars", "requests", "grpc", "google")
    program = f"""
import sys
class Hide:
    def find_spec(self, name, *_):
        if name.split(".")[0] in {hidden!r}:
            raise ImportError(name)
sys.meta_path.insert(0, Hide())
import mkts.client
from mkts.client.result import SqlResult
for call in (SqlResult(b"").arrow, SqlResult(b"").polars):
    try:
        call()
    except mkts.client.MissingPackage as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "pyarrow is not installed; pip install 'mkts-client[arrow]'",
        "polars is not installed; pip install 'mkts-client[polars]'",
    ]


def test_old_code_without_requests_and_grpcio():
    program = """
import sys
class Hide:
    def find_spec(self, name, *_):
        if name.split(".")[0] in ("requests", "grpc"):
            raise ImportError(name)
sys.meta_path.insert(0, Hide())
import mkts.compat
try:
    mkts.compat.Client("http://127.0.0.1:1/rpc").list_symbols()
except OSError as error:
    print(type(error).__name__)
try:
    mkts.compat.Client("h:1", grpc=True)
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "RequestsConnectionError",
        "grpcio is not installed; pip install 'mkts-client[grpc]'",
    ]
