"""The rows of the ablation differ in what their names say, runs are done once, and means are over seeds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from packing import make_pack

from benchmarks import ablation
from benchmarks._ablation_rows import INGREDIENTS, PARTS, PUBLISHED, WORLD, Row, digest, make_rows, recipe_of
from voxid.corpora.synthetic import make_corpus
from voxid.data.pack import Packed
from voxid.training import load_recipe, make_plan, train

ROWS = {row.name: row for row in make_rows()}
STEPS = 100
RISE_AND_FALL = ("schedule.kind", "schedule.warmup", "schedule.final_lr")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return make_pack(tmp_path_factory.mktemp("pack"), [3, 3, 3, 3], seconds=1.2)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("voices"), speakers=6, utterances=3, seconds=(1.0, 1.5))


WHOLE = ("features", "encoder", "loss", "optimizer", "augment", "specaugment", "average", "stage")
ABOUT = ("name", "description", "published_eer", "trained_on")


def what_differs(one: str, other: str) -> set[str]:
    """Return the tables and options in which two rows differ."""
    left, right = (recipe_of(ROWS[name], STEPS, seed=0).model_dump(mode="json") for name in (one, other))
    tables = {table for table in left if left[table] != right[table] and table not in ABOUT}
    options = {
        f"{table}.{key}"
        for table in tables - set(WHOLE)
        for key in left[table]
        if left[table][key] != right[table][key]
    }
    return tables & set(WHOLE) | options


def test_every_row_has_a_name_of_its_own_and_something_to_be_compared_with() -> None:
    rows = make_rows()
    assert len(ROWS) == len(rows)
    assert {row.part for row in rows} == set(PARTS)
    assert {row.against for row in rows} - {None} <= set(ROWS)
    assert [name for name, row in ROWS.items() if row.part == "published"] == list(PUBLISHED)


def test_the_world_without_an_ingredient_differs_in_it_alone() -> None:
    changed = {name: what_differs("world", f"world without {name}") for name in WORLD}
    assert changed == {
        "pauses": {"features"}, "rivals": {"loss"}, "languages": {"loss"}, "sessions": {"data.balance"},
        "lone": {"data.lone"}, "lines": {"augment"}, "faults": {"augment"},
        "speeds": {"data.speeds"}, "centres": {"training.classes_from_init"},
    }  # fmt: skip


def test_the_original_is_the_published_recipe() -> None:
    own = recipe_of(ROWS["original"], STEPS, seed=3)
    published = load_recipe("bilstm-clean100")
    assert own.model_copy(update={"training": published.training}) == published
    assert (own.training.steps, own.training.seed, own.training.threads) == (STEPS, 3, 1)


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("original", "+ rate", {"optimizer", *RISE_AND_FALL, "training.clip_norm"}),
        ("+ rate", "+ windows", {"data.seconds"}),
        ("+ windows", "+ fbank", {"features", "inference.window", "inference.step"}),
        ("+ fbank", "+ ecapa", {"encoder", "inference.mode"}),
        ("+ ecapa", "+ aam", {"loss", "data.sampler", "data.rows"}),
        ("+ aam", "+ augment", {"augment"}),
        ("+ augment", "+ specaugment", {"specaugment"}),
        ("+ specaugment", "+ margin", {"schedule.margin_start", "schedule.margin_end"}),
        ("+ margin", "+ average", {"average"}),
        ("+ average", "+ finetune", {"stage", "training.steps"}),
        ("+ finetune", "+ speeds", {"data.speeds"}),
    ],
)  # fmt: skip
def test_a_step_of_the_ladder_changes_one_ingredient(before: str, after: str, changed: set[str]) -> None:
    assert what_differs(before, after) == changed
    assert ROWS[after].against == before


@pytest.mark.parametrize("name", [name for name in INGREDIENTS if name not in ("aam", "rate", "finetune")])
def test_leaving_an_ingredient_out_undoes_its_step(name: str) -> None:
    step = ROWS[f"+ {name}"]
    lengths = {"stage", "data.seconds", "inference.window", "inference.step"}  # follow from several
    undone = what_differs("+ speeds", f"without {name}")
    assert undone - lengths == what_differs(step.against or "", step.name) - lengths


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.times == 1])
def test_every_row_takes_as_many_steps_and_can_be_trained_on(name: str, packed: Packed) -> None:
    plan = make_plan(recipe_of(ROWS[name], STEPS, seed=0), packed)
    assert plan.steps == STEPS
    assert plan.rows == (32 if ROWS[name].part == "world" else 24)


@pytest.mark.slow
def test_triplets_of_the_modern_training_are_triplets(packed: Packed, tmp_path: Path) -> None:
    # at several speeds a triplet's rows would be of several classes, which its loss refuses
    result = train(recipe_of(ROWS["without aam"], 3, seed=0), packed, tmp_path / "run", device="cpu")
    assert result.steps == 3


def test_rows_that_train_the_same_share_a_run_and_no_others() -> None:
    def of(name: str, **other: object) -> str:
        options: dict = {"steps": STEPS, "seed": 0, "noise": ["a/noise"], "data": "d", **other}
        return digest(ROWS[name], **options)

    assert of("bilstm-all") == of("bilstm-clean100") == of("original")
    assert of("bilstm-all-specaug") == of("bilstm-clean100-specaug")
    assert of("without speeds") == of("+ finetune")
    assert of("+ augment", noise=["elsewhere/noise"]) == of("+ augment")
    different = {of("original"), of("original", seed=1), of("original", steps=99), of("original", data="e")}
    assert len(different) == 4
    assert of("+ augment", noise=["a/rain"]) != of("+ augment")
    assert len({of(name) for name in ROWS}) == len(ROWS) - 5


@pytest.mark.slow
def test_finished_runs_are_not_done_again_and_broken_ones_are(
    corpus: Path, packed: Packed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [ROWS["original"], ROWS["+ rate"], ROWS["bilstm-all"]]
    jobs = ablation.make_jobs(rows, 3, [0, 1], packed.fingerprint, tmp_path, [])
    tests = [ablation.read_test(str(corpus))]
    broken = jobs[0].folder
    broken.mkdir()
    (broken / "recipe.toml").write_text("of a run that was killed")
    assert ablation.run_all(jobs, packed, tests, resamples=20) == 0
    assert capsys.readouterr().out.count("seed") == 4  # bilstm-all trains what the original does
    assert "killed" not in (broken / "recipe.toml").read_text()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert ablation.run_all(jobs, packed, tests, resamples=20) == 0
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    found = list(ablation.summary(rows, jobs))
    assert [row["row"] for row in found] == ["original", "+ rate", "bilstm-all"]
    first, _, third = (row["figures"][f"{tests[0].name}, all"] for row in found)
    assert len(first["seeds"]) == 2
    assert third["change"] == {"value": 0.0, "interval": (0.0, 0.0)}
    ablation.print_table(found)
    assert "| + rate |" in capsys.readouterr().out


def write_run(folder: Path, eer: float, drawn: list[float]) -> None:
    folder.mkdir()
    result = {"figures": {"dev, all": {"eer": eer}}, "train_processor_s": 10.0, "parameters": 5}
    (folder / ablation.RESULT).write_text(json.dumps(result))
    np.savez(folder / ablation.DRAWS, **{"dev, all": np.array(drawn, np.float32)})  # pyright: ignore


def test_means_are_over_seeds_and_differences_over_the_same_draws(tmp_path: Path) -> None:
    rows = [Row("a", "ladder"), Row("b", "ladder", against="a"), Row("c", "ladder", against="a")]
    jobs = [
        ablation.Job(row, seed, recipe_of(ROWS["original"], 2, seed), tmp_path / f"{row.name}{seed}")
        for row in rows
        for seed in (0, 1)
    ]
    drawn = np.linspace(0.1, 0.3, 101)
    write_run(tmp_path / "a0", 0.20, list(drawn))
    write_run(tmp_path / "a1", 0.22, list(drawn + 0.02))
    write_run(tmp_path / "b0", 0.15, list(drawn - 0.05))
    write_run(tmp_path / "b1", 0.17, list(drawn - 0.03))
    first, second = ablation.summary(rows, jobs)  # c has no run
    figure = second["figures"]["dev, all"]
    assert first["figures"]["dev, all"]["eer"] == pytest.approx(0.21)
    assert first["figures"]["dev, all"]["interval"] == pytest.approx((0.115, 0.305))
    assert figure["seeds"] == [0.15, 0.17]
    assert figure["change"]["value"] == pytest.approx(-0.05)
    assert figure["change"]["interval"] == pytest.approx((-0.05, -0.05))  # far less than either one's own
