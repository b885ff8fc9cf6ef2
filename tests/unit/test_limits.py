"""Token buckets, and what is spent elsewhere."""

from gateway.limits import Limits


def test_what_is_spent_elsewhere_counts_here() -> None:
    now = [100.0]
    limits = Limits(10, lambda: now[0])
    assert limits.take("s", 15) is None
    assert limits.missing("s") == 15
    limits.charge("s", 10)
    assert limits.take("s", 1) == 0.6, "five below nothing"
    now[0] += 1.0
    assert limits.missing("s") == 15
    limits.empty_to("s", 12)
    assert limits.missing("s") == 15, "what lacks already lacks no more"
    limits.empty_to("s", 18)
    assert limits.missing("s") == 18
    limits.charge("s", 1000)
    now[0] += 4.0
    assert limits.missing("s") == 0, "a debt is a burst at most"


def test_what_costs_more_than_a_burst() -> None:
    limits = Limits(1, lambda: 0.0)
    assert limits.take("s", 20) is None
    assert limits.take("s", 1) == 19
