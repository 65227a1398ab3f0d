"""Figures hold what they were given, come out as pictures, and leave pyplot alone."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.figure import Figure
from matplotlib.image import imread
from sklearn.decomposition import PCA
from sklearn.isotonic import IsotonicRegression

from voxid import metrics, plots
from voxid.errors import NotWritable

pytestmark = pytest.mark.usefixtures("real_figures")


@pytest.fixture
def trials() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.random(20_000) < 0.2
    return np.tanh(0.4 * rng.standard_normal(labels.size) + 0.6 * labels), labels


def test_det_axes_are_normal_deviates(trials: tuple[np.ndarray, np.ndarray]) -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(200_000) % 2 == 0
    scores = rng.standard_normal(labels.size) + 2 * labels  # two bells of one width: a line of slope -1
    axes = plots.det_curve([("two bells", metrics.det(scores, labels))]).axes[0]
    far, frr = axes.lines[0].get_xdata(), axes.lines[0].get_ydata()
    middle = (np.abs(far) < 2) & (np.abs(frr) < 2)
    assert middle.sum() > 200
    np.testing.assert_allclose(far[middle] + frr[middle], -2, atol=0.05)
    dot = axes.lines[1].get_xydata()[0]
    assert dot == pytest.approx([-1, -1], abs=0.02)  # the EER of two bells two apart is Phi(-1)
    assert (
        f"EER {100 * metrics.eer(scores, labels).rate:.2f} %" in axes.get_legend().get_texts()[0].get_text()
    )
    assert [tick.get_text() for tick in axes.get_xticklabels()][-3:] == ["40", "50", "60"]


def test_det_shows_the_rare_ends_of_a_long_curve() -> None:
    scores = np.concatenate((np.linspace(0, 1, 300_000), np.linspace(0.5, 1.5, 300)))
    labels = np.arange(scores.size) >= 300_000
    far = plots.det_curve([("long", metrics.det(scores, labels))]).axes[0].lines[0].get_xdata()
    assert far.size < 10_000
    assert np.unique(far[far < NormalDist().inv_cdf(0.001)]).size > 100


def test_several_curves_have_names_and_colours(trials: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = trials
    perfect = labels.astype(float)  # no error at all must not break the axes
    axes = plots.det_curve([("a", metrics.det(scores, labels)), ("b", metrics.det(perfect, labels))]).axes[0]
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend[0].startswith("a: EER ")
    assert legend[1] == "b: EER 0.00 %"
    assert axes.lines[0].get_color() != axes.lines[2].get_color()


def test_histograms_have_area_one_and_the_threshold(trials: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = trials
    axes = plots.score_histogram(scores, labels, 0.31, title="mine").axes[0]
    areas = [
        float(np.sum(patch.get_data().values * np.diff(patch.get_data().edges)))
        for patch in axes.patches
        if patch.get_fill()
    ]
    assert areas == pytest.approx([1.0, 1.0])
    assert axes.lines[0].get_xdata()[0] == 0.31
    labels_shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert f"same speaker ({labels.sum():,} trials)" in labels_shown
    assert axes.get_title() == "mine"


def test_histogram_of_equal_scores() -> None:
    assert plots.score_histogram([0.5, 0.5], [1, 0]).axes[0].get_xlim()[0] < 0.5


def test_waveform_is_in_seconds() -> None:
    axes = plots.waveform(np.linspace(-0.5, 0.25, 8000)).axes[0]
    assert axes.get_xlim() == (0, 0.5)
    assert axes.get_ylim()[1] > 0.5
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time (s)", "amplitude (1 = full scale)")


def test_features_stand_upright() -> None:
    feat = np.zeros((100, 40))
    feat[10, 3] = 1.0  # frame 10, coefficient 3
    image = plots.features_image(feat, title="MFCC").axes[0].images[0]
    assert image.get_array().shape == (40, 100)
    assert image.get_array()[3, 10] == 1.0
    assert image.origin == "lower"
    assert image.get_extent() == pytest.approx((0, 100 * 512 / 16000, -0.5, 39.5))


def test_images_side_by_side_share_one_scale() -> None:
    rng = np.random.default_rng(0)
    before, after = 10 * rng.standard_normal((50, 40)), rng.standard_normal((50, 40))
    figure = plots.before_after(before, after, titles=("before", "after"))
    left, right = figure.axes[0].images[0], figure.axes[1].images[0]
    assert left.norm is right.norm
    assert [axes.get_title() for axes in figure.axes[:2]] == ["before", "after"]
    assert len(plots.features_row([before, after, before], ["a", "b", "c"]).axes) == 4  # and a colour bar


def test_principal_components_are_scikit_learns() -> None:
    rows = np.random.default_rng(0).standard_normal((60, 8)) @ np.diag(np.arange(8, 0, -1.0))
    ours, theirs = plots.principal_components(rows), PCA(2).fit_transform(rows)
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-9)  # a direction's sign is free
    np.testing.assert_array_equal(ours, plots.principal_components(rows))


def test_scatter_puts_each_speaker_in_the_legend() -> None:
    rng = np.random.default_rng(0)
    speakers = np.repeat([f"s{i:02}" for i in range(12)], 5)
    axes = plots.embedding_scatter(rng.standard_normal((60, 16)), speakers, title="mine").axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == sorted(set(speakers))
    looks = {(tuple(c.get_facecolor()[0]), c.get_paths()[0].vertices.tobytes()) for c in axes.collections}
    assert len(looks) == 12
    assert sum(len(c.get_offsets()) for c in axes.collections) == 60


def test_scatter_of_two_dimensions_is_left_as_it_is() -> None:
    points = np.array([[3.0, 4.0], [0.0, 9.0]])
    axes = plots.embedding_scatter(points, [0, 1]).axes[0]
    np.testing.assert_array_equal(axes.collections[1].get_offsets(), points[1:])


def test_losses_start_at_step_one() -> None:
    axes = plots.losses([0.3, 0.2, 0.1]).axes[0]
    assert axes.lines[0].get_xdata().tolist() == [1, 2, 3]
    assert axes.get_ylim()[0] == 0


def test_pictures_are_written_whole(tmp_path: Path, trials: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = trials
    curve = metrics.det(scores, labels)
    figures: list[Figure] = [
        plots.det_curve([("a", curve)]),
        plots.score_histograms([("a", scores, labels, 0.3), ("b", scores, labels, None)]),
        plots.waveform(scores),
        plots.features_row([scores.reshape(-1, 40)], ["a"]),
        plots.embedding_scatter(scores.reshape(-1, 10)[:50], np.arange(50) % 3),
        plots.losses(scores[:50].tolist()),
        plots.calibration_plot(curve),
        plots.bayes_error_plot(curve),
    ]
    for number, figure in enumerate(figures):
        plots.save(figure, tmp_path / f"{number}.png")
        picture = imread(tmp_path / f"{number}.png")
        assert picture.shape[1] == round(figure.get_figwidth() * 120)
        assert picture[..., :3].std() > 0.05  # something was drawn
    assert Gcf.get_num_fig_managers() == 0  # pyplot knows nothing of them


def test_a_picture_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NotWritable):
        plots.save(plots.losses([1.0]), tmp_path / "file" / "loss.png")


def test_the_ninth_system_has_a_line_of_its_own(trials: tuple[np.ndarray, np.ndarray]) -> None:
    curve = metrics.det(*trials)
    lines = plots.det_curve([(f"s{n}", curve) for n in range(10)]).axes[0].lines[:20:2]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 10


def test_names_are_shown_letter_by_letter(trials: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    curve = metrics.det(*trials)
    figure = plots.det_curve([("$a_1$ & \\frac", curve), ("_hidden", curve), ("\U0001f600", curve)])
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert len(legend) == 3
    assert "_hidden" in legend[1]
    plots.save(figure, tmp_path / "names.png")  # no warning about a letter the font lacks
    assert "$a_1$ &amp; \\frac: EER" in plots.svg(figure, "names", "names")


@pytest.mark.parametrize("decimals", [1, 2, 8])  # many ties, some, none
def test_hull_is_what_isotonic_regression_pools(decimals: int) -> None:
    rng = np.random.default_rng(decimals)
    labels = rng.random(3000) < 0.3
    scores = np.round(rng.standard_normal(3000) + labels, decimals)
    curve = metrics.det(scores, labels)
    corners = plots.calibration.hull(curve)
    share = (
        -np.diff(curve.frr[corners])
        * labels.sum()
        / (np.diff(curve.far[corners]) * (~labels).sum() - np.diff(curve.frr[corners]) * labels.sum())
    )
    of_score = share[np.searchsorted(curve.thresholds[corners[1:]], scores, side="right")]
    theirs = IsotonicRegression().fit_transform(scores, labels.astype(float))
    np.testing.assert_allclose(of_score, theirs, atol=1e-9)


@pytest.mark.parametrize("prior", [0.01, 0.05, 0.5])
def test_costs_over_priors_are_the_metrics(prior: float, trials: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = trials
    llrs = 6 * scores - 1
    axes = plots.bayes_error_plot(metrics.det(llrs, labels)).axes[0]
    drawn = {line.get_label(): line for line in axes.lines}
    odds = np.log(prior / (1 - prior))
    for label, known in (
        ("actual", metrics.act_dcf(llrs, labels, p_target=prior)),
        ("minimum", metrics.min_dcf(llrs, labels, p_target=prior)),
    ):
        x, y = drawn[label].get_data()
        assert np.interp(odds, x, y) == pytest.approx(known, abs=0.02)
    assert (drawn["minimum"].get_ydata() <= drawn["actual"].get_ydata() + 1e-12).all()
    assert drawn["deciding blindly"].get_ydata()[0] == 1


def test_a_calibrated_system_follows_the_diagonal() -> None:
    rng = np.random.default_rng(3)
    labels = np.arange(400_000) % 2 == 0
    # Bells of variance 2 m at +m and -m are their own log-likelihood ratios.
    llrs = 2 * rng.standard_normal(labels.size) + np.where(labels, 2.0, -2.0)
    for factor in (1.0, 2.0):
        line = plots.calibration_plot(metrics.det(factor * llrs, labels)).axes[0].lines[1]
        given, right = line.get_data()
        middle = np.abs(given) < 3 * factor
        assert middle.sum() > 50
        np.testing.assert_allclose(right[middle], given[middle] / factor, atol=0.35)


def test_calibration_of_separated_trials_is_drawn() -> None:
    figure = plots.calibration_plot(metrics.det([-40.0, -2.0, 3.0, 90.0], [0, 0, 1, 1]))
    low, high = figure.axes[0].get_xlim()
    assert -30 < low < -20  # LLRs beyond e^25 are drawn at the edge
    assert 20 < high < 30
    assert plots.svg(figure, "separated", "nothing in the middle").count("<path") > 5


def test_svgs_stand_side_by_side_in_a_page(trials: tuple[np.ndarray, np.ndarray]) -> None:
    curve = metrics.det(*trials)
    texts = [plots.svg(plots.det_curve([("a", curve)]), name, 'a "<b>"') for name in ("one", "two")]
    assert texts[0] == plots.svg(plots.det_curve([("a", curve)]), "one", 'a "<b>"')  # repeatable
    ids = [re.findall(r'\bid="([^"]+)"', text) for text in texts]
    assert len(set(ids[0])) == len(ids[0]) > 20
    assert not set(ids[0]) & set(ids[1])
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', texts[0]))
    assert used <= set(ids[0])
    root = ElementTree.fromstring(texts[0])
    assert (root.get("role"), root.get("aria-label")) == ("img", 'a "<b>"')
    assert any("EER" in (node.text or "") for node in root.iter("{http://www.w3.org/2000/svg}text"))
    assert "<style" not in texts[0]  # it would reach the whole page
    assert "var(--figure-ink, #000000)" in texts[0]
    assert "var(--series-0, #0072b2)" in texts[0]


def test_an_svg_changes_no_name(trials: tuple[np.ndarray, np.ndarray]) -> None:
    name = 'x id="y" url(#z) #000000 <script>'
    text = plots.svg(plots.det_curve([(name, metrics.det(*trials))]), "names", "")
    root = ElementTree.fromstring(text)
    shown = [node.text or "" for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert any(line.startswith(name) for line in shown)


def test_long_names_leave_room_for_the_curves(trials: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    names = ["a" * 30 + "b" * 300 + "c" * 30, *(f"system {n}" for n in range(30))]
    figure = plots.det_curve([(name, metrics.det(*trials)) for name in names])
    plots.save(figure, tmp_path / "long.png")
    place, legend = figure.axes[0].get_position(), figure.legends[0]
    assert place.width * figure.get_figwidth() > 4  # inches
    assert legend.get_window_extent().y1 <= figure.axes[0].get_window_extent().y0
    assert legend.get_texts()[0].get_text().startswith("a" * 20 + "…" + "c" * 19 + ":")
    assert len(legend.get_texts()) == 31


# -- error rates, costs, intervals -------------------------------------------------------------------------


@pytest.fixture
def curve() -> metrics.Det:
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 4 == 0
    return metrics.det(rng.standard_normal(400) + 2 * labels, labels)


def test_error_rates_cross_at_the_equal_error_rate(curve: metrics.Det) -> None:
    [axes] = plots.error_rates(curve).axes
    far, frr, dot = axes.lines
    assert len(far.get_xdata()) == len(frr.get_xdata()) <= curve.far.size
    assert far.get_ydata()[0] == 100.0
    assert frr.get_ydata()[0] == 0.0
    [x], [y] = dot.get_data()
    assert y == pytest.approx(100 * curve.far[curve.thresholds.searchsorted(x)], abs=1.0)
    assert y == pytest.approx(100 * curve.frr[curve.thresholds.searchsorted(x)], abs=1.0)


def test_the_dots_of_the_cost_curve_are_the_minimum_costs() -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(4000) % 4 == 0
    scores = rng.standard_normal(4000) + 2 * labels
    [axes] = plots.cost_curve(metrics.det(scores, labels), (0.05, 0.5)).axes
    dots = [line.get_ydata()[0] for line in axes.lines if len(line.get_xdata()) == 1]
    assert dots == pytest.approx([metrics.min_dcf(scores, labels, p) for p in (0.05, 0.5)])


def test_interval_bars_are_where_the_intervals_are() -> None:
    [axes] = plots.interval_bars([("a", 2.0, 1.0, 4.0), ("_b$", 0.5, -1.0, 1.0)], "EER", zero=True).axes
    bars = [list(line.get_xdata()) for line in axes.lines if line.get_linewidth() == 3]
    assert bars == [[1.0, 4.0], [-1.0, 1.0]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", r" _b\$"]
