"""The bench's tables hold together: a name that is misspelt there would only be missing in the report."""

from bench.figures import DEMANDS, FIGURES, RATIOS, Road
from bench.plot import PANELS

NAMES = [figure.name for figure in FIGURES]


def test_names_are_unique() -> None:
    """A name is one figure, one ratio, one demand."""
    for names in (NAMES, [ratio.name for ratio in RATIOS], [demand.figure for demand in DEMANDS]):
        assert len(set(names)) == len(names)


def test_tables_name_figures_that_exist() -> None:
    """Ratios, demands and panels are of figures that are measured."""
    named = (
        {ratio.figure for ratio in RATIOS} | {demand.figure for demand in DEMANDS} | {name for name, _ in PANELS}
    )
    assert named <= set(NAMES)


def test_bounds_are_on_the_side_that_is_better() -> None:
    """More of what is better never misses a target."""
    higher = {figure.name: figure.higher_is_better for figure in FIGURES}
    for ratio in RATIOS:
        assert ratio.bound is None or ratio.bound.at_least == higher[ratio.figure], ratio
    for demand in DEMANDS:
        assert demand.bound.at_least == higher[demand.figure], demand


def test_roads_by_one_relay_have_different_names() -> None:
    """Results of two roads are never mixed; those without a gateway belong to all."""
    assert len({road.of("interlock") for road in Road}) == len(Road)
    assert Road.DIRECT.of("interlock") == Road.DIRECT.of("other") == "direct"
    assert Road.ROUTE.of("other") == "other"


def test_no_ratio_compares_a_way_with_itself() -> None:
    """Such a ratio would always be 1, which meets a target."""
    for ratio in RATIOS:
        ours, theirs = ratio.names("interlock")
        assert ours != theirs, ratio
