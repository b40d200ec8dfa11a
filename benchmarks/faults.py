"""Is anything lost, or served wrong, when a store is damaged or its writers killed?

    python -m benchmarks.faults --rounds 500 --json benchmarks/results/faults.json

A seeded campaign on a planted store with all its stages: several collections, graphs,
examples, ablations, the index, saved subsets. Each round

1. does one thing to it: flips a bit of a file, cuts it, empties it, removes it, puts a
   pipe or an older file in its place, exchanges two files, or kills a process that
   does any stage, or stops it for a while, at a random moment;
2. reads every array and every group as a reader would: whatever is not an error of
   nnviz has to be what was written;
3. runs ``verify``, which has to name what is not as it was written;
4. makes again what ``verify`` took back, after which every byte has to be as before.

What is reported: rounds *tried*, damages *noticed* (by a reader or by verify), stores
*repaired*, stores *lost* (not as before), values *served wrong*, and readers that met
an error that is not nnviz's. The last three have to be 0: the exit code says so.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environment import describe_machine
from benchmarks.faults_store import (
    RUN,
    STAGES,
    do_stage,
    extract,
    later_stages,
    remove_drafts,
    write_all,
)
from nnviz.errors import NnvizError
from nnviz.store.groups import SAVED_SUBSETS
from nnviz.store.store import Store
from nnviz.upkeep.verification import verify

__all__ = ["Tally", "run_campaign"]

PROCESS_SHARE = 0.15
"""Of the rounds; each starts a process, and kills or stops it."""


@dataclass(slots=True)
class Tally:
    """What came of the rounds."""

    tried: collections.Counter[str] = field(default_factory=collections.Counter)
    noticed: collections.Counter[str] = field(default_factory=collections.Counter)
    """Of what was done to files; a kill is no damage."""
    harmless: collections.Counter[str] = field(default_factory=collections.Counter)
    """Nothing differed after it: two files with the same bytes, a kill too late."""
    repaired: collections.Counter[str] = field(default_factory=collections.Counter)
    lost: list[str] = field(default_factory=list)
    served_wrong: list[str] = field(default_factory=list)
    unnoticed: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    """Errors of readers and of verify that are not nnviz's."""

    def add(self, other: Tally) -> None:
        """Add what came of other rounds."""
        for part in dataclasses.fields(self):
            mine, theirs = getattr(self, part.name), getattr(other, part.name)
            setattr(self, part.name, mine + theirs)

    @property
    def is_sound(self) -> bool:
        """Whether nothing was lost, served wrong, unnoticed, or a foreign error."""
        bad = (self.lost, self.served_wrong, self.unnoticed, self.foreign)
        return not any(bad)

    def to_json(self) -> dict[str, Any]:
        """Return the numbers, and what went wrong, as JSON values."""
        counts = {
            name: dict(sorted(getattr(self, name).items()))
            for name in ("tried", "noticed", "harmless", "repaired")
        }
        wrong = {
            name: getattr(self, name)
            for name in ("lost", "served_wrong", "unnoticed", "foreign")
        }
        totals = {name: sum(value.values()) for name, value in counts.items()}
        totals |= {name: len(value) for name, value in wrong.items()}
        return {"totals": totals, "by_kind": counts, "wrong": wrong}

    def __str__(self) -> str:
        totals = self.to_json()["totals"]
        return ", ".join(f"{name} {number:,}" for name, number in totals.items())


