"""The bench's statistics: what is printed as a ratio or a verdict is what was measured."""

import statistics

import pytest
from bench.figures import Demand, Ratio, Road, at_least, at_most, case
from bench.results import Results, cell, describe, percentile
from hypothesis import given
from hypothesis import strategies as st

SPEED = "bulk_down_mb_s"
TIME = "setup_ms"


def results(**values: list[float]) -> Results:
    """By way, of both figures."""
    made = Results()
    for figure in (SPEED, TIME):
        for way, taken in values.items():
            for value in taken:
                made.add(figure, way, value)
    return made


def test_ratio_is_of_medians_and_not_of_means() -> None:
    """One slow round must not count."""
    made = results(direct=[100, 100, 1000], interlock=[80, 10, 90])
    assert made.ratios([Ratio("down", SPEED, Road.DIRECT)], "interlock") == {"down": 0.8}


def test_ratio_compares_the_roads_that_it_names() -> None:
    """Each ratio names both of its roads."""
    made = results(jump=[200], interlock=[100], interlock_jumped=[150], interlock_unrecorded=[80])
    table = [
        Ratio("by jump", TIME, Road.JUMP, road=Road.JUMPED),
        Ratio("recorder", TIME, Road.UNRECORDED),
    ]
    assert made.ratios(table, "interlock") == {"by jump": 0.75, "recorder": 1.25}


def test_ratio_of_cases_compares_the_same_way() -> None:
    """Growth is of one way, between two cases."""
    made = Results()
    for size, value in ((10, 100.0), (2000, 130.0)):
        made.add(TIME, case("interlock", size), value)
    table = [Ratio("grown", TIME, Road.ROUTE, at=2000, base_at=10)]
    assert made.ratios(table, "interlock") == {"grown": 1.3}


def test_what_was_not_measured_is_left_out() -> None:
    """With --only there are neither ratios nor verdicts of the rest."""
    made = results(interlock=[1.0])
    assert made.ratios([Ratio("down", SPEED, Road.DIRECT)], "interlock") == {}
    assert made.median(SPEED, "jump") is None
    assert not made.verdicts([], [Demand("cpu_up_s_gb", at_most(0.9))], "interlock")


def test_ratio_over_nothing_is_left_out() -> None:
    """A base of zero has no ratio."""
    made = results(direct=[0.0], interlock=[1.0])
    assert made.ratios([Ratio("down", SPEED, Road.DIRECT)], "interlock") == {}


@pytest.mark.parametrize(("ours", "met"), [([85.0], True), ([80.0], True), ([79.9], False)])
def test_lower_bound(ours: list[float], met: bool) -> None:
    """Exactly the target is enough."""
    made = results(direct=[100.0], interlock=ours)
    verdicts = made.verdicts([Ratio("down", SPEED, Road.DIRECT, at_least(0.8))], [], "interlock")
    assert [(each.name, each.met) for each in verdicts] == [("down", met)]


@pytest.mark.parametrize(("ours", "met"), [([7.0, 8.0, 90.0], True), ([8.1], False)])
def test_upper_bound_on_a_figure_itself(ours: list[float], met: bool) -> None:
    """The median is judged."""
    verdicts = results(interlock=ours).verdicts([], [Demand(TIME, at_most(8.0))], "interlock")
    assert [(each.name, each.met) for each in verdicts] == [(TIME, met)]


def test_every_target_of_a_measured_ratio_is_judged_and_others_are_not() -> None:
    """A ratio without a target is only shown."""
    made = results(direct=[100.0], jump=[50.0], interlock=[90.0])
    table = [Ratio("a", SPEED, Road.DIRECT, at_least(0.8)), Ratio("b", SPEED, Road.JUMP)]
    assert [each.name for each in made.verdicts(table, [], "interlock")] == ["a"]


def test_other_relays_are_compared_by_their_route() -> None:
    """A relay's name is the name of its way."""
    made = results(direct=[100.0], interlock=[90.0], warpgate=[50.0])
    assert made.ratios([Ratio("down", SPEED, Road.DIRECT)], "warpgate") == {"down": 0.5}


def test_checkouts_are_compared_road_by_road() -> None:
    """A name that begins with another one's is not mistaken for it."""
    made = results(interlock=[90.0], old=[100.0], interlock_jumped=[30.0], old_jumped=[60.0], older=[1.0])
    made.add(TIME, "old@10", 5.0)
    made.add(TIME, "interlock@10", 4.0)
    assert made.against("interlock", "old") == {
        SPEED: 0.9,
        f"{SPEED}_jumped": 0.5,
        TIME: 0.9,
        f"{TIME}_jumped": 0.5,
        f"{TIME}@10": 0.8,
    }


@given(st.lists(st.floats(min_value=0.001, max_value=1e6), min_size=1, max_size=50))
def test_description_is_in_order(values: list[float]) -> None:
    """Whatever was measured."""
    found = describe(values)
    assert found["min"] <= found["median"] <= found["max"]
    assert found["n"] == len(values)
    assert found["median"] == round(statistics.median(values), 3)


@given(
    st.lists(st.floats(min_value=0, max_value=1e6), min_size=1, max_size=200),
    st.floats(min_value=0.01, max_value=1.0),
)
def test_percentile_is_the_least_value_that_enough_do_not_exceed(values: list[float], share: float) -> None:
    """By the definition, whatever the share."""
    found = percentile(values, share)
    assert found in values
    enough = share * len(values) - 1e-9
    assert sum(value <= found for value in values) >= enough
    assert sum(value < found for value in values) < enough + 1e-6


def test_percentiles_of_a_hundred() -> None:
    """The example that everybody has in mind."""
    values = [float(number) for number in range(100, 0, -1)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile(values, 1.0)) == (50, 99, 100)


@pytest.mark.parametrize(
    ("values", "shown"),
    [([1.0, 2.0, 3.0], "2.00 [1.00-3.00]"), ([40.0, 50.0], "45.0 [40.0-50.0]"), ([99.6, 312.4], "206 [100-312]")],
)
def test_cell_has_three_digits(values: list[float], shown: str) -> None:
    """As exact as the figures are."""
    assert cell(describe(values)) == shown


def test_cell_of_nothing() -> None:
    """A way that a figure does not apply to."""
    assert cell(None) == "-"
