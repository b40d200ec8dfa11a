"""Who may import whom, and where is each library at home? The tables, and their test.

A new module gets a row in `MODULES`: what it may import from nnviz, which is always in
rows above its own. A new library gets a row in `HOMES`. The dashboard has its own two
tables. Imports that only annotations need (``if TYPE_CHECKING``) are free.
"""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

import nnviz

ROOT = Path(__file__).resolve().parent.parent
NNVIZ = ROOT / "nnviz"
DASHBOARDS = ROOT / "dashboards" / "nnviz_dashboards"
CLUSTER = ROOT / "cluster" / "nnviz_cluster"

Table = Mapping[str, str]
"""Rows of names in one text each, between spaces; ``*`` stands for anything."""

MODULES: Table = {
    "artifacts.channel_sets": "",
    "artifacts.embedding": "",
    "artifacts.graph_building": "",
    "artifacts.graph_statistics": "",
    "artifacts.sample_statistics": "",
    "artifacts.similarity": "",
    "cluster_command": "",
    "command_options": "",
    "config": "",
    "demo": "",
    "display": "",
    "engine.model_cache": "",
    "durations": "",
    "engine.progress": "",
    "engine.workers": ".progress",
    "engine.task_runs": ".progress .workers",
    "engine.scheduling": ".progress .task_runs",
    "errors": "",
    "inputs.retrying": "",
    "inputs.files": ".retrying",
    "inputs.images": "",
    "inputs.importing": "",
    "inputs.items": "",
    "inputs.listings": "",
    "inputs.resampling": "",
    "inputs.subsets": "",
    "inputs.weights": "",
    "interruption": "",
    "command_group": "interruption",
    "network.activations": "",
    "network.architecture": "",
    "network.attention": "",
    "network.channel_operations": "",
    "network.functions": "",
    "network.influence_vectors": "",
    "network.outputs": "",
    "network.peaks": "",
    "network.places": "",
    "network.views": "",
    "reductions": "",
    "software": "",
    "store.pieces": "",
    "store.dask_arrays": "",
    "store.files": "",
    "store.declarations": "",
    "store.schema": ".declarations",
    "store.sealing": "",
    "store.summary": "",
    "texts": "",
    "artifacts.attribution_graph": ".graph_statistics display",
    "artifacts.causal_check": ".channel_sets .sample_statistics display",
    "artifacts.channel_matching": ".graph_building",
    "artifacts.classes": "display",
    "artifacts.examples": "network.architecture",
    "artifacts.graph_scores": ".graph_building .graph_statistics",
    "artifacts.graph_selection": ".graph_building",
    "artifacts.top_channels": "display",
    "engine.reducing": ".progress .workers",
    "inputs.archives": ".files .listings config texts",
    "inputs.class_maps": "texts",
    "inputs.arrays": ".listings config",
    "inputs.classes": ".class_maps config",
    "inputs.folders": ".files .listings config",
    "inputs.hugging_face": ".files .importing .items .listings config",
    "inputs.parquet": ".importing .listings",
    "inputs.preprocessing": ".images .resampling config",
    "inputs.subset_files": ".subsets texts",
    "inputs.torch_datasets": ".importing .items .listings config",
    "inputs.zoos": ".importing config texts",
    "network.ablation": ".architecture",
    "network.batches": "config",
    "network.edge_inputs": ".channel_operations",
    "network.graph": ".attention .outputs .places .views",
    "network.influence_gathering": ".influence_vectors",
    "network.influence_layout": ".channel_operations .influence_vectors",
    "network.influence_ranking": ".influence_vectors",
    "plan_report": "config",
    "artifacts.graph_comparison": (
        ".attribution_graph .graph_building .graph_statistics display"
    ),
    "artifacts.graph_layout": ".attribution_graph .graph_building",
    "artifacts.graph_presets": (
        ".attribution_graph .graph_building .graph_scores .graph_selection"
    ),
    "store.documents": ".files .sealing",
    "store.array_creation": ".documents .schema",
    "store.hierarchy": ".array_creation .documents .files .pieces .schema",
    "store.recovery": ".documents .hierarchy .sealing",
    "artifacts.pictures": "config inputs.images inputs.preprocessing",
    "artifacts.graph_errors": ".attribution_graph .graph_presets",
    "artifacts.summit_files": ".attribution_graph texts",
    "inputs.exported": "",
    "inputs.models": ".exported .importing .weights .zoos config",
    "inputs.tables": ".files .listings .parquet config texts",
    "network.folding": ".architecture .functions .graph",
    "network.influence_kernels": ".influence_ranking .influence_vectors",
    "network.influence_peaks": (
        ".channel_operations .edge_inputs .influence_gathering .influence_layout "
        ".influence_ranking"
    ),
    "network.influence_torch": ".channel_operations .edge_inputs",
    "network.provenance": ".graph .outputs",
    "store.completion": ".declarations .hierarchy .pieces .schema",
    "store.csr": ".hierarchy",
    "artifacts.graph_files": ".attribution_graph .graph_layout .summit_files",
    "inputs.datasets": (
        ".archives .arrays .folders .hugging_face .tables .torch_datasets config"
    ),
    "inputs.contents": ".datasets config",
    "plan_checks": "config store.declarations",
    "planning": (
        "config inputs.contents network.architecture plan_checks plan_report "
        "store.schema"
    ),
    "network.channels": ".architecture .functions .graph .provenance",
    "network.influences": (
        ".channel_operations .edge_inputs .influence_gathering .influence_kernels "
        ".influence_layout .influence_peaks .influence_ranking .influence_torch"
    ),
    "store.lock": ".hierarchy .sealing",
    "store.later_groups": ".csr .documents .hierarchy",
    "store.integrity": (
        ".array_creation .completion .documents .hierarchy .later_groups .recovery "
        ".schema .sealing"
    ),
    "store.extending": (
        ".completion .declarations .documents .hierarchy .recovery .schema"
    ),
    "store.store": (
        ".completion .dask_arrays .declarations .extending .hierarchy .integrity "
        ".later_groups .recovery .schema .summary network.architecture"
    ),
    "facts": "network.activations reductions store.store",
    "planted": "network.activations network.architecture store.schema",
    "aggregate_states": "inputs.subsets reductions store.store",
    "layer_sums": "aggregate_states facts reductions store.store",
    "aggregation": (
        "aggregate_states engine.progress engine.reducing inputs.subsets layer_sums "
        "planning reductions store.lock store.store"
    ),
    "inputs.ordering": ".datasets",
    "gallery": (
        "artifacts.examples artifacts.pictures config engine.scheduling "
        "inputs.datasets inputs.ordering inputs.retrying network.architecture "
        "store.store"
    ),
    "inputs.reading": ".datasets .preprocessing .retrying",
    "ablation_results": "artifacts.causal_check artifacts.channel_sets store.store",
    "provenance": "config planning store.store",
    "inspection": (
        "provenance plan_report planning store.later_groups store.lock store.store"
    ),
    "network.affine": ".channels .functions .graph .provenance",
    "network.receptive_fields": ".architecture .channels .functions .graph",
    "queries": (
        "artifacts.classes artifacts.examples artifacts.top_channels display "
        "store.store"
    ),
    "export": "queries store.store",
    "subset_totals": (
        "engine.reducing facts inputs.subsets planning queries reductions store.store"
    ),
    "full_graphs": (
        "artifacts.channel_matching artifacts.graph_building inputs.subset_files "
        "inputs.subsets queries store.store subset_totals"
    ),
    "network.sites": ".affine .architecture .channels .functions .graph",
    "graphs": (
        "artifacts.attribution_graph artifacts.graph_building artifacts.graph_errors "
        "artifacts.graph_layout artifacts.graph_presets artifacts.graph_scores "
        "artifacts.graph_selection full_graphs inputs.subsets store.store subset_totals"
    ),
    "stored_graphs": (
        "artifacts.attribution_graph artifacts.graph_layout engine.scheduling graphs "
        "queries store.store"
    ),
    "derivation": (
        "artifacts.classes artifacts.embedding artifacts.similarity "
        "engine.progress gallery graphs inputs.subsets queries store.lock store.store "
        "stored_graphs"
    ),
    "comparisons": (
        "artifacts.channel_matching artifacts.graph_comparison full_graphs graphs "
        "inputs.subsets store.store"
    ),
    "graph_channels": ("artifacts.channel_sets full_graphs graphs queries store.store"),
    "network.layers": ".architecture .channels .graph .places .receptive_fields .sites",
    "network.terms": (
        ".affine .architecture .channels .functions .graph .provenance .sites"
    ),
    "testing": (
        "aggregation config derivation inputs.subset_files network.architecture "
        "planted planning store.store"
    ),
    "artifacts.comparison_files": ".graph_comparison .graph_files .graph_layout",
    "graph_command": (
        "artifacts.comparison_files artifacts.graph_files artifacts.summit_files "
        "command_options comparisons graphs store.store texts"
    ),
    "network.readings": ".channel_operations .channels .graph .terms",
    "network.edges": (
        ".architecture .channels .functions .graph .layers .provenance .readings "
        ".sites .terms"
    ),
    "network.replay": (
        ".channel_operations .channels .edges .graph .outputs .provenance "
        ".readings .terms"
    ),
    "network.analysis": ".channels .edges .graph .layers .replay .sites",
    "network.taps": (
        ".analysis .architecture .channel_operations .channels .edge_inputs "
        ".edges .functions .graph .outputs .readings .sites"
    ),
    "network.reads": (
        ".architecture .channels .functions .graph .layers .sites .terms"
    ),
    "network.capture": (
        ".activations .architecture .attention .edge_inputs .outputs .peaks "
        ".places .reads .taps"
    ),
    "network.tracing": ".analysis .architecture .capture .graph .outputs",
    "network.runtime": (
        ".activations .architecture .batches .capture .edge_inputs .folding "
        ".influences .peaks .reads .taps .tracing config"
    ),
    "planned_inputs": (
        "inputs.contents inputs.datasets inputs.models inputs.ordering "
        "inputs.preprocessing inputs.reading network.runtime planning"
    ),
    "contents_check": (
        "inputs.contents inputs.datasets inputs.ordering planning store.declarations "
        "store.store"
    ),
    "chunk_rows": "inputs.reading network.edge_inputs network.runtime planning",
    "probing": (
        "config inputs.classes inputs.contents inputs.datasets inputs.models "
        "inputs.ordering inputs.preprocessing network.runtime plan_report planning "
        "software store.declarations store.store"
    ),
    "ablation_tasks": (
        "engine.model_cache network.ablation network.runtime planned_inputs planning "
        "store.store"
    ),
    "isolation": "planned_inputs planning store.store",
    "chunk_extraction": (
        "chunk_rows contents_check engine.model_cache engine.workers inputs.reading "
        "isolation network.runtime planned_inputs planning store.store"
    ),
    "extraction": (
        "chunk_extraction engine.progress engine.scheduling plan_report planning "
        "store.lock store.store"
    ),
    "running": "engine.progress store.lock store.store",
    "extract_command": (
        "command_group command_options durations engine.scheduling extraction running "
        "store.store"
    ),
    "ablation": (
        "ablation_results ablation_tasks artifacts.causal_check "
        "artifacts.channel_sets engine.progress engine.scheduling graph_channels "
        "graphs inputs.subsets queries store.lock store.store"
    ),
    "ablation_command": (
        "ablation command_options graph_channels graphs inputs.subset_files running "
        "store.store"
    ),
    "extension": (
        "config inputs.classes inputs.contents inputs.datasets inputs.ordering "
        "planning software store.declarations store.extending store.lock store.store"
    ),
    "extend_command": "command_options config extension",
    "verification": (
        "contents_check engine.progress engine.scheduling inputs.classes "
        "inputs.contents planned_inputs planning store.completion store.declarations "
        "store.documents store.lock store.recovery store.store"
    ),
    "recomputation": (
        "chunk_rows contents_check engine.model_cache engine.scheduling "
        "network.runtime planned_inputs planning software store.store"
    ),
    "verify_command": "command_options recomputation running store.store verification",
    "cli": (
        "ablation_command aggregation cluster_command command_group command_options "
        "config demo derivation export extend_command extract_command graph_command "
        "inputs.subset_files inspection probing running store.store verify_command"
    ),
    "__main__": "cli",
}
"""What each module of nnviz may import from nnviz beside ``errors``.

The lowest come first; a leading dot stands for the module's own folder.
"""

