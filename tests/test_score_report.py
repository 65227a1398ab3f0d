"""Anybody's score files, measured: true figures, trials matched, nothing lost in silence."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from commands import invoke

from voxid import metrics
from voxid.errors import BadScores
from voxid.evaluation import measure_scores


class Scores:
    """Trials of twelve speakers with three recordings each, and the scores of a system on them."""

    def __init__(self, seed: int = 0, quality: float = 2.0) -> None:
        names = [f"s{s}-{i}" for s in range(12) for i in range(3)]
        left, right = np.triu_indices(36, k=1)
        self.pairs = [(names[a], names[b]) for a, b in zip(left, right, strict=True)]
        self.same = left // 3 == right // 3
        self.score = np.random.default_rng(seed).standard_normal(left.size) + quality * self.same
        by_name = np.argsort(np.argsort([f"s{s}" for s in range(12)]))  # speakers are numbered by name
        self.left, self.right = by_name[left // 3], by_name[right // 3]

    def write(self, path: Path, chosen: np.ndarray | None = None, labels: bool = True) -> Path:
        order = np.arange(len(self.pairs)) if chosen is None else chosen
        with path.open("w") as file:
            for k in order:
                label = (" target" if self.same[k] else " nontarget") if labels else ""
                file.write(f"{self.pairs[k][0]} {self.pairs[k][1]} {self.score[k]:.17g}{label}\n")
        return path


@pytest.fixture
def speakers(tmp_path: Path) -> Path:
    path = tmp_path / "utt2spk"
    path.write_text("".join(f"s{s}-{i} s{s}\n" for s in range(12) for i in range(3)))
    return path


def test_the_figures_are_those_of_the_metrics(tmp_path: Path, speakers: Path) -> None:
    one = Scores()
    report = measure_scores([one.write(tmp_path / "a.score")], speakers=speakers, seed=4)
    model = report.models[0]
    assert (model.model, model.inference, model.trials, model.targets) == ("a", "wespeaker", 630, 36)
    assert model.eer == metrics.eer(one.score, one.same).rate
    assert model.min_dcf == metrics.min_dcf(one.score, one.same)
    assert (model.act_dcf, model.cllr_of) == (None, "scores taken as llr")
    witness = metrics.intervals(one.score, one.same, one.left, one.right, seed=4)["eer"]
    assert model.intervals["eer"] == [witness.low, witness.high]
    worst = model.worst["false_accepts"][0]
    top = int(np.argmax(np.where(one.same, -np.inf, one.score)))
    assert (worst["left"], worst["right"]) == one.pairs[top]
    assert report.data["speakers"] == 12


def test_scores_that_are_llrs_have_an_actual_cost(tmp_path: Path) -> None:
    one = Scores()
    model = measure_scores([one.write(tmp_path / "a.score")], llr=True).models[0]
    assert model.act_dcf == metrics.act_dcf(one.score, one.same)
    assert (model.cllr, model.cllr_of) == (metrics.cllr(one.score, one.same), "llr")


def test_without_speakers_there_is_no_interval_and_a_reason(tmp_path: Path) -> None:
    report = measure_scores([Scores().write(tmp_path / "a.score")])
    assert report.models[0].intervals == {}
    assert "give them: --speakers FILE" in report.intervals["why_not"]


def test_files_in_another_order_are_compared_trial_by_trial(tmp_path: Path, speakers: Path) -> None:
    one, two = Scores(0), Scores(1, quality=1.0)
    shuffled = np.random.default_rng(2).permutation(630)
    paths = [one.write(tmp_path / "a.score"), two.write(tmp_path / "b.score", shuffled)]
    report = measure_scores(paths, speakers=speakers)
    witness = metrics.paired(one.score, two.score, one.same, one.left, one.right)["eer"]
    test = report.paired[0]
    assert (test["a"], test["b"], test["trials"]) == ("a", "b", 630)
    assert (test["difference"], test["low"], test["p_value"]) == pytest.approx(
        (witness.difference, witness.low, witness.p_value)
    )


def test_only_common_trials_are_compared(tmp_path: Path, speakers: Path) -> None:
    one = Scores()
    fewer = np.random.default_rng(2).permutation(630)[:500]
    paths = [one.write(tmp_path / "a.score"), one.write(tmp_path / "b.score", fewer)]
    report = measure_scores(paths, speakers=speakers)
    assert [model.trials for model in report.models] == [630, 500]
    assert (report.paired[0]["trials"], report.paired[0]["difference"]) == (500, 0.0)


def test_files_that_repeat_other_trials_are_not_compared(tmp_path: Path, speakers: Path) -> None:
    one = Scores()
    twice = np.append(np.arange(400), 5)
    thrice = np.append(np.arange(630), (5, 7))
    paths = [one.write(tmp_path / "a.score", thrice), one.write(tmp_path / "b.score", twice)]
    report = measure_scores(paths, speakers=speakers)
    assert report.paired == []
    assert "no paired tests" in report.data["warnings"][-1]
    assert report.models[1].intervals["eer"]
    assert report.trials["warnings"]["duplicate"] == 2  # the most of any file, not those of the last


def test_a_file_without_intervals_takes_them_from_no_other(tmp_path: Path, speakers: Path) -> None:
    one = Scores()
    three = [k for k, pair in enumerate(one.pairs) if all(name[:3] in ("s0-", "s1-", "s2-") for name in pair)]
    few = one.write(tmp_path / "few.score", np.array([*three, three[0]]))
    report = measure_scores([few, one.write(tmp_path / "all.score")], speakers=speakers)
    assert [bool(model.intervals) for model in report.models] == [False, True]
    assert "why_not" not in report.intervals
    assert any(line.startswith("few: no intervals: ") for line in report.data["warnings"])


def test_a_trial_without_a_score_is_counted_and_its_cost_is_named(tmp_path: Path) -> None:
    one = Scores()
    lines = [f"{int(y)} {a} {b}" for (a, b), y in zip(one.pairs, one.same, strict=True)]
    (tmp_path / "trials").write_text("\n".join(lines) + "\n")
    kept = np.flatnonzero(~(one.same & (one.score < 2.0)))  # it does not answer where it is weak
    report = measure_scores([one.write(tmp_path / "a.score", kept, labels=False)], tmp_path / "trials")
    lost = 630 - kept.size
    model = report.models[0]
    assert (model.trials_lost, model.left_out) == (lost, {"no_score": lost})
    assert (report.trials["count"], report.trials["targets"], report.left_out["trials"]) == (630, 36, lost)
    assert f"{lost} trials of the list have no score" in report.data["warnings"][0]
    found = re.findall(r"(\d+\.\d\d) %", report.data["warnings"][0])
    as_errors = np.where(np.isin(np.arange(630), kept), one.score, -99.0)
    honest = 100 * metrics.eer(as_errors, one.same).rate
    assert float(found[0]) == pytest.approx(honest, abs=0.01)
    assert float(found[1]) == pytest.approx(100 * model.eer, abs=0.01) != pytest.approx(honest, abs=0.01)


def test_scores_and_labels_alone_are_enough(tmp_path: Path) -> None:
    one = Scores()
    lines = [f"{x:.17g} {int(y)}" for x, y in zip(one.score, one.same, strict=True)]
    (tmp_path / "plain.txt").write_text("\n".join(lines) + "\n")
    report = measure_scores([tmp_path / "plain.txt"], out=tmp_path / "report")
    model = report.models[0]
    assert model.eer == metrics.eer(one.score, one.same).rate
    assert model.worst == {"false_accepts": [], "false_rejects": []}
    assert (model.hardest, report.data["utterances"]) == ([], 0)
    assert sorted(report.files) == sorted(path.name for path in (tmp_path / "report").iterdir())
    assert json.loads((tmp_path / "report" / "report.json").read_text()) == report.as_dict()


def test_a_report_of_ours_is_read_back_with_the_same_figures(tmp_path: Path) -> None:
    one = Scores()
    np.savez(
        tmp_path / "scores-x.npz",
        utterances=np.array(list(dict.fromkeys(n for pair in one.pairs for n in pair))),
        left=np.triu_indices(36, k=1)[0].astype(np.int32),
        right=np.triu_indices(36, k=1)[1].astype(np.int32),
        scores=one.score.astype(np.float32),
        same=one.same,
    )
    report = measure_scores([tmp_path / "scores-x.npz"])
    assert report.models[0].eer == metrics.eer(one.score.astype(np.float32), one.same).rate


def test_bad_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "nan").write_text("a b nan target\na c 0.1 nontarget\n")
    with pytest.raises(BadScores, match="1 scores are NaN or infinite; the first is line 1"):
        measure_scores([tmp_path / "nan"])
    (tmp_path / "one").write_text("a b 0.5 target\na c 0.1 target\n")
    with pytest.raises(BadScores, match="2 target and 0 non-target"):
        measure_scores([tmp_path / "one"])
    (tmp_path / "empty").write_text("")
    with pytest.raises(BadScores, match="empty"):
        measure_scores([tmp_path / "empty"])
    with pytest.raises(BadScores, match="no score file was given"):
        measure_scores([])


def test_metrics_command(tmp_path: Path, speakers: Path) -> None:
    path = Scores().write(tmp_path / "a.score")
    arguments = [
        "metrics",
        str(path),
        "--speakers",
        str(speakers),
        "-o",
        str(tmp_path / "r"),
        "--resamples",
        "50",
    ]
    result = invoke([*arguments, "--eer-grid"])
    assert result.exit_code == 0, result.output
    assert "36 of 36 utterances of 12 speakers in 630 trials (36 of one" in " ".join(result.stdout.split())
    assert "grid EER %" in result.stdout
    result = invoke([*arguments, "--json"])
    assert json.loads(result.stdout) == json.loads((tmp_path / "r" / "report.json").read_text())
    assert "voxid" in (tmp_path / "r" / "report.html").read_text()


@pytest.mark.parametrize("what", ["distances", "swapped labels", "right"])
def test_an_eer_above_one_half_asks_whether_the_scores_are_the_wrong_way_round(
    what: str, tmp_path: Path
) -> None:
    one = Scores()
    if what == "distances":
        one.score = -one.score
    if what == "swapped labels":
        one.same = ~one.same
    command = ["metrics", str(one.write(tmp_path / "a.score")), "-o", str(tmp_path / "r")]
    result = invoke(command)
    rate = metrics.eer(one.score, one.same).rate
    asked = f"a: an EER of {100 * rate:.2f} % is worse than guessing: are the scores the wrong way round"
    assert (rate > 0.5) == (what != "right")
    for text in (result.stdout, (tmp_path / "r" / "report.html").read_text()):
        assert (asked in text) == (what != "right")
