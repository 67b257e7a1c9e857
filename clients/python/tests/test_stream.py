"""Subscriptions, in threads and tasks, through restarts of the server."""

import asyncio
import threading

import numpy as np
import pytest

from mkts.client import Client, ConnectionFailed, Event, InvalidInput

AT = np.datetime64("2020-01-02T14:30", "ns")
LIMIT = 30


def row(price, at=AT):
    return {"Epoch": [at], "Price": [price]}


def test_events_in_order(client):
    with client.subscribe(["S1/1Min/X", "S2/*/*"]) as events:
        for symbol in ("S1", "S3", "S2"):
            client.write(f"{symbol}/1Min/X", row(1.5))
        first, second = events.receive(LIMIT), events.receive(LIMIT)
    assert first == Event("S1/1Min/X", {"Epoch": 1577975400, "Price": 1.5})
    assert (second.key, second.symbol, second.time) == ("S2/1Min/X", "S2", AT)
    assert events.receive() is None and list(events) == []


def test_ticks_and_texts(client):
    with client.subscribe("ST/*/*") as events:
        at = AT + np.timedelta64(7, "ns")
        client.write("ST/1Sec/X", {"Epoch": [at], "Text": ["\u20acuro"]}, kind="tick")
        event = next(events)
    assert event.time == at and event.data["Text"] == "\u20acuro"


def test_no_event_in_time(client):
    with client.subscribe("NOBODY/1Min/X") as events:
        with pytest.raises(TimeoutError):
            events.receive(0.01)


def test_another_thread_ends_it(client):
    events = client.subscribe("NOBODY/1Min/X").open()
    seen = []
    thread = threading.Thread(target=lambda: seen.extend(events))
    thread.start()
    events.close()
    thread.join(LIMIT)
    assert not thread.is_alive() and seen == []


def test_patterns_that_are_none(client):
    for patterns in ("", "A/1Min", [], ["A/1Min/X", 5]):
        with pytest.raises(InvalidInput):
            client.subscribe(patterns)
    with pytest.raises(InvalidInput, match="the limit is 512"):
        client.subscribe("x" * 600 + "/1Min/X").open()


def test_nobody_listens():
    with pytest.raises(ConnectionFailed):
        next(Client("http://127.0.0.1:1").subscribe("*/*/*"))


def test_it_comes_back_after_a_restart_and_says_so(new_server):
    server, gaps = new_server(), []
    client = Client(server.url)
    events = client.subscribe("*/1Min/X", on_gap=gaps.append).open()
    client.write("A/1Min/X", row(1.0))
    assert events.receive(LIMIT).data["Price"] == 1.0
    server.stop()
    seen = []
    thread = threading.Thread(target=lambda: seen.append(events.receive(LIMIT).data["Price"]))
    thread.start()
    server.start()
    # Written again until it arrives: what was published before the connection is gone.
    while not seen and thread.is_alive():
        client.write("A/1Min/X", row(2.0))
        thread.join(0.02)
    thread.join(LIMIT)
    events.close()
    assert seen == [2.0] and events.reconnects == 1
    assert len(gaps) == 1 and gaps[0].since <= gaps[0].until and gaps[0].reason


def test_without_reconnect_the_end_is_an_error(new_server):
    server = new_server()
    events = Client(server.url).subscribe("*/*/*", reconnect=False).open()
    server.stop()
    with pytest.raises(ConnectionFailed):
        events.receive(LIMIT)


def test_tasks(client):
    async def run():
        seen = []
        async with client.subscribe("AS/1Min/X") as events:
            await asyncio.to_thread(client.write, "AS/1Min/X", row(1.0))
            async for event in events:
                seen.append(event.data["Price"])
                if len(seen) == 2:
                    break
                await asyncio.to_thread(client.write, "AS/1Min/X", row(2.0))
        async for event in events:
            raise AssertionError("it is closed")
        return seen

    assert asyncio.run(asyncio.wait_for(run(), LIMIT)) == [1.0, 2.0]


def test_tasks_come_back_after_a_restart(new_server):
    server, gaps = new_server(), []
    client = Client(server.url)

    async def run():
        async with client.subscribe("*/1Min/X", on_gap=gaps.append) as events:
            await asyncio.to_thread(server.stop)
            waiting = asyncio.ensure_future(anext(aiter(events)))
            await asyncio.to_thread(server.start)
            while not waiting.done():
                await asyncio.to_thread(client.write, "A/1Min/X", row(2.0))
                await asyncio.wait([waiting], timeout=0.02)
            return waiting.result()

    event = asyncio.run(asyncio.wait_for(run(), LIMIT))
    assert event.data["Price"] == 2.0 and len(gaps) == 1
