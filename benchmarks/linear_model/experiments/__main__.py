"""Run the published experiments and print published and own values side by side.

python -m benchmarks.linear_model.experiments [--only II] [--n-trials 30] [--quick]
"""

from benchmarks.linear_model.experiments import (
    iterations,
    noise_levels,
    polynomial_chebyshev,
    polynomial_legendre,
    prior_knowledge,
)
from benchmarks.linear_model.experiments.protocol import main

EXPERIMENTS = {
    "I": noise_levels.run,
    "II": polynomial_chebyshev.run,
    "III": prior_knowledge.run,
    "IV": iterations.run,
    "V": polynomial_legendre.run,
}

if __name__ == "__main__":
    main(EXPERIMENTS)
