"""Parts outside of voxid, by dotted name: trained, saved, remembered, and never imported unasked."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from packing import make_pack

import voxid
from voxid.data.pack import Packed
from voxid.errors import BadConfig, BadModel, BadRecipe, UnknownComponent
from voxid.model.network import Model
from voxid.registry import PARTS, origin
from voxid.training import load_recipe, train

PAGE = Path(__file__).resolve().parent.parent / "docs" / "own-parts.md"
MORE = """

import numpy as np

from voxid.features.mfcc import Mfcc
from voxid.training.optimizers import Sgd


class MyFeatures(Mfcc):
    pass


class MyOptimizer(Sgd):
    pass


class SamplerConfig(Config):
    backwards: bool = False


class MySampler:
    Config = SamplerConfig
    pairs = True

    def __init__(self, config, packed, numbers, rows, seed):
        order = np.argsort(packed.speakers_N[numbers])
        self.rows_B = np.resize(numbers[order[::-1] if config.backwards else order], rows)

    def batch(self, step):
        return self.rows_B


class Bare:
    pass


class Silent(MyLoss):
    def __init__(self, config, embedding_dim, n_speakers):
        super().__init__(config, embedding_dim, n_speakers)
        del self.active


class NoDim(MyEncoder):
    def __init__(self, config, input_dim):
        super().__init__(config, input_dim)
        self.dim = None


def function(config, dim):
    pass
"""


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return make_pack(tmp_path_factory.mktemp("pack"), [3, 3, 3], seconds=1.5)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the tutorial's file and its recipe, on the path; none of its modules is imported yet."""
    text = PAGE.read_text()
    [parts] = re.findall(r"my_parts.py\"\).write_text\('''\n(.*?)'''\)", text, re.S)
    [recipe] = re.findall(r"mine.toml\"\).write_text\('''\n(.*?)'''\)", text, re.S)
    (tmp_path / "own_parts.py").write_text(parts + MORE)
    (tmp_path / "broken_parts.py").write_text("1 / 0\n")
    short = recipe.replace("my_parts", "own_parts").replace("steps = 40", "steps = 2")
    (tmp_path / "mine.toml").write_text(short)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_parts", raising=False)
    yield tmp_path
    sys.modules.pop("own_parts", None)


def test_every_part_may_come_from_outside(here: Path, packed: Packed) -> None:
    parts = ["features={name='own_parts:MyFeatures'}", "optimizer={name='own_parts:MyOptimizer', lr=0.1}"]
    parts += ["data.sampler=own_parts:MySampler", "loss={name='ge2e'}"]  # which needs pairs: the sampler has
    result = train(load_recipe("mine.toml", parts), packed, here / "run")
    assert result.steps == 2
    backwards = train(load_recipe("mine.toml", [*parts, "data.options.backwards=true"]), packed, here / "b")
    assert backwards.first_loss != result.first_loss
    with pytest.raises(BadConfig, match=r"data\.options\.forward"):
        load_recipe("mine.toml", [*parts, "data.options.forward=1"])
    with pytest.raises(BadConfig, match="options are for a sampler of your own, and uniform is one of"):
        load_recipe("mine.toml", ["data.options.forward=1"])
    assert (here / "run" / "config.json").read_text().count("own_parts:My") >= 2
    with pytest.raises(BadRecipe, match="needs two windows of a speaker"):
        load_recipe("mine.toml", ["loss={name='ge2e'}"])


def test_a_model_remembers_its_parts_and_code_is_not_imported_unasked(
    here: Path, packed: Packed, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = train(load_recipe("mine.toml"), packed, here / "run").folder
    wave = (np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32), 16_000)
    emb_D = voxid.load(folder).embed(wave)
    assert Model.load(folder).metadata["made_by"] == {
        "own_parts:MyEncoder": "own_parts.py, a file that no package installed"
    }
    sys.modules.pop("own_parts")
    said = r"does not import code because a\s+model names it.*`import own_parts`.*VOXID_PARTS=own_parts"
    with pytest.raises(BadModel, match=f"{said}.*own_parts.py, a file that no package"):
        voxid.load(folder)
    assert "own_parts" not in sys.modules
    monkeypatch.setenv(PARTS, "other, own_parts")  # the user's word
    np.testing.assert_array_equal(voxid.load(folder).embed(wave), emb_D)
    sys.modules.pop("own_parts")
    (here / "own_parts.py").rename(here / "gone.py")
    with pytest.raises(BadModel, match=r"there is no module 'own_parts' to import. Install the package"):
        voxid.load(folder)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("encoder={name='own_parts:MyEncodr'}", "has no MyEncodr. Did you mean 'MyEncoder'"),
        ("encoder={name='own_parts:function'}", "has to be a class with a `Config`"),
        ("encoder={name='own_parts:Bare'}", "has to be a class with a `Config`"),
        ("loss={name='own_parts:MyEncoder'}", "has no needs"),
        ("encoder={name='own_parts:MyEncoder', widht=3}", "encoder.widht: no such option.*'width'"),
        ("encoder={name='no_parts:MyEncoder'}", "there is no module 'no_parts' to import.*PYTHONPATH"),
        ("encoder={name='own_parts.sub:MyEncoder'}", "importing own_parts.sub failed"),
        ("encoder={name='broken_parts:MyEncoder'}", "failed with ZeroDivisionError: division by zero"),
        ("encoder={name='own parts:MyEncoder'}", "by its module and its class"),
        ("encoder={name='lstn'}", "Did you mean 'lstm'.*One of your own is named"),
        ("data.sampler=unifrom", "Did you mean 'uniform'"),
        ("data.sampler=own_parts:MyLoss", "has no batch"),
    ],
)
def test_a_wrong_name_says_what_is_wrong(here: Path, override: str, said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        load_recipe("mine.toml", [override])


def test_what_a_class_lacks_is_told_before_training(here: Path, packed: Packed) -> None:
    with pytest.raises(BadRecipe, match="has no `active`"):
        train(load_recipe("mine.toml", ["loss={name='own_parts:Silent'}"]), packed, here / "run")
    with pytest.raises(BadConfig, match="it has no `dim`"):
        Model.build({"name": "mfcc"}, {"name": "own_parts:NoDim"})


def test_only_parts_of_a_training_may_come_from_outside() -> None:
    from voxid.corpora.scanning import LAYOUTS

    with pytest.raises(UnknownComponent, match="no layout named 'os:system'"):
        LAYOUTS.get("os:system")
    assert origin("numpy:ndarray") == f"numpy {np.__version__}"
