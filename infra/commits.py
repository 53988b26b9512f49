"""The committed artifact: a directory that exists whole or not at all.

It is written under a temporary name; every file's SHA-256 and size go into ``COMMIT.json`` together with the kind, the
config that made it and the commits it was made from; then one rename publishes it (on an object store, which has no
rename: the upload of ``COMMIT.json`` after everything else). A directory without a valid ``COMMIT.json`` is not there.

The id hashes kind, config, parents and files, and nothing of time or place: the same content has the same id. Files
that tell ``about`` the making (a report with times and costs) are recorded and verified like all, but outside the id.
"""

import dataclasses
import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra import storage
from infra.errors import CorruptArtifact, SteadyDancerError
from infra.version import code_version

COMMIT_FILE = "COMMIT.json"


class NotCommitted(SteadyDancerError):
    """No committed artifact lies there."""


@dataclass(frozen=True)
class Parent:
    """A commit another one was made from. ``uri`` is relative to the child's folder where both are local."""

    kind: str
    id: str
    uri: str


@dataclass(frozen=True)
class Commit:
    uri: str
    kind: str
    id: str
    config_hash: str
    config: dict[str, Any]
    code_version: str
    parents: tuple[Parent, ...]
    files: dict[str, dict[str, Any]]
    meta: dict[str, Any]
    about: tuple[str, ...] = ()
    copy: Path | None = None
    """A verified copy on this machine of what lies on an object store (:func:`fetch`)."""

    @property
    def path(self) -> Path:
        """The local folder. Raises SteadyDancerError for an artifact on an object store (see :func:`fetch`)."""
        if self.copy is not None:
            return self.copy
        if not storage.is_local(self.uri):
            raise SteadyDancerError(f"{self.uri} is not a local folder.", "Fetch it first: infra.commits.fetch().")
        return Path(storage.opened(self.uri)[1])

    def open(self, name: str, mode: str = "rb"):
        """A file of the artifact, wherever it lies."""
        if name not in self.files:
            raise SteadyDancerError(f"{self.uri} ({self.kind}) holds no file {name!r}.")
        if self.copy is not None:
            return (self.copy / name).open(mode)
        filesystem, root = storage.opened(self.uri)
        with storage.told(self.uri):
            return filesystem.open(f"{root.rstrip('/')}/{name}", mode)

    def parent_uri(self, parent: Parent) -> str:
        """Where ``parent`` lies, seen from here."""
        if "://" in parent.uri or Path(parent.uri).is_absolute():
            return parent.uri
        return os.path.normpath(self.path / parent.uri)


def config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a config."""
    return hashlib.sha256(_canonical(config)).hexdigest()


@contextmanager
def write(
    uri: str | Path,
    kind: str,
    *,
    config: Mapping[str, Any] | None = None,
    parents: Iterable[Commit] = (),
    meta: Mapping[str, Any] | None = None,
    replace: bool = False,
    about: Iterable[str] = (),
    scratch: Path | None = None,
) -> Iterator[Path]:
    """A local folder to fill; on a clean exit it becomes the commit at ``uri``, on an exception it is gone.

    ``config`` and ``meta`` may be filled while the folder is (they are read at the end). ``about`` names files, or
    folders of files, that are no content. ``scratch`` is where what goes to an object store is drafted, which may be
    large; None: the machine's folder for temporary files. Raises SteadyDancerError if a valid commit is there already
    and ``replace`` is not set, or if there are files that no commit put there.
    """
    uri = str(uri).removeprefix("file://")
    if not replace and find(uri) is not None:
        raise SteadyDancerError(f"{uri} holds a committed artifact already.", "Remove it first, or write elsewhere.")
    local = storage.is_local(uri)
    target = Path(storage.opened(uri)[1]) if local else _draft_of_remote(uri, scratch)
    if not local:
        storage.refuse_strangers(uri, COMMIT_FILE)
    elif not replace and target.exists() and not _may_be_replaced(target):
        raise SteadyDancerError(f"{uri} holds files that are no commit.", "Name a new or an empty folder.")
    with draft(target) as folder:
        yield folder
        _seal(folder, uri, kind, dict(config or {}), tuple(parents), dict(meta or {}), tuple(about))
        if local:
            _publish_local(folder, target)
        else:
            storage.upload(folder, uri, COMMIT_FILE)


@contextmanager
def draft(target: Path) -> Iterator[Path]:
    """A folder beside ``target`` to make it in; gone afterwards, as are those that killed processes left of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep_drafts_of_the_dead(target)
    folder = Path(tempfile.mkdtemp(prefix=_draft_prefix(target), dir=target.parent))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _draft_of_remote(uri: str, scratch: Path | None) -> Path:
    return (scratch or Path(tempfile.gettempdir())) / f"steadydancer-{hashlib.sha256(uri.encode()).hexdigest()[:16]}"


