"""Recorded figures of Kronecker-structured sparse Bayesian learning, to hold our own against."""

# Medians of the squared error, and mean support recovery, of 20 trials of another implementation
# of the published algorithms, which follows the authors' code to rounding; their own figures of
# this experiment are not published. "oracle": least squares on the true support.
SYNTHETIC = {
    "snr5": {
        "am": (0.0993, 0.03),
        "svd": (0.0187, 0.52),
        "ksbl": (0.0982, 0.03),
        "omp": (4.69, 0.02),
        "oracle": (0.0143, 0.99),
    },
    "snr10": {
        "am": (0.0475, 0.12),
        "svd": (0.00574, 0.71),
        "ksbl": (0.0475, 0.11),
        "omp": (1.73, 0.02),
        "oracle": (0.00534, 0.99),
    },
    "snr15": {
        "am": (0.0109, 0.45),
        "svd": (0.00201, 0.83),
        "ksbl": (0.0104, 0.45),
        "omp": (1.52, 0.02),
        "oracle": (0.00212, 0.99),
    },
    "snr20": {
        "am": (0.00128, 0.73),
        "svd": (0.000635, 0.84),
        "ksbl": (0.00128, 0.74),
        "omp": (0.656, 0.03),
        "oracle": (0.000543, 0.99),
    },
    "snr25": {
        "am": (0.000804, 0.76),
        "svd": (0.00017, 0.88),
        "ksbl": (0.000804, 0.76),
        "omp": (0.357, 0.03),
        "oracle": (0.000148, 0.99),
    },
    "snr30": {
        "am": (0.000566, 0.76),
        "svd": (5.9e-05, 0.91),
        "ksbl": (0.000566, 0.76),
        "omp": (0.261, 0.04),
        "oracle": (5.2e-05, 0.99),
    },
    "m6": {
        "am": (0.0043, 0.61),
        "svd": (0.000495, 0.75),
        "ksbl": (0.0043, 0.61),
        "omp": (1.24, 0.02),
        "oracle": (0.000272, 0.99),
    },
    "m10": {
        "am": (0.00061, 0.76),
        "svd": (0.000113, 0.91),
        "ksbl": (0.00061, 0.76),
        "omp": (0.211, 0.04),
        "oracle": (0.000116, 0.99),
    },
    "m12": {
        "am": (0.000886, 0.77),
        "svd": (9.7e-05, 0.91),
        "ksbl": (0.000886, 0.77),
        "omp": (0.0616, 0.05),
        "oracle": (0.000109, 0.98),
    },
    "m14": {
        "am": (0.000519, 0.76),
        "svd": (6.8e-05, 0.89),
        "ksbl": (0.000519, 0.76),
        "omp": (0.0245, 0.05),
        "oracle": (6.9e-05, 0.98),
    },
    "k2": {
        "am": (5.9e-05, 0.81),
        "svd": (4.3e-05, 0.89),
        "ksbl": (5.9e-05, 0.81),
        "omp": (0.257, 0.01),
        "oracle": (3.4e-05, 0.99),
    },
    "k4": {
        "am": (0.00552, 0.51),
        "svd": (0.000717, 0.73),
        "ksbl": (0.00552, 0.51),
        "omp": (0.962, 0.06),
        "oracle": (0.00077, 0.97),
    },
    "k5": {
        "am": (0.0176, 0.56),
        "svd": (0.00375, 0.64),
        "ksbl": (0.021, 0.55),
        "omp": (0.85, 0.09),
        "oracle": (0.00103, 0.98),
    },
    "k6": {
        "am": (0.0433, 0.53),
        "svd": (0.268, 0.52),
        "ksbl": (0.0433, 0.53),
        "omp": (0.841, 0.14),
        "oracle": (0.00779, 0.99),
    },
}

# Medians of the channel error of 50 trials, aggregated from files that the authors publish
# (He and Joseph, IEEE TSP 2024), at these signal-to-noise ratios in dB. They drew pilots and
# configurations of the surface once for all trials.
RATIOS = (4, 8, 12, 16, 20)
CHANNEL = {
    "am": (0.949, 0.156, 0.0229, 0.00508, 0.00116),
    "svd": (0.431, 0.0910, 0.0102, 0.00384, 0.00129),
    "coupled 0.5": (0.162, 0.0374, 0.0126, 0.00386, 0.00170),
    "coupled 0.8": (0.125, 0.0370, 0.0120, 0.00419, 0.00148),
    "classic": (0.873, 0.587, 0.288, 0.0350, 0.00824),
}

# The scaled-down channel: medians of 12 trials of the implementation behind SYNTHETIC.
SMALL_RATIOS = (8, 15, 20)
SMALL_CHANNEL = {"am": (0.067, 0.0066, 0.0013), "svd": (0.057, 0.0058, 0.0023)}

# How far apart medians of the same method may be: of the reference's trials and of others.
SYNTHETIC_FACTOR, CHANNEL_FACTOR = 1.5, 2.0