class _Campaign:
    """One store, what it was, and what happens to it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.clean, self.url = folder / "clean.zarr", folder / "run.zarr"
        self.folder = folder
        self.told: list[str] = []
        write_all(self.clean, RUN)
        # Facts of a run with other numbers: files that were right once, elsewhere.
        write_all(folder / "older.zarr", dataclasses.replace(RUN, seed=1, accuracy=0.6))
        shutil.copytree(self.clean, self.url)
        self.files = _files(self.clean)
        self.bytes = {name: (self.clean / name).read_bytes() for name in self.files}
        self.values = dict(_read_all(self.clean, self.files))
        self.tally = Tally()
        self.processes: ForkServerContext = multiprocessing.get_context("forkserver")

    def round(self, number: int) -> None:
        """Do one thing, and see what comes of it."""
        kinds: Mapping[str, Callable[[], str]] = {
            "flip": self._flip,
            "cut": self._cut,
            "empty": self._empty,
            "remove": self._remove,
            "pipe": self._pipe,
            "older": self._older,
            "exchange": self._exchange,
        }
        is_of_files = self.rng.random() >= PROCESS_SHARE
        if not is_of_files:
            stage = self.rng.choice(list(STAGES))
            kind = what = f"{self.rng.choice(('kill', 'stop'))} {stage}"
            self._disturb(stage, is_killed=kind.startswith("kill"), label=what)
        else:
            kind = self.rng.choice(list(kinds))
            what = kinds[kind]()
        label = f"round {number}: {what}"
        self.tally.tried[kind] += 1
        is_changed = self._differs()
        is_refused = self._read(label)
        is_named = self._verify(label)
        if not is_changed:
            self.tally.harmless[kind] += 1
        elif is_of_files:
            if is_refused or is_named:
                self.tally.noticed[kind] += 1
            if not is_named:
                self.tally.unnoticed.append(label)
        self._repair(label)
        if self._differs():
            self.tally.lost.append(f"{label}: {', '.join(self._differs()[:5])}")
            shutil.rmtree(self.url)
            shutil.copytree(self.clean, self.url)
        elif is_changed:
            self.tally.repaired[kind] += 1

    def _chosen(self) -> str:
        return self.rng.choice(self.files)

    def _flip(self) -> str:
        name = self._chosen()
        data = bytearray(self.bytes[name])
        place = self.rng.randrange(len(data) * 8)
        data[place // 8] ^= 1 << place % 8
        (self.url / name).write_bytes(bytes(data))
        return f"flip bit {place} of {name}"

    def _cut(self) -> str:
        name = self._chosen()
        n = self.rng.randrange(len(self.bytes[name]))
        (self.url / name).write_bytes(self.bytes[name][:n])
        return f"cut {name} to {n} bytes"

    def _empty(self) -> str:
        name = self._chosen()
        (self.url / name).write_bytes(b"")
        return f"empty {name}"

    def _remove(self) -> str:
        name = self._chosen()
        (self.url / name).unlink()
        return f"remove {name}"

    def _pipe(self) -> str:
        name = self._chosen()
        (self.url / name).unlink()
        os.mkfifo(self.url / name)
        return f"pipe at {name}"

    def _older(self) -> str:
        older = self.folder / "older.zarr"
        names = [name for name in self.files if (older / name).is_file()]
        pieces = [name for name in names if not name.endswith("zarr.json")]
        name = self.rng.choice(pieces)
        shutil.copyfile(older / name, self.url / name)
        return f"older {name}"

    def _exchange(self) -> str:
        """Exchange two files of one name, preferably of one array."""
        one = self._chosen()
        array = one.rpartition("/c/")[0]
        alike = [n for n in self.files if array and n.startswith(f"{array}/c/")]
        if len(alike) < 2:
            last = Path(one).name
            alike = [name for name in self.files if Path(name).name == last]
        other = self.rng.choice([name for name in alike if name != one] or [one])
        (self.url / one).write_bytes(self.bytes[other])
        (self.url / other).write_bytes(self.bytes[one])
        return f"exchange {one} and {other}"

    def _disturb(self, stage: str, *, is_killed: bool, label: str) -> None:
        """Kill a process at a random moment of a stage, or let it wait for a reader."""
        for name in STAGES[stage].removes:
            for path in self.url.glob(name):
                shutil.rmtree(path)
        here, there = self.processes.Pipe()
        process = self.processes.Process(
            target=do_stage, args=(there, stage, str(self.url), str(self.clean))
        )
        process.start()
        here.recv()
        process.join(timeout=self.rng.random() ** 2 * 2.0)
        # It may be gone meanwhile.
        with contextlib.suppress(ProcessLookupError):
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, signal.SIGKILL if is_killed else signal.SIGSTOP)
                if not is_killed:
                    self._read(f"{label}, while it is stopped")
                    os.kill(process.pid, signal.SIGCONT)
        process.join()

    def news(self) -> list[str]:
        """Return what went wrong since this was asked last."""
        wrong = [
            f"{kind}: {what}"
            for kind in ("lost", "served_wrong", "unnoticed", "foreign")
            for what in getattr(self.tally, kind)
        ]
        found = [what for what in wrong if what not in self.told]
        self.told += found
        return found

    def _differs(self) -> list[str]:
        """Return what is not as it was, but for who writes and what kills leave."""
        now = {n for n in _files(self.url) if not n.startswith("writer/")}
        changed = {
            name
            for name in now & set(self.files)
            if not (self.url / name).is_file()
            or (self.url / name).read_bytes() != self.bytes[name]
        }
        return sorted(changed | (now ^ set(self.files)))

    def _read(self, label: str) -> bool:
        """Read everything; whether anything was refused."""
        is_refused = False
        for name, value in _read_all(self.url, self.files):
            if isinstance(value, NnvizError):
                is_refused = True
            elif isinstance(value, Exception):
                self.tally.foreign.append(f"{label}: {name}: {value!r}")
            elif value != self.values[name]:
                self.tally.served_wrong.append(f"{label}: {name}")
        return is_refused

    def _verify(self, label: str) -> bool:
        try:
            report = verify(self.url, contents=False)
        except NnvizError:
            return True
        except Exception as error:  # noqa: BLE001  that is what is looked for
            self.tally.foreign.append(f"{label}: verify: {error!r}")
            return False
        return bool(report.damages)

    def _repair(self, label: str) -> None:
        """Make again what is missing, as the stages do."""
        try:
            remove_drafts(self.url)
            extract(str(self.url), str(self.clean))
            groups = Store.open(self.url).groups
            stated = [n for n in self.files if n.endswith("/checksums/zarr.json")]
            owners = [n.removesuffix("/checksums/zarr.json") for n in stated]
            missing = [owner for owner in owners if not groups.is_complete(owner)]
            for owner in missing:
                if owner.startswith(SAVED_SUBSETS):
                    # Whoever saved it knows it, and nobody else.
                    shutil.rmtree(self.url / owner, ignore_errors=True)
                    shutil.copytree(self.clean / owner, self.url / owner)
            if any(not owner.startswith(SAVED_SUBSETS) for owner in missing):
                later_stages(str(self.url))
        except Exception as error:  # noqa: BLE001  counted; the store differs, too
            self.tally.foreign.append(f"{label}: repair: {error!r}")


def _files(store: Path) -> list[str]:
    return sorted(
        (Path(folder) / name).relative_to(store).as_posix()
        for folder, _, names in os.walk(store)
        for name in names
    )


def _read_all(url: Path, files: list[str]) -> Iterator[tuple[str, Any]]:
    """Read every array and group as readers do; give a hash of each, or the error."""
    try:
        store = Store.open(url)
    except Exception as error:  # noqa: BLE001  whatever a reader meets is counted
        yield "", error
        return
    # Marks of chunks that are missing say so.
    run = [path for path in store.stored.places if path != "extraction_done"]
    later = [
        name.removesuffix("/zarr.json")
        for name in files
        if name.startswith(("aggregates/", "artifacts/", "index/"))
        and name.endswith("/zarr.json")
        and not name.endswith("checksums/zarr.json")
    ]
    for path in (*run, *later):
        read = _reader(store, path, is_later=path not in store.stored.places)
        try:
            yield path, _digest(read())
        except Exception as error:  # noqa: BLE001  the same
            yield path, error


def _reader(store: Store, path: str, *, is_later: bool) -> Callable[[], Any]:
    """Return how a reader asks for what lies at a path."""
    if not is_later:
        return lambda: store.read(path)
    clean_path = Path(store.url).with_name("clean.zarr") / path / "zarr.json"
    document = json.loads(clean_path.read_bytes())

    def read() -> Any:
        # A reader asks the group first: it may not be there.
        parts = path.split("/")
        for n in range(2, len(parts)):
            group = "/".join(parts[:n])
            if store.groups.has_array(f"{group}/checksums"):
                store.groups.attributes(group)
        if document["node_type"] == "array":
            return store.groups.read(path)
        if document["attributes"].get("encoding-type") == "csr_matrix":
            matrix = store.groups.read_csr(path)
            return [matrix.indptr, matrix.indices, matrix.data, matrix.shape]
        is_owner = (clean_path.parent / "checksums").exists()
        return store.groups.attributes(path) if is_owner else None

    return read


def _digest(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_digest, value))
    if isinstance(value, np.ndarray):
        data = value.tobytes() if value.dtype.kind not in "TUO" else str(value.tolist())
        text = data if isinstance(data, bytes) else data.encode()
        head = f"{value.shape}{value.dtype.kind}".encode()
        return hashlib.sha256(head + text).hexdigest()
    return hashlib.sha256(repr(value).encode()).hexdigest()


def import_ahead() -> None:
    """Let what is killed be forked from a process that has imported.

    For the whole program, which may have another list of its own.
    """
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(["benchmarks.faults_store", "sklearn.manifold"])


def run_campaign(rounds: int, *, seed: int = 0, processes: int = 1) -> Tally:
    """Return what came of so many rounds.

    Parameters
    ----------
    rounds
        How many.
    seed
        Of all that is random, but when a kill hits.
    processes
        Each has a store of its own, a share of the rounds, and the next seed.
    """
    shares = [
        rounds * (i + 1) // processes - rounds * i // processes
        for i in range(processes)
    ]
    if processes == 1:
        return _rounds(rounds, seed)
    spawn = multiprocessing.get_context("spawn")
    total = Tally()
    with ProcessPoolExecutor(
        processes, mp_context=spawn, initializer=import_ahead
    ) as pool:
        for tally in pool.map(_rounds, shares, range(seed, seed + processes)):
            total.add(tally)
    return total


def _rounds(n: int, seed: int) -> Tally:
    with tempfile.TemporaryDirectory(prefix="nnviz-faults-") as folder:
        campaign = _Campaign(Path(folder), seed)
        # Interrupted, it tells of the rounds that were done.
        with contextlib.suppress(KeyboardInterrupt):
            for number in range(n):
                campaign.round(number)
                for what in campaign.news():
                    print(f"seed {seed}: {what}", file=sys.stderr, flush=True)
                if number % 10 == 9:
                    print(f"seed {seed}: {campaign.tally}", file=sys.stderr, flush=True)
        return campaign.tally


def main() -> int:
    """Run the campaign of the command line; 1 where anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file for the result")
    options = parser.parse_args()
    import_ahead()
    started = time.monotonic()
    tally = run_campaign(
        options.rounds,
        seed=options.seed,
        processes=options.processes,
    )
    result = {
        "command": f"python -m benchmarks.faults --rounds {options.rounds} "
        f"--seed {options.seed} --processes {options.processes}",
        "seconds": round(time.monotonic() - started, 1),
        **tally.to_json(),
        "machine": describe_machine(),
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(tally)
    for name, lines in result["wrong"].items():
        for line in lines:
            print(f"{name}: {line}")
    return 0 if tally.is_sound else 1


if __name__ == "__main__":
    raise SystemExit(main())