HOMES: Table = {
    "PIL": "artifacts.pictures demo inputs.images inputs.items inputs.preprocessing",
    "click": (
        "ablation_command cli cluster_command command_group command_options "
        "extend_command extract_command graph_command verify_command"
    ),
    "dask": "engine.workers store.dask_arrays store.store",
    "distributed": (
        "engine.reducing engine.scheduling engine.task_runs engine.workers running"
    ),
    "google_crc32c": "store.pieces",
    "llvmlite": "network.influence_vectors",
    "nnviz_cluster": "cluster_command running",
    "nnviz_dashboards": "cli",
    "networkx": "artifacts.comparison_files artifacts.graph_files",
    "numba": (
        "inputs.resampling network.activations network.influence_vectors network.peaks"
    ),
    "numpy": "*",
    "pandas": "artifacts.classes artifacts.top_channels export store.store",
    "safetensors": "demo inputs.weights",
    "scipy": (
        "aggregate_states aggregation artifacts.channel_matching artifacts.embedding "
        "artifacts.graph_building artifacts.graph_statistics "
        "artifacts.sample_statistics artifacts.similarity facts full_graphs "
        "inputs.subsets layer_sums network.activations queries reductions store.csr "
        "store.later_groups store.store subset_totals"
    ),
    "simplejpeg": "inputs.images",
    "sklearn": "demo",
    "torch": (
        "demo inputs.exported inputs.models inputs.preprocessing inputs.weights "
        "inputs.zoos "
        "network.ablation network.affine network.analysis network.attention "
        "network.batches network.capture network.channel_operations network.channels "
        "network.edge_inputs network.folding network.graph "
        "network.influence_layout network.influence_torch network.layers "
        "network.outputs network.peaks network.places network.provenance "
        "network.readings network.reads network.replay network.runtime "
        "network.taps network.terms network.tracing network.views"
    ),
    "tqdm": "engine.progress",
    "umap": "artifacts.embedding",
    "zarr": (
        "inputs.arrays store.array_creation store.files store.hierarchy store.integrity"
    ),
}
"""Which modules of nnviz may import each library."""

