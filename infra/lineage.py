"""What a committed artifact was made from, every hash on the way checked, and what was made from it."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from rich.markup import escape
from rich.tree import Tree

from infra import storage
from infra.commits import COMMIT_FILE, Commit, NotCommitted, read, read_record, verify
from infra.errors import CorruptArtifact, SteadyDancerError


def lineage(uri: str) -> tuple[Tree, int]:
    """The tree (for rich) of the artifact at ``uri`` and the number of faults found in it.

    A fault is a corrupt artifact, or a parent that is gone or another one now. Raises NotCommitted for ``uri`` itself.
    """
    faults = 0
    checked: dict[str, str | None] = {}

    def check(commit: Commit) -> str | None:
        if commit.uri not in checked:
            try:
                verify(commit)
                checked[commit.uri] = None
            except CorruptArtifact as error:
                checked[commit.uri] = str(error).splitlines()[0] + _hashes(str(error))
        return checked[commit.uri]

    def grow(commit: Commit, branch: Tree) -> None:
        nonlocal faults
        for parent in commit.parents:
            where = commit.parent_uri(parent)
            name = f"{parent.kind} [dim]{parent.id[:12]}[/] {escape(where)}"
            try:
                found = read(where)
            except (NotCommitted, CorruptArtifact) as error:
                faults += 1
                branch.add(f"[red]✗[/] {name}: {escape(str(error).splitlines()[0])}")
                continue
            if found.id != parent.id:
                faults += 1
                branch.add(f"[red]✗[/] {name}: another artifact lies there now ({found.id[:12]})")
                continue
            grow(found, branch.add(label(found)))

    def label(commit: Commit) -> str:
        nonlocal faults
        size = sum(f["bytes"] for f in commit.files.values())
        facts = f"{len(commit.files)} files, {_size(size)}, code {commit.code_version}"
        text = f"{commit.kind} [bold]{commit.id[:12]}[/] {escape(commit.uri)} [dim]({escape(facts)})[/]"
        if (fault := check(commit)) is None:
            return f"[green]✓[/] {text}"
        faults += 1
        return f"[red]✗[/] {text}: {escape(fault)}"

    root = read(uri)
    tree = Tree(label(root))
    grow(root, tree)
    return tree, faults


UNITS, CACHE = "units", "cache"
"""Folders of a work folder in which nothing has descendants."""


def descendants(commit_id: str, *places: str | Path) -> tuple[list[Commit], list[str]]:
    """Everything under ``places`` (folders or addresses) that was made from the commit, or from something made from it.

    Sorted by where they lie. Their files are not looked at: what is damaged still descends. Where a COMMIT.json is
    itself damaged nobody can say; these are listed second. Units and cached copies are left out.
    """
    found, damaged = _found(places)
    return _made_from({commit_id}, found), damaged


def orphans(*places: str | Path, but: Collection[str] = ()) -> list[Commit]:
    """Everything under ``places`` that was made from a commit which is no longer where it was, nor elsewhere in
    ``places``, or from something so made: nobody can say what it descends from. Lost commits of the kinds ``but`` do
    not count. Sorted by where they lie.
    """
    found, _ = _found(places)
    known = {commit.id for commit in found}

    def lost(commit: Commit) -> set[str]:
        parents = [parent for parent in commit.parents if parent.id not in known and parent.kind not in but]
        return {parent.id for parent in parents if not _lies(commit.parent_uri(parent), parent.id)}

    return _made_from({name for commit in found for name in lost(commit)}, found)


def _lies(uri: str, commit_id: str) -> bool:
    try:
        return read_record(uri).id == commit_id
    except SteadyDancerError:
        return False


def _found(places: Collection[str | Path]) -> tuple[list[Commit], list[str]]:
    """The commits under ``places``, and where damaged ones lie; both sorted."""
    found, damaged = {}, set()
    for place in places:
        for uri in _committed_below(str(place).removeprefix("file://")):
            try:
                found[uri] = read_record(uri)
            except CorruptArtifact:
                damaged.add(uri)
    return [found[uri] for uri in sorted(found)], sorted(damaged)


def _made_from(ids: set[str], found: list[Commit]) -> list[Commit]:
    grew = True
    while grew:
        made = {commit.id for commit in found if ids & {parent.id for parent in commit.parents}}
        grew, ids = not made <= ids, ids | made
    return [commit for commit in found if ids & {parent.id for parent in commit.parents}]


def _committed_below(place: str) -> Iterator[str]:
    if not storage.is_local(place):
        root = place.rstrip("/")
        for name in storage.sizes(root):
            if name.rpartition("/")[2] == COMMIT_FILE:
                yield f"{root}/{name}".removesuffix(f"/{COMMIT_FILE}")
        return
    for parent, folders, names in os.walk(Path(place).expanduser().absolute()):
        folders[:] = [name for name in folders if name not in (UNITS, CACHE) and not name.startswith(".")]
        if COMMIT_FILE in names:
            yield parent


def _hashes(message: str) -> str:
    return "".join("\n" + line for line in message.splitlines() if "sha256" in line)


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")
