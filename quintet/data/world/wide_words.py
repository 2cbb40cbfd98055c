"""Words of the wide grammar: numbers, greetings of several languages, opposites, sounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen", "twenty",
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
SEASONS = ("spring", "summer", "autumn", "winter")
OPPOSITES = {
    "hot": "cold", "big": "small", "up": "down", "left": "right", "day": "night", "old": "new",
    "fast": "slow", "open": "closed", "full": "empty", "happy": "sad", "loud": "quiet",
    "early": "late", "hard": "soft", "wet": "dry", "long": "short", "light": "dark",
}  # fmt: skip
PEOPLE = (
    "Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Irene", "Jack", "Kate",
    "Leo", "Maria", "Nora", "Oscar", "Paul", "Rosa", "Simon", "Tina", "Victor",
)  # fmt: skip
SOUNDS = {
    "cow": "moo", "cat": "meow", "dog": "woof", "sheep": "baa", "duck": "quack", "pig": "oink",
    "frog": "ribbit", "bee": "buzz", "snake": "hiss", "lion": "roar", "horse": "neigh",
    "rooster": "cock-a-doodle-doo", "mouse": "squeak", "owl": "hoot",
}  # fmt: skip
SMALL_TO_LARGE = (
    "ant", "bee", "mouse", "frog", "rabbit", "cat", "dog", "sheep", "cow", "elephant", "whale",
)  # fmt: skip
# By language: hello, good morning, good night, thank you, goodbye, as they are written there.
MEANINGS = ("hello", "good morning", "good night", "thank you", "goodbye")
GREETINGS: dict[str, tuple[str, str, str, str, str]] = {
    "German": ("Hallo.", "Guten Morgen.", "Gute Nacht.", "Danke.", "Auf Wiedersehen."),
    "Spanish": ("Hola.", "Buenos días.", "Buenas noches.", "Gracias.", "Adiós."),
    "French": ("Salut.", "Bonjour.", "Bonne nuit.", "Merci.", "Au revoir."),
    "Italian": ("Ciao.", "Buongiorno.", "Buonanotte.", "Grazie.", "Arrivederci."),
    "Portuguese": ("Olá.", "Bom dia.", "Boa noite.", "Obrigado.", "Adeus."),
    "Dutch": ("Hallo daar.", "Goedemorgen.", "Welterusten.", "Dank je.", "Tot ziens."),
    "Swedish": ("Hej.", "God morgon.", "God natt.", "Tack.", "Hej då."),
    "Danish": ("Goddag.", "Godmorgen.", "Godnat.", "Mange tak.", "Farvel."),
    "Finnish": ("Hei.", "Hyvää huomenta.", "Hyvää yötä.", "Kiitos.", "Näkemiin."),
    "Polish": ("Cześć.", "Dzień dobry.", "Dobranoc.", "Dziękuję.", "Do widzenia."),
    "Czech": ("Ahoj.", "Dobré ráno.", "Dobrou noc.", "Děkuji.", "Na shledanou."),
    "Hungarian": ("Szia.", "Jó reggelt.", "Jó éjszakát.", "Köszönöm.", "Viszontlátásra."),
    "Romanian": ("Bună ziua.", "Bună dimineața.", "Noapte bună.", "Mulțumesc.", "La revedere."),
    "Greek": ("Γεια σου.", "Καλημέρα.", "Καληνύχτα.", "Ευχαριστώ.", "Αντίο."),
    "Turkish": ("Merhaba.", "Günaydın.", "İyi geceler.", "Teşekkürler.", "Hoşça kal."),
    "Russian": ("Привет.", "Доброе утро.", "Спокойной ночи.", "Спасибо.", "До свидания."),
    "Hindi": ("नमस्ते.", "सुप्रभात.", "शुभ रात्रि.", "धन्यवाद.", "अलविदा."),
    "Indonesian": ("Halo.", "Selamat pagi.", "Selamat malam.", "Terima kasih.", "Selamat tinggal."),
    "Swahili": ("Jambo.", "Habari za asubuhi.", "Usiku mwema.", "Asante.", "Kwaheri."),
    "Chinese": ("你好。", "早上好。", "晚安。", "谢谢。", "再见。"),
}  # fmt: skip
# What English speakers say among each other and to nobody in particular.
SENTENCES = (
    "The train leaves at nine.", "We had soup for dinner.", "My brother lives by the sea.",
    "The window is open.", "She plays the piano every day.", "It was raining all night.",
    "The children are in the garden.", "I put the keys on the table.", "He never drinks coffee.",
    "The market opens on Friday.", "There is snow on the mountains.", "Our cat sleeps all day.",
    "The old bridge is closed.", "I bought two tickets.", "The lamp is next to the bed.",
    "They will be here tomorrow.", "The bread is still warm.", "My shoes are too small.",
    "The doctor called this morning.", "We walked along the river.", "The music was very loud.",
    "A letter came from my aunt.", "The apples are almost ripe.", "Nobody was at home.",
)  # fmt: skip
TO_OTHERS = (
    "Are you coming to lunch?", "Can you close the door?", "What time is it?",
    "Where did you put my bag?", "Did you see the news?", "How was your day?",
    "Do you want some tea?", "Who is that over there?", "Could you hand me the cup?",
    "Have you called your mother?", "What is for dinner tonight?", "Is the shop still open?",
)  # fmt: skip

assert all(len(set(said)) == len(MEANINGS) for said in GREETINGS.values())


def number(value: int) -> str:
    """0 to 99 in words: 42 -> "forty-two"."""
    assert 0 <= value < 100
    if value <= 20:
        return NUMBERS[value]
    tens = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
    name = tens[value // 10 - 2]
    return name if value % 10 == 0 else f"{name}-{NUMBERS[value % 10]}"


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """One of `choices`, each as likely."""
    return choices[int(rng.integers(len(choices)))]
