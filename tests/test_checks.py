"""Errors show what is near, and text stays on its line."""

import pytest
from helpers import BACKEND

from keras_nfnets import VARIANTS, NFNet, checks, cli, recipes
from keras_nfnets.checks import printable

TRAIN = ("train", "--out", "no/such")


def raised(call):
    def of(name, capsys):
        with pytest.raises(ValueError) as error:
            call(name)
        return str(error.value)

    return of


def printed(*arguments):
    def of(name, capsys):
        status = cli.main([*arguments, name])
        assert status == cli.BAD_REQUEST
        return capsys.readouterr().err

    return of


LIST = "`keras-nfnets list` lists all"


@pytest.mark.skipif(BACKEND != "tensorflow", reason="words: one is enough")
@pytest.mark.parametrize(
    ("message", "place"),
    [
        (raised(recipes.get), "`keras_nfnets.recipes.RECIPES` lists all"),
        (raised(NFNet), "`keras_nfnets.list_models()` lists all"),
        (printed(*TRAIN, "--recipe"), LIST),
        (printed(*TRAIN, "--variant"), LIST),
        (printed("data", "digits", "--show", "x.png", "--recipe"), LIST),
        (printed("summary"), LIST),
        (printed("predict", "--weights", "x", "x.png", "--variant"), LIST),
    ],
)
def test_wrong_names_get_near_matches_then_the_place(message, place, capsys):
    for name, near in (("nfnet_f9", True), ("unlike", False), ("", False)):
        text = message(name, capsys)
        shown = [known for known in VARIANTS if f"'{known}'" in text]
        assert bool(shown) == ("Did you mean" in text) == near
        assert len(shown) <= 3 and len(text) < 250
        parts = [text.find(x) for x in ("mean", place, f"={name!r}")]
        assert parts == sorted(parts) and parts[1] > 0


@pytest.mark.skipif(BACKEND != "tensorflow", reason="words: one is enough")
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("photo.png", "photo.png"),
        ("größe 写真.png", "größe 写真.png"),
        ("a\nb\tc.png", r"a\nb\tc.png"),
        ("\x1b[2J\x07.png", r"\x1b[2J\x07.png"),
        ("\x9b31m\u202egnp.png", r"\x9b31m\u202egnp.png"),
        ("\udcff.png", r"\xff.png"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text, line):
    assert printable(text) == line


@pytest.mark.parametrize(
    "check",
    [checks.check_positive, checks.check_not_negative, checks.check_rate],
)
def test_text_is_no_number(check):
    with pytest.raises(ValueError, match="`rate` must .*rate='0.1'"):
        check(rate="0.1")


@pytest.mark.parametrize(
    "check",
    [
        checks.check_positive,
        checks.check_not_negative,
        checks.check_rate,
        checks.check_positive_integer,
        checks.check_seed,
    ],
)
def test_a_boolean_is_no_number(check):
    for value in (True, False):
        with pytest.raises(ValueError, match=f"`rate` must .*rate={value}"):
            check(rate=value)
