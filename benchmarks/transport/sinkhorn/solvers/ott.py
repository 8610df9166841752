import os

# XLA reads its flags when it is loaded, and threadpoolctl does not know its threads.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

import jax
from benchopt import BaseSolver
from ott.geometry import geometry
from ott.problems.linear import linear_problem
from ott.solvers.linear import acceleration, sinkhorn

jax.config.update("jax_enable_x64", True)
WORK = 5e9


class Solver(BaseSolver):
    """OTT in the log domain with momentum 1.5, its fastest setting on these problems."""

    name = "ott-jax"
    sampling_strategy = "run_once"
    requirements = ["pip::ott-jax"]

    def set_objective(self, C, a, b, reg, tol):
        C, a, b = (jax.numpy.asarray(array) for array in (C, a, b))

        def solve(C, a, b):
            problem = linear_problem.LinearProblem(geometry.Geometry(C, epsilon=reg), a, b)
            solver = sinkhorn.Sinkhorn(
                threshold=tol,
                max_iterations=int(WORK / 20 / C.size),
                momentum=acceleration.Momentum(value=1.5),
            )
            out = solver(problem)
            return out.f, out.g

        self.solve, self.arguments = jax.jit(solve), (C, a, b)
        self.reg = reg

    def run(self, _):
        self.f, self.g = jax.block_until_ready(self.solve(*self.arguments))

    def get_result(self):
        C, _, _ = self.arguments
        # OTT's potentials include the logarithms of the masses.
        return {"plan": jax.numpy.exp((self.f[:, None] + self.g - C) / self.reg)}