def _may_be_replaced(target: Path) -> bool:
    return target.is_dir() and ((target / COMMIT_FILE).exists() or not any(target.iterdir()))


def read(uri: str | Path) -> Commit:
    """The commit at ``uri``; every file is there with its recorded size. Content is checked by :func:`verify`.

    Raises NotCommitted, or CorruptArtifact naming the file.
    """
    commit = read_record(uri)
    found = storage.sizes(commit.uri)
    for name, facts in commit.files.items():
        if (size := found.get(name)) != facts["bytes"]:
            what = "is missing" if size is None else f"has {size} bytes"
            raise CorruptArtifact(f"{commit.uri}: {name} {what}, {facts['bytes']} bytes were committed.", _REMAKE)
    return commit


def read_record(uri: str | Path) -> Commit:
    """What ``COMMIT.json`` at ``uri`` says; whether its files are there is not looked at. Raises as :func:`read`."""
    uri = str(uri).removeprefix("file://")
    filesystem, root = storage.opened(uri)
    try:
        with storage.told(uri):
            record = json.loads(filesystem.cat_file(f"{root.rstrip('/')}/{COMMIT_FILE}"))
    except (FileNotFoundError, NotADirectoryError):
        raise NotCommitted(
            f"{uri} holds no committed artifact ({COMMIT_FILE} is missing).",
            "Check the path, or run the step that writes it.",
        ) from None
    except (ValueError, UnicodeDecodeError) as error:
        raise CorruptArtifact(f"{uri}/{COMMIT_FILE} is not valid JSON ({error}).", _REMAKE) from None
    try:
        commit = Commit(
            uri=uri,
            parents=tuple(Parent(**p) for p in record.pop("parents")),
            about=tuple(str(name) for name in record.get("about", ())),
            **{k: record[k] for k in _RECORD},
        )
        expected = _identity(commit)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CorruptArtifact(f"{uri}/{COMMIT_FILE} lacks a field it must have ({error}).", _REMAKE) from None
    if commit.id != expected:
        raise CorruptArtifact(
            f"{uri}/{COMMIT_FILE} was changed after it was written: its id is {commit.id}, "
            f"its content gives {expected}.",
            _REMAKE,
        )
    if commit.config_hash != config_hash(commit.config):
        raise CorruptArtifact(f"{uri}/{COMMIT_FILE}: the recorded config does not have the recorded hash.", _REMAKE)
    if outside := [name for name in commit.files if name.startswith("/") or ".." in name.split("/")]:
        raise CorruptArtifact(f"{uri}/{COMMIT_FILE} names files outside of its folder: {outside[0]}.", _REMAKE)
    return commit


def find(uri: str | Path) -> Commit | None:
    """The commit at ``uri``, or None where nothing was committed. A corrupt one raises."""
    try:
        return read(uri)
    except NotCommitted:
        return None


def verify(commit: Commit | str | Path) -> Commit:
    """Re-hashes every file. Raises CorruptArtifact naming the file, the expected and the found hash."""
    commit = commit if isinstance(commit, Commit) else read(commit)
    for name, facts in commit.files.items():
        with storage.told(commit.uri), commit.open(name) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != facts["sha256"]:
            raise CorruptArtifact(
                f"{commit.uri}: {name} was changed after it was committed.\n"
                f"  expected sha256 {facts['sha256']}\n  found    sha256 {found}",
                _REMAKE,
            )
    return commit


