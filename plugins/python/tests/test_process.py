"""The process: started by hand, its lifeline, its end."""

import json
import signal
import subprocess
import sys

import pytest

from fake import HERE, PATIENCE, Server, bars, environment
from mkts.plugin.v1 import plugin_pb2 as pb


def by_hand(*args, **env):
    return subprocess.run(
        [sys.executable, "-m", "mkts.plugin", *args],
        env=environment() | env,
        cwd=HERE,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_started_by_hand_it_prints_its_manifest():
    for place in ("plugins:Probe", "plugins.py:Probe", str(HERE / "plugins.py:Probe")):
        done = by_hand(place)
        assert (done.returncode, done.stderr) == (64, "")
        assert done.stdout.count("\n") == 1
        assert json.loads(done.stdout) == {
            "name": "probe",
            "version": "1.2.3",
            "about": "",
            "kind": "trigger",
            "abi": [0, 0],
            "entry": "",
            "scope": "constructor",
            "state_scope": "instance",
            "state_version": 2,
            "delivery": "exact",
            "accepts_gap": True,
            "writes": ["OUT/**"],
            "secrets": [],
            "metrics": ["fires"],
        }


@pytest.mark.parametrize(
    "place, text",
    [
        ("plugins:Prob", "plugins has no 'Prob'; it has Probe, state_calls, Trouble"),
        ("plugins:Settings", "plugins:Settings is no plugin: decorate it with @trigger"),
        ("plugins", "plugins has 8 plugins (Probe, "),
        ("fake", "fake has 0 plugins (none): say fake:OBJECT"),
        ("no.such", "no module 'no.such' in "),
        ("no.py", f"{HERE}/no.py: no such file"),
    ],
)
def test_what_is_no_plugin_is_named(place, text):
    done = by_hand(place)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(text)


def test_a_module_that_cannot_be_imported_says_so_and_is_no_plugin():
    done = by_hand("plugins:Probe", MKTS_TEST_IMPORT="fails")
    assert done.returncode == 1 and "AssertionError: asked to fail" in done.stderr


def test_a_wrong_cookie_ends_it():
    server = Server("Probe", cookie="another")
    assert server.process.wait(PATIENCE) == 1
    assert server.close()[1] == "probe: no session: PERMISSION_DENIED: wrong cookie\n"


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_with_its_lifeline_ends_all_it_has_started(start):
    server = start("grandchild")
    server.configure()
    pid = int(server.fire(type=4).effects[0].publish.payload)
    assert alive(pid)
    server.process.stdin.close()
    server.process.stdin = None
    assert server.process.wait(PATIENCE) == -signal.SIGKILL
    server.wait_for("the grandchild's end", lambda: not alive(pid))


def test_a_lost_session_ends_it(start):
    server = start("Probe")
    server.configure()
    server._grpc.stop(0)
    assert server.process.wait(PATIENCE) == -signal.SIGKILL


def test_sigterm_is_a_stop_also_for_a_busy_plugin(start):
    server = start("Probe")
    server.configure()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(PATIENCE) == 0
    assert server.close()[0] == "closed stop\n"
    server = start("Trouble")
    server.configure()
    server.fire(type=4, payload=b"wait", wait=False)
    # Not needed for the outcome: the first heartbeat only makes it likely that the fire has begun.
    server.wait_for("a first heartbeat", lambda: server.heartbeats)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(PATIENCE) == 0


def test_a_config_is_checked_without_making_an_object(start):
    server = start("Probe")
    config = '{"levels": [{"price": 1}, {"price": "high"}]}'
    ready = server.configure(config=config, check_only=True)
    assert ready.status.code == -2
    assert ready.status.path == ".levels[1].price"
    assert ready.status.message == 'expected a number, found "high"'
    ready = server.configure_again(config='{"size": 3}', check_only=True)
    assert ready.status == pb.Status()
    assert server.fire(bars_of_nothing()).message == "protocol: no object 0 to fire"
    assert server.stop() == 0


def bars_of_nothing():
    return {"Epoch": [], "Close": []}


def test_an_object_that_cannot_be_made_is_not_ready(start):
    server = start("Feed")
    ready = server.configure("source", '{"size": "many"}')
    assert (ready.status.code, ready.status.path) == (-2, ".size")
    ready = server.configure_again("trigger", "null")
    assert ready.status.code == -8
    ready = server.configure_again("source", "null")
    assert ready.status.code == 0


def test_objects_of_a_parallel_trigger_are_apart(start):
    server = start("Probe")
    server.configure(parallelism=2)
    payloads = [server.fire(bars(1), object=n).effects[2].publish.payload for n in (0, 1, 0)]
    assert payloads == [b"AAPL bars 1 1", b"AAPL bars 2 1", b"AAPL bars 3 2"]
