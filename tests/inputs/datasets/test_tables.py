"""Tables of paths or of images, in CSV and Parquet."""

from __future__ import annotations

import math
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from nnviz.errors import ConfigError, DatasetError, UnreadableInstanceError
from nnviz.inputs.datasets.opening import open_dataset
from nnviz.runs.config import DatasetConfig


def open_table(path, **options):
    return open_dataset(DatasetConfig(kind="table", path=str(path), **options))


@pytest.fixture
def csv_table(tmp_path):
    for name in ("x.jpg", "y.jpg", "z.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    path = tmp_path / "table.csv"
    path.write_text(
        "path,label,age,weight,code,good,place\n"
        "z.jpg,cat,3,1.5,007,true,Ulm\n"
        'x.jpg,dog,4,,010,false,"Köln, am Rhein"\n'
        "y.jpg,,5,-2e3,011,True,\n",
        encoding="utf-8-sig",
    )
    return path


def test_csv__has_rows_in_their_order_and_typed_columns(csv_table):
    dataset = open_table(csv_table)

    assert dataset.ids == ["z.jpg", "x.jpg", "y.jpg"]
    assert dataset.labels.tolist() == ["cat", "dog", None]
    assert dataset.read(0) == b"z.jpg"
    columns = dataset.metadata
    assert list(columns) == ["age", "weight", "code", "good", "place"]
    assert columns["age"].dtype == np.int64
    assert columns["weight"].tolist()[::2] == [1.5, -2000.0]
    assert math.isnan(columns["weight"][1])
    assert columns["code"].tolist() == ["007", "010", "011"]
    assert columns["good"].tolist() == [True, False, True]
    assert columns["place"].tolist() == ["Ulm", "Köln, am Rhein", ""]


@pytest.mark.parametrize(
    ("patterns", "kept"),
    [
        pytest.param(("age", "w*"), ["age", "weight"], id="kept"),
        pytest.param(("*", "!c*", "!place"), ["age", "weight", "good"], id="removed"),
        pytest.param((), [], id="none"),
    ],
)
def test_csv__keeps_the_columns_that_patterns_name(csv_table, patterns, kept):
    assert list(open_table(csv_table, metadata_columns=patterns).metadata) == kept


def test_csv__takes_other_columns_and_a_limit(csv_table):
    dataset = open_table(csv_table, id_column="code", label_column="place", limit=2)

    assert dataset.ids == ["007", "010"]
    assert dataset.labels.tolist() == ["Ulm", "Köln, am Rhein"]


def test_tsv__is_split_at_tabs(tmp_path):
    (tmp_path / "t.tsv").write_text("path\tlabel\na b,c.jpg\t1\n")

    dataset = open_table(tmp_path / "t.tsv")

    assert (dataset.ids, dataset.labels.tolist()) == (["a b,c.jpg"], ["1"])


def test_table__without_labels_has_none(tmp_path):
    (tmp_path / "t.csv").write_text("path\na.jpg\n")

    assert open_table(tmp_path / "t.csv").labels is None


@pytest.mark.parametrize(
    ("text", "options", "error", "message"),
    [
        pytest.param("path,label\n", {}, DatasetError, "no instances", id="empty"),
        pytest.param("", {}, DatasetError, "columns", id="nothing"),
        pytest.param("a,a\n1,2\n", {}, DatasetError, "columns", id="twice"),
        pytest.param("path,a\nx\n", {}, DatasetError, "row 0", id="ragged"),
        pytest.param('path\n"x\n', {}, DatasetError, "cannot read", id="quote"),
        pytest.param("file\nx.jpg\n", {}, ConfigError, "path_column", id="no-path"),
        pytest.param("path\nx\nx\n", {}, DatasetError, "not unique", id="duplicates"),
        pytest.param(
            "path\nx\n", {"id_column": "id"}, ConfigError, "id_column", id="no-id"
        ),
        pytest.param(
            "path\nx\n", {"bytes_column": "b"}, ConfigError, "no Parquet", id="bytes"
        ),
        pytest.param(
            "path,age\nx,1\n",
            {"metadata_columns": ("agee",)},
            DatasetError,
            "did you mean 'age'",
            id="unknown-column",
        ),
        pytest.param("path\n../x\n", {}, DatasetError, "leads out", id="parent"),
        pytest.param("path\n/etc/passwd\n", {}, DatasetError, "leads out", id="abs"),
        pytest.param("path\na/../../x\n", {}, DatasetError, "leads out", id="dots"),
    ],
)
def test_csv__says_what_is_wrong(tmp_path, text, options, error, message):
    (tmp_path / "t.csv").write_text(text)

    with pytest.raises(error, match=message):
        open_table(tmp_path / "t.csv", **options)


def test_csv__says_what_is_no_text(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"path\n\xff\x81\xfa\n")

    with pytest.raises(DatasetError, match="UTF-8 nor Windows-1252 text; state its"):
        open_table(tmp_path / "t.csv")


def test_table__reads_outside_of_the_root_only_when_allowed(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out.jpg").write_bytes(b"out")
    (tmp_path / "in/link.jpg").symlink_to(tmp_path / "out.jpg")
    (tmp_path / "in/t.csv").write_text("path\n../out.jpg\n")
    (tmp_path / "in/l.csv").write_text("path\nlink.jpg\n")

    allowed = open_table(tmp_path / "in/t.csv", allow_outside_root=True)
    rooted = open_table(
        tmp_path / "in/t.csv", root=str(tmp_path / "in" / ".."), allow_outside_root=True
    )
    linked = open_table(tmp_path / "in/l.csv")
    (tmp_path / "in/a.csv").write_text(f"path\n{tmp_path}/out.jpg\n")
    absolute = open_table(tmp_path / "in/a.csv", allow_outside_root=True)

    assert allowed.read(0) == absolute.read(0) == b"out"
    assert rooted.ids == ["../out.jpg"]
    with pytest.raises(UnreadableInstanceError, match="leads out"):
        linked.read(0)


def test_table__paths_are_relative_to_a_stated_root(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.jpg").write_bytes(b"a")
    (tmp_path / "t.csv").write_text("path\na.jpg\n")

    assert open_table(tmp_path / "t.csv", root=str(tmp_path / "images")).read(0) == b"a"


def test_table__fingerprint_sees_labels_columns_and_sizes(tmp_path, csv_table):
    prints = [open_table(csv_table).fingerprint]
    (tmp_path / "x.jpg").write_bytes(b"another size")
    prints.append(open_table(csv_table).fingerprint)
    csv_table.write_text(csv_table.read_text().replace("cat", "cow"))
    prints.append(open_table(csv_table).fingerprint)
    prints.append(open_table(csv_table, metadata_columns=()).fingerprint)

    assert len(set(prints)) == 4


arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def write_parquet(path, columns, **options):
    parquet.write_table(arrow.table(columns), path, **options)
    return path


IMAGES = [f"image {index}".encode() for index in range(10)]


def test_parquet__reads_bytes_by_row_group(tmp_path):
    path = write_parquet(
        tmp_path / "t.parquet",
        {"image": arrow.array(IMAGES, arrow.binary()), "label": list(range(10))},
        row_group_size=3,
    )

    dataset = open_table(path)

    assert [dataset.read(index) for index in (9, 0, 5, 4, 3, 8)] == [
        IMAGES[index] for index in (9, 0, 5, 4, 3, 8)
    ]
    assert dataset.ids == [str(index) for index in range(10)]
    assert dataset.labels.tolist() == list(range(10))
    assert dataset.metadata == {}


def test_parquet__reads_structures_of_bytes_or_path(tmp_path):
    (tmp_path / "b.jpg").write_bytes(b"from a file")
    structures = [
        {"bytes": b"inline", "path": "a.jpg"},
        {"bytes": None, "path": "b.jpg"},
        {"bytes": None, "path": None},
        None,
        {"bytes": None, "path": "../outside.jpg"},
    ]
    path = write_parquet(tmp_path / "t.parquet", {"image": structures})

    dataset = open_table(path)

    assert (dataset.read(0), dataset.read(1)) == (b"inline", b"from a file")
    for index in (2, 3, 4):
        with pytest.raises(UnreadableInstanceError):
            dataset.read(index)


def test_parquet__has_typed_columns_and_leaves_nested_ones_out(tmp_path):
    path = write_parquet(
        tmp_path / "t.parquet",
        {
            "path": ["a.jpg", "b.jpg"],
            "label": arrow.array(["cat", "dog"]).dictionary_encode(),
            "count": arrow.array([1, None], arrow.int32()),
            "share": arrow.array([0.5, 0.25], arrow.float32()),
            "good": [True, False],
            "name": arrow.array(["x", None]),
            "when": arrow.array([0, 1], arrow.timestamp("s")),
            "boxes": [[1, 2], [3]],
            "thumbnail": [b"1", b"2"],
        },
    )

    dataset = open_table(path)

    assert dataset.ids == ["a.jpg", "b.jpg"]
    assert dataset.labels.tolist() == ["cat", "dog"]
    columns = {name: column.tolist() for name, column in dataset.metadata.items()}
    assert list(columns) == ["count", "share", "good", "name", "when"]
    assert columns["count"][0] == 1
    assert math.isnan(columns["count"][1])
    assert columns["share"] == [0.5, 0.25]
    assert (columns["good"], columns["name"]) == ([True, False], ["x", ""])
    assert columns["when"] == ["1970-01-01 00:00:00", "1970-01-01 00:00:01"]


def test_parquet__joins_the_files_of_a_folder_by_name(tmp_path):
    for name, first in (("b", 4), ("a", 0)):
        write_parquet(
            tmp_path / f"{name}.parquet",
            {"image": IMAGES[first : first + 4], "label": [name] * 4},
            row_group_size=3,
        )

    whole = open_table(tmp_path)
    first = open_table(tmp_path / "*.parquet", limit=5)

    assert [whole.read(index) for index in range(8)] == IMAGES[:8]
    assert first.labels.tolist() == ["a"] * 4 + ["b"]
    assert (len(first), first.read(4)) == (5, IMAGES[4])


def test_parquet__can_be_pickled_and_read_by_many_threads(tmp_path):
    path = write_parquet(tmp_path / "t.parquet", {"image": IMAGES}, row_group_size=2)
    dataset = pickle.loads(pickle.dumps(open_table(path)))

    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(dataset.read, list(range(10)) * 20))

    assert read == IMAGES * 20


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        pytest.param({"a": ["x"]}, {}, "columns of bytes are none", id="no-input"),
        pytest.param({"a": [b"1"], "b": [b"2"]}, {}, "columns of bytes", id="two"),
        pytest.param(
            {"a": [b"1"]}, {"bytes_column": "c"}, "bytes_column is 'c'", id="unknown"
        ),
    ],
)
def test_parquet__asks_for_the_column_of_images(tmp_path, columns, options, message):
    path = write_parquet(tmp_path / "t.parquet", columns)

    with pytest.raises(ConfigError, match=message):
        open_table(path, **options)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        pytest.param("t.parquet", b"PAR1 no table", "as Parquet", id="damaged"),
        pytest.param("t.parquet", None, "no table", id="absent"),
    ],
)
def test_parquet__says_what_cannot_be_read(tmp_path, name, data, message):
    if data is not None:
        (tmp_path / name).write_bytes(data)

    with pytest.raises(DatasetError, match=message):
        open_table(tmp_path / name)


