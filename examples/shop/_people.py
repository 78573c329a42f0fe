"""Names, e-mail addresses and homes: unique where they must be, plausible everywhere."""

from __future__ import annotations

import math
import unicodedata
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random

_FIRST_NAMES_TEXT = """
    Ada Adam Agnes Aisha Alan Albert Alice Alina Amara Amir Ana Andrea Anna Anton Arjun Astrid
    Beatrice Ben Björn Boris Bruno Camille Carla Carlos Chiara Chloé Clara Colette Connor Daniel
    Daria David Diego Dmitri Dora Edgar Edith Elena Eli Elif Ella Emil Emma Enzo Erik Esther Eva
    Fatima Felix Fiona Florian Frank Frida Gabriel Georg Giulia Grace Greta Hana Hannah Harald
    Hassan Hedy Helena Henry Hugo Ida Igor Ines Ingrid Irene Isaac Isabel Ivan Jakob Jana Jasper
    Joan Johan Jonas José Julia Kai Karim Karl Katja Kenji Kira Klara Lara Lars Laura Leila Leo
    Leonie Liam Lina Linus Lisa Louis Luca Lucía Magda Maja Malik Marco Maria Marie Mark Marta
    Matteo Max Maya Mei Mia Mila Milan Mira Mohamed Moritz Nadia Naomi Nico Nina Noah Nora Odette
    Olga Oliver Omar Oscar Pablo Paula Pavel Pedro Petra Philip Priya Quentin Rafael Rana Rita
    Robin Rosa Ruben Ruth Samir Sara Selma Sofia Sonja Stefan Susan Sven Tara Theo Thomas Tim Tina
    Tomás Uma Ursula Valentin Vera Viktor Vincent Wanda Wei William Xenia Yara Yusuf Zara Zoë
    """
FIRST_NAMES = tuple(_FIRST_NAMES_TEXT.split())
_LAST_NAMES_TEXT = """
    Abbott Adler Ahmed Albrecht Almeida Andersen Arnold Bach Bailey Bakker Barbieri Barnes Bauer
    Becker Bell Bennett Berg Bernard Bianchi Blake Blanc Bouchard Brandt Braun Brooks Brown Bruun
    Burke Campbell Carter Castro Chandra Chapman Chen Clarke Cohen Colombo Cooper Costa Cruz Dahl
    Davies Delgado Dietrich Dubois Dupont Ebert Eriksson Evans Farina Faure Ferrari Fischer Fleming
    Flores Fontaine Foster Franke Fuchs Fujita Garcia Gauthier Geiger Gibson Girard Gonzalez Graf
    Graham Grant Greco Gruber Gupta Gutiérrez Haas Hahn Hall Hansen Harris Hartmann Hassel Hayashi
    Heller Henderson Herrera Hoffmann Holm Horn Hughes Hussain Iglesias Ishikawa Ivanov Jackson
    Jansen Jensen Jimenez Johansson Jones Kaiser Kaufmann Keller Kelly Khan Kim Klein Koch Kovács
    Kraus Krüger Kumar Lambert Lange Larsen Laurent Lefèvre Lehmann Lewis Lind Lindberg Lombardi
    Lopez Lorenz Ludwig Lund Maier Mancini Marchetti Marin Martens Martin Mayer Meier Mendez Mercier
    Meyer Michel Mitchell Moore Morales Moreau Moretti Morris Müller Murphy Murray Nakamura Navarro
    Neumann Nielsen Nowak Oberg Olsen Ortega Otto Palmer Parker Patel Peeters Pereira Perrin
    Petersen Pfeiffer Popescu Powell Price Quinn Ramirez Ramos Reed Reid Reinhardt Ricci Richter
    Rinaldi Rivera Roberts Rossi Roth Rousseau Roux Ruiz Russo Sanchez Sato Schäfer Schmidt
    Schneider Scholz Schröder Schubert Schulz Schwarz Serrano Shaw Silva Simon Singh Sommer
    Stein Stewart Suarez Suzuki Svensson Tanaka Taylor Thomsen Torres Turner Ueda Vargas Vasquez
    Vega Vidal Vogel Wagner Walker Wallace Walter Weber Weiss Werner White Wilson Winkler Wolf
    Wood Wright Yamamoto Young Zhang Ziegler Zimmermann
    """
LAST_NAMES = tuple(_LAST_NAMES_TEXT.split())

_DOMAINS = ("mail.example.com", "post.example.org", "inbox.example.net", "example.com")
"""Reserved for examples (RFC 2606): nothing sent to them by mistake can arrive."""
_DOMAIN_CUM_WEIGHTS = (0.45, 0.7, 0.9, 1.0)

