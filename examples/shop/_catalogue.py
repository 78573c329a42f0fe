"""The shop's catalogue: categories, names, attributes, and prices that look like prices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random


@dataclass(frozen=True, slots=True)
class Category:
    """One department of the shop.

    Attributes:
        name: As it stands in the table.
        code: Beginning of the article numbers.
        share: Part of the catalogue, relative to the others.
        median_price: Half of its products cost less.
        spread: Sigma of the logarithm of the price: 0.5 means that two thirds lie between 0.6
            and 1.65 times the median.
        nouns: What it sells.
        options: Attributes with their possible values.
    """

    name: str
    code: str
    share: int
    median_price: float
    spread: float
    nouns: tuple[str, ...]
    options: dict[str, tuple[str, ...]]


_COLOURS = ("black", "white", "red", "blue", "green", "grey", "yellow")

CATEGORIES = (
    Category(
        "books", "BOK", 30, 16.0, 0.45,
        ("Atlas", "Cookbook", "Biography", "Novel", "Field Guide", "Dictionary", "Anthology"),
        {"binding": ("hardcover", "paperback"), "language": ("en", "de", "fr", "es")},
    ),
    Category(
        "kitchen", "KIT", 18, 34.0, 0.75,
        ("Kettle", "Pan", "Teapot", "Grinder", "Knife", "Bowl", "Scales"),
        {"material": ("steel", "cast iron", "glass", "ceramic"), "colour": _COLOURS},
    ),
    Category(
        "clothing", "CLO", 24, 42.0, 0.6,
        ("Jacket", "Shirt", "Jumper", "Scarf", "Trousers", "Coat", "Socks"),
        {"size": ("XS", "S", "M", "L", "XL"), "colour": _COLOURS},
    ),
    Category(
        "electronics", "ELE", 14, 129.0, 0.95,
        ("Headphones", "Speaker", "Keyboard", "Monitor", "Radio", "Camera", "Charger"),
        {"colour": _COLOURS[:4], "warranty": ("1 year", "2 years", "3 years")},
    ),
    Category(
        "toys", "TOY", 14, 23.0, 0.6,
        ("Puzzle", "Train", "Kite", "Blocks", "Board Game", "Puppet", "Marbles"),
        {"age": ("0+", "3+", "6+", "10+"), "material": ("wood", "cloth", "plastic")},
    ),
    Category(
        "furniture", "FUR", 8, 240.0, 0.7,
        ("Desk", "Chair", "Shelf", "Table", "Lamp", "Stool", "Wardrobe"),
        {"material": ("oak", "beech", "pine", "steel"), "colour": _COLOURS},
    ),
)  # fmt: skip  # one category to a paragraph reads better than one value to a line
_CUM_SHARES = tuple(accumulate(category.share for category in CATEGORIES))

_SERIES = (
    "Alba", "Boreal", "Cascade", "Delta", "Ember", "Fjord", "Granite", "Horizon", "Indigo",
    "Juniper", "Kestrel", "Lumen", "Meridian", "Nimbus", "Onyx", "Prairie", "Quartz", "Ridge",
    "Summit", "Tundra", "Umbra", "Vertex", "Willow", "Zephyr",
)  # fmt: skip  # the same

MEDIAN_STOCK = 160.0
_SCARCE = 0.03


def price_in_cents(rng: random.Random, category: Category) -> int:
    """A price of this category: log-normal, then moved to the next ending that shops use."""
    price = category.median_price * math.exp(category.spread * rng.gauss(0.0, 1.0))
    whole = max(1, round(price))
    if whole < 20:  # noqa: PLR2004  # where shops change from .99 and .49 to .95, then to none
        return whole * 100 - rng.choice((1, 1, 51))
    if whole < 100:  # noqa: PLR2004  # the same
        return whole * 100 - rng.choice((1, 5, 5, 10))
    return math.ceil(whole / 5) * 500 - rng.choice((0, 100, 100))


def product(rng: random.Random, number: int) -> tuple[str, str, str, int, int, dict[str, Any]]:
    """Product ``number``: its sku, name, category, price in cents, stock and attributes."""
    category = rng.choices(CATEGORIES, cum_weights=_CUM_SHARES)[0]
    attributes: dict[str, Any] = {
        name: rng.choice(values) for name, values in category.options.items()
    }
    attributes["weight_g"] = 10 * int(5 + rng.expovariate(1 / 60))
    if rng.random() < 0.2:  # noqa: PLR2004  # a fifth of all products carry a label
        attributes["labels"] = rng.sample(("fair trade", "handmade", "recycled", "vegan"), 2)
    scarce = rng.random() < _SCARCE
    stock = rng.randrange(6) if scarce else int(MEDIAN_STOCK * math.exp(0.8 * rng.gauss(0.0, 1.0)))
    return (
        f"{category.code}-{number:05d}",
        f"{rng.choice(_SERIES)} {rng.choice(category.nouns)} {number}",
        category.name,
        price_in_cents(rng, category),
        stock,
        attributes,
    )
