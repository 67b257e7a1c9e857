"""A store in a process of its own, asked over JSON lines; stopped while others are measured."""

import json
import pathlib
import select
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent


class Store:
    """mkts' driver, or `worker.py` with the store of that name."""

    def __init__(self, name, command, log):
        self.name = name
        self.missing = None
        self.title, self.version, self.notes = name, "", ""
        self.child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0, cwd=HERE
        )
        self.buffer = b""

    @classmethod
    def of_driver(cls, driver, log):
        store = cls("mkts", [str(driver)], log)
        store.title, store.notes = "mkts", "the engine in the process (benches/driver)"
        return store

    @classmethod
    def of_worker(cls, name, log):
        store = cls(name, [sys.executable, str(HERE / "worker.py"), name], log)
        hello = store.answer(120)
        if not hello.get("ok"):
            store.give_up(hello.get("missing") or hello.get("error"))
        else:
            store.title, store.version, store.notes = hello["title"], hello["version"], hello["notes"]
        return store

    def give_up(self, reason):
        self.missing = reason
        self.child.kill()
        self.child.wait()

    def ask(self, op, timeout=120, **fields):
        """The answer; `{"ok": False, "error": ...}` also if there is none."""
        if self.missing:
            return {"ok": False, "error": self.missing}
        request = json.dumps({"op": op, **fields}) + "\n"
        try:
            self.child.stdin.write(request.encode())
        except BrokenPipeError:
            self.give_up("its process ended")
            return {"ok": False, "error": self.missing}
        answer = self.answer(timeout)
        if not answer.get("ok") and "fatal" in answer:
            self.give_up(answer["error"])
        return answer

    def answer(self, timeout):
        end = time.monotonic() + timeout
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([self.child.stdout], [], [], max(0, end - time.monotonic()))
            if not ready:
                return {"ok": False, "fatal": True, "error": f"took more than {timeout} s"}
            piece = self.child.stdout.read(1 << 16)
            if not piece:
                return {"ok": False, "fatal": True, "error": "its process ended"}
            self.buffer += piece
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def pause(self):
        if not self.missing:
            self.child.send_signal(signal.SIGSTOP)

    def resume(self):
        if not self.missing:
            self.child.send_signal(signal.SIGCONT)

    def reset_peak(self):
        if not self.missing:
            pathlib.Path(f"/proc/{self.child.pid}/clear_refs").write_text("5")

    def memory_mib(self):
        """Most resident memory since `reset_peak`."""
        if self.missing:
            return None
        for line in pathlib.Path(f"/proc/{self.child.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return None

    def end(self):
        if not self.missing:
            self.child.stdin.close()
            try:
                self.child.wait(60)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