_CITIES = (
    # name, country, beginning of the postcode, digits after it, weight
    ("Berlin", "DE", "10", 3, 12),
    ("Hamburg", "DE", "20", 3, 7),
    ("Munich", "DE", "80", 3, 8),
    ("Cologne", "DE", "50", 3, 5),
    ("Vienna", "AT", "1", 3, 6),
    ("Graz", "AT", "80", 2, 2),
    ("Zurich", "CH", "80", 2, 4),
    ("Geneva", "CH", "12", 2, 2),
    ("Paris", "FR", "750", 2, 11),
    ("Lyon", "FR", "690", 2, 4),
    ("Marseille", "FR", "130", 2, 3),
    ("Madrid", "ES", "28", 3, 6),
    ("Barcelona", "ES", "08", 3, 6),
    ("Milan", "IT", "20", 3, 6),
    ("Rome", "IT", "00", 3, 6),
    ("Copenhagen", "DK", "1", 3, 3),
    ("Aarhus", "DK", "80", 2, 1),
    ("Brussels", "BE", "10", 2, 3),
    ("Oslo", "NO", "0", 3, 2),
    ("Helsinki", "FI", "00", 3, 2),
)
_CITY_CUM_WEIGHTS = tuple(accumulate(city[4] for city in _CITIES))

_STREETS_TEXT = """
    Acacia Birch Bridge Castle Cedar Chapel Cherry Church College Elm Garden Harbour Hazel Hill
    Lake Linden Maple Market Meadow Mill Mountain North Oak Orchard Park Poplar River Rose School
    South Spring Station Sunset Tower Valley Victoria Walnut Water West Willow
    """
_STREETS = tuple(_STREETS_TEXT.split())
_STREET_KINDS = ("Street", "Road", "Lane", "Avenue", "Square")

_NO_DECOMPOSITION = str.maketrans({"ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "æ": "ae"})


def ascii_fold(name: str) -> str:
    """The name in lower-case ASCII letters, as it stands in an e-mail address."""
    decomposed = unicodedata.normalize("NFKD", name.translate(_NO_DECOMPOSITION))
    return decomposed.encode("ascii", "ignore").decode().lower()


_FIRST_FOLDED = tuple(map(ascii_fold, FIRST_NAMES))
_LAST_FOLDED = tuple(map(ascii_fold, LAST_NAMES))


class Person(NamedTuple):
    """Somebody's name and e-mail address."""

    full_name: str
    email: str


class People:
    """Any number of people, no two with the same name or e-mail address.

    Person ``n`` is a pure function of the seed and ``n``: a walk with a step that has no
    divisor in common with the number of names meets each combination once, in an order that
    looks drawn by lot, without anything being remembered. Once all are used up, the next round
    has a middle initial.
    """

    def __init__(self, rng: random.Random) -> None:
        self._names = len(FIRST_NAMES) * len(LAST_NAMES)
        self._offset = rng.randrange(self._names)
        step = int(self._names * 0.6180339887) + rng.randrange(1000)
        while math.gcd(step, self._names) != 1:
            step += 1
        self._step = step
        self._salt = rng.getrandbits(32)

    def person(self, number: int) -> Person:
        """Person ``number``, from 0."""
        last, first = divmod((number * self._step + self._offset) % self._names, len(FIRST_NAMES))
        # Knuth's multiplicative hash: spreads neighbours over the domains, cheaper than a draw.
        share = ((number + self._salt) * 2654435761 & 0xFFFFFFFF) / 0x100000000
        domain = next(
            name for name, limit in zip(_DOMAINS, _DOMAIN_CUM_WEIGHTS, strict=True) if share < limit
        )
        round_ = number // self._names
        if round_ == 0:
            return Person(
                f"{FIRST_NAMES[first]} {LAST_NAMES[last]}",
                f"{_FIRST_FOLDED[first]}.{_LAST_FOLDED[last]}@{domain}",
            )
        initials = _letters(round_)
        return Person(
            f"{FIRST_NAMES[first]} {initials}. {LAST_NAMES[last]}",
            f"{_FIRST_FOLDED[first]}.{initials.lower()}.{_LAST_FOLDED[last]}@{domain}",
        )


def _letters(number: int) -> str:
    """1 is A, 26 is Z, 27 is AA."""
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def address(rng: random.Random) -> dict[str, str]:
    """A home, more often in a large city; fits :class:`examples.shop.models.Address`."""
    city, country, prefix, digits, _ = rng.choices(_CITIES, cum_weights=_CITY_CUM_WEIGHTS)[0]
    rest = int(rng.random() * 10**digits)
    house = int(rng.random() ** 2 * 180) + 1
    return {
        "street": f"{rng.choice(_STREETS)} {rng.choice(_STREET_KINDS)} {house}",
        "postcode": f"{prefix}{rest:0{digits}d}",
        "city": city,
        "country": country,
    }
