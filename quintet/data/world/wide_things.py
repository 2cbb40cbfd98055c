"""The things of the wide world: the world's 64 first, then those that are added here.

Each has a name, a picture and a category; some have a colour that everybody would name.
"""

from __future__ import annotations

from quintet.data.world.things import THINGS, UNCOUNTED, Thing

# Of the 64, by category, so that questions about kinds of things can be answered.
_KNOWN: dict[str, str] = {
    "fruit": "apple banana lemon strawberry watermelon pineapple tomato",
    "vegetable": "carrot mushroom",
    "food": "bread cheese egg pizza hamburger cookie cake",
    "drink": "coffee",
    "animal": "cat dog horse elephant lion monkey panda frog chicken penguin octopus fish dolphin "
              "snake turtle butterfly spider ladybug",
    "plant": "flower rose tree cactus",
    "thing in the sky": "sun moon star rainbow cloud",
    "vehicle": "car bus bicycle airplane rocket boat",
    "instrument": "guitar drum",
    "tool": "hammer key",
    "building": "house",
    "other": "fire snowman umbrella clock book balloon football telephone heart",
}  # fmt: skip

_ADDED: dict[str, dict[str, str]] = {
    "fruit": {
        "grapes": "🍇", "melon": "🍈", "orange": "🍊", "mango": "🥭", "pear": "🍐", "peach": "🍑",
        "cherries": "🍒", "kiwi": "🥝", "coconut": "🥥", "blueberries": "🫐", "olive": "🫒",
        "avocado": "🥑",
    },
    "vegetable": {
        "eggplant": "🍆", "potato": "🥔", "corn": "🌽", "hot pepper": "🌶", "bell pepper": "🫑",
        "cucumber": "🥒", "lettuce": "🥬", "broccoli": "🥦", "garlic": "🧄", "onion": "🧅",
        "beans": "🫘", "ginger": "🫚", "peas": "🫛",
    },
    "food": {
        "peanuts": "🥜", "chestnut": "🌰", "croissant": "🥐", "baguette": "🥖", "pretzel": "🥨",
        "bagel": "🥯", "pancakes": "🥞", "waffle": "🧇", "bacon": "🥓", "steak": "🥩",
        "french fries": "🍟", "hot dog": "🌭", "sandwich": "🥪", "taco": "🌮", "burrito": "🌯",
        "salad": "🥗", "popcorn": "🍿", "butter": "🧈", "salt": "🧂", "rice": "🍚",
        "spaghetti": "🍝", "soup": "🍲", "sushi": "🍣", "shrimp": "🍤", "dumpling": "🥟",
        "ice cream": "🍨", "doughnut": "🍩", "cupcake": "🧁", "pie": "🥧", "chocolate": "🍫",
        "candy": "🍬", "lollipop": "🍭", "honey": "🍯", "pudding": "🍮",
    },
    "drink": {
        "milk": "🥛", "tea": "🍵", "wine": "🍷", "beer": "🍺", "juice": "🧃", "champagne": "🍾",
    },
    "animal": {
        "mouse": "🐁", "rabbit": "🐇", "cow": "🐄", "pig": "🐖", "sheep": "🐑", "goat": "🐐",
        "camel": "🐪", "giraffe": "🦒", "zebra": "🦓", "tiger": "🐅", "leopard": "🐆",
        "fox": "🦊", "wolf": "🐺", "bear": "🐻", "koala": "🐨", "hamster": "🐹", "squirrel": "🐿",
        "hedgehog": "🦔", "bat": "🦇", "kangaroo": "🦘", "sloth": "🦥", "otter": "🦦",
        "skunk": "🦨", "raccoon": "🦝", "badger": "🦡", "gorilla": "🦍", "rhinoceros": "🦏",
        "hippopotamus": "🦛", "deer": "🦌", "buffalo": "🐃", "unicorn": "🦄", "dragon": "🐉",
        "dinosaur": "🦕", "crocodile": "🐊", "lizard": "🦎", "whale": "🐋", "shark": "🦈",
        "seal": "🦭", "crab": "🦀", "lobster": "🦞", "squid": "🦑", "snail": "🐌", "ant": "🐜",
        "bee": "🐝", "cricket": "🦗", "mosquito": "🦟", "fly": "🪰", "worm": "🪱",
        "caterpillar": "🐛", "scorpion": "🦂", "duck": "🦆", "swan": "🦢", "owl": "🦉",
        "eagle": "🦅", "peacock": "🦚", "parrot": "🦜", "flamingo": "🦩", "turkey": "🦃",
        "rooster": "🐓", "dove": "🕊", "goose": "🪿", "jellyfish": "🪼", "beaver": "🦫",
        "llama": "🦙", "donkey": "🫏", "moose": "🫎",
    },
    "plant": {
        "tulip": "🌷", "hibiscus": "🌺", "clover": "🍀", "maple leaf": "🍁", "palm tree": "🌴",
        "fir tree": "🌲", "seedling": "🌱", "lotus": "🪷", "daisy": "🌼",
    },
    "thing in the sky": {
        "planet": "🪐", "comet": "☄", "lightning": "⚡", "tornado": "🌪", "snowflake": "❄",
    },
    "vehicle": {
        "taxi": "🚕", "truck": "🚚", "tractor": "🚜", "ambulance": "🚑", "fire engine": "🚒",
        "police car": "🚓", "motorcycle": "🏍", "scooter": "🛴", "train": "🚂", "tram": "🚊",
        "helicopter": "🚁", "ship": "🚢", "canoe": "🛶", "skateboard": "🛹", "sled": "🛷",
        "parachute": "🪂", "satellite": "🛰", "flying saucer": "🛸",
    },
    "instrument": {
        "violin": "🎻", "trumpet": "🎺", "saxophone": "🎷", "piano": "🎹", "accordion": "🪗",
        "banjo": "🪕", "flute": "🪈", "maracas": "🪇",
    },
    "tool": {
        "axe": "🪓", "saw": "🪚", "screwdriver": "🪛", "wrench": "🔧", "ladder": "🪜",
        "scissors": "✂", "magnet": "🧲", "toolbox": "🧰", "bucket": "🪣", "broom": "🧹",
        "needle": "🪡", "paper clip": "📎", "pencil": "✏", "paintbrush": "🖌", "crayon": "🖍",
        "ruler": "📏", "microscope": "🔬", "telescope": "🔭", "compass": "🧭", "spoon": "🥄",
        "knife": "🔪",
    },
    "piece of clothing": {
        "shirt": "👕", "jeans": "👖", "dress": "👗", "coat": "🧥", "socks": "🧦", "scarf": "🧣",
        "gloves": "🧤", "hat": "👒", "cap": "🧢", "crown": "👑", "shoe": "👞", "boot": "👢",
        "glasses": "👓", "necktie": "👔", "swimsuit": "🩱", "helmet": "⛑", "backpack": "🎒",
        "handbag": "👜", "ring": "💍",
    },
    "piece of furniture": {"chair": "🪑", "bed": "🛏", "couch": "🛋", "door": "🚪",
                           "window": "🪟", "mirror": "🪞", "bathtub": "🛁", "toilet": "🚽"},
    "ball": {"basketball": "🏀", "volleyball": "🏐", "baseball": "⚾", "rugby ball": "🏉"},
    "building": {
        "castle": "🏰", "church": "⛪", "factory": "🏭", "hospital": "🏥", "school": "🏫",
        "tent": "⛺", "hut": "🛖", "tower": "🗼", "stadium": "🏟",
    },
    "other": {
        "lamp": "💡", "candle": "🕯", "flashlight": "🔦", "camera": "📷", "television": "📺",
        "radio": "📻", "computer": "💻", "printer": "🖨", "battery": "🔋", "microphone": "🎤",
        "bell": "🔔", "gift": "🎁", "teddy bear": "🧸", "kite": "🪁", "tennis racket": "🎾",
        "puzzle piece": "🧩",
        "dice": "🎲", "trophy": "🏆", "medal": "🏅", "flag": "🚩", "anchor": "⚓",
        "diamond": "💎", "money bag": "💰", "coin": "🪙", "envelope": "✉", "newspaper": "📰",
        "calendar": "📅", "map": "🗺", "lock": "🔒", "shopping cart": "🛒", "basket": "🧺",
        "soap": "🧼", "sponge": "🧽", "toothbrush": "🪥", "thermometer": "🌡", "hourglass": "⌛",
        "stopwatch": "⏱", "mountain": "⛰", "volcano": "🌋", "island": "🏝", "robot": "🤖",
        "ghost": "👻", "pumpkin": "🎃", "globe": "🌍", "rock": "🪨", "feather": "🪶",
        "bone": "🦴", "tooth": "🦷", "eye": "👁", "ear": "👂", "nose": "👃",
    },
}  # fmt: skip