ROLES: Table = {
    "theme": "",
    "selection": "",
    "viewmodels": "selection viewmodels",
    "figures": "figures theme",
    "views": "figures theme viewmodels views",
    "app": "figures selection theme viewmodels views",
    "guarding": "",
    "server": "app guarding viewmodels",
    "__main__": "server",
}
"""What each role of the dashboard, a folder or a module, may import from the others."""

ROLE_HOMES: Table = {
    "bokeh": "figures guarding server",
    "nnviz": "__main__ app server viewmodels",
    "numpy": "figures viewmodels",
    "pandas": "viewmodels",
    "panel": "app server views",
    "panel_material_ui": "app views",
    "param": "app selection viewmodels views",
    "scipy": "viewmodels",
    "tornado": "guarding server",
}
"""Which roles of the dashboard may import each library."""

CLUSTER_HOMES: Table = {
    "asyncssh": "ssh",
    "dask": "*",
    "dask_cuda": "cuda",
    "dask_jobqueue": "slurm",
    "dask_kubernetes": "kubernetes",
    "distributed": "*",
    "nnviz": "*",
    "torch": "cuda",
}
"""Which modules of the cluster package may import each library."""

MAX_LINES = 400
LONG_MODULES: Mapping[str, int] = {
    # Loops that are compiled and inlined together.
    "network.influence_kernels": 480,
    # The one face of a store, for all stages and the dashboard.
    "store.store": 520,
}
"""Modules that may be longer, each with its own limit and, in a comment, its reason."""

