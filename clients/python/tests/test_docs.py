"""The examples of docs/python.md, run one after the other; what they print is on the page.

`python tests/test_docs.py` writes the page anew, to be read before it is committed.
"""

import contextlib
import io
import os
import pathlib
import re
import sys

from conftest import DATA, Server

PAGE = DATA.parent / "docs" / "python.md"
EXAMPLE = re.compile(r"```python\n(.*?)```\n(?:```text\n(.*?)```\n)?", re.DOTALL)
URL = "http://localhost:5993"
GRPC = "localhost:5995"


def run(server: Server, page: str) -> list[tuple[re.Match[str], str]]:
    """Each example and what it printed."""
    names: dict[str, object] = {}
    seen = []
    for example in EXAMPLE.finditer(page):
        printed = io.StringIO()
        code = example[1].replace(URL, server.url).replace(GRPC, server.grpc).replace('"data/', f'"{DATA}/')
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"{PAGE}: {example[1].splitlines()[0]}", "exec"), names)
        lines = [line.rstrip() for line in printed.getvalue().splitlines()]
        seen.append((example, "".join(f"{line}\n" for line in lines).replace(server.url, URL)))
    return seen


def test_the_page_shows_what_the_examples_print(server):
    examples = run(server, PAGE.read_text())
    assert len(examples) > 8
    for example, printed in examples:
        assert printed == (example[2] or ""), example[1]


if __name__ == "__main__":
    assert "MKTS_BIN" in os.environ, "MKTS_BIN is the path of mkts"
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    server = Server()
    try:
        page = PAGE.read_text()
        for example, printed in reversed(run(server, page)):
            block = f"```python\n{example[1]}```\n" + (f"```text\n{printed}```\n" if printed else "")
            page = page[: example.start()] + block + page[example.end() :]
        PAGE.write_text(page)
    finally:
        server.remove()
