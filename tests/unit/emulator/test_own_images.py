import json

import pytest

from podwire.emulator.own_images import added, beside, config_map, key_of, split


def test_what_is_written_is_read() -> None:
    images = {"registry.example.com:5000/shop/cart": ("cart", "--port", "80"), "own": ("true",)}
    assert added(config_map(images)["data"]) == images


def test_a_key_has_only_what_a_config_map_allows() -> None:
    assert key_of("r.example.com:5000/shop/cart") == "r.example.com_3a5000_2fshop_2fcart"
    alike = ("a/b", "a:b", "a_b", "a_2fb")
    assert len({key_of(image) for image in alike}) == len(alike)


@pytest.mark.parametrize(
    "value",
    [
        "no JSON",
        "[]",
        '"text"',
        json.dumps({"image": "half"}),
        json.dumps({"image": "nothing", "command": []}),
        json.dumps({"image": "text", "command": "cart --port 80"}),
        json.dumps({"image": 1, "command": ["cart"]}),
    ],
)
def test_what_somebody_else_wrote_is_left_out(value: str) -> None:
    good = config_map({"shop/cart": ("cart",)})["data"]
    assert added({"a": value, **good}) == {"shop/cart": ("cart",)}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("python3 ./cart.py --port 80", ("python3", "/srv/shop/cart.py", "--port", "80")),
        ("../bin/cart", ("/srv/bin/cart",)),
        ("python3 cart.py .", ("python3", "cart.py", ".")),
        ("sh -c './cart http://a'", ("sh", "-c", "./cart http://a")),
    ],
)
def test_paths_beside_the_file_that_says_the_command(command: str, words: tuple[str, ...]) -> None:
    assert beside(split(command), "/srv/shop") == words


def test_a_command_is_split_as_a_shell_would() -> None:
    assert split("cart --say 'good day'") == ("cart", "--say", "good day")
    for nothing in ("", "  ", "''x' "):
        with pytest.raises(ValueError, match=r"command|quotation"):
            split(nothing)
