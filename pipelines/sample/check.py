"""Whether a dataset made from the sample corpus judged every file as its label says."""

import json
from collections import defaultdict

from rich.console import Console
from rich.table import Table

from infra.commits import Commit
from infra.errors import SteadyDancerError
from pipelines.dataset import manifest_of


def check_labels(sample: Commit, dataset: Commit, console: Console) -> None:
    """Prints what became of every file beside its label.

    Raises SteadyDancerError naming the files that were judged otherwise than labelled.
    """
    labels = json.loads((sample.path / "labels.json").read_text())
    found = defaultdict(list)
    for row in manifest_of(dataset):
        found[row["source"]].append(row["reason"] or "kept")
    table = Table("file", "label", "became", "", title="sample corpus", title_justify="left")
    wrong = []
    for name, label in labels.items():
        wanted, became = label["reason"] or "kept", found.get(name, [])
        right = bool(became) and set(became) == {wanted}
        if not right:
            wrong.append(f"{name}: labelled {wanted}, became {', '.join(became) or 'nothing'}")
        table.add_row(name, wanted, ", ".join(became), "[green]✓" if right else "[red]✗")
    console.print(table)
    if wrong:
        raise SteadyDancerError("The sample corpus was not judged as labelled:\n  " + "\n  ".join(wrong))
