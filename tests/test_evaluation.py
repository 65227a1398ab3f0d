"""From models and data to the report: each utterance once, nothing lost in silence, and true figures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from commands import invoke

from voxid import corpora, metrics
from voxid.corpora import scan
from voxid.corpora.synthetic import make_corpus
from voxid.data.prepare import prepare
from voxid.embed import Embedded, EmbedInfo, load
from voxid.errors import (
    AudioError,
    AudioSilent,
    AudioTooShort,
    BadCohort,
    BadConfig,
    BadTrials,
    EvaluationError,
    NotWritable,
    UnknownComponent,
    UnknownModel,
)
from voxid.evaluation import EvaluationData, calibrate, evaluate, make_trials, read_data, run
from voxid.evaluation import scores as scores_module
from voxid.evaluation.embedding import embed_used, with_models
from voxid.evaluation.scores import Scores, score_trials
from voxid.model.network import Model
from voxid.recognizer import compare
from voxid.scoring import Calibration, make_scorer
from voxid.scoring.calibration import QualityTerm
from voxid.trials import Trials
from voxid.types import Utterance


class CountingRuntime:
    """Stands in for a model: a speaker's direction with a little noise, and a record of what it embedded."""

    dim = 8
    sample_rate = 16_000
    score_mode = "sliding"
    fingerprint = "f00"

    def __init__(self, noise: float = 0.3, broken: dict[str, AudioError] | None = None) -> None:
        self.model = SimpleNamespace(calibration=None, cohort=None, metadata={"name": "counting"})
        self.noise = noise
        self.broken = broken or {}
        self.embedded: Counter[str] = Counter()
        self.vads: set[str | None] = set()

    def embed_each(
        self,
        audio: Iterable[Any],
        on_error: Callable[[int, AudioError], None] | None = None,
        vad: str | None = "energy",
    ) -> Iterator[Embedded]:
        self.vads.add(vad)
        for position, utterance in enumerate(audio):
            self.embedded[utterance.utterance] += 1
            if utterance.utterance in self.broken:
                assert on_error is not None
                on_error(position, self.broken[utterance.utterance])
                continue
            speaker, own = (
                np.random.default_rng([*name.encode()]) for name in (utterance.speaker, utterance.path)
            )
            embedding = speaker.standard_normal(8) + self.noise * own.standard_normal(8)
            short = utterance.utterance.endswith("/0")
            yield Embedded(position, embedding.astype(np.float32), EmbedInfo(2.0, short, 1))


def utterances(speakers: int = 6, each: int = 5, **labels: list) -> list[Utterance]:
    return [
        Utterance(
            f"s{s}",
            f"s{s}/{i}",
            f"/corpus/s{s}/{i}.wav",
            **{name: values[s] for name, values in labels.items()},
        )
        for s in range(speakers)
        for i in range(each)
    ]


def score(runtime: Any, data: EvaluationData, trials: Trials) -> Scores:
    return score_trials(with_models(embed_used(runtime, data, trials.used()), trials), trials)


def data_of(items: list[Utterance]) -> EvaluationData:
    return EvaluationData("made up", ["/corpus"], "abc", items, audio=lambda i: items[i])


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[EvaluationData], None]:
    """Let `evaluate` read this data, whatever path it is given."""

    def use(data: EvaluationData) -> None:
        monkeypatch.setattr(run, "read_data", lambda paths, layout: data)

    return use


# -- what is embedded, and what is left out --------------------------------------------------------------


@pytest.mark.parametrize("spec", ["all", "500-triplets"])
def test_each_utterance_is_embedded_once(spec: str, use: Callable) -> None:
    data = data_of(utterances())
    use(data)
    runtime = CountingRuntime()
    evaluate([runtime], "any", spec)
    assert runtime.embedded == Counter(u.utterance for u in data.utterances)


def test_only_utterances_of_the_trials_are_embedded(tmp_path: Path, use: Callable) -> None:
    use(data_of(utterances()))
    (tmp_path / "list").write_text("1 s0/1 s0/2\n0 s0/1 s3/4\n0 s0/2 s3/4\n")
    runtime = CountingRuntime()
    report = evaluate([runtime], "any", tmp_path / "list")
    assert runtime.embedded == Counter(["s0/1", "s0/2", "s3/4"])
    assert (report.models[0].trials, report.models[0].utterances) == (3, 3)
    assert (report.data["used_in_trials"], report.data["utterances"]) == (3, 30)


