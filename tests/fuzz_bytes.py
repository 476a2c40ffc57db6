"""Changes files at random, as a broken disk does, or a hand that edits them."""

import json

# What no field of a run's files expects, and what some do.
ODD = (
    *(None, True, False, -1, 0, 3, 2.5, 10**30, 1e308),
    *(float("nan"), float("inf"), "", "x", "../x", "a\nb\0", "\ud800"),
    *([], [[]], [1], ["a"], {}, {"a": 1}),
)


def corrupt(content, chance):
    """Returns bytes with some of them changed.

    Args:
        content: Bytes.
        chance: `random.Random`.
    """
    content = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8))):
        if content:
            _damage(content, chance)
    return bytes(content)


def corrupt_json(content, chance):
    """Returns JSON with fields gone, or of other values.

    Args:
        content: Bytes, an object as JSON.
        chance: `random.Random`.
    """
    top = json.loads(content)
    places = list(_places(top))
    for _ in range(chance.choice((1, 1, 2, 4))):
        parent, key = chance.choice(places)
        if isinstance(parent, dict) and chance.random() < 0.3:
            parent.pop(key, None)
        else:
            parent[key] = chance.choice(ODD)
    return json.dumps(top).encode()


def _places(item):
    """Yields the object or list around every value, and its key there."""
    if isinstance(item, dict | list):
        pairs = item.items() if isinstance(item, dict) else enumerate(item)
        for key, value in pairs:
            yield item, key
            yield from _places(value)


def _damage(content, chance):
    """Changes bytes in place, at the ends, where formats tell of the rest."""
    size = len(content)
    where = chance.choice(
        (
            chance.randrange(size),
            chance.randrange(min(size, 4096)),
            size - 1 - chance.randrange(min(size, 4096)),
        )
    )
    length = chance.choice((1, 1, 4, 8, 64))
    match chance.randrange(7):
        case 0 | 1:
            content[where] ^= 1 << chance.randrange(8)
        case 2:
            content[where : where + length] = chance.randbytes(length)
        case 3:
            content[where : where + length] = bytes([chance.choice((0, 255))])
        case 4:
            del content[where : where + length]
        case 5:
            content[where:where] = content[: 8 * length]
        case 6:
            if where:
                del content[where:]
