"""Run the published curves and print published and own gaps side by side.

python -m benchmarks.bcd.experiments [--only B] [--figures figures]
"""

from benchmarks.bcd.experiments import graphs, linear_models
from benchmarks.bcd.experiments.protocol import main

EXPERIMENTS = {
    "A": ("least squares, 1000 x 10000, another draw than the paper's", linear_models.squared),
    "B": ("logistic regression, 1000 x 10000, the paper's data", linear_models.logistic),
    "C": ("multinomial regression, 1000 x 1000, 50 classes", linear_models.multinomial),
    "A-nonnegative": ("nonnegative lasso on A, steps to 1e-8", linear_models.nonnegative),
    "D": ("labels on a lattice, the paper's data", graphs.lattice),
    "E": ("labels on two moons, medians of eleven draws", graphs.two_moons),
    "CG": ("iterations of conjugate gradients by preconditioner", graphs.preconditioners),
}

if __name__ == "__main__":
    main(EXPERIMENTS)