def fetch(uri: str | Path, cache: Path) -> Commit:
    """The commit at ``uri`` with a ``path`` on this machine: where it lies, or its verified copy under ``cache``.

    Its ``uri`` stays where it was published. Any number of processes may fetch the same.
    """
    remote = read(uri)
    if storage.is_local(uri):
        return remote
    target = cache / remote.id
    with storage.locked(cache / ".lock"):
        if find(target) is None:
            _download(remote, target)
    return dataclasses.replace(remote, copy=target)


def _download(commit: Commit, target: Path) -> None:
    filesystem, root = storage.opened(commit.uri)
    with draft(target) as folder:
        for name in [*commit.files, COMMIT_FILE]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with storage.told(commit.uri):
                filesystem.get_file(f"{root.rstrip('/')}/{name}", str(folder / name))
        verify(folder)
        _publish_local(folder, target)


_REMAKE = "Delete this folder and run the same command again: the step makes it anew."
_RECORD = ("kind", "id", "config_hash", "config", "code_version", "files", "meta")


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _identity(commit: Commit) -> str:
    content = {
        "kind": commit.kind,
        "config": commit.config_hash,
        "parents": [p.id for p in commit.parents],
        "files": {name: facts["sha256"] for name, facts in commit.files.items() if name not in commit.about},
        "meta": commit.meta,
    }
    return hashlib.sha256(_canonical(content)).hexdigest()


def _seal(
    folder: Path, uri: str, kind: str, config: dict, parents: tuple[Commit, ...], meta: dict, about: tuple[str, ...]
) -> None:
    files = {}
    for path in sorted(p for p in folder.rglob("*") if not p.is_dir()):
        if path.is_symlink():
            raise SteadyDancerError(f"{path} is a link; a committed artifact holds plain files only.")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        files[path.relative_to(folder).as_posix()] = {"sha256": digest, "bytes": path.stat().st_size}
    links = tuple(Parent(p.kind, p.id, _relative(p.uri, uri)) for p in parents)
    about = tuple(f for f in files if any(f == name or f.startswith(f"{name.rstrip('/')}/") for name in about))
    record = {"config_hash": config_hash(config), "code_version": code_version(), "files": files, "meta": meta}
    record["about"] = about
    commit = Commit(uri=uri, kind=kind, id="", config=config, parents=links, **record)
    with (folder / COMMIT_FILE).open("w") as file:
        body = {"kind": kind, "id": _identity(commit), "config": config, **record}
        json.dump({**body, "parents": [vars(p) for p in links]}, file, indent=1, sort_keys=True, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())


def _relative(parent: str, child: str) -> str:
    if not storage.is_local(parent):
        return parent
    if not storage.is_local(child):
        return str(Path(parent).absolute())
    return os.path.relpath(Path(parent).absolute(), Path(child).absolute())


def _publish_local(folder: Path, target: Path) -> None:
    if target.exists():  # uncommitted remains, a corrupt or a replaced commit; a reader never sees half of either
        old = Path(tempfile.mkdtemp(prefix=_draft_prefix(target), dir=target.parent))
        target.rename(old / "content")
        folder.rename(target)
        shutil.rmtree(old)
    else:
        folder.rename(target)
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _draft_prefix(target: Path, pid: int | str | None = None) -> str:
    return f".{target.name}.draft~{socket.gethostname()}~{os.getpid() if pid is None else pid}~"


def _sweep_drafts_of_the_dead(target: Path) -> None:
    """Removes what a killed process of this machine left half-written of this artifact."""
    start = _draft_prefix(target, "").removesuffix("~")
    for draft in target.parent.iterdir():
        if draft.name.startswith(start):
            owner = int(draft.name.removeprefix(start).split("~")[0])
            if owner != os.getpid() and not Path(f"/proc/{owner}").exists():
                shutil.rmtree(draft, ignore_errors=True)
