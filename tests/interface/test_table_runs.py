"""Rows of tables through the whole run, against scikit-learn and plain torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pytest
import torch
from click.testing import CliRunner
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from torch import Tensor, nn

import nnviz
from nnviz.cli.main import main
from nnviz.errors import ConfigError, DatasetError, ModelError
from nnviz.results.instance_pictures import InstancePictures

N = 80
COLUMNS: list[dict[str, Any]] = [
    {"name": "age", "scale": "standard"},
    {"name": "bmi", "scale": "standard", "missing": "mean"},
    {"name": "bmi", "encoding": "indicator"},
    {"name": "sex", "encoding": "one-hot", "categories": ["m", "f"]},
    {"name": "city", "encoding": "codes", "input": "city", "missing": "category"},
]


class Mixed(nn.Module):
    """Numbers and a category, as networks for tables take them."""

    def __init__(self, n_cities: int = 4) -> None:
        super().__init__()
        self.city = nn.Embedding(n_cities, 3)
        self.hidden = nn.Linear(8, 6)
        self.norm = nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 2)

    def forward(self, numbers: Tensor, city: Tensor) -> Tensor:
        both = torch.cat([numbers, self.city(city[:, 0])], 1)
        return self.head(torch.relu(self.norm(self.hidden(both))))


def network(n_cities: int = 4) -> nn.Module:
    torch.manual_seed(3)
    return Mixed(n_cities).eval()


def made_frame(n: int = N, seed: int = 5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, n),
            "bmi": rng.normal(25, 4, n).round(3),
            "sex": rng.choice(["f", "m"], n).astype(object),
            "city": rng.choice(["Rome", "Oslo", "Bonn"], n).astype(object),
            "label": rng.integers(0, 2, n),
        }
    )
    frame.loc[2::11, "bmi"] = np.nan
    frame.loc[3::13, "city"] = None
    return frame


def wanted_inputs(
    frame: pd.DataFrame, trained_on: pd.DataFrame
) -> tuple[Tensor, Tensor]:
    """Return what scikit-learn makes of a table."""
    filler = SimpleImputer().fit(trained_on[["bmi"]])
    parts = [
        StandardScaler().fit(trained_on[["age"]]).transform(frame[["age"]]),
        StandardScaler()
        .fit(trained_on[["bmi"]])
        .transform(pd.DataFrame(filler.transform(frame[["bmi"]]), columns=["bmi"])),
        frame[["bmi"]].isna().to_numpy(),
        OneHotEncoder(categories=[["m", "f"]], sparse_output=False).fit_transform(
            frame[["sex"]]
        ),
    ]
    order = [*sorted(trained_on["city"].dropna().unique()), "none"]
    codes = OrdinalEncoder(categories=[order]).fit_transform(
        frame[["city"]].fillna("none")
    )
    numbers = torch.from_numpy(np.hstack(parts).astype(np.float32))
    return numbers, torch.from_numpy(codes.astype(np.int64))


def write(frame: pd.DataFrame, folder: Path, kind: str) -> dict[str, Any]:
    path = folder / f"people.{kind}"
    if kind == "csv":
        frame.to_csv(path, index=False, na_rep="NA")
        return {"kind": "table", "path": str(path), "missing_values": ["NA"]}
    if kind == "parquet":
        frame.to_parquet(path)
    elif kind == "arrow":
        feather.write_feather(pa.Table.from_pandas(frame), path, compression="lz4")
    elif kind == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        import datasets

        path = folder / "saved"
        datasets.Dataset.from_pandas(frame).save_to_disk(path)
        return {"kind": "huggingface", "path": str(path)}
    return {"kind": "table", "path": str(path)}


def extracted(module: nn.Module, data: Any, url: Path, **options: Any) -> nnviz.Store:
    """Return a run that has the facts of all rows, as yet without sums and graphs."""
    plan, probe = nnviz.plan_run(module, data, timed=False, **options)
    nnviz.prepare_store(plan, str(url), probe=probe)
    given = {} if isinstance(data, dict) else {"dataset": data}
    nnviz.extract(url, model=module, workers=0, progress=False, **given)
    return nnviz.open_store(url)


def whole(module: nn.Module, data: Any, url: Path, **options: Any) -> nnviz.Store:
    """Return a run of all stages."""
    return nnviz.run(module, data, url, workers=0, progress=False, **options)


def check_against_torch(
    store: nnviz.Store, module: nn.Module, frame: pd.DataFrame, trained_on: pd.DataFrame
) -> None:
    hidden: list[Tensor] = []
    hook = module.norm.register_forward_hook(
        lambda module, arguments, output: hidden.append(output.relu())
    )
    with torch.no_grad():
        logits = module(*wanted_inputs(frame, trained_on))
    hook.remove()
    assert store.column("prediction").tolist() == logits.argmax(1).tolist()
    np.testing.assert_allclose(
        store.activations("norm" if "norm" in store.layers else "hidden"),
        hidden[0].numpy(),
        atol=2e-3,
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "parquet", "arrow", "jsonl", "datasets"])
def test_run__of_a_file(kind: str, tmp_path: Path) -> None:
    frame, module = made_frame(), network()
    # The stages that come later know nothing of where rows come from.
    run = whole if kind in ("csv", "datasets") else extracted
    store = run(
        module,
        write(frame, tmp_path, kind),
        tmp_path / "run.zarr",
        preprocessing={"kind": "table", "columns": COLUMNS},
    )
    check_against_torch(store, module, frame, frame)
    assert store.column("label").tolist() == frame["label"].tolist()
    old = store.subset("age > 60 and city = Oslo")
    wanted = np.flatnonzero((frame["age"] > 60) & (frame["city"] == "Oslo"))
    assert old.instances.tolist() == wanted.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["frame", "frame and labels", "arrays", "items"])
def test_run__of_what_is_in_memory(way: str, tmp_path: Path) -> None:
    frame, module = made_frame(), network()
    inputs = frame.drop(columns="label")
    records = frame.astype(object).where(frame.notna(), None).to_dict("records")
    given = {
        "frame": frame,
        "frame and labels": (inputs, frame["label"]),
        "arrays": ({n: v.to_numpy() for n, v in inputs.items()}, frame["label"]),
        "items": records,
    }[way]
    # The stages that come later know nothing of where rows come from.
    run = whole if way == "frame" else extracted
    store = run(
        module,
        given,
        tmp_path / "run.zarr",
        preprocessing={"columns": COLUMNS},
    )
    check_against_torch(store, module, frame, frame)
    assert store.column("age").tolist() == frame["age"].tolist()


@pytest.mark.slow
def test_new_rows__have_the_numbers_of_the_plan(tmp_path: Path) -> None:
    frame, module = made_frame(), network()
    first = extracted(
        module,
        frame,
        tmp_path / "first.zarr",
        preprocessing={"columns": COLUMNS},
    )
    later = made_frame(30, seed=6)
    later["city"] = "Oslo"
    second = extracted(
        module,
        later,
        tmp_path / "second.zarr",
        preprocessing=first.plan.preprocessing,
    )
    check_against_torch(second, module, later, frame)


@pytest.mark.slow
def test_measured_on__the_table_of_the_training(tmp_path: Path) -> None:
    trained_on, frame, module = made_frame(), made_frame(30, seed=6), network()
    trained_on.drop(columns="label").to_parquet(tmp_path / "train.parquet")
    store = extracted(
        module,
        write(frame, tmp_path, "csv"),
        tmp_path / "run.zarr",
        preprocessing={
            "columns": COLUMNS,
            "measured_on": str(tmp_path / "train.parquet"),
        },
    )
    check_against_torch(store, module, frame, trained_on)
    assert "3 columns measured on" in str(store.plan)
    assert "train.parquet" in str(store.plan)


@pytest.mark.slow
def test_extend__takes_rows_with_the_same_numbers(tmp_path: Path) -> None:
    frame, later, module = made_frame(), made_frame(20, seed=6), network()
    later["bmi"] = 30.5
    later.loc[4, "city"] = "Lima"
    both = pd.concat([frame, later], ignore_index=True)
    options = {"max_unreadable_fraction": 0.1}
    data = write(frame, tmp_path, "csv")
    store = extracted(
        module,
        data,
        tmp_path / "run.zarr",
        preprocessing={"columns": COLUMNS},
        extraction=options,
    )
    write(both, tmp_path, "csv")
    nnviz.extend(store)
    nnviz.extract(store.url, model=module, workers=0, progress=False)
    grown = nnviz.open_store(store.url)
    is_known = np.arange(len(both)) != N + 4
    with torch.no_grad():
        logits = module(*wanted_inputs(both[is_known], frame))
    predictions = grown.column("prediction")
    assert predictions[is_known].tolist() == logits.argmax(1).tolist()
    assert predictions[N + 4] == -1
    assert grown.column("status")[N + 4] != 0


def test_run_file__from_the_command_line(tmp_path: Path) -> None:
    frame = made_frame()
    frame.to_csv(tmp_path / "people.csv", index=False)
    (tmp_path / "network.py").write_text(
        "import torch\n"
        "def build():\n"
        "    torch.manual_seed(1)\n"
        "    return torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(),"
        " torch.nn.Linear(5, 2)).eval()\n"
    )
    (tmp_path / "run.toml").write_text(
        '[model]\nsource = "network.py:build"\n'
        '[dataset]\nkind = "table"\npath = "people.csv"\n'
        '[preprocessing]\nkind = "table"\ncolumns = [\n'
        '  { name = "[ab]*", scale = "standard", missing = "median" },\n'
        '  { name = "sex", encoding = "one-hot" },\n]\n'
    )
    done = CliRunner().invoke(main, ["plan", str(tmp_path / "run.toml")])
    assert done.exit_code == 0, done.output
    mean, std = frame["age"].mean(), frame["age"].std(ddof=0)
    assert f"age  (x - {mean:.6g}) / {std:.6g}" in done.output
    assert f"missing is {frame['bmi'].median():.6g}, the median" in done.output
    assert "sex  one-hot: f, m\n" in done.output


@pytest.mark.slow
def test_page__shows_the_row(tmp_path: Path) -> None:
    frame = made_frame()
    store = nnviz.run(
        network(),
        frame,
        tmp_path / "run.zarr",
        preprocessing={"columns": COLUMNS},
        workers=0,
        progress=False,
    )
    shown = InstancePictures(store).picture(3).decode()
    row = f"age {frame['age'][3]}, bmi {frame['bmi'][3]:.4g}, sex {frame['sex'][3]}"
    assert f"<title>{row}, city missing</title>" in shown


def planned(frame: pd.DataFrame, *columns: dict[str, Any], **others: Any) -> object:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(max(1, len(columns)), 2)).eval()
    preprocessing = {"columns": list(columns), **others}
    return nnviz.plan_run(module, frame, preprocessing=preprocessing, timed=False)[0]


WRONG = {
    "missing": (
        [{"name": "bmi"}],
        DatasetError,
        r"8 instances \('2', '13', '24', …\) ",
    ),
    "missing category": (
        [{"name": "city", "encoding": "codes"}],
        DatasetError,
        r"no value in the column 'city'.*missing = 'category', 'value'",
    ),
    "text": (
        [{"name": "sex"}],
        DatasetError,
        r"80 instances .*in the column 'sex', which is not a number.*missing_values",
    ),
    "unseen": (
        [{"name": "sex", "encoding": "codes", "categories": ["f"]}],
        DatasetError,
        r"a category in the column 'sex' that is none of its 1: 'm'; state",
    ),
    "no column": ([{"name": "agee"}], ConfigError, "no column 'agee'.*mean 'age'"),
    "the label": ([{"name": "label"}], ConfigError, "no column 'label'"),
    "twice": ([{"name": "age"}, {"name": "age"}], ConfigError, "twice as 'number'"),
    "no input": (
        [{"name": "age", "input": "number"}],
        ConfigError,
        "belongs to the input 'number'.*forward takes input",
    ),
    "not alone": (
        [{"name": "age", "alone": True}, {"name": "sex", "encoding": "codes"}],
        ConfigError,
        "'age' is to be alone .* 2 columns belong to it",
    ),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_plan__says_what_would_do(case: str) -> None:
    columns, kind, message = WRONG[case]
    with pytest.raises(kind, match=message):
        planned(made_frame(), *columns)


def test_plan__columns_of_a_table_are_needed() -> None:
    with pytest.raises(ConfigError, match=r"preprocessing\.columns is missing"):
        planned(made_frame(), kind="table")


def test_plan__columns_and_another_kind() -> None:
    with pytest.raises(ConfigError, match="leave one of them out"):
        planned(made_frame(), {"name": "age"}, kind="image")


def test_plan__columns_of_what_is_no_table() -> None:
    pictures = np.zeros((4, 3, 8, 8), np.float32)
    with pytest.raises(ConfigError, match="no rows with columns"):
        planned((pictures, [0, 1, 0, 1]), {"name": "age"})


def test_plan__an_embedding_that_is_too_small() -> None:
    with pytest.raises(
        ModelError, match=r"last category of the column 'city' has the index 3.*'city'"
    ):
        nnviz.plan_run(
            network(3), made_frame(), preprocessing={"columns": COLUMNS}, timed=False
        )


def test_plan__a_constant_column_is_noted() -> None:
    frame = made_frame().assign(year=2020)
    plan = planned(frame, {"name": "year", "scale": "standard"})
    assert "constant, and only shifted: 'year'" in str(plan)


def test_plan__a_pattern_means_what_is_not_named() -> None:
    frame = made_frame()
    plan = planned(
        frame.drop(columns=["sex", "city"]),
        {"name": "*", "scale": "range"},
        {"name": "bmi", "missing": "value", "value": 0},
    )
    found = [(c.name, c.scale) for c in plan.preprocessing.columns]
    assert found == [("age", "range"), ("bmi", "none")]


def test_texts_among_inputs__without_columns_are_refused() -> None:
    frame = made_frame()
    arrays = {"numbers": frame["age"].to_numpy(), "city": frame["city"].to_numpy()}
    with pytest.raises(DatasetError, match=r"city, which are no numbers.*columns say"):
        nnviz.plan_run(network(), (arrays, frame["label"]), timed=False)
