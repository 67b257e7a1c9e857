"""Generates src/mkts/plugin/v1 from plugins/proto: python generate.py [FOLDER]

Needs grpcio-tools in the version that pyproject.toml names; a test compares the two.
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
PROTOS = HERE.parent / "proto" / "proto"


def generate(folder):
    """Writes the generated files below a folder."""
    from grpc_tools import protoc

    code = protoc.main(
        [
            "protoc",
            f"-I{PROTOS}",
            f"--python_out={folder}",
            f"--pyi_out={folder}",
            f"--grpc_python_out={folder}",
            str(PROTOS / "mkts" / "plugin" / "v1" / "plugin.proto"),
        ]
    )
    if code != 0:
        raise SystemExit(f"protoc: exit code {code}")


if __name__ == "__main__":
    generate(sys.argv[1] if len(sys.argv) > 1 else HERE / "src")
