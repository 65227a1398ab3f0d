"""Shipped recipes are the published systems; a recipe that is wrong says which key."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from voxid.cli.recipes import recipes as recipes_command
from voxid.encoders.cost import cost
from voxid.errors import BadConfig, BadRecipe, UnknownComponent
from voxid.recipes import recipe_text, shipped_recipes
from voxid.training import initial_model, load_recipe

# The original's published table: encoder, SpecAugment, hours' worth of folders, EER in % on test-clean.
PUBLISHED = {
    "bilstm-clean100": ("lstm", False, 1, 8.02),
    "bilstm-clean100-specaug": ("lstm", True, 1, 7.89),
    "transformer-clean100-specaug": ("transformer", True, 1, 9.81),
    "bilstm-all": ("lstm", False, 3, 8.54),
    "bilstm-all-specaug": ("lstm", True, 3, 6.89),
}

VOXCELEB = {"voxceleb-resnet34": "resnet", "voxceleb-ecapa": "ecapa", "voxceleb-campplus": "campplus"}
LIBRISPEECH = {"librispeech-clean100": 1, "librispeech-all": 3}
MODERN = [
    *VOXCELEB,
    *LIBRISPEECH,
    "tiny",
    "distil",
    "small-world",
    "small",
    "base",
    "base-longer",
    "base-sentences",
    "base-brief",
]
MODERN += ["base-world", "base-world-last"]


def test_shipped_are_the_published_five_the_demo_and_modern_ones() -> None:
    assert set(shipped_recipes()) == {*PUBLISHED, "demo", *MODERN}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_recipe(name: str) -> None:
    encoder, specaugment, folders, eer = PUBLISHED[name]
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.published_eer == eer
    assert len(recipe.trained_on) == folders
    assert recipe.encoder["name"] == encoder
    if encoder == "lstm":
        options = {"name": "lstm", "layers": 3, "hidden": 64, "bidirectional": True, "aggregation": "mean"}
    else:
        options = {"name": "transformer", "dim": 32, "encoder_layers": 2, "decoder_layers": 1, "heads": 8}
    assert options.items() <= recipe.encoder.items()
    assert recipe.features["coefficients"] == 40
    assert recipe.loss["margin"] == 0.1
    assert (recipe.data.triplets, recipe.data.window) == (8, 100)
    assert (recipe.optimizer["name"], recipe.optimizer["lr"]) == ("adam", 1e-4)
    assert (recipe.training.steps, recipe.training.save_every) == (100_000, 10_000)
    assert (recipe.specaugment is not None) == specaugment
    if recipe.specaugment:
        assert recipe.specaugment.model_dump() == {
            "freq_prob": 0.3, "time_prob": 0.3, "freq_max_width": 8, "time_max_width": 20}  # fmt: skip


def test_clean100_and_all_differ_in_data_only() -> None:
    said = {"name", "description", "published_eer", "trained_on"}
    for suffix in ("", "-specaug"):
        clean, everything = load_recipe("bilstm-clean100" + suffix), load_recipe("bilstm-all" + suffix)
        assert clean.model_dump(exclude=said) == everything.model_dump(exclude=said)


@pytest.mark.parametrize("name", [*VOXCELEB, *LIBRISPEECH])
def test_the_published_training_of_wespeaker(name: str) -> None:
    """The numbers of its VoxCeleb recipes (examples/voxceleb/v2/conf), as far as they have a name here."""
    recipe = load_recipe(name)
    rows = 256 if name in VOXCELEB else 128
    assert recipe.features == load_recipe("bilstm-clean100", ["features={name='fbank'}"]).features
    assert recipe.loss["name"] == "aam"
    assert (recipe.loss["scale"], recipe.loss["margin"], recipe.loss["sub_centers"]) == (32, 0.2, 1)
    data = recipe.data
    assert (data.sampler, data.rows, data.window, data.speeds) == ("uniform", rows, 200, (0.9, 1.1))
    assert recipe.optimizer == {
        "name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4,
        "decays": "all"}  # fmt: skip
    assert recipe.training.epochs == 150
    schedule = recipe.schedule
    assert (schedule.kind, schedule.unit, schedule.warmup, schedule.final_lr, schedule.per_rows) == (
        "exponential", "epochs", 6, 5e-5, 64)  # fmt: skip
    assert (schedule.margin_from, schedule.margin_start, schedule.margin_end) == (0, 19, 39)
    assert schedule.margin_ramp == "exponential"
    assert recipe.average is not None
    assert (recipe.average.kind, recipe.average.snapshots, recipe.average.every) == ("last", 10, 1)
    (tuning,) = recipe.stage
    assert (tuning.epochs, tuning.lr, tuning.margin) == (5, 1e-4, 0.5)
    assert tuning.data == {"window": 600, "rows": rows // 2}
    assert (tuning.schedule.warmup, tuning.schedule.final_lr, tuning.schedule.per_rows) == (1, 2.5e-5, 64)
    assert recipe.inference.mode == "full"
    if name in LIBRISPEECH:
        assert len(recipe.trained_on) == LIBRISPEECH[name]


@pytest.mark.parametrize(("name", "encoder"), VOXCELEB.items())
def test_the_networks_of_the_published_recipes_have_their_published_size(name: str, encoder: str) -> None:
    recipe = load_recipe(name)
    assert recipe.encoder["name"] == encoder
    published = {"resnet": 6.63e6, "ecapa": 6.19e6, "campplus": 7.18e6}[encoder]
    parameters = sum(p.numel() for p in initial_model(recipe).encoder.parameters())
    assert parameters == pytest.approx(published, rel=0.02)


def test_the_model_to_ship_is_small_enough() -> None:
    recipe = load_recipe("base")
    used = cost(recipe.encoder, recipe.features["bins"])
    assert 4 * used.parameters <= 12e6  # bytes
    assert used.multiply_adds <= 0.6e9


@pytest.mark.parametrize(
    "name", ["base-longer", "base-sentences", "base-brief", "base-world", "base-world-last"]
)
def test_what_goes_on_with_base_has_its_network(name: str) -> None:
    base, longer = load_recipe("base"), load_recipe(name)
    longer.features.pop("pause_db", None)  # changes no weight
    assert (longer.features, longer.encoder, longer.inference) == (
        base.features,
        base.encoder,
        base.inference,
    )
    assert longer.augment is not None
    assert longer.augment.lossy_prob > 0


def test_small_is_between_tiny_and_base() -> None:
    tiny, small, base = (load_recipe(name) for name in ("tiny", "small", "base"))
    costs = [cost(recipe.encoder, recipe.features["bins"]) for recipe in (tiny, small, base)]
    assert costs[0].parameters < costs[1].parameters < costs[2].parameters
    assert costs[0].multiply_adds < costs[1].multiply_adds < costs[2].multiply_adds
    assert tiny.training.steps < small.training.steps
    assert tiny.data.rows < small.data.rows


@pytest.mark.parametrize("name", [*PUBLISHED, "demo", *MODERN])
def test_every_recipe_builds_a_model_and_survives_the_trip_to_toml(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    dims = {"transformer": 32, "lstm": 128}
    assert initial_model(recipe).dim == recipe.encoder.get("embedding", dims.get(recipe.encoder["name"]))
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.to_toml())
    assert load_recipe(path) == recipe


def test_none_survives_the_trip_to_toml(tmp_path: Path) -> None:
    recipe = load_recipe("bilstm-clean100", ["features.top_db=none", "training.clip_norm=2.5"])
    assert recipe.features["top_db"] is None
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.to_toml())
    assert load_recipe(path) == recipe


def test_every_option_of_a_shipped_recipe_is_explained() -> None:
    for name in shipped_recipes():
        blocks = recipe_text(name).split("\n\n")
        for block in blocks[1:]:
            assert block.lstrip().startswith("#"), f"{name}: no comment above {block.splitlines()[0]}"


def test_overrides() -> None:
    recipe = load_recipe(
        "bilstm-clean100-specaug",
        ["optimizer.lr=1e-3", "encoder.aggregation=last", "specaugment=none", "training.max_seconds=5"],
    )
    assert recipe.optimizer["lr"] == 1e-3
    assert recipe.encoder["aggregation"] == "last"
    assert recipe.specaugment is None
    assert recipe.training.max_seconds == 5.0


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        ("training.stepz=5", BadConfig, r"training\.stepz: no such option.*Did you mean 'steps'"),
        ("encoder.hiden=5", BadConfig, r"encoder\.hiden: no such option.*Did you mean 'hidden'"),
        ("data.windw=5", BadConfig, r"data\.windw: no such option.*Did you mean 'window'"),
        ("optimizr.lr=5", BadConfig, r"recipe\.optimizr: no such option.*Did you mean 'optimizer'"),
        ("specaugment.freq_prob=2", BadConfig, r"specaugment\.freq_prob"),
        ("optimizer.lr=fast", BadConfig, r"optimizer\.lr: .*got 'fast'"),
        ("optimizer.lr=-1", BadConfig, r"optimizer\.lr"),
        ("training.steps=0", BadConfig, r"training\.steps"),
        ("encoder.name=lstn", UnknownComponent, "Did you mean 'lstm'"),
        ("optimizer.name=adan", UnknownComponent, "Known: adam, adamw, sgd"),
        ("encoder.name=none", UnknownComponent, "needs a name"),
        ("encoder=3", BadConfig, r"recipe\.encoder"),
        ("name.x=3", BadRecipe, "name is not a table"),
        ("steps", BadRecipe, "KEY=VALUE"),
        ("=5", BadRecipe, "KEY=VALUE"),
    ],
)
def test_bad_override_names_the_key(override: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_recipe("bilstm-clean100-specaug", [override])


def test_bad_recipe_files(tmp_path: Path) -> None:
    with pytest.raises(BadRecipe, match="Did you mean 'bilstm-clean100'"):
        load_recipe("bilstm-clean10")
    with pytest.raises(BadRecipe, match="neither shipped nor a file"):
        load_recipe(tmp_path)
    path = tmp_path / "mine.toml"
    path.write_text("name = ")
    with pytest.raises(BadRecipe, match="not TOML"):
        load_recipe(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadRecipe, match="TOML file"):
        load_recipe(path)
    path.write_text('name = "x"')
    with pytest.raises(BadConfig, match=r"recipe\.encoder: is missing"):
        load_recipe(path)


def test_command_lists_and_prints() -> None:
    app = typer.Typer()
    app.command()(recipes_command)
    listed = CliRunner().invoke(app, ["--json"])
    rows = {row["name"]: row for row in json.loads(listed.stdout)["recipes"]}
    assert {name: row["published_eer"] for name, row in rows.items() if name in PUBLISHED} == {
        name: values[3] for name, values in PUBLISHED.items()
    }
    assert {rows[name]["published_eer"] for name in ("demo", *MODERN)} == {None}
    text = CliRunner().invoke(app, []).stdout
    for name, (_, _, _, eer) in PUBLISHED.items():
        assert name in text
        assert f"{eer:.2f} %" in text
    printed = CliRunner().invoke(app, ["bilstm-clean100"]).stdout
    assert printed == recipe_text("bilstm-clean100")
    assert tomllib.loads(printed) == json.loads(CliRunner().invoke(app, ["bilstm-clean100", "--json"]).stdout)


def test_triplets_have_one_speed() -> None:
    with pytest.raises(BadRecipe, match=r"data\.speeds is \[0\.9\]: at another speed"):
        load_recipe("bilstm-clean100", ["data.speeds=[0.9]"])