_PLURAL = (
    "grapes cherries blueberries beans peas peanuts pancakes maracas scissors jeans socks gloves "
    "glasses dice"
)
_NO_ARTICLE = (
    "corn lettuce broccoli garlic ginger bacon salad popcorn butter salt rice spaghetti soup sushi "
    "chocolate candy honey milk tea wine beer juice champagne soap lightning"
)
PLURAL = frozenset({*_PLURAL.split(), "french fries"})
NO_ARTICLE = frozenset({*_NO_ARTICLE.split(), "ice cream", *UNCOUNTED})

_COLOURED: dict[str, str] = {
    "red": "strawberry tomato heart rose ladybug apple lobster cherries",
    "yellow": "banana lemon sun corn cheese",
    "orange": "carrot orange pumpkin basketball",
    "green": "frog broccoli cucumber cactus clover peas lettuce",
    "brown": "bear chocolate potato chestnut",
    "pink": "pig flamingo",
    "white": "snowman milk rice ghost egg swan",
    "purple": "grapes eggplant",
    "blue": "blueberries dolphin whale",
}

WIDE_THINGS: tuple[Thing, ...] = THINGS + tuple(
    Thing(name, emoji) for added in _ADDED.values() for name, emoji in added.items()
)
WIDE_BY_NAME: dict[str, Thing] = {thing.name: thing for thing in WIDE_THINGS}
CATEGORIES: dict[str, tuple[str, ...]] = {
    category: (*_KNOWN.get(category, "").split(), *_ADDED.get(category, {}))
    for category in (*_KNOWN, *(set_ for set_ in _ADDED if set_ not in _KNOWN))
}
COLOURS: dict[str, str] = {
    name: colour for colour, names in _COLOURED.items() for name in names.split()
}

assert len(WIDE_BY_NAME) == len(WIDE_THINGS) == len({thing.emoji for thing in WIDE_THINGS})
assert sum(map(len, CATEGORIES.values())) == len(WIDE_THINGS)


def a(name: str) -> str:
    """ "apple" -> "an apple", "rice" -> "some rice", "socks" -> "some socks"."""
    if name in NO_ARTICLE or name in PLURAL:
        return f"some {name}"
    vowel = name[0] in "aeiou" and not name.startswith("uni")
    return ("an " if vowel else "a ") + name


def this_is(name: str) -> str:
    """ "apple" -> "This is an apple.", "socks" -> "These are socks."."""
    return f"These are {name}." if name in PLURAL else f"This is {a(name)}."


def is_or_are(name: str) -> str:
    return "are" if name in PLURAL else "is"
