"""Things to say: sentences and word lists of our own, numbers, and made-up words, in several languages."""

from __future__ import annotations

import numpy as np

SUBJECTS = (
    "my brother", "the baker", "a young painter", "Bob", "our neighbour", "the people from Paris", "every child",
    "the old farmer", "Pamela", "nobody", "the captain", "five women", "a happy baby", "the whole family", "Victor",
    "the shopkeeper", "your uncle", "she", "they", "the boy with the blue cap", "the judge", "this machine", "we", "I",
)  # fmt: skip
VERBS = (
    "bought", "will probably move", "carried", "has just found", "keeps", "might forget", "painted", "could not see",
    "threw away", "is looking for", "showed me", "remembers", "should have opened", "fixed", "wrapped up", "used",
    "would rather have", "measured", "often brings", "joined", "put aside", "chose", "has never liked", "will sell",
)  # fmt: skip
OBJECTS = (
    "a bag of ripe apples", "the broken window", "a map of the mountains", "some warm bread", "the letter from the bank",
    "two cups of coffee", "the big wooden box", "a very small puppy", "the yellow umbrella", "his favourite movie",
    "a pile of newspapers", "the keys to the cellar", "seven silver spoons", "an empty bottle", "the number of the bus",
    "a beautiful song", "the rubber boots", "more than a hundred pictures", "the best part of the job", "a few fresh eggs",
    "the wheel of the van", "that awful soup", "the thick grey jumper", "a cheap television", "their own mistakes",
)  # fmt: skip
ENDINGS = (
    "on Monday", "before breakfast", "without a word", "in the middle of February", "behind the house", "for my mother",
    "from above", "as far as we know", "because of the storm", "when the bell rang", "with both hands", "every evening",
    "at the top of the steps", "and then went home", "just for fun", "in about half an hour", "by the fire", "last week",
    "while everybody was asleep", "under the bridge", "although it was raining", "", "", "",
)  # fmt: skip
PHRASES = (
    "Good morning, how are you today?", "I beg your pardon.", "Maybe, maybe not.", "What do you mean by that?",
    "Please put it back.", "Wow, that is a big one!", "Thank you very much, goodbye.", "Hmm. Let me have a look.",
    "Stop! Don't move.", "Oh, I'm so sorry.", "Is anybody home?", "Well, if you ask me, it is far too early.",
    "Yes. No. Perhaps.", "Welcome to the show, everyone.", "That's a wrap, people.", "Could you repeat the number, please?",
    "Who? Me? Never.", "We'll be back in a moment.", "Mum and Papa bought me a pair of purple boots.",
    "Five wives gave Vivian very fine coffee.", "She sells cheap shoes at the seaside.", "Why were you away a year, Roy?",
)  # fmt: skip