def test_parquet__damage_inside_concerns_the_instances_there(tmp_path):
    path = write_parquet(
        tmp_path / "t.parquet",
        {"image": [np.random.default_rng(seed).bytes(5000) for seed in range(4)]},
        row_group_size=2,
        write_page_checksum=True,
    )
    dataset = open_table(path)
    data = bytearray(path.read_bytes())
    data[200:6000] = bytes(5800)
    path.write_bytes(data)

    with pytest.raises(UnreadableInstanceError, match="row group 0"):
        dataset.read(0)
    assert len(dataset.read(3)) == 5000


def test_table__says_that_a_stated_label_column_is_missing(tmp_path, csv_table):
    write_parquet(tmp_path / "t.parquet", {"path": ["a"], "many": [[1, 2]]})

    for path in (csv_table, tmp_path / "t.parquet"):
        with pytest.raises(ConfigError, match=r"label_column is 'lable'.* it has path"):
            open_table(path, label_column="lable")
    with pytest.raises(DatasetError, match=r"'many' .* type list.*label_column"):
        open_table(tmp_path / "t.parquet", label_column="many")


ROWS = [("0.png", "café a", "1.5"), ("1.png", "b", "2.0"), ("2.png", "c", "-3.25")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("blank", ["", " "])
def test_csv__finds_delimiter_and_encoding(tmp_path, encoding, delimiter, blank):
    lines = [("path", "label", "x"), *ROWS]
    text = "".join((delimiter + blank).join(line) + "\r\n" for line in lines)
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))

    dataset = open_table(tmp_path / "t.csv")

    assert dataset.ids == [path for path, _, _ in ROWS]
    assert dataset.labels.tolist() == [label for _, label, _ in ROWS]
    assert dataset.metadata["x"].tolist() == [float(x) for _, _, x in ROWS]
    assert ("Windows-1252" in " ".join(dataset.notes)) == (encoding == "cp1252")


