"""A source tree of 50,000 small files in, listed and out again, beside restic on the same tree."""

import harness
import source_tree
from figures import Row
from harness import MIB
from larder import Larder
from restic import Restic

FILES = 50_000


def measure(long):
    rounds = 5 if long else 3
    tree = harness.WORK / "tree"
    harness.remove(tree)
    total = source_tree.make(tree, FILES, seed=1)
    print(f"  {FILES} files, {total / MIB:.0f} MiB")
    # A new vault and a new repository each round: in an old one, everything would be there already.
    runs = harness.interleaved(
        rounds,
        {"larder": lambda n: _larder(tree, n), "restic": lambda n: _restic(tree, n)},
    )
    harness.remove(tree)
    rows = []
    for index, verb in enumerate(("in", "listed", "out")):
        ours = harness.median_run([r[index] for r in runs["larder"]])
        theirs = harness.median_run([r[index] for r in runs["restic"]])
        rows.append(
            Row(
                f"{FILES // 1000},000 small files {verb}",
                f"{ours.seconds:.2f} s",
                f"restic {theirs.seconds:.2f} s",
                theirs.seconds / ours.seconds,
                "×",
                1.0,
                1.0,
                detail={name: [r[index].seconds for r in each] for name, each in runs.items()},
            )
        )
    return rows


def _larder(tree, number):
    larder = Larder("tree-larder")
    try:
        harness.settle()
        put = larder.put(tree, "/")
        listed = larder.listed("/tree")
        found = listed.output.count(b"\n")
        if found < FILES:
            raise harness.Failed(f"the listing has {found} lines, fewer than {FILES}")
        target = harness.fresh("tree-back")
        harness.settle()
        get = larder.get("/tree", target)
        if number == 0:
            harness.same(tree, target / "tree" if (target / "tree").exists() else target)
        harness.remove(target)
    finally:
        larder.close()
    return put, listed, get


def _restic(tree, number):
    restic = Restic("tree-restic")
    try:
        harness.settle()
        put = restic.put(tree)
        listed = restic.listed()
        target = harness.fresh("tree-restored")
        harness.settle()
        get = restic.get(target)
        if number == 0:
            harness.same(tree, target / str(tree).lstrip("/"))
        harness.remove(target)
    finally:
        restic.close()
    return put, listed, get