FORBIDDEN_NAMES = {
    "base",
    "common",
    "constants",
    "core",
    "helpers",
    "manager",
    "misc",
    "types",
    "utils",
}


def test_imports__follow_the_table():
    assert import_problems(NNVIZ, MODULES, HOMES) == []


def test_table__points_down_only_and_has_no_row_without_a_module():
    assert table_problems(MODULES, module_names(NNVIZ)) == []


def test_dashboard_imports__follow_the_table():
    assert import_problems(DASHBOARDS, ROLES, ROLE_HOMES, by_role=True) == []


def test_cluster_imports__follow_the_table():
    rows = dict.fromkeys(module_names(CLUSTER), "*")

    assert import_problems(CLUSTER, rows, CLUSTER_HOMES) == []


@pytest.mark.parametrize(
    "package", [NNVIZ, DASHBOARDS, CLUSTER], ids=lambda package: package.name
)
def test_modules__are_short_named_and_say_what_they_offer(package):
    assert form_problems(package, LONG_MODULES) == []


def test_libraries__are_declared_requirements():
    distributions = {"PIL": "pillow", "sklearn": "scikit-learn", "umap": "umap-learn"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"].values()
    declared = [*project["dependencies"], *itertools.chain.from_iterable(optional)]
    names = {re.split(r"[<>=\[]", item)[0] for item in declared}

    libraries = {*HOMES, *ROLE_HOMES, *CLUSTER_HOMES}
    libraries -= {"nnviz", "nnviz_cluster", "nnviz_dashboards"}
    needed = {distributions.get(name, name.replace("_", "-")) for name in libraries}

    assert needed - names == set()


def test_public_names__are_few_and_all_there():
    names = nnviz.__all__

    assert len(names) <= 21
    assert names == sorted(names)
    assert [name for name in names if getattr(nnviz, name, None) is None] == []


@pytest.mark.parametrize("module", ["nnviz", "nnviz.cli.main", "nnviz.runs.config"])
def test_import__loads_no_slow_library(module):
    slow = {"bokeh", "dask", "distributed", "numba", "pandas", "panel"}
    slow |= {"scipy", "sklearn", "torch", "umap", "zarr"}
    script = f"import sys, {module}; print(*sorted({slow!r} & set(sys.modules)))"

    loaded = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True
    )

    assert (loaded.stdout.split(), loaded.stderr) == ([], "")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        pytest.param({"high.py": "", "low.py": "import toy.high"}, "low", id="upward"),
        pytest.param(
            {"low.py": "from toy import high", "high.py": ""}, "low", id="from"
        ),
        pytest.param(
            {"low.py": "def f():\n    from toy.high import x", "high.py": ""},
            "toy.low:2 imports toy.high; 'low' may import nothing",
            id="inside-a-function",
        ),
        pytest.param({"low.py": "from . import high"}, "relative", id="relative"),
        pytest.param({"low.py": "import torch"}, "home of torch is high", id="home"),
        pytest.param(
            {"low.py": "import attr"}, "attr has no row in HOMES", id="library"
        ),
        pytest.param({"new.py": ""}, "add a row 'new' to the table", id="no-row"),
    ],
)
def test_import_problems__names_a_planted_violation(tmp_path, files, message):
    toy = plant(tmp_path / "toy", files)

    problems = import_problems(toy, {"low": "", "high": "low"}, {"torch": "high"})

    assert len(problems) == 1
    assert message in problems[0]


