import numpy as np

from sparseopt.sparse_bayes._squarem import Squarem


def iterate_map(squarem, point, fixed_point_map, n_steps):
    for _ in range(n_steps):
        image = fixed_point_map(point)
        further = squarem.push(point, image)
        point = image if further is None else further
    return point


def test_one_cycle_solves_a_linear_map_of_one_rate():
    target, rate = np.array([1.0, -2.0]), 0.6

    def contraction(x):
        return target + rate * (x - target)

    point = iterate_map(Squarem(), np.zeros(2), contraction, 2)
    np.testing.assert_allclose(point, target, atol=1e-12)


def test_steps_are_limited_and_grow_once_accepted():
    squarem = Squarem(largest_step=4.0)

    def slow(x):
        return x + 1.0

    first = iterate_map(squarem, np.zeros(1), slow, 2)
    assert first[0] == 8.0
    squarem.accept()
    assert iterate_map(squarem, np.zeros(1), slow, 2)[0] == 32.0
    squarem.reject()
    assert iterate_map(squarem, np.zeros(1), slow, 2)[0] == 8.0


def test_nothing_is_extrapolated_before_two_steps_or_after_a_restart():
    squarem = Squarem()
    assert squarem.push(np.zeros(1), np.ones(1)) is None
    squarem.restart()
    assert squarem.push(np.ones(1), np.full(1, 2.0)) is None
    assert squarem.push(np.full(1, 2.0), np.full(1, 2.5)) is not None
