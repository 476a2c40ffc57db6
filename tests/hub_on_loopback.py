"""A hub of model repositories on the loopback, as `huggingface_hub` asks it."""

import hashlib
import http.server
import threading

COMMIT = "1" * 40


class Hub(http.server.ThreadingHTTPServer):
    """Serves `files`, from "OWNER/NAME/FILE" to bytes.

    Attributes:
        cuts: Integer, how many of the next downloads of weights break off.
        stop: Integer, the byte at which they do.
        requests: List of tuples of method, file, Range and Authorization.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.requests = {}, []
        self.cuts, self.stop = 0, 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"

    def downloads(self, file):
        """The ranges of the downloads of a file."""
        return [r[2] for r in self.requests if r[:2] == ("GET", file)]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        start, content = self.answer()
        hub = self.server
        if hub.cuts and self.path.endswith(".safetensors"):
            hub.cuts -= 1
            self.wfile.write(content[start : hub.stop])
            self.close_connection = True
        else:
            self.wfile.write(content[start:])

    def answer(self):
        """Sends the header; returns where the content starts, and all of it."""
        file = self.path.removeprefix("/").replace("/resolve/main", "")
        wanted = self.headers.get("Range")
        token = self.headers.get("Authorization")
        self.server.requests.append((self.command, file, wanted, token))
        content = self.server.files.get(file, b"")
        start = int(wanted.split("=")[1].split("-")[0]) if wanted else 0
        if file not in self.server.files:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
        elif wanted:
            self.send_response(206)
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", span)
        else:
            self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        return start, content

    def log_message(self, *args):
        pass
