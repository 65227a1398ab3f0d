"""SpecAugment: where masks fall and how often, checked from outside on what changed."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voxid.augment import SpecAugment, SpecAugmentConfig
from voxid.errors import BadConfig


def run(config: SpecAugmentConfig, feat_BTF: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return SpecAugment(config)(feat_BTF, torch.Generator().manual_seed(seed))


def features(rows: int, frames: int, dim: int) -> torch.Tensor:
    """Return features no two of which are equal, and none of which equals its row's mean."""
    values = torch.arange(rows * frames * dim, dtype=torch.float64) ** 1.01
    return values.reshape(rows, frames, dim) + 0.123


def whole_lines(changed: torch.Tensor, dim: int) -> list[int]:
    """Return the positions whose whole line across `dim` changed."""
    return changed.all(dim=dim).nonzero().flatten().tolist()


shapes = {"rows": st.integers(1, 4), "frames": st.integers(1, 40), "dim": st.integers(1, 40)}
widths = {"freq_max": st.integers(1, 45), "time_max": st.integers(1, 45)}


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32), **shapes, **widths)
def test_masks_are_one_band_and_one_stretch_of_the_rows_mean(
    seed: int, rows: int, frames: int, dim: int, freq_max: int, time_max: int
) -> None:
    config = SpecAugmentConfig(freq_prob=0.7, time_prob=0.7, freq_max_width=freq_max, time_max_width=time_max)
    feat_BTF = features(rows, frames, dim)
    before = feat_BTF.clone()
    out_BTF = run(config, feat_BTF, seed)

    assert torch.equal(feat_BTF, before), "the input was written to"
    assert out_BTF.data_ptr() != feat_BTF.data_ptr()
    for row in range(rows):
        changed_TF = out_BTF[row] != feat_BTF[row]
        assert torch.allclose(out_BTF[row][changed_TF], feat_BTF[row].mean())
        bands, stretches = whole_lines(changed_TF, 0), whole_lines(changed_TF, 1)
        if changed_TF.all():
            continue  # one of the two covers everything: the lines of the other cannot be told
        for lines, widest in ((bands, freq_max), (stretches, time_max)):
            assert len(lines) <= widest
            assert lines == list(range(lines[0], lines[0] + len(lines))) if lines else True
        expected_TF = torch.zeros(frames, dim, dtype=torch.bool)
        expected_TF[:, bands] = True
        expected_TF[stretches] = True
        assert torch.equal(changed_TF, expected_TF)


def test_probabilities_widths_and_places_are_those_configured() -> None:
    rows = 20_000
    feat_BTF = features(1, 30, 12).float().expand(rows, -1, -1)
    out_BTF = run(
        SpecAugmentConfig(freq_prob=0.3, time_prob=0.6, freq_max_width=4, time_max_width=7), feat_BTF
    )
    changed_BTF = out_BTF != feat_BTF
    for lines_BL, probability, widest in (
        (changed_BTF.all(dim=1), 0.3, 4),
        (changed_BTF.all(dim=2), 0.6, 7),
    ):
        width_B = lines_BL.sum(dim=1)
        masked = int((width_B > 0).sum())
        assert masked / rows == pytest.approx(probability, abs=0.015)  # 4 standard deviations
        counts = Counter(width_B[width_B > 0].tolist())
        assert set(counts) == set(range(1, widest + 1))
        for width, count in counts.items():
            assert count / masked == pytest.approx(1 / widest, abs=0.03)
            starts = Counter(lines_BL[width_B == width].int().argmax(dim=1).tolist())
            places = lines_BL.shape[1] - width + 1
            assert set(starts) == set(range(places)), "some place is never, or wrongly, masked"
            expected = count / places
            chi_square = sum((n - expected) ** 2 / expected for n in starts.values())
            assert chi_square < places + 6 * (2 * places) ** 0.5  # six standard deviations: not uniform


def test_the_two_masks_and_the_rows_are_independent() -> None:
    feat_BTF = features(1, 30, 12).float().expand(10_000, -1, -1)
    changed_BTF = run(SpecAugmentConfig(freq_prob=0.5, time_prob=0.5), feat_BTF) != feat_BTF
    band_B, stretch_B = changed_BTF.all(dim=1).any(dim=1), changed_BTF.all(dim=2).any(dim=1)
    assert (band_B & stretch_B).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert (stretch_B[:-1] & stretch_B[1:]).float().mean().item() == pytest.approx(0.25, abs=0.02)


def test_a_seed_repeats_itself_and_seeds_differ() -> None:
    feat_BTF = features(64, 100, 40)
    config = SpecAugmentConfig()
    assert torch.equal(run(config, feat_BTF, 5), run(config, feat_BTF, 5))
    assert not torch.equal(run(config, feat_BTF, 5), run(config, feat_BTF, 6))


def test_the_global_random_state_is_neither_used_nor_moved() -> None:
    before = torch.get_rng_state()
    run(SpecAugmentConfig(), features(8, 20, 10))
    assert torch.equal(torch.get_rng_state(), before)


def test_probability_zero_changes_nothing_and_one_always_does() -> None:
    feat_BTF = features(50, 100, 40)
    assert torch.equal(run(SpecAugmentConfig(freq_prob=0, time_prob=0), feat_BTF), feat_BTF)
    changed_BTF = run(SpecAugmentConfig(freq_prob=1, time_prob=1), feat_BTF) != feat_BTF
    assert changed_BTF.all(dim=1).any(dim=1).all()
    assert changed_BTF.all(dim=2).any(dim=1).all()


def test_defaults_are_the_originals() -> None:
    assert SpecAugmentConfig().model_dump() == {
        "freq_prob": 0.3,
        "time_prob": 0.3,
        "freq_max_width": 8,
        "time_max_width": 20,
    }


def test_impossible_options_are_refused() -> None:
    with pytest.raises(BadConfig, match=r"specaugment\.freq_prob"):
        SpecAugmentConfig.parse({"freq_prob": 1.5}, "specaugment")
    with pytest.raises(BadConfig, match="Did you mean 'time_max_width'"):
        SpecAugmentConfig.parse({"time_max_widht": 3}, "specaugment")
