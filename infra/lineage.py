"""The tree of parents of a committed artifact, every hash on the way checked."""

from rich.markup import escape
from rich.tree import Tree

from infra.commits import Commit, NotCommitted, read, verify
from infra.errors import CorruptArtifact


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


def _hashes(message: str) -> str:
    return "".join("\n" + line for line in message.splitlines() if "sha256" in line)


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")
