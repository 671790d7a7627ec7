"""A child process that serves requests as JSON lines: how Java and JavaScript clients are driven."""

import json
import queue
import subprocess
import tempfile
import threading


class ClientError(Exception):
    """The client refused or failed. `kind` is its own error's name."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message


class Driver:
    """One request at a time, also when several threads ask; an answer that does not come within the deadline ends the child."""

    def __init__(self, command: list[str], **options) -> None:
        self.log = tempfile.TemporaryFile()
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, **options)
        self._answers: queue.Queue[str] = queue.Queue()
        self._asking = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.child.stdout:
            self._answers.put(line)
        self._answers.put("")

    def ask(self, verb: str, deadline_s: float = 60, **request):
        with self._asking:
            return self._ask(verb, deadline_s, request)

    def _ask(self, verb: str, deadline_s: float, request: dict):
        self.child.stdin.write(json.dumps({"verb": verb, **request}) + "\n")
        self.child.stdin.flush()
        try:
            line = self._answers.get(timeout=deadline_s)
        except queue.Empty:
            self.close()
            raise AssertionError(f"{self.child.args[0]} {verb}: no answer within {deadline_s} s\n{self.log_text()}") from None
        if not line:
            raise AssertionError(f"{self.child.args[0]} ended while asked to {verb}\n{self.log_text()}")
        answer = json.loads(line)
        if "error" in answer:
            raise ClientError(answer["error"], answer["message"])
        return answer["ok"]

    def log_text(self) -> str:
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-4000:]

    def close(self) -> None:
        self.child.kill()
        self.child.wait()