def test_import_problems__lets_the_allowed_pass(tmp_path):
    files = {
        "low.py": "if TYPE_CHECKING:\n    import torch\n    import toy.high",
        "high.py": "import os\nimport torch.nn\nfrom toy.low import x",
    }
    toy = plant(tmp_path / "toy", files)

    problems = import_problems(toy, {"low": "", "high": "low"}, {"torch": "high"})

    assert problems == []


def test_import_problems__knows_a_role_by_its_folder(tmp_path):
    toy = plant(
        tmp_path / "toy", {"views/one.py": "import nnviz\nimport toy.views.two"}
    )

    problems = import_problems(toy, {"views": "views"}, {"nnviz": "app"}, by_role=True)

    assert problems == ["toy.views.one:1 imports nnviz; the home of nnviz is app"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        pytest.param({"low": "high", "high": ""}, "row below", id="upward"),
        pytest.param({"low": "", "high": "low", "old": ""}, "no module", id="old"),
        pytest.param({"low": "hi", "high": ""}, "'hi' matches nothing", id="stale"),
    ],
)
def test_table_problems__names_a_planted_mistake(table, message):
    problems = table_problems(table, ["low", "high"])

    assert len(problems) == 1
    assert message in problems[0]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        pytest.param({"helpers.py": '"""A."""'}, "says nothing", id="name"),
        pytest.param({"a.py": "x = 1"}, "no docstring", id="docstring"),
        pytest.param({"a.py": '"""A."""\n' * 401}, "401 lines", id="length"),
        pytest.param({"a.py": '"""A."""\ndef f(): ...'}, "no __all__", id="no-all"),
        pytest.param({"a.py": '"""A."""\n__all__ = ["b", "a"]'}, "sorted", id="order"),
        pytest.param({"a/__init__.py": '"""A."""\nimport os'}, "docstring", id="init"),
    ],
)
def test_form_problems__names_a_planted_violation(tmp_path, files, message):
    toy = plant(tmp_path / "toy", files)

    problems = form_problems(toy, {})

    assert len(problems) == 1
    assert message in problems[0]


