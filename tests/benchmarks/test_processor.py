"""What single things cost: rows of a document, and the run with absent classes."""

from benchmarks.processor import QUESTIONS, _with_absent, rows
from nnviz.testing import PlantedRun


def test_rows__of_questions_that_were_answered():
    result = {
        "start": {"wrong_run_file_s": 0.21, "driver_s": 1.1, "serve_s": 1.9},
        "forks": {
            "forked_s": 3.0,
            "importing_s": 4.0,
            "forked_wall_s": 1.8,
            "importing_wall_s": 2.0,
            "ratio": 0.75,
        },
        "absent": {"all_present_s": 2.0, "absent_s": 2.2, "ratio": 1.1},
    }

    found = rows(result)

    starts = ["0.21 s", "1.10 s", "1.90 s"]
    measured = [*starts, "0.75 (0.90 of the time)", "1.10 (2.2 s)"]
    assert [row[1] for row in found] == measured
    goals = ["< 0.3 s", "< 1.5 s", "< 2.0 s", "< 1", "≤ 1.2"]
    assert [row[2] for row in found] == goals
    assert rows({}) == []


def test_channels__every_number_of_channels_has_a_row(tmp_path):
    answer = QUESTIONS["channels"](tmp_path)

    assert len(rows({"channels": answer})) == len(answer) == 4
    assert all(row["taken, gamma 1"] >= 1 for row in answer.values())


def test_with_absent__the_same_instances__other_classes_have_none():
    run = PlantedRun(n_classes=10, n_instances=30)

    many = _with_absent(run, 1_000)

    assert len(many.names) == 1_000
    assert many.labels.tolist() == run.labels.tolist()
    assert many.predictions.tolist() == run.predictions.tolist()
