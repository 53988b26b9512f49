"""`steadydancer forget`: a dataset without a source or person, and everything that still holds them."""

import difflib
import hashlib
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from infra import commits, storage
from infra.commits import Commit, NotCommitted
from infra.errors import CorruptArtifact, SteadyDancerError, UsageError
from infra.lineage import descendants, orphans
from infra.schema import Rights
from infra.workspace import Workspace, held, owning_config
from pipelines import dataset, publish
from pipelines.gates import Gate, Gates, Tier
from pipelines.ingest import rights
from pipelines.purge import purge_sources, reports
from pipelines.work.stage import Row


@dataclass(frozen=True)
class Forgotten:
    """``commit`` is the dataset without them, ``removed`` the rows it lacks. ``still_held`` lists the datasets they are
    in and all that descends from these, ``may_hold`` what was made from a commit that is no longer there, ``unclear``
    what is too damaged to tell, ``reports`` those that MLflow keeps, ``purged`` how many intermediate files and folders
    were deleted.
    """

    commit: Commit
    removed: list[Row]
    still_held: list[Commit]
    may_hold: list[Commit]
    unclear: list[str]
    reports: list[Path]
    purged: int = 0


def forget(source: str, committed: Commit, out: str | Path, work: Workspace, *, purge: bool = False) -> Forgotten:
    """The dataset without ``source`` and all else that the work folder's opt-out list names, committed at ``out``: see
    :func:`without` for what goes with them.

    Before that the work folder's opt-out list names it and its contents, so that no later curation takes it up again.
    Commits that descend from the dataset, or from one it was made of, are looked for in the work folder and its store.

    Raises SteadyDancerError if nothing is known of ``source`` (naming near names), if no clip would be left, if
    ``out`` is taken or another process works in the work folder, and DatasetRefused.
    """
    rows = dataset.manifest_of(committed)
    rows_of(source, rows)
    if commits.find(out) is not None:
        raise SteadyDancerError(f"{out} holds a committed artifact already.", "Name another place.")
    with held(work.folder):
        left, removed = without({rights.spelled(source)} | opted_out(work), rows)
        _opt_out(work.opt_out, [source, *sorted({row["source_id"] for row in removed})])
        gone = {row["clip_id"] for row in removed}
        if not any(row["verdict"] == "kept" for row in left):
            raise SteadyDancerError(
                f"No clip of {committed.uri} is left without {source!r}. It is on {work.opt_out} now.",
                f"Delete {committed.uri} instead.",
            )
        still_held, unclear = _holders(committed, work)
        known = {commit.uri for commit in still_held}
        may_hold = [commit for commit in orphans(*_places(work), but=("sample",)) if commit.uri not in known]
        meta = {key: value for key, value in committed.meta.items() if key not in ("gates", "funnel")}
        meta["forgotten"] = {
            "rows": len(removed),
            "clips": sum(row["verdict"] == "kept" for row in removed),
            "sha256": hashlib.sha256("\n".join(sorted(gone)).encode()).hexdigest(),
        }
        made = publish.publish(
            out,
            left,
            _gates(committed),
            dataset.stored_members(committed.uri),
            committed.config,
            parents=[committed],
            meta=meta,
            never_again=set(filter(rights.is_hash, opted_out(work))),
        )
        purged = purge_sources(work, removed, still_held) if purge else 0
    return Forgotten(made, removed, still_held, may_hold, unclear, reports(work), purged)


def rows_of(source: str, rows: Sequence[Row]) -> list[Row]:
    """The rows that ``source`` takes with it (:func:`without`). Raises SteadyDancerError naming near names if there are
    none.
    """
    _, found = without({rights.spelled(source)}, rows)
    if not found:
        known = {row[column] for row in rows for column in ("source", "subject", "provenance") if row[column]}
        near = difflib.get_close_matches(source, sorted(known), 3, cutoff=0.4)
        raise SteadyDancerError(
            f"No source or subject {source!r} in this dataset." + (f" Near: {', '.join(near)}." if near else ""),
            "Name a source's relative path, its provenance or SHA-256, or a subject, as the manifest has it.",
        )
    return found