def plant(folder: Path, files: Mapping[str, str]) -> Path:
    """Write a package of these files, and return its folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def import_problems(
    package: Path, rows: Table, homes: Table, *, by_role: bool = False
) -> list[str]:
    """Return a sentence for each import that the tables do not allow.

    Parameters
    ----------
    package
        Folder of the package; its name is the import name.
    rows
        What each module may import from its own package.
    homes
        Which modules may import each library.
    by_role
        Whether rows name the first part of a module's name instead of all of it.
    """
    problems = []
    for name in module_names(package):
        row = name.split(".")[0] if by_role else name
        if row not in rows:
            problems.append(
                f"{package.name}.{name} is in no row; add a row {row!r} to the table "
                "in tests/test_architecture.py, above the rows of all that import it"
            )
            continue
        for line, imported in imports_of(package, name):
            top, _, rest = imported.partition(".")
            place = f"{package.name}.{name}:{line} imports {imported}"
            if not top:
                problems.append(f"{place}: relative imports are not used")
            elif top == package.name:
                target = rest.split(".")[0] if by_role else rest
                if target == "__version__":
                    continue
                if target != "errors" and not matches(target, patterns(rows, row)):
                    may = ", ".join(patterns(rows, row)) or "nothing"
                    problems.append(f"{place}; {row!r} may import {may}")
            elif top in sys.stdlib_module_names:
                continue
            elif top not in homes:
                problems.append(f"{place}; {top} has no row in HOMES")
            elif not matches(row, patterns(homes, top)):
                home = ", ".join(patterns(homes, top)) or "nowhere"
                problems.append(f"{place}; the home of {top} is {home}")
    return problems


def table_problems(table: Table, modules: Iterable[str]) -> list[str]:
    """Return a sentence for each row that is stale or lets an import point up."""
    modules = list(modules)
    order = list(table)
    problems = [f"there is no module {row!r}" for row in order if row not in modules]
    for index, row in enumerate(order):
        for pattern in patterns(table, row):
            found = [name for name in order if fnmatchcase(name, pattern)]
            if not found:
                problems.append(f"row {row!r}: {pattern!r} matches nothing")
            problems += [
                f"row {row!r} may import {name!r}, which has a row below it"
                for name in found
                if order.index(name) > index
            ]
    return problems


def form_problems(package: Path, long_modules: Mapping[str, int]) -> list[str]:
    """Return a sentence for each module that is too long, or badly named or stated."""
    problems = []
    for path in sorted(package.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        name = ".".join(path.relative_to(package).with_suffix("").parts)
        place = f"{package.name}.{name}"
        n_lines, limit = text.count("\n"), long_modules.get(name, MAX_LINES)
        if n_lines > limit:
            problems.append(f"{place} has {n_lines} lines of {limit}: two concepts?")
        if path.stem in FORBIDDEN_NAMES:
            problems.append(f"{place}: the name says nothing; name the concept")
        if ast.get_docstring(tree) is None:
            problems.append(f"{place} has no docstring")
        if path.stem == "__init__" and path.parent != package and len(tree.body) > 1:
            problems.append(f"{place} holds more than a docstring")
        problems += [f"{place}: {problem}" for problem in export_problems(path, tree)]
    return problems


def export_problems(path: Path, tree: ast.Module) -> list[str]:
    """Return what is wrong with ``__all__``; modules without public names need none."""
    stated = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and [ast.unparse(target) for target in node.targets] == ["__all__"]
    ]
    if stated:
        in_order = stated[0] == sorted(stated[0], key=as_listed)
        return [] if in_order else ["__all__ is not sorted"]
    public = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
    ]
    if not public or path.stem.startswith("__"):
        return []
    return [f"no __all__, but public names: {', '.join(public)}"]


def as_listed(name: str) -> tuple[bool, bool, str]:
    """Return the key by which names are sorted: constants, classes, functions."""
    return not name.isupper(), not name[0].isupper(), name


def module_names(package: Path) -> list[str]:
    """Return the dotted names of a package's modules below it, without __init__."""
    return [
        ".".join(path.relative_to(package).with_suffix("").parts)
        for path in sorted(package.rglob("*.py"))
        if path.stem != "__init__"
    ]


def imports_of(package: Path, name: str) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of all that a module imports when it runs."""
    path = package.joinpath(*name.split(".")).with_suffix(".py")
    for node in run_time_nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield node.lineno, "." * node.level + (node.module or "")
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                # `from package import module` and `from module import name` look alike.
                place = package.parent.joinpath(
                    *str(node.module).split("."), alias.name
                )
                is_module = place.is_dir() or place.with_suffix(".py").is_file()
                is_module = is_module or alias.name == "__version__"
                suffix = f".{alias.name}" if is_module else ""
                yield node.lineno, f"{node.module}{suffix}"


def run_time_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield every node that is not inside ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(tree):
        yield child
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield from run_time_nodes(child)


def patterns(table: Table, row: str) -> list[str]:
    """Return the patterns of a row; a leading dot becomes the folder of the row."""
    folder = row.rpartition(".")[0]
    return [folder + word if word[0] == "." else word for word in table[row].split()]


def matches(name: str, allowed: Iterable[str]) -> bool:
    """Return whether a dotted name matches one of the patterns."""
    return any(fnmatchcase(name, pattern) for pattern in allowed)
