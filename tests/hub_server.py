"""A small Hugging Face hub on localhost, for the unmodified ``huggingface_hub`` client to talk to (``HF_ENDPOINT``).

Repositories live in memory. What the tests need is there as on the real Hub: accounts and write access, commits, branches and
tags, small files in the commit itself and large ones through LFS (batch, upload, verify, redirect to a storage host), and the
error codes that the client tells failures apart by. ``requests`` records what was asked for.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

LFS_FROM = 10 * 1024  # bytes; smaller files go into the commit, as on the Hub
LFS_SUFFIXES = (".safetensors", ".bin")


@dataclass(frozen=True)
class Blob:
    """A file of a commit."""

    data: bytes
    lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def git_oid(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.data) + self.data).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.git_oid


@dataclass
class Repo:
    """Commits by hash, and the names that point at them."""

    private: bool
    gated: bool = False
    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, Blob]) -> str:
        before = self.branches.get(branch, "")
        listing = json.dumps([before, sorted((path, blob.etag) for path, blob in files.items())])
        sha = hashlib.sha1(listing.encode()).hexdigest()
        self.commits[sha] = files
        self.branches[branch] = sha
        return sha

    def resolve(self, revision: str) -> str | None:
        """Branch, tag or commit -> commit."""
        sha = self.branches.get(revision) or self.tags.get(revision)
        return sha or (revision if revision in self.commits else None)

    def files(self, revision: str = "main") -> dict[str, Blob]:
        sha = self.resolve(revision)
        return {} if sha is None else self.commits[sha]


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str | None = None, message: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class HubServer:
    """The state of the hub.

    Attributes:
        members: of each organization, who may write. A user may always write under their own name.
        tokens: the user of each token, and whether the token may write.
        shortened: files (``"config.json"``) of which the storage hands out only half.
        interrupted: files whose next download breaks off in the middle; the one after that does not.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.storage: dict[str, bytes] = {}
        self.members = {"org": {"alice", "reader"}}
        self.tokens = {"hf_alice": ("alice", True), "hf_reader": ("reader", False), "hf_bob": ("bob", True)}
        self.shortened: set[str] = set()
        self.interrupted: set[str] = set()
        self.requests: list[str] = []
        self.lock = threading.RLock()

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serves while the block runs, and gives the endpoint."""
        handler = type("Handler", (_Handler,), {"hub": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        self.port = server.server_address[1]
        try:
            yield f"http://127.0.0.1:{self.port}"
        finally:
            server.shutdown()
            server.server_close()

    def add(self, repo_id: str, files: dict[str, bytes], private: bool = False, gated: bool = False) -> Repo:
        """A repository that somebody pushed earlier."""
        repo = self.repos[repo_id] = Repo(private, gated)
        repo.commit("main", {path: Blob(data, is_large(path, len(data))) for path, data in files.items()})
        self.storage.update({blob.sha256: blob.data for blob in repo.files().values() if blob.lfs})
        return repo

    def may_write(self, user: str | None, namespace: str) -> bool:
        return user is not None and (user == namespace or user in self.members.get(namespace, ()))


def is_large(path: str, size: int) -> bool:
    return path.endswith(LFS_SUFFIXES) or size >= LFS_FROM


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = b"".join(self._chunks())
        address = urlsplit(self.path)
        self.query = parse_qs(address.query)
        path = address.path
        with self.hub.lock:
            self.hub.requests.append(f"{self.command} {unquote(path)}")
            try:
                for method, pattern, answer in ROUTES:
                    found = re.fullmatch(pattern, path)
                    if found and self.command in method.split():
                        return answer(self, *(unquote(part) for part in found.groups()))
                raise Refused(404, None, f"no such endpoint: {self.command} {path}")
            except Refused as refusal:
                headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message}
                given = {name: value for name, value in headers.items() if value}
                return self._json({"error": refusal.message}, refusal.status, given)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    # What answers are made of.

    def _json(self, value: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self._send(data, status, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, data: bytes, status: int = 200, headers: dict[str, str] | None = None, length: int = -1) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) if length < 0 else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _file(self, name: str, data: bytes, headers: dict[str, str]) -> None:
        """Sends a file, from the ``Range`` that was asked for, or as badly as the test wants it."""
        if self.command == "GET" and name in self.hub.shortened:
            return self._send(data[: len(data) // 2], headers=headers)
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if found:
            start = int(found[1])
            headers = {**headers, "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
            return self._send(data[start:], 206, headers)
        if self.command == "GET" and name in self.hub.interrupted:
            self.hub.interrupted.remove(name)
            self.close_connection = True
            return self._send(data[: len(data) // 2], headers=headers, length=len(data))
        return self._send(data, headers=headers)

    # Who asks, and for what.

    def _user(self) -> tuple[str | None, bool]:
        """Who the token belongs to, and whether it may write."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not token:
            return None, False
        if token not in self.hub.tokens:
            raise Refused(401, None, "Invalid credentials in Authorization header")
        return self.hub.tokens[token]

    def _repo(self, repo_id: str) -> Repo:
        user, _ = self._user()
        repo = self.hub.repos.get(repo_id)
        if repo is None or (repo.private and not self.hub.may_write(user, repo_id.split("/")[0])):
            # As the Hub does: who is not logged in is not told whether the repository exists.
            raise Refused(401 if user is None else 404, "RepoNotFound", "Repository not found")
        return repo

    def _writable(self, repo_id: str) -> Repo:
        user, writes = self._user()
        if user is None:
            raise Refused(401, None, "Invalid username or password.")
        repo = self._repo(repo_id)
        self._check_write(user, writes, repo_id.split("/")[0])
        return repo

    def _check_write(self, user: str, writes: bool, namespace: str) -> None:
        if not self.hub.may_write(user, namespace):
            raise Refused(403, None, f'You don\'t have the rights to create a model under the namespace "{namespace}"')
        if not writes:
            raise Refused(403, None, "You must use a write token")

    def _commit_of(self, repo: Repo, revision: str) -> str:
        sha = repo.resolve(revision)
        if sha is None:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return sha

    # The endpoints.

    def whoami(self) -> None:
        user, _ = self._user()
        if user is None:
            raise Refused(401, None, "Invalid username or password.")
        self._json({"type": "user", "name": user, "orgs": []})

    def validate_yaml(self) -> None:
        content = json.loads(self.body)["content"]
        found = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
        errors = [] if found and isinstance(yaml.safe_load(found[1]), dict) else [{"message": "no metadata"}]
        self._json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def create_repo(self) -> None:
        asked = json.loads(self.body)
        user, writes = self._user()
        if user is None:
            raise Refused(401, None, "Invalid username or password.")
        namespace = asked.get("organization") or user
        repo_id = f"{namespace}/{asked['name']}"
        self._check_write(user, writes, namespace)
        url = {"url": f"http://127.0.0.1:{self.hub.port}/{repo_id}"}
        if repo_id in self.hub.repos:
            return self._json({**url, "error": "You already created this model repo"}, 409)
        repo = self.hub.repos[repo_id] = Repo(asked.get("visibility") == "private" or bool(asked.get("private")))
        repo.commit("main", {".gitattributes": Blob(b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n", False)})
        self._json(url)

    def info(self, repo_id: str, revision: str = "main") -> None:
        repo = self._repo(repo_id)
        sha = self._commit_of(repo, revision)
        files = [{"rfilename": path} for path in repo.commits[sha]]
        self._json({"_id": "0", "id": repo_id, "sha": sha, "private": repo.private, "tags": [], "siblings": files})

    def refs(self, repo_id: str) -> None:
        repo = self._repo(repo_id)
        kinds = {"branches": ("heads", repo.branches), "tags": ("tags", repo.tags)}
        self._json(
            {
                "converts": [],
                **{
                    kind: [{"name": n, "ref": f"refs/{part}/{n}", "targetCommit": sha} for n, sha in names.items()]
                    for kind, (part, names) in kinds.items()
                },
            }
        )

    def tree(self, repo_id: str, revision: str) -> None:
        repo = self._repo(repo_id)
        files = repo.commits[self._commit_of(repo, revision)]
        self._json([self._entry(path, blob) for path, blob in files.items()])

    def paths_info(self, repo_id: str, revision: str) -> None:
        repo = self._repo(repo_id)
        files = repo.commits[self._commit_of(repo, revision)]
        asked = json.loads(self.body)["paths"] if self.body.startswith(b"{") else parse_qs(self.body.decode())["paths"]
        self._json([self._entry(path, files[path]) for path in asked if path in files])

    def _entry(self, path: str, blob: Blob) -> dict[str, object]:
        entry = {"type": "file", "path": path, "size": len(blob.data), "oid": blob.git_oid}
        return {**entry, "lfs": {"oid": blob.sha256, "size": len(blob.data), "pointerSize": 132}} if blob.lfs else entry

    def branch(self, repo_id: str, name: str) -> None:
        repo = self._writable(repo_id)
        if name in repo.branches:
            raise Refused(409, None, f"Reference already exists: {name}")
        asked = json.loads(self.body or b"{}")
        repo.branches[name] = self._commit_of(repo, asked.get("startingPoint", "main"))
        self._json({})

    def tag(self, repo_id: str, revision: str) -> None:
        repo = self._writable(repo_id)
        repo.tags[json.loads(self.body)["tag"]] = self._commit_of(repo, revision)
        self._json({})

    def preupload(self, repo_id: str, revision: str) -> None:
        repo = self._writable(repo_id)
        files = repo.commits[self._commit_of(repo, revision)]
        answers = []
        for file in json.loads(self.body)["files"]:
            there = files.get(file["path"])
            mode = "lfs" if is_large(file["path"], file["size"]) else "regular"
            answers.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False})
            if there is not None:
                answers[-1]["oid"] = there.etag
        self._json({"files": answers})

    def lfs_batch(self, repo_id: str) -> None:
        self._writable(repo_id)
        home = f"http://127.0.0.1:{self.hub.port}"
        objects = []
        for thing in json.loads(self.body)["objects"]:
            if thing["oid"] not in self.hub.storage:
                upload = {"href": f"{home}/_lfs/{thing['oid']}"}
                verify = {"href": f"{home}/{repo_id}.git/info/lfs/objects/verify"}
                thing = {**thing, "actions": {"upload": upload, "verify": verify}}
            objects.append(thing)
        self._json({"transfer": "basic", "objects": objects})

    def lfs_verify(self, repo_id: str) -> None:
        self._writable(repo_id)
        asked = json.loads(self.body)
        if len(self.hub.storage.get(asked["oid"], b"")) != asked["size"]:
            raise Refused(400, None, "the upload is not complete")
        self._json({})

    def lfs_put(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Refused(400, None, "the upload is damaged")
        self.hub.storage[oid] = self.body
        self._send(b"")

    def lfs_get(self, oid: str) -> None:
        self._file(self.query["name"][0], self.hub.storage[oid], {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"})

    def commit(self, repo_id: str, branch: str) -> None:
        repo = self._writable(repo_id)
        if branch not in repo.branches:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {branch}")
        files = dict(repo.files(branch))
        for line in self.body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"]), False)
            elif operation["key"] == "lfsFile":
                files[value["path"]] = Blob(self.hub.storage[value["oid"]], True)
            elif operation["key"] == "deletedFile":
                del files[value["path"]]
        sha = repo.commit(branch, files)
        url = f"http://127.0.0.1:{self.hub.port}/{repo_id}/commit/{sha}"
        self._json({"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})

    def resolve(self, repo_id: str, revision: str, path: str) -> None:
        repo = self._repo(repo_id)
        sha = self._commit_of(repo, revision)
        headers = {"X-Repo-Commit": sha}
        if repo.gated:
            raise Refused(403, "GatedRepo", "Access to this model is restricted")
        blob = repo.commits[sha].get(path)
        if blob is None:
            return self._json({}, 404, {**headers, "X-Error-Code": "EntryNotFound"})
        headers["ETag"] = f'"{blob.etag}"'
        if not blob.lfs:
            return self._file(path, blob.data, headers)
        headers |= {"X-Linked-ETag": f'"{blob.etag}"', "X-Linked-Size": str(len(blob.data))}
        # Another host, as the Hub's storage is: the client sends no token there.
        headers["Location"] = f"http://localhost:{self.hub.port}/_lfs/{blob.sha256}?name={path}"
        self._send(b"", 302, headers)


REPO = r"([\w.-]+/[\w.-]+)"
ROUTES = (
    ("GET", "/api/whoami-v2", _Handler.whoami),
    ("POST", "/api/validate-yaml", _Handler.validate_yaml),
    ("POST", "/api/repos/create", _Handler.create_repo),
    ("GET", f"/api/models/{REPO}", _Handler.info),
    ("GET", f"/api/models/{REPO}/revision/([^/]+)", _Handler.info),
    ("GET", f"/api/models/{REPO}/refs", _Handler.refs),
    ("GET", f"/api/models/{REPO}/tree/([^/]+)", _Handler.tree),
    ("POST", f"/api/models/{REPO}/paths-info/([^/]+)", _Handler.paths_info),
    ("POST", f"/api/models/{REPO}/branch/([^/]+)", _Handler.branch),
    ("POST", f"/api/models/{REPO}/tag/([^/]+)", _Handler.tag),
    ("POST", f"/api/models/{REPO}/preupload/([^/]+)", _Handler.preupload),
    ("POST", f"/api/models/{REPO}/commit/([^/]+)", _Handler.commit),
    ("POST", f"/(?:spaces/)?{REPO}[.]git/info/lfs/objects/batch", _Handler.lfs_batch),
    ("POST", f"/(?:spaces/)?{REPO}[.]git/info/lfs/objects/verify", _Handler.lfs_verify),
    ("PUT", r"/_lfs/(\w+)", _Handler.lfs_put),
    ("GET HEAD", r"/_lfs/(\w+)", _Handler.lfs_get),
    ("GET HEAD", f"/{REPO}/resolve/([^/]+)/(.+)", _Handler.resolve),
)
