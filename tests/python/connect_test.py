"""Drives `mkts connect` in a pseudo-terminal, as a person would: keys in, screen out.

usage: connect_test.py MKTS HTTP_HOST:PORT EMPTY_DIRECTORY

The exit code is 0 only if every step showed what it should.
"""

import os
import pty
import re
import select
import sys
import time

MKTS, HTTP, HOME = sys.argv[1:4]
# Far beyond what any step takes; a step that is not done by then never will be.
PATIENCE = 120
ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[()=>][0-9A-Za-z]?|[78DEHM])")
PROMPT = "\u00bb"


class Screen:
    def __init__(self, *arguments):
        pid, self.terminal = pty.fork()
        if pid == 0:
            os.environ.update(HOME=HOME, TERM="xterm-256color", LINES="40", COLUMNS="120")
            os.execv(MKTS, [MKTS, "connect", *arguments])
        self.pid = pid
        self.seen = ""

    def read(self, deadline):
        wait = deadline - time.monotonic()
        ready, _, _ = select.select([self.terminal], [], [], max(wait, 0))
        assert ready, f"nothing more came; there was: {self.seen[-2000:]!r}"
        try:
            raw = os.read(self.terminal, 65536)
        except OSError:
            raw = b""
        # The line editor asks the terminal where the cursor is, and waits for the answer.
        for _ in range(raw.count(b"\x1b[6n")):
            os.write(self.terminal, b"\x1b[1;1R")
        self.seen += raw.decode(errors="replace")
        return raw

    def until(self, text):
        """Waits for a text on the screen and forgets what came before its end."""
        deadline = time.monotonic() + PATIENCE
        while True:
            plain = ESCAPES.sub("", self.seen)
            at = plain.find(text)
            if at >= 0:
                self.seen = plain[at + len(text) :]
                return plain[:at]
            assert self.read(deadline), f"it ended without {text!r}: {plain!r}"

    def shows(self, text, seconds):
        """Whether a text comes within a time; it stays to be waited for."""
        deadline = time.monotonic() + seconds
        while text not in ESCAPES.sub("", self.seen):
            ready, _, _ = select.select([self.terminal], [], [], max(deadline - time.monotonic(), 0))
            if not ready:
                return False
            self.read(deadline + PATIENCE)
        return True

    def type(self, text):
        os.write(self.terminal, text.encode())

    def line(self, text):
        self.type(text + "\r")

    def ended(self):
        deadline = time.monotonic() + PATIENCE
        while self.read(deadline):
            pass
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)


def main():
    screen = Screen("--url", HTTP)
    screen.until(PROMPT)
    # Statements over several lines, and names that are completed.
    screen.line("select Volume")
    screen.type("from `AAPL/1M\t")
    screen.until("AAPL/1Min/OHLCV")
    screen.line("` where Volume > 10;")
    screen.until("20")
    screen.until("1 row")
    screen.until(PROMPT)
    # What is wrong is shown with a caret and a hint, and the session goes on.
    screen.line("select nothing from `AAPL/1Min/OHLCV`;")
    screen.until('no column "nothing"')
    screen.until("^")
    screen.until("hint: there are Epoch, Volume")
    screen.until(PROMPT)
    screen.line("\\nonsense")
    screen.until("there is no command \\nonsense")
    screen.until(PROMPT)
    screen.line("\\help show")
    screen.until("\\show")
    screen.until(PROMPT)
    # Ctrl-C throws a line away.
    screen.type("select 1 as never")
    screen.until("never")
    screen.type("\x03")
    screen.until(PROMPT)
    # Ctrl-C ends a statement that would run for ever, not the session.
    endless = "select count(*) from " + ", ".join(f"generate_series(1, 100000) t{i}" for i in range(4)) + ";"
    screen.line(endless)
    screen.until("t3;")
    while not screen.shows(PROMPT, 1):
        screen.type("\x03")
    # The history has the statement before, in this session and the next.
    screen.line("select 7 as seven;")
    screen.until("seven")
    screen.until("1 row")
    screen.until(PROMPT)
    screen.type("\x1b[A")
    screen.until("select 7 as seven;")
    screen.type("\x03")
    screen.until(PROMPT)
    # Ctrl-D is the end.
    screen.type("\x04")
    assert screen.ended() == 0
    again = Screen("--url", HTTP)
    again.until(PROMPT)
    again.type("\x1b[A")
    again.until("select 7 as seven;")
    again.type("\x03")
    again.until(PROMPT)
    again.line("\\quit")
    assert again.ended() == 0
    print("all parts passed")


main()
