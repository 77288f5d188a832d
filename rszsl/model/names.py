"""Names as people write them: which spellings are one name."""

import re
import unicodedata

ARTICLES = ("a", "an", "the")


def words_of(phrase: str) -> list[str]:
    """Split a phrase into words of the letters a-z: `"Café-terraces (old)"` -> cafe, terraces, old.

    Words that are told apart by capitals alone, as in names of folders, are split, too: `tennisCourt` -> tennis, court.
    """
    apart = re.sub("(?<=[a-z])(?=[A-Z])", " ", phrase)
    plain = apart.casefold()
    if not plain.isascii():
        plain = "".join(c for c in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(c))
    return re.findall("[a-z]+", plain.replace("'s", "").replace("’s", ""))


def singular(word: str) -> str:
    """Take off what looks like the ending of a plural: `quarries` -> quarry, `beaches` -> beach, `gas` stays.

    By spelling alone: what comes out need not be a word (`christmas` -> christma), but is the same for both forms.
    """
    if len(word) < 4 or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes")):
        return word[:-2]
    return word.removesuffix("s")


def singular_words(phrase: str) -> list[str]:
    """Split a phrase into words as `words_of`, each as `singular`, without articles at its start."""
    words = words_of(phrase)
    while len(words) > 1 and words[0] in ARTICLES:
        words = words[1:]
    return [singular(word) for word in words]


def name_key(phrase: str) -> str:
    """Give what all spellings of a name have in common: `The golf courses`, `golfCourse` -> golfcourse.

    A name without any letter a-z stands for itself, in lower case.
    """
    return "".join(singular_words(phrase)) or phrase.strip().casefold()
