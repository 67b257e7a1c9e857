"""The package itself: generated code, and what decorators refuse."""

import pathlib
import sys

import pytest

from mkts.plugin import bgworker, source, trigger
from mkts.plugin.plugin import plugin_of

ROOT = pathlib.Path(__file__).resolve().parent.parent


def test_the_committed_messages_are_what_the_generator_makes(tmp_path):
    pytest.importorskip("grpc_tools")
    sys.path.insert(0, str(ROOT))
    from generate import generate

    generate(tmp_path)
    folder = pathlib.Path("mkts/plugin/v1")
    fresh = {file.name: file.read_text() for file in (tmp_path / folder).iterdir()}
    assert sorted(fresh) == ["plugin_pb2.py", "plugin_pb2.pyi", "plugin_pb2_grpc.py"]
    for name, text in fresh.items():
        committed = (ROOT / "src" / folder / name).read_text()
        assert committed == text, f"{name} does not fit plugin.proto: run python generate.py"


def test_mkts_is_open_for_other_packages():
    import mkts

    assert getattr(mkts, "__file__", None) is None


class Fires:
    def fire(self, ctx, event): ...


async def later(ctx, event): ...


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: trigger("a b", "1.0.0"), "name 'a b': letters, digits, _ and - are allowed"),
        (lambda: trigger("a", "1.0"), "a: version '1.0' is not of the form 1.2.3"),
        (lambda: trigger("a", "1.0.0", config=dict), "a: config=<class 'dict'> is no dataclass"),
        (lambda: trigger("a", "1.0.0", delivery="once"), "a: delivery is one of volatile, durable"),
        (lambda: trigger("a", "1.0.0", state_scope="x"), "a: state_scope is one of instance, key"),
        (lambda: trigger("a", "1.0.0", state_version=0), "a: state_version begins at 1"),
        (lambda: bgworker("a", "1.0.0")(Fires), "a: a bgworker needs a method run"),
        (lambda: source("a", "1.0.0")(Fires), "a: a source needs a method open"),
        (lambda: source("a", "1.0.0")(print), "a: a source is a class"),
        (lambda: trigger("a", "1.0.0")(7), "a: a trigger is a class or function"),
        (lambda: trigger("a", "1.0.0")(later), "a: a trigger is called by a thread of its own"),
    ],
)
def test_what_is_no_plugin_is_refused_where_it_is_written(make, text):
    with pytest.raises((ValueError, TypeError)) as caught:
        make()
    assert str(caught.value).startswith(text)


def test_a_subclass_is_no_plugin_by_inheritance():
    made = trigger("a", "1.0.0")(type("Made", (Fires,), {}))
    assert plugin_of(made).name == "a"
    assert plugin_of(type("Below", (made,), {})) is None
