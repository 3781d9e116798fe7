import pytest

from podwire.kube.quantity import QuantityError, canonical, parse


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0", "0"), ("1", "1"), ("1000m", "1"), ("0.5", "500m"), (".5", "500m"), ("1.", "1"),
        ("100m", "100m"), ("1500m", "1500m"), ("0.1m", "100u"), ("2k", "2k"), ("2000", "2k"),
        ("128974848", "128974848"), ("1024Ki", "1Mi"), ("64Mi", "64Mi"), ("1.5Gi", "1536Mi"),
        ("0.5Gi", "512Mi"), ("1000000Ki", "1000000Ki"), ("512", "512"), ("1e3", "1e3"),
        ("1E6", "1e6"), ("12e6", "12e6"), ("100e3", "100e3"), ("-1", "-1"), ("+5", "5"),
        ("1P", "1P"), ("3E", "3E"), ("0.5n", "1n"),
    ],
)  # fmt: skip
def test_canonical_form(text: str, shown: str) -> None:
    assert canonical(text) == shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "quantities must match the regular expression"),
        ("abc", "quantities must match the regular expression"),
        ("1.2.3", "quantities must match the regular expression"),
        ("1 Gi", "quantities must match the regular expression"),
        ("1KiB", "quantities must match the regular expression"),
        ("1Kk", "unable to parse quantity's suffix"),
    ],
)
def test_what_is_no_quantity(text: str, message: str) -> None:
    with pytest.raises(QuantityError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("less", "more"), [("500m", "1"), ("1M", "1Mi"), ("1Ki", "1.1k"), ("-1", "0"), ("1e2", "101")]
)
def test_order(less: str, more: str) -> None:
    assert parse(less).nano < parse(more).nano