def test_what_is_left_out_is_counted_and_its_trials_too(use: Callable) -> None:
    use(data_of(utterances()))
    broken = {"s0/0": AudioSilent("silent"), "s1/3": AudioTooShort("short"), "s2/2": AudioTooShort("short")}
    report = evaluate([CountingRuntime(broken=broken), CountingRuntime()], "any", "all")
    first, second = report.models
    pairs, left = 30 * 29 // 2, 27 * 26 // 2
    assert first.left_out == {"silent": 1, "too_short": 2}
    assert (first.trials, first.trials_lost, first.utterances) == (left, pairs - left, 27)
    assert (second.trials, second.trials_lost, second.left_out) == (pairs, 0, {})
    assert report.trials["count"] == pairs
    assert report.left_out == {
        "utterances": {"silent": 1, "too_short": 2},
        "trials": pairs - left,
        "when_prepared": {},
    }
    assert (first.full_sequence, second.full_sequence) == (5, 6)  # the six called s?/0, one of them silent


def test_nothing_left_is_an_error_with_the_first_reason(use: Callable) -> None:
    items = utterances(2, 2)
    use(data_of(items))
    broken = {u.utterance: AudioSilent(f"{u.path} is silent") for u in items}
    with pytest.raises(BadTrials, match=r"none of 6 trials is left: 4 .* /corpus/s0/0.wav is silent"):
        evaluate([CountingRuntime(broken=broken)], "any", "all")


# -- the figures -----------------------------------------------------------------------------------------


def test_scores_are_the_cosines_of_the_pairs() -> None:
    data, runtime = data_of(utterances()), CountingRuntime()
    emb = np.stack([e.embedding for e in runtime.embed_each(data.utterances)]).astype(np.float64)
    emb /= np.linalg.norm(emb, axis=1, keepdims=True)
    for spec in ("all", "40-triplets"):
        trials = make_trials(spec, data)
        scored = score(runtime, data, trials)
        witness = [emb[a] @ emb[b] for a, b in zip(trials.left_K, trials.right_K, strict=True)]
        np.testing.assert_allclose(scored.score_K, witness, atol=1e-6)
        np.testing.assert_array_equal(scored.same_K, trials.same_K)


def test_scores_stay_with_their_trials_when_some_are_lost() -> None:
    data = data_of(utterances())
    trials = make_trials("all", data)
    whole = score(CountingRuntime(), data, trials)
    part = score(CountingRuntime(broken={"s2/2": AudioSilent("silent")}), data, trials)
    np.testing.assert_allclose(part.score_K, whole.score_K[part.kept_K], atol=1e-6)
    assert part.kept_K.sum() == len(trials) - 29