def without(names: Set[str], rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The rows that stay, and those that go: which ``names`` (:func:`rights.spelled`) name by a source's relative path,
    provenance, SHA-256 or subject, all rows of the same contents, and all of sources that show the same pictures
    somewhere (``group``), for these may be copies of it.
    """
    contents, before = {row["source_id"] for row in rows if not names.isdisjoint(rights.names(row))}, 0
    while len(contents) > before:
        before = len(contents)
        groups = {row["group"] for row in rows if row["source_id"] in contents} - {None}
        contents |= {row["source_id"] for row in rows if row["group"] in groups}
    return (
        [row for row in rows if row["source_id"] not in contents],
        [row for row in rows if row["source_id"] in contents],
    )


def opted_out(work: Workspace) -> set[str]:
    """What the work folder's opt-out list names."""
    return set(rights.policy(Rights(), work.opt_out).opted_out)


def home_of(committed: Commit) -> Workspace | None:
    """The work folder that the commit lies in, or one of those it was made from; None where there is none."""
    waiting, seen = [committed.uri], set()
    while waiting:
        uri = waiting.pop(0)
        seen.add(uri)
        if storage.is_local(uri):
            folder = Path(storage.opened(uri)[1]).parent
            if (config := owning_config(folder)) is not None:
                return Workspace(folder, config["store"])
        try:
            commit = commits.read_record(uri)
        except SteadyDancerError:
            continue
        waiting += [above for parent in commit.parents if (above := commit.parent_uri(parent)) not in seen]
    return None


def _opt_out(path: Path, lines: Sequence[str]) -> None:
    """Appends what is not there yet; the list is whole at any moment."""
    text = path.read_text() if path.exists() else ""
    there = {rights.spelled(line) for line in text.split("\n")}
    new = [line for line in lines if rights.spelled(line) not in there and "\n" not in line]
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text + "\n" * (bool(text) and not text.endswith("\n")) + "".join(f"{line}\n" for line in new))
    draft.replace(path)


def _holders(committed: Commit, work: Workspace) -> tuple[list[Commit], list[str]]:
    """The dataset, the datasets it was made of, and what descends from any of them."""
    found, unclear, waiting, seen = {committed.uri: committed}, set(), [committed], {committed.id}
    while waiting:
        held_by = waiting.pop()
        for parent in held_by.parents:
            if parent.kind == "dataset" and parent.id not in seen:
                seen.add(parent.id)
                try:
                    ancestor = commits.read_record(held_by.parent_uri(parent))
                except NotCommitted:
                    continue
                except CorruptArtifact:
                    unclear.add(held_by.parent_uri(parent))
                    continue
                if ancestor.id == parent.id:
                    found[ancestor.uri] = ancestor
                    waiting.append(ancestor)
    for name in seen:
        below, damaged = descendants(name, *_places(work))
        found |= {commit.uri: commit for commit in below}
        unclear |= set(damaged)
    return sorted(found.values(), key=lambda commit: commit.uri), sorted(unclear)


def _places(work: Workspace) -> list[Path | str]:
    return [work.folder] if work.store is None else [work.folder, work.store]


def _gates(committed: Commit) -> Gates:
    """The gates it was judged by, as its record has them."""
    content = committed.meta["gates"]
    tiers = tuple(Tier(tier["name"], tuple(Gate(**gate) for gate in tier["gates"])) for tier in content["tiers"])
    return Gates(tuple(Gate(**gate) for gate in content["gates"]), tiers, content["base_tier"], content["about"])


def forget_source(source: str, place: str, out: str, *, work: str | Path | None = None, purge: bool = False) -> None:
    """The command: :func:`forget`, and what is to be done about all that still holds the source.

    The work folder is :func:`home_of` the dataset, else ``work``. Raises UsageError if that is none.
    """
    from rich.console import Console
    from rich.markup import escape

    committed = commits.read(place)
    if committed.kind != "dataset":
        raise SteadyDancerError(f"{place} is a commit of kind {committed.kind}, a dataset is expected.")
    workspace = home_of(committed)
    if workspace is None:
        folder = None if work is None else Path(work).expanduser().absolute()
        if folder is None or (owned := owning_config(folder)) is None:
            what = f"{place} lies in no work folder" if folder is None else f"{folder} is no work folder"
            raise UsageError(f"{what}.", f"Name the one that {place} was curated in: work=...")
        workspace = Workspace(folder, owned["store"])
    done, console = forget(source, committed, out, workspace, purge=purge), Console()

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False)

    clips, sources = done.commit.meta["forgotten"]["clips"], len({row["source_id"] for row in done.removed})
    say(f"removed {len(done.removed)} rows of {sources} sources, {clips} of them stored clips")
    say(f"[green]dataset without them[/] {done.commit.id[:12]} {escape(done.commit.uri)}")
    say(f"{escape(str(workspace.opt_out))} names it: no curation in this work folder takes it up again")
    say("[yellow]still made from it[/], until you delete them:")
    for commit in done.still_held:
        say(f"  {commit.kind:<12}{commit.id[:12]} {escape(commit.uri)}")
    for commit in done.may_hold:
        what = "[yellow]made from what is no longer there: may hold it[/]"
        say(f"  {commit.kind:<12}{commit.id[:12]} {escape(commit.uri)} {what}")
    for uri in done.unclear:
        say(f"  [red]too damaged to tell[/] {escape(uri)}")
    for path in done.reports:
        say(f"  report      {escape(str(path))}: --purge deletes it")
    if purge:
        say(f"purged {done.purged} intermediate files and folders of {escape(str(workspace.folder))}")
    else:
        say(
            f"  units       {escape(str(workspace.units))} and {escape(str(workspace.cache))}: --purge deletes its part"
        )
    say(f"searched: {escape(', '.join(map(str, _places(workspace))))}; what was copied elsewhere is not known")
    if server := owning_config(workspace.folder)["tracking"]["uri"]:
        say(f"[yellow]not searched:[/] reports that MLflow keeps at {escape(server)}")
