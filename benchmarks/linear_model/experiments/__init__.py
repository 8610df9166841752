"""The five experiments of "The greedy side of the LASSO", run with sparseopt.

H. Mohammad-Taheri, S. Brugiapaglia (2023). The greedy side of the LASSO: new algorithms for
weighted sparse recovery via loss function-based orthogonal matching pursuit.
arXiv:2303.00844. The published values are those of the data files that the authors store
with their code: medians over 30 trials, geometric means in the fourth and fifth experiment.
"""
