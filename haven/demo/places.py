"""Estates of Kenyan towns, their streets, and what a home costs there in a month."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Estate:
    """A neighbourhood. ``rents`` in KES a month: bedsitter, then one, two, three and four bedrooms."""

    town: str
    county: str
    name: str
    code: str
    streets: tuple[str, ...]
    latitude: float
    longitude: float
    rents: tuple[int, int, int, int, int]


def _estate(
    where: str, code: str, streets: str, position: tuple[float, float], rents: tuple[int, int, int, int, int]
) -> Estate:
    town, county, name = where.split("/")
    return Estate(town, county, name, code, tuple(streets.split(", ")), *position, rents)


ESTATES: Final = (
    _estate(
        "Nairobi/Nairobi/Kilimani",
        "KLM",
        "Argwings Kodhek Road, Kirichwa Road, Wood Avenue, Lenana Road",
        (-1.2903, 36.7876),
        (28_000, 45_000, 68_000, 95_000, 130_000),
    ),
    _estate(
        "Nairobi/Nairobi/South B",
        "STB",
        "Mchumbi Road, Kapiti Road, Muhoho Close, Plainsview Road",
        (-1.3105, 36.8342),
        (14_000, 24_000, 38_000, 52_000, 70_000),
    ),
    _estate(
        "Nairobi/Nairobi/Roysambu",
        "RYS",
        "Lumumba Drive, Kamiti Road, TRM Drive, Mirema Drive",
        (-1.2186, 36.8869),
        (10_500, 17_000, 26_000, 36_000, 48_000),
    ),
    _estate(
        "Nairobi/Nairobi/Kileleshwa",
        "KLW",
        "Mandera Road, Othaya Road, Githunguri Road, Laikipia Road",
        (-1.2795, 36.7819),
        (30_000, 52_000, 78_000, 110_000, 150_000),
    ),
    _estate(
        "Nairobi/Nairobi/Westlands",
        "WST",
        "Rhapta Road, School Lane, Mpaka Road, Raphta Close",
        (-1.2676, 36.8025),
        (34_000, 60_000, 90_000, 125_000, 170_000),
    ),
    _estate(
        "Nairobi/Nairobi/Lavington",
        "LVT",
        "James Gichuru Road, Hatheru Road, Muthangari Drive",
        (-1.2788, 36.7701),
        (32_000, 58_000, 85_000, 120_000, 165_000),
    ),
    _estate(
        "Nairobi/Nairobi/Lang'ata",
        "LGT",
        "Muhuti Road, Southlands Road, Otiende Road",
        (-1.3350, 36.7750),
        (15_000, 25_000, 40_000, 55_000, 75_000),
    ),
    _estate(
        "Nairobi/Nairobi/Buruburu",
        "BRU",
        "Mumias South Road, Rabai Road, Ol Pogoni Road",
        (-1.2889, 36.8800),
        (12_000, 19_000, 29_000, 40_000, 52_000),
    ),
    _estate(
        "Nairobi/Nairobi/Donholm",
        "DNH",
        "Manyanja Road, Savannah Road, Outer Ring Road",
        (-1.2960, 36.8900),
        (11_000, 18_000, 27_000, 37_000, 48_000),
    ),
    _estate(
        "Nairobi/Nairobi/Umoja",
        "UMJ",
        "Moi Drive, Kangundo Road, Mtindwa Road",
        (-1.2830, 36.8990),
        (8_500, 13_500, 20_000, 28_000, 36_000),
    ),
    _estate(
        "Nairobi/Nairobi/Embakasi",
        "EMB",
        "Airport North Road, Tassia Road, Baraka Road",
        (-1.3190, 36.8990),
        (8_000, 13_000, 19_500, 27_000, 35_000),
    ),
    _estate(
        "Nairobi/Nairobi/Zimmerman",
        "ZMM",
        "Kamiti Road, Base Road, Thika Road",
        (-1.2105, 36.8970),
        (7_500, 12_500, 18_500, 26_000, 34_000),
    ),
    _estate(
        "Ruaka/Kiambu/Ruaka",
        "RUA",
        "Limuru Road, Gacharage Road, Northern Bypass",
        (-1.2050, 36.7790),
        (13_000, 22_000, 35_000, 48_000, 62_000),
    ),
    _estate(
        "Ruiru/Kiambu/Membley",
        "MBL",
        "Membley Drive, Eastern Bypass, Kimbo Road",
        (-1.1590, 36.9330),
        (8_000, 13_000, 21_000, 30_000, 42_000),
    ),
    _estate(
        "Thika/Kiambu/Section 9",
        "THK",
        "Garissa Road, Kenyatta Highway, Uhuru Street",
        (-1.0390, 37.0780),
        (7_000, 11_000, 17_000, 25_000, 34_000),
    ),
    _estate(
        "Ongata Rongai/Kajiado/Tumaini",
        "RNG",
        "Magadi Road, Gataka Road, Kware Road",
        (-1.3960, 36.7560),
        (8_000, 13_000, 20_000, 28_000, 38_000),
    ),
    _estate(
        "Kitengela/Kajiado/Milimani",
        "KTG",
        "Namanga Road, Baraka Lane, Acacia Road",
        (-1.4750, 36.9600),
        (7_000, 11_500, 18_000, 26_000, 36_000),
    ),
    _estate(
        "Mavoko/Machakos/Syokimau",
        "SYK",
        "Katani Road, Mombasa Road, Gateway Mall Road",
        (-1.3670, 36.9430),
        (10_000, 17_000, 27_000, 39_000, 55_000),
    ),
    _estate(
        "Mombasa/Mombasa/Nyali",
        "NYL",
        "Links Road, Moyne Drive, Greenwood Drive, Beach Road",
        (-4.0350, 39.7080),
        (16_000, 28_000, 45_000, 65_000, 95_000),
    ),
    _estate(
        "Mombasa/Mombasa/Bamburi",
        "BMB",
        "Malindi Road, Kiembeni Road, Utange Road",
        (-3.9930, 39.7190),
        (8_500, 14_000, 22_000, 32_000, 45_000),
    ),
    _estate(
        "Mombasa/Mombasa/Tudor",
        "TDR",
        "Tom Mboya Avenue, Kaa Chonjo Road, Ziwani Road",
        (-4.0430, 39.6640),
        (9_000, 15_000, 24_000, 34_000, 46_000),
    ),
    _estate(
        "Mtwapa/Kilifi/Golden Key",
        "MTW",
        "Malindi Road, Kanamai Road, Beach Road",
        (-3.9420, 39.7440),
        (7_500, 12_500, 19_000, 28_000, 40_000),
    ),
    _estate(
        "Kisumu/Kisumu/Milimani",
        "KSM",
        "Tom Mboya Drive, Ring Road, Achieng' Oneko Road",
        (-0.1090, 34.7550),
        (12_000, 20_000, 32_000, 45_000, 60_000),
    ),
    _estate(
        "Kisumu/Kisumu/Mamboleo",
        "MMB",
        "Kakamega Road, Miwani Road, Kibos Road",
        (-0.0700, 34.7750),
        (6_500, 10_500, 16_000, 23_000, 32_000),
    ),
    _estate(
        "Nakuru/Nakuru/Section 58",
        "NKR",
        "Oginga Odinga Avenue, Kiamunyi Road, Lake View Road",
        (-0.2930, 36.0900),
        (7_500, 12_000, 19_000, 27_000, 38_000),
    ),
    _estate(
        "Nakuru/Nakuru/Lanet",
        "LNT",
        "Nairobi Road, Mawanga Road, Dundori Road",
        (-0.2960, 36.1350),
        (6_000, 9_500, 15_000, 21_000, 29_000),
    ),
    _estate(
        "Eldoret/Uasin Gishu/Elgon View",
        "ELG",
        "Kapseret Road, Nandi Road, Elgon Road",
        (0.4990, 35.2780),
        (9_000, 15_000, 25_000, 37_000, 55_000),
    ),
    _estate(
        "Eldoret/Uasin Gishu/Kapsoya",
        "KPS",
        "Iten Road, Munyaka Road, Kapsoya Drive",
        (0.5260, 35.3040),
        (6_000, 9_500, 15_000, 22_000, 31_000),
    ),
    _estate(
        "Nyeri/Nyeri/Ruring'u",
        "NYR",
        "Kenyatta Road, Gadi Avenue, Ruring'u Road",
        (-0.4310, 36.9560),
        (6_500, 10_000, 16_000, 23_000, 32_000),
    ),
    _estate(
        "Nanyuki/Laikipia/Muthaiga",
        "NNK",
        "Laikipia Road, Kenyatta Avenue, Lunatic Lane",
        (0.0170, 37.0730),
        (8_000, 13_000, 21_000, 30_000, 44_000),
    ),
    _estate(
        "Kakamega/Kakamega/Milimani",
        "KKM",
        "Mumias Road, Webuye Road, Hospital Road",
        (0.2820, 34.7540),
        (6_000, 9_500, 15_000, 21_000, 30_000),
    ),
    _estate(
        "Kericho/Kericho/Nyagacho",
        "KRC",
        "Moi Highway, Hospital Road, Tea Hotel Road",
        (-0.3680, 35.2830),
        (5_500, 9_000, 14_000, 20_000, 28_000),
    ),
)

BUILDING_NAMES: Final = (
    "Jacaranda Acacia Baobab Twiga Simba Tausi Savanna Bahari Kilele Mwangaza Amani Furaha Neema Zawadi Upendo"
    " Sunbird Flamingo Msafiri Heshima Imara Pendo Tumaini Uhuru Makuti Nyota Azure Palm Marula Mvuli Olive"
).split()
BUILDING_KINDS: Final = {
    "APARTMENT": ("Court", "Apartments", "Heights", "Residences", "Gardens", "Terraces"),
    "HOUSE": ("Villas", "Maisonettes", "Gardens", "Estate"),
    "COMMERCIAL": ("Plaza", "Arcade", "Business Centre", "House"),
    "MIXED": ("Square", "Mall & Suites", "Towers"),
}

AGENCIES: Final = (
    ("Makao Bora Properties", "makao-bora"),
    ("Jirani Homes", "jirani-homes"),
    ("Nyumba Njema Lettings", "nyumba-njema"),
    ("Savanna Gate Realtors", "savanna-gate"),
    ("Bahari View Agencies", "bahari-view"),
    ("Kilele Property Managers", "kilele-property"),
    ("Tulivu Homes", "tulivu-homes"),
    ("Mwanzo Estates", "mwanzo-estates"),
    ("Baraka Lettings", "baraka-lettings"),
    ("Ziwani Property Care", "ziwani-care"),
    ("Mlima Realty", "mlima-realty"),
    ("Pwani Keys", "pwani-keys"),
    ("Rift Homes & Estates", "rift-homes"),
    ("Amani Rentals", "amani-rentals"),
    ("Kijani Property Agents", "kijani-agents"),
    ("Dhahabu Lettings", "dhahabu-lettings"),
    ("Malaika Homes", "malaika-homes"),
    ("Tembo Estates", "tembo-estates"),
    ("Usalama Property Managers", "usalama-property"),
    ("Zuri Lettings", "zuri-lettings"),
)
"""Names and slugs of the demo's agencies, in order; the first is the one whose logins are shown."""
