import pytest

from neglab.digits import percent, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.73121, "0.7312"), (0.999973, "0.9999730"), (0.00001234, "0.0000123"), (1.0, "1.0000"), (0.0, "0.0000"),
     (-3.25, "-3.2500"), (17.5, "17.5000"), (1 - 1e-15, "1.000000000000"), (0.5, "0.5000")],
)  # fmt: skip
def test_digits_tell_scores_apart_where_they_pile_up(value, text):
    assert shown(value) == text


@pytest.mark.parametrize(("share", "text"), [(0.25, "25.0%"), (0.999982, "99.9982%"), (1.0, "100.0%"), (0.0, "0.0%")])
def test_shares(share, text):
    assert percent(share) == text