@pytest.mark.parametrize(
    ("text", "options"),
    [
        pytest.param("path;label;x\n0.png;a;1,5\n1.png;b;2\n", {}, id="commas"),
        pytest.param("sep=^\npath^label^x\n0.png^a^1.5\n1.png^b^2\n", {}, id="excel"),
        pytest.param(
            "path~label~x\n0.png~a~1.5\n1.png~b~2\n", {"delimiter": "~"}, id="stated"
        ),
        pytest.param("path,label,x,\n0.png,a,1.5,\n1.png,b,2,\n,,,\n", {}, id="ends"),
        pytest.param(
            '"path", "label", "x"\n"0.png", "a", "1.5"\n"1.png", "b", "2"\n',
            {},
            id="quotes-behind-blanks",
        ),
    ],
)
def test_csv__reads_what_spreadsheets_write(tmp_path, text, options):
    (tmp_path / "t.csv").write_text(text)

    dataset = open_table(tmp_path / "t.csv", **options)

    assert (dataset.ids, dataset.notes) == (["0.png", "1.png"], ())
    assert dataset.labels.tolist() == ["a", "b"]
    assert dataset.metadata["x"].tolist() == [1.5, 2.0]


def test_csv__encoding_may_be_stated(tmp_path):
    (tmp_path / "t.csv").write_bytes("path,label\n0.png,жук\n".encode("cp1251"))

    dataset = open_table(tmp_path / "t.csv", encoding="cp1251")

    assert (dataset.labels.tolist(), dataset.notes) == (["жук"], ())
    with pytest.raises(DatasetError, match="no encoding 'utf-x'"):
        open_table(tmp_path / "t.csv", encoding="utf-x")


