"""A command that runs while a test does other things: started, read and waited for."""

import subprocess
import sys

from cluster import environment, wait_for


class Background:
    """`mapreduce ...` in the background; its output (both streams) is in `log`. Ends with the `with` block."""

    def __init__(self, log, *arguments, cwd=None, **env):
        self.log = log
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "mapreduce", *map(str, arguments)],
                cwd=cwd,
                env=environment(**env),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(20)

    def says(self, text):
        """Wait until the output contains a text."""
        wait_for(lambda: text in self.log.read_text(encoding="utf-8"), f"{text!r} in the output")

    def finish(self, timeout=100):
        """Wait for its good end; gives the output."""
        code = self.process.wait(timeout)
        text = self.log.read_text(encoding="utf-8")
        assert code == 0, text
        return text
