"""Whole commands beside those of other tools, from few instances to many.

Small jobs are decided by what starts, large ones by the rate: the sizes show where one
overtakes another. What is timed is what a user waits for, from the shell's prompt to
the next; beside it the processor time of all processes, the most memory of all together
(shared pages counted once), and the bytes that are left on the disk.

nnviz is there three times: its plan, which looks into the network and measures what it
will record, once for a run; the extraction of the maxima, which is what the others do;
and the same with all that the others lack, exact influences and examples.

Usage, with the real data in ``../shared`` or where ``NNVIZ_SHARED`` points; what is not
installed (``pip install captum torchlens zennit-crp torchvision``) is left out::

    python -m benchmarks.peers [--full] [--case cifar10] [--only captum]

Results are kept in ``benchmarks/results/peers.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.environment import describe_machine
from benchmarks.extraction import ROOT, new_store, prepare
from benchmarks.peer_programs import PROGRAMS

__all__ = ["Cost", "crossing", "run_measured", "table"]

RESULTS = Path(__file__).resolve().parent / "results"

CASES = {
    "cifar10": ("resnet20", (300, 5000), (20_000,)),
    "photographs": ("resnet18", (300, 1200), (5000,)),
}
"""The network, numbers of instances, and more of them with ``--full``, by what the
instances are."""

HOOKS = "script with hooks"
NNVIZ = ("nnviz plan", "nnviz extract, maxima", "nnviz extract, everything")


@dataclass(frozen=True)
class Cost:
    """What a whole command has taken."""

    seconds: float
    processor_s: float
    peak_bytes: int
    """Of all its processes together; pages that are shared count once."""
    disk_bytes: int


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--case", choices=CASES, help="one of both")
    parser.add_argument("--sizes", type=int, nargs="+", help="numbers of instances")
    parser.add_argument("--full", action="store_true", help="the largest sizes as well")
    parser.add_argument("--limit", type=float, default=180, help="seconds for a tool")
    parser.add_argument("--only", nargs="+", help="parts of names of tools")
    parser.add_argument("--repeat", type=int, default=1, help="the shortest is kept")
    arguments = parser.parse_args()
    result: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.peers", *sys.argv[1:]]),
        "machine": describe_machine(),
        "versions": versions(),
        "cases": {},
    }
    for name, (network, sizes, more) in CASES.items():
        sizes = (*sizes, *more) if arguments.full else sizes
        if arguments.case in (None, name):
            rows = {
                str(size): measure_size(
                    network,
                    size,
                    arguments.only,
                    repeat=arguments.repeat,
                    limit_s=arguments.limit,
                )
                for size in arguments.sizes or sizes
            }
            result["cases"][name] = {"network": network, "sizes": rows}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "peers.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(path)


def versions() -> dict[str, str]:
    """Return the versions of the tools that are installed."""
    found = {}
    for name in PROGRAMS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def measure_size(
    network: str,
    size: int,
    only: Sequence[str] | None,
    *,
    repeat: int,
    limit_s: float | None = None,
) -> dict[str, Any]:
    """Return what every tool costs for so many instances, by its name."""
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, network, size)
        for tool, program in tools(folder, limit_s):
            if only is None or any(text in tool for text in only):
                try:
                    costs = [program() for _ in range(repeat)]
                except RuntimeError as error:
                    # A library may have changed; the others are worth their rows.
                    print(f"{tool} has failed:\n{error}", file=sys.stderr)
                    continue
                rows[tool] = asdict(min(costs, key=lambda cost: cost.seconds))
                print(said(network, size, tool, costs[0]), flush=True)
    return rows


def said(network: str, size: int, tool: str, cost: Cost) -> str:
    """Return a row in words."""
    return (
        f"{network}, {size:>6,} instances, {tool:26} {cost.seconds:7.1f} s "
        f"{cost.processor_s:7.1f} s of processor {cost.peak_bytes / 1e6:7,.0f} MB "
        f"{cost.disk_bytes / size:9,.0f} bytes an instance"
    )


def tools(
    folder: Path, limit_s: float | None = None
) -> Iterator[tuple[str, Callable[[], Cost]]]:
    """Yield what is measured in a folder that ``prepare`` has made."""
    case, nnviz = str(folder / "case.json"), [sys.executable, "-m", "nnviz"]
    yield (
        NNVIZ[0],
        lambda: run_measured(
            [*nnviz, "plan", str(folder / "maxima.toml")], limit_s=limit_s
        ),
    )
    for name, run_file in zip(NNVIZ[1:], ("maxima", "run"), strict=True):
        yield name, lambda run_file=run_file: extracted(folder, run_file, limit_s)
    baseline = [sys.executable, "-m", "benchmarks.baseline", case]
    yield HOOKS, lambda: written_by(baseline, folder, limit_s)
    for name, (module, _) in PROGRAMS.items():
        command = [sys.executable, "-m", "benchmarks.peer_programs", name, case]
        if importlib.util.find_spec(module) is not None:
            yield (
                name,
                lambda command=command: written_by(command, folder, limit_s),
            )


def extracted(folder: Path, run_file: str, limit_s: float | None) -> Cost:
    """Extract a new store, on the workers that a user gets without asking for any."""
    store = new_store(folder, "measured", run_file)
    command = [sys.executable, "-m", "nnviz", "extract", str(store)]
    try:
        return run_measured(command, written=store, limit_s=limit_s)
    finally:
        shutil.rmtree(store)


def written_by(command: Sequence[str], folder: Path, limit_s: float | None) -> Cost:
    """Run a program that writes into a folder of its own, which is taken away."""
    place = folder / "written"
    place.mkdir()
    case = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    own = place / "case.json"
    own.write_text(json.dumps({**case, "folder": str(place)}), encoding="utf-8")
    try:
        command = [*command[:-1], str(own)]
        return run_measured(command, written=place, limit_s=limit_s)
    finally:
        shutil.rmtree(place)


def run_measured(
    command: Sequence[str], written: Path | None = None, limit_s: float | None = None
) -> Cost:
    """Run a command from the project's root.

    Parameters
    ----------
    command
        Program and arguments.
    written
        The folder whose bytes are what it leaves.
    limit_s
        It is stopped after so many seconds; None for never.

    Returns
    -------
    Cost
        Of the command, its children, and theirs.

    Raises
    ------
    RuntimeError
        With what it said, if it has failed; or that it has not ended in time.
    """
    environment = {k: v for k, v in os.environ.items() if "MALLOC" not in k}
    before, started = os.times(), time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with most_memory(process.pid) as most:
        try:
            _, errors = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            msg = f"it has not ended in {limit_s:.0f} s"
            raise RuntimeError(msg) from None
    seconds, after = time.perf_counter() - started, os.times()
    if process.returncode:
        raise RuntimeError(errors)
    processor_s = (after.children_user + after.children_system) - (
        before.children_user + before.children_system
    )
    files = [] if written is None else [p for p in written.rglob("*") if p.is_file()]
    n_bytes = sum(path.stat().st_size for path in files)
    return Cost(seconds, processor_s, max(most, default=0), n_bytes)


@contextlib.contextmanager
def most_memory(pid: int, every_s: float = 0.5) -> Iterator[list[int]]:
    """Hand out a list, and append to it what a process and its children hold."""
    samples: list[int] = []
    stop = threading.Event()
    # Here, where nobody has waited for its end yet: it may have ended already.
    root = psutil.Process(pid)

    def watch() -> None:
        while not stop.wait(every_s):
            total = 0
            with contextlib.suppress(psutil.Error):
                for process in [root, *root.children(recursive=True)]:
                    with contextlib.suppress(psutil.Error):
                        total += process.memory_full_info().pss
            samples.append(total)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()


def crossing(sizes: dict[str, Any], ours: str, theirs: str) -> float | None:
    """Return the number of instances from which on ours is the shorter command.

    Between the sizes both are taken as straight lines; None if ours is never shorter,
    0 if it always is.
    """
    points = []
    for size in sorted(sizes, key=int):
        rows = sizes[size]
        if ours in rows and theirs in rows:
            gap = rows[ours]["seconds"] - rows[theirs]["seconds"]
            points.append((int(size), gap))
    last: tuple[int, float] | None = None
    for size, gap in points:
        if gap <= 0:
            if last is None:
                return 0.0
            share = last[1] / (last[1] - gap)
            return last[0] + share * (size - last[0])
        last = (size, gap)
    return None


def table(result: dict[str, Any]) -> str:
    """Return the table of a document: seconds by size, and what the largest one holds.

    Parameters
    ----------
    result
        As ``peers.json`` has it.
    """
    parts = []
    for name, case in result["cases"].items():
        sizes = case["sizes"]
        largest = max(sizes, key=int)
        columns = [f"{int(size):,}" for size in sizes]
        head = (
            f"| {name}, {case['network']} | {' | '.join(columns)} "
            "| processor s | peak MB | bytes an instance |"
        )
        lines = [head, "|---" * (len(sizes) + 4) + "|"]
        for tool in dict.fromkeys(tool for rows in sizes.values() for tool in rows):
            seconds = [
                f"{rows[tool]['seconds']:.1f} s" if tool in rows else "–"
                for rows in sizes.values()
            ]
            cost = sizes[largest].get(tool)
            rest = ["–"] * 3
            if cost is not None:
                rest = [
                    f"{cost['processor_s']:.1f}",
                    f"{cost['peak_bytes'] / 1e6:,.0f}",
                    f"{cost['disk_bytes'] / int(largest):,.0f}",
                ]
            lines.append("| " + " | ".join([tool, *seconds, *rest]) + " |")
        met = crossing(sizes, NNVIZ[1], HOOKS)
        if met is not None:
            lines += ["", f"Shorter than the script from {met:,.0f} instances on."]
        parts.append("\n".join(lines))
    machine = result["machine"]
    note = (
        f"`{result['command']}`, {machine['processor']}, {machine['cores']} cores, "
        f"load {machine['load'][0]}, {machine['date']}; the last three columns of the "
        "largest size; "
    )
    names = [f"{name} {version}" for name, version in result["versions"].items()]
    return "\n\n".join([*parts, note + ", ".join(names) + "."])


if __name__ == "__main__":
    main()