def test_csv__says_what_it_was_read_with(tmp_path):
    (tmp_path / "t.csv").write_text("path,label\n0.png,a\n1.png,b,c\n")

    with pytest.raises(
        DatasetError, match=r"delimiter ',' as UTF-8.*dataset\.delimiter"
    ):
        open_table(tmp_path / "t.csv")


def test_csv__leaves_out_and_tells_of_columns_without_a_name(tmp_path):
    (tmp_path / "t.csv").write_text(",path,label\n0,x.png,a\n1,y.png,b\n")

    dataset = open_table(tmp_path / "t.csv")

    assert (dataset.ids, list(dataset.metadata)) == (["x.png", "y.png"], [])
    assert "without a name are left out: number 1" in dataset.notes[0]


def test_table__tells_that_labels_may_stand_elsewhere(csv_table):
    csv_table.write_text("path,Species,age\nx.jpg,cat,3\n")

    asked = open_table(csv_table)
    without = open_table(csv_table, label_column="")

    assert (asked.labels, without.labels) == (None, None)
    assert "has no 'label', but Species, age" in asked.notes[0]
    assert without.notes == ()


def test_table__reads_paths_that_windows_wrote(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/0.png").write_bytes(b"0")
    (tmp_path / "1.png").write_bytes(b"1")
    (tmp_path / "t.csv").write_text("path,label\nin\\0.png,a\n.\\1.png,b\n")

    dataset = open_table(tmp_path / "t.csv")

    assert dataset.ids == ["in/0.png", "1.png"]
    assert [dataset.read(index) for index in (0, 1)] == [b"0", b"1"]


def test_table__a_backslash_may_be_part_of_a_name(tmp_path):
    (tmp_path / "a\\b.png").write_bytes(b"0")
    (tmp_path / "t.csv").write_text("path\na\\b.png\n")

    assert open_table(tmp_path / "t.csv").read(0) == b"0"


def test_table__a_windows_path_cannot_leave_the_root(tmp_path):
    (tmp_path / "t.csv").write_text("path\n..\\x.png\n")

    with pytest.raises(DatasetError, match="leads out"):
        open_table(tmp_path / "t.csv")


def test_csv__rows_with_numbers_are_instances(tmp_path):
    (tmp_path / "t.csv").write_text("age,sex,label\n4,f,a\n5,m,b\n")

    dataset = open_table(tmp_path / "t.csv")

    assert {name: v.item() for name, v in dataset.read(1).items()} == {
        "age": 5,
        "sex": "m",
    }
    assert dataset.metadata["sex"].tolist() == ["f", "m"]
