"""Names as one meets them in a Kenyan tenancy register: many communities, and firms beside people.

Each community keeps its own given and family names, so that nobody is called what nobody is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final


@dataclass(frozen=True, slots=True)
class Community:
    """Given names of women and men, and family names, of one community; ``share`` is its weight."""

    share: int
    women: tuple[str, ...]
    men: tuple[str, ...]
    families: tuple[str, ...]


def _community(share: int, women: str, men: str, families: str) -> Community:
    return Community(share, tuple(women.split()), tuple(men.split()), tuple(families.split()))


CHRISTIAN_WOMEN: Final = (
    "Grace Mercy Faith Esther Joyce Mary Ann Jane Lucy Alice Rose Caroline Beatrice Eunice Lilian Purity Winnie"
    " Diana Susan Ruth Naomi Rachel Sharon Cynthia Brenda Irene Agnes Judith Catherine Margaret Gladys Linet"
).split()
CHRISTIAN_MEN: Final = (
    "John Peter Joseph David James Samuel Daniel Brian Kevin Dennis Victor Collins Stephen Paul Francis Patrick"
    " George Charles Robert Michael Anthony Philip Martin Edwin Felix Emmanuel Geoffrey Simon Moses Isaac Titus"
).split()

COMMUNITIES: Final = (
    _community(  # Kikuyu
        20,
        "Wanjiku Wambui Njeri Wairimu Nyambura Wangari Wanjiru Muthoni Waithera Wangui Njoki Nyokabi",
        "Kamau Mwangi Njoroge Karanja Kariuki Maina Macharia Ndung'u Githinji Waweru Kimani Gitau",
        "Kamau Mwangi Njoroge Karanja Kariuki Maina Macharia Ndung'u Githinji Waweru Kimani Gitau Mungai Thuo",
    ),
    _community(  # Luo
        13,
        "Achieng Akinyi Atieno Adhiambo Awuor Anyango Akoth Apiyo Aoko Auma",
        "Otieno Ochieng Odhiambo Onyango Omondi Okoth Owino Ouma Opiyo Okello",
        "Otieno Ochieng Odhiambo Onyango Omondi Okoth Owino Ouma Opiyo Okello Odongo Oloo Ogola Were Obura",
    ),
    _community(  # Luhya
        14,
        "Nafula Nekesa Naliaka Nanjala Khasoa Kageha Ayuma Muhonja Nasimiyu Nelima",
        "Wafula Barasa Simiyu Wekesa Wanyonyi Juma Mukhwana Shikuku Amunga Makokha",
        "Wafula Barasa Simiyu Wekesa Wanyonyi Makokha Shikuku Amunga Mudavadi Khaemba Lusweti Masinde Wamalwa",
    ),
    _community(  # Kalenjin
        13,
        "Chebet Cherono Jepkosgei Jerotich Chepkoech Jepchirchir Chelagat Jelimo Cheptoo Jebet",
        "Kiprono Kipchumba Kiplagat Cheruiyot Kipkemboi Kibet Kiprotich Kimutai Kipngetich Kipkorir",
        "Koech Rotich Cheruiyot Langat Korir Kirui Bett Sang Ngetich Mutai Kosgei Chepkwony Tanui Limo",
    ),
    _community(  # Kamba
        10,
        "Mwende Mutheu Ndanu Kanini Syombua Mumbua Nduku Wavinya Katunge Mueni",
        "Mutua Musyoka Kioko Muthama Mutiso Kilonzo Mwanzia Nzioka Makau Ndolo",
        "Mutua Musyoka Kioko Muthama Mutiso Kilonzo Mwanzia Nzioka Makau Mulwa Kyalo Munyao Wambua",
    ),
    _community(  # Kisii
        7,
        "Kemunto Moraa Kerubo Nyaboke Bosibori Kwamboka Gesare Nyanchama",
        "Nyamweya Ombati Makori Momanyi Onsongo Nyakundi Mogaka Ondieki",
        "Nyamweya Ombati Makori Momanyi Onsongo Nyakundi Mogaka Ondieki Omwenga Bosire Moturi Nyaberi",
    ),
    _community(  # Meru and Embu
        6,
        "Kananu Gacheri Kathure Makena Karimi Ciku Wanja Nkirote",
        "Mutwiri Kirimi Mwenda Murithi Gitonga Muriuki Njeru Nyaga",
        "Mutwiri Kirimi Mwenda Murithi Gitonga Muriuki Njeru Nyaga Kinoti Mbaabu Ireri Kithinji",
    ),
    _community(  # Coast: Mijikenda, Swahili, Taita
        6,
        "Mwanajuma Zainab Halima Mwanaisha Rehema Fatuma Saumu Amina Wakesho Mkamburi Kadzo Dama",
        "Hamisi Juma Rashid Salim Bakari Athman Kazungu Charo Katana Mwakio Mwadime Ali",
        "Mwinyi Bakari Kazungu Charo Katana Mwakio Mwadime Mzungu Nyale Chengo Shariff Kombo Omar Mwamburi",
    ),
    _community(  # Somali, Borana, Garre
        6,
        "Hodan Fardosa Halima Amina Sahra Khadija Nasra Ifrah Habiba Rahma",
        "Abdi Mohamed Abdullahi Hassan Yusuf Ahmed Adan Ibrahim Noor Issack",
        "Abdi Mohamed Abdullahi Hassan Yusuf Ahmed Adan Farah Noor Ali Guyo Dida Maalim Sheikh",
    ),
    _community(  # Maasai, Samburu, Turkana
        3,
        "Naserian Nashipae Silantoi Namunyak Resian Nakiru Akai Sempeyo",
        "Saitoti Lemayian Parsaloi Sankale Ekai Lokwawi Ole-Nkarei Letoya",
        "Saitoti Nkaissery Sankale Lekuton Letoya Lokwawi Ekal Konchellah Tipis Lolwerikoi",
    ),
    _community(  # Kenyans of South Asian descent
        2,
        "Priya Anjali Kavita Zahra Sejal Nisha Shabnam Harpreet",
        "Rajesh Amit Imran Hiten Karim Jaspal Nilesh Aleem",
        "Patel Shah Mehta Dhanji Virani Gill Sharma Chandaria Rupani Lakhani",
    ),
)

FIRM_WORDS: Final = (
    "Kilele Umoja Baraka Savanna Jua Bahari Twiga Tausi Maziwa Pamoja Zawadi Fahari Neema Upendo".split()
)
FIRM_TRADES: Final = (
    "Chemists",
    "Hardware Ltd",
    "Cafe",
    "Mini Mart",
    "Cyber & Stationers",
    "Salon & Spa",
    "Dental Clinic",
    "Advocates LLP",
    "Wines & Spirits",
    "Tours & Travel Ltd",
    "Bakery",
    "Auto Spares Ltd",
    "Sacco Society",
    "Boutique",
)

_SHARES: Final = [community.share for community in COMMUNITIES]
_OWN_GIVEN_NAMES: Final = (7, 8, 10)
"""Communities whose people mostly have no Christian name: Coast, North-East, South Asian."""


def person(rng: Random) -> str:
    """A full name of two or three parts, such as ``Grace Wanjiku Kamau`` or ``Hodan Abdi Noor``."""
    number = rng.choices(range(len(COMMUNITIES)), _SHARES)[0]
    community = COMMUNITIES[number]
    woman = rng.random() < 0.5
    own = rng.choice(community.women if woman else community.men)
    family = rng.choice(community.families)
    while family == own:
        family = rng.choice(community.families)
    if number in _OWN_GIVEN_NAMES:
        return f"{own} {family}"
    given = rng.choice(CHRISTIAN_WOMEN if woman else CHRISTIAN_MEN)
    return f"{given} {own} {family}" if rng.random() < 0.6 else f"{given} {family}"


def firm(rng: Random) -> str:
    """A shop or office that rents: ``Baraka Chemists``."""
    return f"{rng.choice(FIRM_WORDS)} {rng.choice(FIRM_TRADES)}"


def mailbox(name: str, number: int) -> str:
    """An address for ``name`` at a domain that can never receive mail (RFC 2606)."""
    words = "".join(c if c.isalnum() else " " for c in name.lower().replace("'", "")).split()
    return f"{words[0]}.{words[-1]}{number}@mail.example"
