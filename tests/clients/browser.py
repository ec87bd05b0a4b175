"""A real browser without a window, and the page that it is shown.

The page is served from an origin of its own, does what it is told with scripts and forms, and
posts what it saw to where it came from. Nothing drives the browser but the page.
"""

from __future__ import annotations

import fcntl
import http.server
import json
import os
import queue
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

PROGRAMS = ("chromium-headless-shell", "chromium", "google-chrome", "chrome-headless-shell")
PACKAGE = "chromium-headless-shell"
INSTALL_S_MAX = 600
SEEN_S_MAX = 60
LOCK = Path("/tmp/s3node-tests-browser.lock")


def program() -> str:
    """The browser's program, installed if that can be done; "" when it cannot be had."""
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = _found()
        if not found and os.geteuid() == 0 and shutil.which("apt-get"):
            install = ("install", "-y", "-qq", "--no-install-recommends", PACKAGE)
            if not _apt(*install):  # its lists may be old
                _apt("update", "-qq")
                _apt(*install)
            found = _found()
        return found


def _apt(*arguments: str) -> bool:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        ["apt-get", *arguments], check=False, env=env, capture_output=True, timeout=INSTALL_S_MAX
    )
    return done.returncode == 0


def _found() -> str:
    return next((path for name in PROGRAMS if (path := shutil.which(name))), "")


PAGE = """<!doctype html><meta charset="utf-8"><iframe name="answer"></iframe><script>
const told = %s;
const headers = (answer) => Object.fromEntries(answer.headers.entries());
const text = async (answer) => ({status: answer.status, url: answer.url, type: answer.type,
                                 headers: headers(answer), body: await answer.text()});
const steps = {
  fetch: async ({url, options}) => text(await fetch(url, options)),
  post: async ({url, fields, content, filename}) => {
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    form.append("file", new Blob([content.repeat(1)]), filename);
    return text(await fetch(url, {method: "POST", body: form}));
  },
  submit: ({url, fields, content, filename}) => new Promise((resolve) => {
    const form = document.createElement("form");
    form.action = url; form.method = "post"; form.enctype = "multipart/form-data";
    form.target = "answer";
    const input = (type, name) => {
      const one = document.createElement("input");
      one.type = type; one.name = name; form.append(one);
      return one;
    };
    for (const [name, value] of Object.entries(fields)) input("hidden", name).value = value;
    const chosen = new DataTransfer();
    chosen.items.add(new File([content], filename));
    input("file", "file").files = chosen.files;
    input("submit", "submit").value = "Upload";
    document.body.append(form);
    const frame = document.querySelector("iframe");
    frame.onload = () => {
      try { resolve({url: frame.contentWindow.location.href}); }
      catch (fault) { resolve({fault: String(fault)}); }  // it stayed where it was sent
    };
    form.requestSubmit();
  }),
};
(async () => {
  const seen = [];
  for (const [step, given] of told) {
    try { seen.push(await steps[step](given)); }
    catch (fault) { seen.push({fault: String(fault)}); }
  }
  await fetch("/seen", {method: "POST", body: JSON.stringify(seen)});
})();
</script>"""


class Page:
    """Serves the page at `origin` (and `other`, the same under another name)."""

    def __init__(self) -> None:
        self.steps: list[Any] = []
        self.seen: queue.Queue[Any] = queue.Queue()
        page = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = (PAGE % json.dumps(page.steps)).encode() if self.path == "/" else b"done"
                self._answer(body)

            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                page.seen.put(json.loads(self.rfile.read(length)))
                self._answer(b"")

            def _answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/html; charset=utf-8")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Tests are quiet."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        self.other = f"http://localhost:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> Page:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def show(self, browser: str, home: Path, steps: list[Any], origin: str = "") -> list[Any]:
        """What the page saw of each step (its name, and what it is given)."""
        self.steps = steps
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        command += ["--disable-dev-shm-usage", "--remote-debugging-port=0"]
        command += [f"--user-data-dir={home}", origin or self.origin]
        log = home.with_suffix(".log").open("wb")
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            found: list[Any] = self.seen.get(timeout=SEEN_S_MAX)
            return found
        except queue.Empty:
            told = home.with_suffix(".log").read_text(errors="replace")
            raise AssertionError(f"the page has told nothing\n{told[-3000:]}") from None
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # the program is a script that starts others
            process.wait(SEEN_S_MAX)
            log.close()