def test_groups_hold_the_trials_of_like_speakers(use: Callable) -> None:
    items = utterances(6, 5, sex=["m", "m", "f", "f", "m", ""], age=[30.0, 40.0, 17.9, 12.0, 9.0, 50.0])
    use(data_of(items))
    runtime = CountingRuntime(noise=1.0)
    model = evaluate([runtime], "any", "all").models[0]
    alike = {"s0": 0, "s1": 0, "s2": 1, "s3": 1, "s4": 2}  # adult men, girls, a boy; s5 has no sex
    emb = {u.utterance: e.embedding for u, e in zip(items, runtime.embed_each(items), strict=True)}
    scores, labels = [], []
    for i, a in enumerate(items):
        for b in items[i + 1 :]:
            if a.speaker in alike and alike[a.speaker] == alike.get(b.speaker):
                x, y = emb[a.utterance].astype(float), emb[b.utterance].astype(float)
                scores.append(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
                labels.append(a.speaker == b.speaker)
    group = model.groups["same_sex_and_age_group"]
    assert (group["trials"], group["targets"]) == (len(labels), sum(labels)) == (100, 50)
    assert group["eer"] == pytest.approx(metrics.eer(scores, labels).rate, abs=1e-9)
    assert group["eer"] != model.eer


def test_groups_by_sex_alone_or_none(use: Callable) -> None:
    use(data_of(utterances(4, 3, sex=["m", "m", "f", "f"])))
    groups = evaluate([CountingRuntime()], "any", "all").models[0].groups
    assert list(groups) == ["same_sex", "sex: male, male", "sex: female, female", "sex: male, female"]
    assert (groups["same_sex"]["trials"], groups["same_sex"]["targets"]) == (30, 12)
    use(data_of(utterances(4, 3)))
    assert evaluate([CountingRuntime()], "any", "all").models[0].groups == {}


def test_cllr_says_what_it_was_computed_on(use: Callable) -> None:
    use(data_of(utterances()))
    runtime = CountingRuntime()
    raw = evaluate([runtime], "any", "all").models[0]
    assert (raw.cllr_of, raw.act_dcf) == ("cosine taken as llr", None)
    runtime.model.calibration = Calibration(scale=20.0, offset=-10.0, model="f00")
    calibrated = evaluate([runtime], "any", "all").models[0]
    assert calibrated.cllr_of == "llr"
    assert calibrated.cllr < raw.cllr
    assert calibrated.act_dcf is not None
    assert calibrated.eer == raw.eer
    runtime.model.calibration = Calibration(scale=20.0, offset=-10.0, model="another model's")
    assert evaluate([runtime], "any", "all").models[0].cllr_of == "cosine taken as llr"


def test_net_speech_is_measured_only_where_scores_rest_on_it(use: Callable) -> None:
    use(data_of(utterances()))
    runtime = CountingRuntime()
    evaluate([runtime], "any", "all")
    runtime.model.calibration = Calibration(scale=20.0, offset=-10.0, model="f00")
    evaluate([runtime], "any", "all")
    assert runtime.vads == {None}
    evaluate([runtime], "any", "2-enrol")  # clips are weighted by it
    assert runtime.vads == {None, "energy"}
    weighed = CountingRuntime()
    term = QualityTerm(name="speech_min", weight=0.1, mean=0.0, spread=1.0, low=-1.0, high=1.0)
    weighed.model.calibration = Calibration(scale=20.0, offset=-10.0, model="other", qualities=(term,))
    evaluate([weighed], "any", "all")
    assert weighed.vads == {"energy"}


def test_grid_is_an_option(use: Callable) -> None:
    use(data_of(utterances()))
    assert evaluate([CountingRuntime()], "any", "all").models[0].eer_grid is None
    model = evaluate([CountingRuntime(noise=1.0)], "any", "all", eer_grid=True).models[0]
    assert model.eer_grid == pytest.approx(model.eer, abs=0.03)


def test_enrollment_models_are_scored_by_the_mean_of_their_utterances(use: Callable) -> None:
    data, runtime = data_of(utterances(6, 5)), CountingRuntime(1.0)
    use(data)
    report = evaluate([runtime], "any", "2-enrol")
    trials = make_trials("2-enrol", data)
    assert trials.models is not None
    emb = np.stack([e.embedding for e in runtime.embed_each(data.utterances)]).astype(np.float64)
    emb /= np.linalg.norm(emb, axis=1, keepdims=True)
    means = np.stack([emb[trials.models.members(m)].mean(axis=0) for m in range(6)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    witness = [
        means[a - trials.models.first] @ emb[b] for a, b in zip(trials.left_K, trials.right_K, strict=True)
    ]
    model = report.models[0]
    assert (model.trials, model.targets, model.utterances) == (6 * 18, 18, 30)
    assert model.eer == pytest.approx(metrics.eer(witness, trials.same_K).rate, abs=1e-9)
    assert report.trials["enrollment_models"] == 6
    table = np.array(witness).reshape(-1)
    found = model.identification
    assert found is not None
    probes = np.unique(trials.right_K)
    speaker, right = data.speakers(), []
    for probe in probes:
        mine = {
            trials.models.names[a - trials.models.first]: table[k]
            for k, (a, b) in enumerate(zip(trials.left_K, trials.right_K, strict=True))
            if b == probe
        }
        right.append(max(mine, key=mine.get) == f"s{speaker[probe]}")
    assert (found["enrolled"], found["probes"]) == (6, 18)
    assert found["top_1"] == np.mean(right) < 1
    assert (found["fnir"], found["fpir"]) == (None, None)  # 18 strangers cannot show a rate of 1 %


# -- scoring, intervals and tests ------------------------------------------------------------------------


def test_each_scoring_is_a_system_on_the_same_trials(use: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    data, others = (
        data_of(utterances()),
        data_of([replace(u, speaker=f"x{u.speaker}") for u in utterances(9)]),
    )
    monkeypatch.setattr(run, "read_data", lambda paths, layout: others if paths == "others" else data)
    runtime = CountingRuntime(1.0)
    report = evaluate([runtime], "any", "all", scoring=["cosine", "as-norm:top_k=5"], cohort="others")
    names = [model.model for model in report.models]
    assert names == ["counting cosine", "counting as-norm:top_k=5"]
    assert [model.scoring for model in report.models] == ["cosine", "as-norm:top_k=5"]
    assert report.data["cohort"]["speakers"] == 9
    emb = np.stack([e.embedding for e in runtime.embed_each(data.utterances)])
    cohort = np.stack([e.embedding for e in runtime.embed_each(others.utterances)])
    trials = make_trials("all", data)
    scorer = make_scorer({"name": "as-norm", "top_k": 5}).fit(cohort, others.speakers())
    witness = scorer.pairs(emb, trials.left_K, trials.right_K)
    assert report.models[1].eer == metrics.eer(witness, trials.same_K).rate
    assert {(test["a"], test["b"]) for test in report.paired} == {tuple(names)}


def test_a_cohort_smaller_than_top_k_is_told(use: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    data, two, nine = (
        data_of([replace(u, speaker=f"{name}{u.speaker}") for u in utterances(count)])
        for name, count in (("", 6), ("x", 2), ("x", 9))
    )
    monkeypatch.setattr(run, "read_data", lambda paths, layout: {"two": two, "nine": nine}.get(paths, data))
    report = evaluate([CountingRuntime(1.0)], "any", "all", scoring=["as-norm:top_k=3000"], cohort="nine")
    said = " ".join(report.data["warnings"])
    assert "as-norm:top_k=3000: top_k = 3000 was cut to 9, all rows of the cohort: that is s-norm" in said
    assert "a cohort of 9 rows measures little" in said
    with pytest.raises(BadCohort, match="a cohort of 2 speakers is too small"):
        evaluate([CountingRuntime(1.0)], "any", "all", scoring=["as-norm"], cohort="two")


def test_what_is_left_out_of_a_cohort_is_told(use: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    data, strangers = data_of(utterances(6)), utterances(9)
    others = data_of([replace(u, speaker=f"x{u.speaker}", utterance=f"x{u.utterance}") for u in strangers])
    monkeypatch.setattr(run, "read_data", lambda paths, layout: others if paths == "others" else data)
    everyone = [u.utterance for u in others.utterances]
    broken = {name: AudioSilent(f"{name} is silent") for name in everyone}
    some = CountingRuntime(1.0, dict([*broken.items()][-4:]))
    some.model.metadata["name"] = "some"
    report = evaluate([some], "any", "all", scoring=["as-norm:top_k=5"], cohort="others")
    said = " ".join(report.data["warnings"])
    assert (
        f"4 of {len(everyone)} recordings of the cohort {others.name} could not be used. The first: x" in said
    )
    with pytest.raises(BadCohort, match=rf"none of {len(everyone)} recordings .* is silent"):
        evaluate([CountingRuntime(1.0, broken)], "any", "all", scoring=["s-norm"], cohort="others")


def test_scoring_that_cannot_be(use: Callable) -> None:
    use(data_of(utterances()))
    runtime = CountingRuntime()
    with pytest.raises(BadCohort, match="plda scoring learns from other speakers"):
        evaluate([runtime], "any", "all", scoring=["plda"])
    with pytest.raises(UnknownComponent, match="Did you mean 'as-norm'"):
        evaluate([runtime], "any", "all", scoring=["asnorm"])
    with pytest.raises(BadConfig, match="'5' is not an option"):
        evaluate([runtime], "any", "all", scoring=["as-norm:5"])
    assert not runtime.embedded


def test_a_cohort_with_test_speakers_is_refused_unless_forced(use: Callable) -> None:
    use(data_of(utterances(8)))  # the cohort is the test itself
    with pytest.raises(EvaluationError, match="8 speakers of the test are in the cohort too"):
        evaluate([CountingRuntime()], "any", "all", scoring=["mean"], cohort="any")
    forced = evaluate([CountingRuntime()], "any", "all", scoring=["mean"], cohort="any", force=True)
    assert "8 speakers of the test are in the cohort" in forced.data["warnings"][0]


def test_intervals_hold_the_figures_and_resample_speakers(use: Callable) -> None:
    data = data_of(utterances(12, 5))
    use(data)
    report = evaluate([CountingRuntime(1.0), CountingRuntime(1.5)], "any", "all", seed=3)
    trials = make_trials("all", data)
    speaker = data.speakers()
    for model in report.models:
        for figure in ("eer", "min_dcf", "min_dcf_05", "min_cllr"):
            low, high = model.intervals[figure]
            assert low <= getattr(model, figure) <= high, figure
    scores = score(CountingRuntime(1.0), data, trials).score_K
    left, right = speaker[trials.left_K], speaker[trials.right_K]
    witness = metrics.intervals(scores, trials.same_K, left, right, seed=3)["eer"]
    assert report.models[0].intervals["eer"] == [witness.low, witness.high]
    assert (report.intervals["resamples"], report.intervals["resampled"]) == (1000, "speakers")
    first = report.paired[0]
    assert (first["a"], first["b"], first["figure"]) == ("counting", "counting-2", "eer")
    assert first["difference"] == pytest.approx(report.models[0].eer - report.models[1].eer)


def test_a_paired_test_is_on_the_trials_that_both_scored(use: Callable) -> None:
    data = data_of(utterances(12, 4))
    use(data)
    broken = CountingRuntime(1.0, broken={"s0/0": AudioSilent("silent"), "s5/1": AudioSilent("silent")})
    other = CountingRuntime(1.0, broken={"s3/3": AudioSilent("silent")})
    report = evaluate([broken, other], "any", "all")
    assert report.paired[0]["trials"] == 45 * 44 // 2
    assert report.paired[0]["difference"] == 0.0  # the same system on the common trials


def test_no_intervals_says_why(use: Callable) -> None:
    use(data_of(utterances(3, 5)))
    report = evaluate([CountingRuntime()], "any", "all")
    assert "at least 5 of them, got 3" in report.intervals["why_not"]
    assert (report.models[0].intervals, report.paired) == ({}, [])
    assert evaluate([CountingRuntime()], "any", "all", resamples=0).intervals["why_not"] == "not asked for"


# -- what is written -------------------------------------------------------------------------------------


def test_the_folder_holds_all_that_the_report_says(tmp_path: Path, use: Callable) -> None:
    data = data_of(utterances(each=4))
    use(data)
    report = evaluate([CountingRuntime(), CountingRuntime(1.0)], "any", "all", tmp_path / "a" / "b")
    folder = Path(report.out)
    assert sorted(report.files) == sorted(path.name for path in folder.iterdir())
    assert [model.model for model in report.models] == [
        "counting",
        "counting-2",
    ]  # no file overwrites another
    assert {"det.png", "histogram.png", "scores-counting.npz", "scores-counting-2.csv"} <= set(report.files)

    def no_constant(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    written = json.loads((folder / "report.json").read_text(), parse_constant=no_constant)
    assert written == report.as_dict()
    assert {"voxid", "data", "trials", "left_out", "models"} <= set(written)
    assert written["models"][0]["eer"] == report.models[0].eer

    arrays = np.load(folder / "scores-counting-2.npz")  # pickle is off by default
    assert metrics.eer(arrays["scores"], arrays["same"]).rate == report.models[1].eer
    left = arrays["utterances"][arrays["left"]]
    assert left[0] == "s0/0"
    assert arrays["scores"].dtype == np.float32


def test_readable_scores_are_a_trial_list(
    tmp_path: Path, use: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = data_of(utterances())
    use(data)
    first = evaluate([CountingRuntime(1.0)], "any", "100-triplets", tmp_path / "a", seed=5)
    again = evaluate([CountingRuntime(1.0)], "any", tmp_path / "a" / "scores-counting.csv", tmp_path / "b")
    assert again.models[0].eer == first.models[0].eer
    monkeypatch.setattr(scores_module, "READABLE_TRIALS", 100)
    long = evaluate([CountingRuntime()], "any", "100-triplets", tmp_path / "c")
    assert "scores-counting.csv" not in long.files


def test_an_output_folder_in_the_way_is_known_before_the_work(tmp_path: Path, use: Callable) -> None:
    use(data_of(utterances()))
    (tmp_path / "file").write_text("")
    runtime = CountingRuntime()
    with pytest.raises(NotWritable):
        evaluate([runtime], "any", "all", tmp_path / "file" / "report")
    assert not runtime.embedded


def test_progress_runs_over_all_models(use: Callable) -> None:
    use(data_of(utterances()))
    seen: list[tuple[int, int]] = []
    broken = CountingRuntime(broken={"s0/3": AudioSilent("silent")})
    evaluate([broken, CountingRuntime()], "any", "all", progress=lambda *numbers: seen.append(numbers))
    assert {total for _, total in seen} == {60}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (60, 60)


# -- with a true model and recordings --------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "voices"
    make_corpus(folder, speakers=4, utterances=4, seconds=(0.5, 4.0))
    (folder / "extra").mkdir()
    (folder / "extra" / "broken.wav").write_bytes(b"not audio at all")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    Model.build({"name": "mfcc"}, {"name": "lstm", "layers": 1, "hidden": 8}).save(folder)
    return folder


def test_a_corpus_and_its_prepared_folder_give_the_same_figures(
    corpus: Path, model: Path, tmp_path: Path
) -> None:
    prepare(scan(corpus), tmp_path / "prepared", workers=1)
    raw = evaluate([model], corpus, "all")
    packed = evaluate([model], tmp_path / "prepared", "all")
    assert raw.models[0].left_out == {"undecodable": 1}
    assert packed.models[0].left_out == {}
    assert packed.left_out["when_prepared"] == {"undecodable": 1}
    assert packed.models[0].trials == raw.models[0].trials == 16 * 15 // 2
    assert packed.models[0].eer == pytest.approx(raw.models[0].eer, abs=1e-6)
    assert packed.models[0].full_sequence == raw.models[0].full_sequence > 0
    assert packed.data["fingerprint"] != raw.data["fingerprint"]
    assert packed.data["speakers"] == 4


def test_full_sequence_is_an_option(corpus: Path, model: Path) -> None:
    sliding, full = (
        evaluate([model], corpus, "all", inference=mode).models[0] for mode in ("sliding", "full")
    )
    assert (sliding.inference, full.inference) == ("sliding", "full")
    assert sliding.fingerprint != full.fingerprint
    assert full.full_sequence == full.utterances > sliding.full_sequence


def test_calibrate_keeps_the_line_in_the_model_folder(corpus: Path, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "calibrated"
    Model.load(model).save(folder)
    before = load(folder).fingerprint
    result = calibrate(folder, corpus, prior=0.1)
    stored = Model.load(folder).calibration
    assert stored == result.calibration
    assert stored is not None
    assert stored.threshold == pytest.approx(np.log(9))
    assert stored.prior == 0.1
    assert stored.fitted_on is not None
    assert (stored.fitted_on.name, stored.fitted_on.utterances) == ("voices", 16)
    assert stored.fitted_on.fingerprint == read_data(corpus).fingerprint
    assert (stored.fitted_on.targets, stored.fitted_on.nontargets) == (24, 96)
    assert load(folder).fingerprint == before == stored.model
    assert result.left_out == {"undecodable": 1}
    assert "24 trials of one speaker" in result.warnings[0]  # too few for a probability, and says so
    assert result.eer > 0.25  # it tells few apart: nothing is said of the labels, which are right
    assert not any("seem to be swapped" in said for said in result.warnings)
    assert result.min_cllr <= result.cllr < 1
    measured = evaluate([folder], corpus, "all", force=True).models[0]
    assert measured.cllr_of == "llr"
    assert measured.cllr == pytest.approx(result.cllr, abs=1e-6)
    # the line was fitted on sliding windows; scores of full sequences are other scores
    assert (
        evaluate([folder], corpus, "all", inference="full", force=True).models[0].cllr_of
        == "cosine taken as llr"
    )


@pytest.mark.parametrize(("speakers", "nontargets"), [(11, 2 * 55), (4, 28)])
def test_a_stranger_of_another_corpus_calibrates_only_where_there_are_few(
    model: Path, tmp_path: Path, speakers: int, nontargets: int
) -> None:
    Model.load(model).save(tmp_path / "m")
    two = [tmp_path / "one" / "dev", tmp_path / "two" / "dev"]
    for number, folder in enumerate(two):
        make_corpus(folder, speakers=speakers, utterances=2, seconds=(1.0, 1.2), start=100 * number)
    fitted = calibrate(tmp_path / "m", two).calibration.fitted_on
    assert fitted is not None
    assert (fitted.targets, fitted.nontargets) == (2 * speakers, 4 * nontargets)


def test_quality_measures_are_fitted_kept_and_applied(corpus: Path, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    Model.load(model).save(folder)
    make_corpus(tmp_path / "crowd", speakers=4, utterances=2, seconds=(1.0, 2.0), start=20)
    make_corpus(tmp_path / "test", speakers=5, utterances=3, seconds=(0.5, 3.0), start=40)
    quality = ["speech", "norm", "cohort_mean"]
    result = calibrate(folder, corpus, quality=quality, cohort=tmp_path / "crowd")
    names = {"speech_min", "speech_max", "norm_min", "norm_max", "cohort_mean"}
    assert {term.name for term in result.calibration.qualities} == names
    stored = Model.load(folder)
    assert stored.calibration == result.calibration
    assert stored.cohort is not None
    assert len(stored.cohort.rows_MD) == 4
    report = evaluate([folder], tmp_path / "test", "all")
    measured = report.models[0]
    assert measured.cllr_of == "llr"
    # every LLR of the evaluation is the one that comparing the two files gives
    worst = [*measured.worst["false_accepts"], *measured.worst["false_rejects"]]
    paths = {u.utterance: u.path for u in read_data(tmp_path / "test").utterances}
    assert worst
    for trial in worst[:4]:
        decision = compare(paths[trial["left"]], paths[trial["right"]], model=folder, least_speech_s=0.1)
        assert decision.llr == pytest.approx(trial["llr"], abs=1e-3)
        plain = result.calibration.scale * trial["score"] + result.calibration.offset
        assert decision.llr != pytest.approx(plain, abs=1e-6)


def test_what_a_model_decides_by_is_a_system_of_its_own(corpus: Path, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    Model.load(model).save(folder)
    make_corpus(tmp_path / "crowd", speakers=4, utterances=2, seconds=(1.0, 2.0), start=20)
    make_corpus(tmp_path / "test", speakers=5, utterances=3, seconds=(0.5, 3.0), start=40)
    calibrate(folder, corpus)
    plain = evaluate([folder], tmp_path / "test", "all", scoring=None)
    assert [row.scoring for row in plain.models] == ["cosine"]  # a line alone changes no order
    same = evaluate([folder], tmp_path / "test", "all", scoring=["llr"]).models[0]
    assert (same.eer, same.cllr) == (plain.models[0].eer, plain.models[0].cllr)
    calibrate(folder, corpus, quality=["cohort_mean"], cohort=tmp_path / "crowd", top_k=2)
    assert load(folder).model.cohort.top_k == 2
    report = evaluate([folder], tmp_path / "test", "all", tmp_path / "report", scoring=None)
    assert [row.model for row in report.models] == ["m cosine", "m llr"]
    cosine, llr = report.models
    assert [test["figure"] for test in report.paired]
    assert (llr.cllr, llr.min_cllr, llr.act_dcf) == (cosine.cllr, cosine.min_cllr, cosine.act_dcf)
    with np.load(tmp_path / "report" / "scores-m_llr.npz") as kept:
        scores, labels = kept["scores"], kept["same"]
    assert metrics.eer(scores, labels).rate == llr.eer
    assert metrics.cllr(scores, labels) == pytest.approx(llr.cllr, abs=1e-6)
    [alone] = evaluate([folder], tmp_path / "test", "all").models
    assert (alone.model, alone.eer) == ("m", cosine.eer)


def test_llrs_need_a_calibration(corpus: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="scored by llr: it has no calibration"):
        evaluate([model], corpus, "all", scoring=["cosine", "llr"])
    folder = tmp_path / "m"
    Model.load(model).save(folder)
    calibrate(folder, corpus)
    with pytest.raises(BadConfig, match="scored by llr: its calibration was fitted on 4 of these speakers"):
        evaluate([folder], corpus, "all", scoring=["llr"])


def test_quality_measures_that_cannot_be(corpus: Path, model: Path) -> None:
    with pytest.raises(BadCohort, match="belong together"):
        calibrate(model, corpus, quality=["cohort_mean"])
    with pytest.raises(BadCohort, match="belong together"):
        calibrate(model, corpus, cohort=corpus)
    with pytest.raises(BadCohort, match="top_k counts speakers of a cohort"):
        calibrate(model, corpus, top_k=30)
    with pytest.raises(BadConfig, match="Did you mean 'speech'"):
        calibrate(model, corpus, quality=["speach"])


def test_a_cohort_of_the_calibration_is_refused_as_one_of_the_test_is(
    corpus: Path, model: Path, tmp_path: Path
) -> None:
    Model.load(model).save(tmp_path / "m")
    asked: dict[str, Any] = {"quality": ["cohort_mean"]}
    with pytest.raises(EvaluationError, match="4 speakers of the calibration are in the cohort too"):
        calibrate(tmp_path / "m", corpus, cohort=corpus, **asked)
    said = calibrate(tmp_path / "m", corpus, cohort=corpus, force=True, **asked).warnings
    assert any("4 speakers of the calibration are in the cohort" in line for line in said)
    assert any("a cohort of 4 rows measures little" in line for line in said)
    one = make_corpus(tmp_path / "one", speakers=1, utterances=3, seconds=(1.0, 1.2), start=70)
    with pytest.raises(BadCohort, match="a cohort of 1 speaker is too small"):
        calibrate(tmp_path / "m", corpus, cohort=one, **asked)


def test_two_corpora_are_evaluated_together(corpus: Path, tmp_path: Path) -> None:
    make_corpus(tmp_path / "other", speakers=2, utterances=2, seconds=(0.5, 0.6), start=9)
    both = read_data([corpus, tmp_path / "other"])
    assert both.name == "voices + other"
    assert len(both.utterances) == len(read_data(corpus).utterances) + 4
    assert both.speakers().max() + 1 == 7  # four voices, two others, and the folder with the broken file


def test_utterances_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Twice(Iterator):
        warnings: tuple[str, ...] = ()

        def __init__(self, *_: Any, **__: Any) -> None:
            self.left = [Utterance("ann", "ann/1", "/a/1.wav"), Utterance("ann", "ann/1", "/b/1.wav")]

        def __next__(self) -> Utterance:
            if not self.left:
                raise StopIteration
            return self.left.pop()

    monkeypatch.setattr(corpora, "scan", Twice)
    with pytest.raises(
        BadTrials, match=r"two recordings of a \+ b have the name 'ann/1', /b/1.wav and /a/1.wav"
    ):
        read_data(["a", "b"])


def test_an_unknown_model_is_named_before_data_is_read(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel):
        evaluate([tmp_path / "nowhere"], tmp_path / "no data", "all")


# -- the commands ----------------------------------------------------------------------------------------


def run_command(*arguments: str) -> str:

    result = invoke(list(arguments))
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.stdout


def test_evaluate_command(corpus: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    arguments = [
        "evaluate",
        str(model),
        "--data",
        str(corpus),
        "--trials",
        "50-triplets",
        "-o",
        str(tmp_path / "r"),
    ]
    text = run_command(*arguments, "--eer-grid")
    for part in (
        "EER %",
        "tiny",
        "left out 1 undecodable",
        "shorter than a window",
        "100 trials (50 of one speaker",
    ):
        assert part in " ".join(text.split()), part
    first = json.loads(run_command(*arguments, "--json", "--seed", "1"))
    assert first["trials"] == {
        "spec": "50-triplets", "seed": 1, "count": 100, "targets": 50, "nontargets": 50,
        "enrollment_models": 0, "warnings": {}, "left_out": {},
    }  # fmt: skip
    assert first == json.loads((tmp_path / "r" / "report.json").read_text())


def test_evaluate_by_the_originals_protocol_says_what_it_left_out(model: Path, tmp_path: Path) -> None:
    folder = make_corpus(tmp_path / "people", speakers=3, utterances=4, seconds=(2.9, 3.9))
    words = ["--data", str(folder), "--trials", "20-triplets:original", "--resamples", "0"]
    text = run_command("evaluate", str(model), *words, "-o", str(tmp_path / "report"))
    left_out = json.loads((tmp_path / "report" / "report.json").read_text())["trials"]["left_out"]
    short = left_out["triplets_with_a_short_utterance"]
    assert short > 0
    assert f"left out when the trials were made: {short} triplets with a short utterance" in text
    listed = run_command("trials", "20-triplets:original", *words[:2], "-o", str(tmp_path / "list.txt"))
    assert f"left out: {short} triplets with a short utterance" in listed


def test_a_shipped_model_is_measured_by_its_name_but_not_calibrated_in_place(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["evaluate", "voxid-base", "--data", str(corpus), "-o", "report", "--resamples", "0", "--json"]
    rows = json.loads(run_command(*words))["models"]
    assert [row["model"] for row in rows] == ["voxid-base cosine", "voxid-base llr"]
    with pytest.raises(NotWritable, match="voxid export voxid-base -o mine; voxid calibrate mine"):
        calibrate("voxid-base", corpus)


def test_calibrate_command(corpus: Path, model: Path, tmp_path: Path) -> None:
    Model.load(model).save(tmp_path / "m")
    text = run_command("calibrate", str(tmp_path / "m"), "--data", str(corpus))
    assert "LLR =" in text
    assert "Test on other speakers than those of voices" in text
    summary = json.loads(run_command("calibrate", str(tmp_path / "m"), "--data", str(corpus), "--json"))
    assert summary["calibration"]["fitted_on"]["name"] == "voices"


# -- the published figures on real speech ------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize(
    ("checkpoint", "percent"),
    [
        ("bilstm.mean.clean100", 2.44),
        pytest.param("transformer.clean100.specaug", 5.11, marks=pytest.mark.slow),
    ],
)
def test_the_published_checkpoints_have_their_measured_error(
    checkpoint: str, percent: float, real_data: Path, seed_dir: Path, tmp_path: Path
) -> None:
    from voxid.published.seed import import_seed

    import_seed(seed_dir / f"saved_model.{checkpoint}.gpu100000.pt", tmp_path / "seed")
    report = evaluate([tmp_path / "seed"], real_data / "LibriSpeech" / "test-other-mini", "all")
    assert round(100 * report.models[0].eer, 2) == percent  # measured with the original's own code
    assert report.models[0].trials == 100 * 99 // 2
