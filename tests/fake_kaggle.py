"""A server on loopback that speaks as much of Kaggle's protocol as the official client needs."""

import base64
import io
import json
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "KGAT-s3cret-0123456789abcdef"
USER, KEY = "somebody", "deadbeefcafe0123456789"


def zipped(files):
    """A zip of {name: text}."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


@dataclass
class FakeKaggle:
    """What the server knows, what it was told, and how it is to fail."""

    failures: dict[str, tuple] = field(default_factory=dict)  # method -> (status, message[, headers])
    submissions: list[dict] = field(default_factory=list)
    looks_until_scored: int = 2
    verdict: dict = field(default_factory=lambda: {"status": "COMPLETE", "publicScore": "0.71", "privateScore": ""})
    files: bytes = b""
    datasets: set = field(default_factory=set)
    uploads: dict[str, bytes] = field(default_factory=dict)
    calls: list[tuple[str, dict]] = field(default_factory=list)
    address: str = ""

    def answer(self, method, body):
        """Return the JSON of one call."""
        self.calls.append((method, body))
        return getattr(self, method)(body)

    def named(self, method):
        """The bodies of all calls of one method."""
        return [body for name, body in self.calls if name == method]

    def IntrospectToken(self, body):
        return {"active": body["token"] == TOKEN, "username": USER}

    def StartSubmissionUpload(self, body):
        return self.StartBlobUpload(body)

    def StartBlobUpload(self, body):
        token = f"blob{len(self.uploads)}-{body.get('fileName') or body.get('name')}"
        self.uploads[token] = b""
        return {"token": token, "createUrl": f"{self.address}/upload/{token}"}

    def CreateSubmission(self, body):
        name = body["blobFileTokens"].partition("-")[2]
        reference = 100 + len(self.submissions)
        described = body.get("submissionDescription")
        self.submissions.append({"ref": reference, "fileName": name, "description": described, "status": "PENDING"})
        return {"message": "Successfully submitted", "ref": reference}

    def ListSubmissions(self, body):
        self.looks_until_scored -= 1
        if self.looks_until_scored <= 0:
            self.submissions = [{**item, **self.verdict} for item in self.submissions]
        return {"submissions": self.submissions}

    def GetDatasetStatus(self, body):
        return {"status": "READY"}

    def CreateDataset(self, body):
        self.datasets.add(f"{body['ownerSlug']}/{body['slug']}")
        return {"status": "ok", "url": "https://kaggle.example/dataset"}

    def CreateDatasetVersion(self, body):
        return {"status": "ok", "url": "https://kaggle.example/dataset"}

    def SaveKernel(self, body):
        return {"url": "https://kaggle.example/code/train", "versionNumber": 1}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _send(self, status, body, kind="application/json", **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": len(data), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(data)

    def _read(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _is_welcome(self):
        basic = "Basic " + base64.b64encode(f"{USER}:{KEY}".encode()).decode()
        return self.headers.get("Authorization") in (f"Bearer {TOKEN}", basic)

    def do_POST(self):
        fake, method = self.server.fake, self.path.rpartition("/")[2]
        body = json.loads(self._read() or b"{}")
        if method == "IntrospectToken":
            self._send(200, fake.answer(method, body))
        elif not self._is_welcome():
            self._send(401, {"code": 401, "message": "Unauthenticated"})
        elif method in fake.failures:
            status, message, *headers = fake.failures[method]
            self._send(status, {"code": status, "message": message}, **(headers[0] if headers else {}))
        elif method == "DownloadDataFiles":
            fake.calls.append((method, body))
            self._send(302, b"", Location=f"{fake.address}/files/archive.zip?signed=1")
        else:
            self._send(200, fake.answer(method, body))

    def do_GET(self):
        self._send(200, self.server.fake.files, "application/zip")

    def do_PUT(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self._read()
        self.server.fake.uploads[self.path.rpartition("/")[2]] = data
        self._send(*self.server.fake.failures.get("PUT", (200, {})))


def serve(fake):
    """Start the server in a thread; return it (``shutdown`` and ``server_close`` end it)."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.fake = fake
    fake.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server