WORDS = {
    "de": (
        "Morgen Abend Mutter Vater Baum Apfel Pfanne Fenster Wasser Vogel Schule Buch Lampe Papier Brot Butter Freund "
        "Wolke Sommer Pferd Straße Zimmer kommen bleiben fahren suchen probieren möchten über immer vielleicht blau grün "
        "schön fünf wichtig warum aber und oder mit ohne wir ihr habe bin Hoffnung Abfahrt Bremse Kampf Empfang"
    ),
    "es": (
        "mañana noche madre padre árbol manzana puerta ventana agua pájaro escuela libro lámpara papel pan amigo nube "
        "verano caballo calle venir buscar probar quisiera sobre siempre quizás azul verde bonito cinco importante pero "
        "porque con nosotros tengo soy pueblo hombre campo abuelo vamos jueves lluvia empezar bebida familia"
    ),
    "fr": (
        "matin soir mère père arbre pomme porte fenêtre eau oiseau école livre lampe papier pain beurre ami nuage été "
        "cheval rue chambre venir chercher essayer voudrais toujours peut-être bleu vert beau cinq important mais parce "
        "que avec nous avons suis bonjour merci feuille jambe bouche homme femme pauvre vivre pouvoir jeune plusieurs"
    ),
    "it": (
        "mattina sera madre padre albero mela porta finestra acqua uccello scuola libro lampada carta pane burro amico "
        "nuvola estate cavallo strada camera venire cercare provare vorrei sempre forse azzurro verde bello cinque ma "
        "perché con noi abbiamo sono bambino gamba bocca uomo donna povero vivere giovane pioggia pomeriggio febbraio"
    ),
    "nl": (
        "morgen avond moeder vader boom appel deur raam water vogel school boek lamp papier brood boter vriend wolk zomer "
        "paard straat kamer komen zoeken proberen altijd misschien blauw groen mooi vijf belangrijk maar omdat met wij "
        "hebben ben huis buiten vrouw leven jong regen middag februari even uur muur neus bijvoorbeeld"
    ),
    "pl": (
        "rano wieczór matka ojciec drzewo jabłko drzwi okno woda ptak szkoła książka lampa papier chleb masło przyjaciel "
        "chmura lato koń ulica pokój przyjść szukać próbować zawsze może niebieski zielony piękny pięć ważny ale ponieważ "
        "my mamy jestem dziecko noga usta człowiek kobieta biedny żyć młody deszcz popołudnie luty bardzo wszystko"
    ),
    "pt": (
        "manhã noite mãe pai árvore maçã porta janela água pássaro escola livro papel pão manteiga amigo nuvem verão "
        "cavalo rua quarto vir procurar provar queria sempre talvez azul verde bonito cinco importante mas porque com "
        "temos sou criança perna boca homem mulher pobre viver jovem chuva tarde fevereiro bem muito coração"
    ),
    "tr": (
        "sabah akşam anne baba ağaç elma kapı pencere su kuş okul kitap lamba kağıt ekmek arkadaş bulut yaz at sokak oda "
        "gelmek aramak denemek her zaman belki mavi yeşil güzel beş önemli ama çünkü ile biz varım çocuk bacak ağız insan "
        "kadın yaşamak genç yağmur şubat büyük küçük öğrenci müzik köprü"
    ),
    "cmn": (
        "早上 晚上 妈妈 爸爸 朋友 苹果 窗户 学校 图书馆 面包 米饭 天空 马路 房间 "
        "明白 帮助 为什么 不但 而且 八百 非常 漂亮 我们 你们 飞机 火车 音乐 北方 "
        "南方 颜色 蓝色 绿色 昨天 明天 办法 表示 普通 保护 品牌 方便 发现 喜欢 "
        "认识 高兴 安静 努力 希望 月亮 雨伞 去年"
    ),
}
ENGLISH_VOICES = ("en-us", "en", "en-gb-scotland", "en-029", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd")
LANGUAGES = (*ENGLISH_VOICES, *WORDS)

ONSETS = ("b", "p", "m", "f", "v", "w", "t", "d", "k", "g", "s", "z", "l", "r", "n", "sh", "bl", "pr", "fl", "sp", "")
NUCLEI = ("a", "e", "i", "o", "u", "ai", "ou", "ee", "oo")
CODAS = ("", "", "", "m", "p", "b", "n", "s", "t", "f", "mp")


def something_to_say(language: str, rng: np.random.Generator) -> str:
    """Return one to three short sentences for a voice of ``language`` (one of ``LANGUAGES``)."""
    return " ".join(_sentence(language, rng) for _ in range(int(rng.integers(1, 4))))


def _sentence(language: str, rng: np.random.Generator) -> str:
    kind = rng.random()
    if kind < 0.1:
        digits = rng.integers(1, 10 ** int(rng.integers(1, 6)), size=int(rng.integers(2, 5)))
        return ", ".join(str(number) for number in digits) + "."
    if kind < 0.25 and language != "cmn":
        return _capital(" ".join(_made_up_word(rng) for _ in range(int(rng.integers(3, 8))))) + "."
    if language in WORDS:
        words = list(rng.choice(WORDS[language].split(), size=int(rng.integers(4, 10))))
        if len(words) > 6:
            words[3] += ","
        return _capital(" ".join(words)) + str(rng.choice([".", ".", "?", "!"]))
    if kind < 0.4:
        return str(rng.choice(PHRASES))
    clauses = [
        " ".join(str(rng.choice(part)) for part in (SUBJECTS, VERBS, OBJECTS, ENDINGS)).strip()
        for _ in range(int(rng.integers(1, 3)))
    ]
    return _capital((", " + str(rng.choice(["but", "and", "so", "because"])) + " ").join(clauses)) + "."


def _made_up_word(rng: np.random.Generator) -> str:
    return "".join(
        str(rng.choice(ONSETS)) + str(rng.choice(NUCLEI)) + str(rng.choice(CODAS))
        for _ in range(int(rng.integers(1, 4)))
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
