"""Every epoch has every image once, in an order that looks drawn."""

from itertools import pairwise

import numpy as np
import pytest
from helpers import BACKEND

from keras_nfnets.data.order import shuffled

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="TensorFlow reads on every backend"
)


@pytest.mark.parametrize("count", [32, 200, 1437])
def test_orders_are_random(count):
    places = np.arange(count)
    orders = [
        [np.asarray(shuffled(places + e * count, count, s)) for e in range(10)]
        for s in range(6)
    ]
    flat = [order for epochs in orders for order in epochs]
    assert all((np.sort(order) == places).all() for order in flat)
    # Four standard deviations of 60 orders: what is left of a random one's
    # correlation has a deviation of 1, and one image stays, on average.
    left = [np.corrcoef(o, places)[0, 1] * (count - 1) ** 0.5 for o in flat]
    assert np.sqrt(np.mean(np.square(left))) < 1 + 4 / 120**0.5
    assert np.mean([(o == places).sum() for o in flat]) < 1 + 4 / 60**0.5
    again = [(a == b).sum() for e in orders for a, b in pairwise(e)]
    assert np.mean(again) < 1 + 4 / 54**0.5
    assert int(shuffled(7, count, 3)) == orders[3][0][7]
