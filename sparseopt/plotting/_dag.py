"""Drawings of directed acyclic graphs, in layers: every edge of the layout points downwards."""

import importlib

import numpy as np
from sklearn.utils.validation import check_is_fitted

POSITIVE, NEGATIVE = "tab:blue", "tab:red"
KINDS = {  # of edges beside a reference: colour and line style
    "found": ("tab:green", "-"),
    "reversed": ("tab:purple", "--"),
    "extra": ("tab:orange", "-"),
    "missed": ("grey", ":"),
}
WIDEST, NARROWEST = 4.0, 1.0
SWEEPS = 8  # over the layers, to untangle their edges
BENDS = (0.0, 0.15, -0.15, 0.3, -0.3, 0.45, -0.45, 0.65, -0.65)  # from the most welcome
SPREAD = 1.3  # distance of neighbours in a layer
NEAREST, FARTHEST = 1.0, 3.0  # distances of layers; wide graphs get more
MARGIN = 0.7  # around the nodes, which have their size in points
CLEAR = 0.4  # distance that edges keep from other nodes, if they can
LONG_NAME = 8  # names with more characters stand beside their nodes


class DAGDisplay:
    """Drawing of a directed acyclic graph, alone or against a reference.

    The graph is drawn in layers, causes above effects. The width of an edge grows with its absolute
    weight. Alone, blue edges have positive and red ones negative weights. With a reference, an
    edge is one of the reference that was found (green, solid), one that was found in the other
    direction (purple, dashed; the arrow is that of the graph), an extra one (orange, solid) or
    a missed one (grey, dotted).

    It is best made by :meth:`from_estimator` or :meth:`from_adjacency`; the parameters are
    stored as attributes.

    Parameters
    ----------
    adjacency : ndarray of shape (n_features, n_features)
        ``adjacency[i, j]`` is the weight of the edge from i to j.
    names : list of str, optional
        Names of the nodes, by default their indices.
    reference : ndarray of shape (n_features, n_features), optional
        A graph to compare with; what is nonzero is an edge.

    Attributes
    ----------
    positions : ndarray of shape (n_features, 2)
        Places of the nodes: those of the reference if there is one, so that several graphs can
        be drawn alike.
    edge_kinds : dict
        Lists of edges (i, j): with a reference by "found", "reversed", "extra" and "missed",
        without by "positive" and "negative".
    ax_ : matplotlib Axes
        Axes of the drawing.
    figure_ : matplotlib Figure
        Their figure.
    nodes_ : matplotlib PathCollection
        The nodes.
    edges_ : dict of matplotlib FancyArrowPatch
        The edges, by (i, j).
    labels_ : list of matplotlib Text
        The names.

    Examples
    --------
    >>> from sparseopt.plotting import DAGDisplay
    >>> chain = [[0, 0.8, 0], [0, 0, -0.5], [0, 0, 0]]
    >>> display = DAGDisplay.from_adjacency(chain, names=["rain", "wet", "dust"])
    >>> display.edge_kinds
    {'positive': [(0, 1)], 'negative': [(1, 2)]}
    """

    def __init__(self, adjacency, *, names=None, reference=None):
        self.adjacency = _check_graph(adjacency, "adjacency")
        self.reference = None if reference is None else _check_graph(reference, "reference")
        d = len(self.adjacency)
        if self.reference is not None and self.reference.shape != (d, d):
            raise ValueError(
                f"reference must have the shape {(d, d)} of adjacency, got {self.reference.shape}."
            )
        self.names = [str(j) for j in range(d)] if names is None else [str(n) for n in names]
        if len(self.names) != d:
            raise ValueError(f"names must hold {d} names, one a node, got {len(self.names)}.")
        layout = self.adjacency if self.reference is None else self.reference
        self.positions = _place(layout != 0)
        self.edge_kinds = self._sort_edges()

    @classmethod
    def from_estimator(cls, estimator, *, reference=None, ax=None, node_size=None, legend=True):
        """Draw the graph of a fitted model.

        Parameters
        ----------
        estimator : estimator instance
            Fitted, with ``adjacency_``, such as :class:`sparseopt.causal.CoLiDE`. Nodes have the
            names of its ``feature_names_in_``, if there are any.
        reference : array-like or DataFrame of shape (n_features, n_features), optional
            A graph to compare with.
        ax : matplotlib Axes, optional
            Axes to draw on; by default those of a new figure.
        node_size : float, optional
            Diameter of the nodes in points.
        legend : bool, default=True
            Whether a legend tells the kinds of edges, if there is a reference.

        Returns
        -------
        display : DAGDisplay
            The drawing.
        """
        check_is_fitted(estimator, "adjacency_")
        names = getattr(estimator, "feature_names_in_", None)
        display = cls(estimator.adjacency_, names=names, reference=reference)
        return display.plot(ax=ax, node_size=node_size, legend=legend)

    @classmethod
    def from_adjacency(
        cls, adjacency, *, names=None, reference=None, ax=None, node_size=None, legend=True
    ):
        """Draw a graph.

        Parameters
        ----------
        adjacency : array-like or DataFrame of shape (n_features, n_features)
            Weights; row = cause, column = effect, without cycles.
        names : list of str, optional
            Names of the nodes; by default the columns of a DataFrame, or the indices.
        reference : array-like or DataFrame of shape (n_features, n_features), optional
            A graph to compare with.
        ax : matplotlib Axes, optional
            Axes to draw on; by default those of a new figure.
        node_size : float, optional
            Diameter of the nodes in points.
        legend : bool, default=True
            Whether a legend tells the kinds of edges, if there is a reference.

        Returns
        -------
        display : DAGDisplay
            The drawing.
        """
        if names is None:
            names = getattr(adjacency, "columns", None)
        display = cls(adjacency, names=names, reference=reference)
        return display.plot(ax=ax, node_size=node_size, legend=legend)

    def plot(self, ax=None, *, node_size=None, legend=True):
        """Draw the graph.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to draw on; by default those of a new figure.
        node_size : float, optional
            Diameter of the nodes in points; by default names of up to eight characters fit in.
        legend : bool, default=True
            Whether a legend tells the kinds of edges, if there is a reference.

        Returns
        -------
        display : DAGDisplay
            The drawing itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        pyplot = _import_matplotlib("pyplot")
        if ax is None:
            _, ax = pyplot.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        longest = max(map(len, self.names))
        inside = longest <= LONG_NAME
        if node_size is None:
            node_size = 14 + 5.5 * max(longest, 2) if inside else 12.0
        self.nodes_ = ax.scatter(
            *self.positions.T,
            s=node_size**2,
            facecolor="white",
            edgecolor="black",
            clip_on=False,
            zorder=2,
        )
        self.labels_ = [
            ax.annotate(
                name,
                place,
                xytext=(0, 0) if inside else (0, -node_size / 2 - 2),
                textcoords="offset points",
                ha="center",
                va="center" if inside else "top",
                fontsize=9,
                bbox=None if inside else {"fc": "white", "ec": "none", "alpha": 0.7, "pad": 0.5},
                zorder=3,
            )
            for name, place in zip(self.names, self.positions)
        ]
        ax.update_datalim(
            [self.positions.min(axis=0) - MARGIN, self.positions.max(axis=0) + MARGIN]
        )
        ax.margins(0)
        ax.set_aspect("equal", adjustable="datalim")  # or the bends would not clear the nodes
        self._draw_edges(node_size)
        ax.set_axis_off()
        if legend and self.reference is not None:
            self._draw_legend()
        return self

    def _sort_edges(self):
        """Return the edges by kind."""
        weights = self.adjacency
        if self.reference is None:
            kinds = {"positive": weights > 0, "negative": weights < 0}
        else:
            edges, expected = weights != 0, self.reference != 0
            kinds = {
                "found": edges & expected,
                "reversed": edges & expected.T,
                "extra": edges & ~expected & ~expected.T,
                "missed": expected & ~edges & ~edges.T,
            }
        return {
            kind: [(int(i), int(j)) for i, j in np.argwhere(mask)] for kind, mask in kinds.items()
        }

    def _draw_edges(self, node_size):
        patches = _import_matplotlib("patches")
        sizes = np.abs(self.adjacency[self.adjacency != 0])
        strongest = np.max(sizes, initial=0.0) or 1.0
        if np.all(sizes == strongest):
            strongest *= 3  # without weights all edges are thin
        self.edges_ = {}
        for kind, edges in self.edge_kinds.items():
            colour, style = KINDS.get(kind, (POSITIVE if kind == "positive" else NEGATIVE, "-"))
            for i, j in edges:
                share = abs(self.adjacency[i, j]) / strongest
                arrow = patches.FancyArrowPatch(
                    self.positions[i],
                    self.positions[j],
                    arrowstyle="-|>",
                    mutation_scale=10 + 4 * share,
                    connectionstyle=f"arc3,rad={self._bend(i, j)}",
                    shrinkA=node_size / 2,
                    shrinkB=node_size / 2,
                    linewidth=NARROWEST + (WIDEST - NARROWEST) * share,
                    linestyle=style,
                    color=colour,
                    alpha=0.8,
                    clip_on=False,
                    zorder=1,
                )
                self.edges_[i, j] = self.ax_.add_patch(arrow)

    def _bend(self, i, j):
        """Return the first curvature that keeps clear of the other nodes, or the clearest."""
        others = np.delete(self.positions, [i, j], axis=0)
        if not len(others):
            return 0.0
        start, stop = self.positions[i], self.positions[j]
        across = np.array([stop[1] - start[1], start[0] - stop[0]])
        t = np.linspace(0, 1, 50)[:, None]
        distances = np.empty(len(BENDS))
        for number, bend in enumerate(BENDS):
            middle = (start + stop) / 2 + bend * across
            curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * stop
            distances[number] = np.linalg.norm(curve[:, None] - others, axis=2).min()
        return BENDS[int(np.argmax(np.minimum(distances, CLEAR)))]

    def _draw_legend(self):
        lines = _import_matplotlib("lines")
        handles = [
            lines.Line2D([], [], color=colour, linestyle=style, label=f"{kind}: {len(edges)}", lw=2)
            for kind, edges in self.edge_kinds.items()
            for colour, style in [KINDS[kind]]
        ]
        self.ax_.legend(
            handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=2, frameon=False
        )


def _import_matplotlib(module):
    try:
        return importlib.import_module(f"matplotlib.{module}")
    except ImportError as error:
        raise ImportError(
            "DAGDisplay draws with matplotlib, which is not installed: pip install sparseopt[plot]."
        ) from error


def _check_graph(adjacency, name):
    """Return a finite, square, acyclic matrix of floats."""
    matrix = np.asarray(adjacency, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise ValueError(f"{name} must be a square matrix, got shape {matrix.shape}.")
    if not np.all(np.isfinite(matrix)):
        raise ValueError(f"{name} must be finite, got NaN or infinite entries.")
    if np.any(_depths(matrix != 0) < 0):
        raise ValueError(f"{name} must be acyclic, got a graph with a cycle.")
    return matrix


def _depths(edges):
    """Return the length of the longest path to each node, -1 for those behind a cycle."""
    depth = np.full(len(edges), -1)
    open_nodes = np.ones(len(edges), dtype=bool)
    for level in range(len(edges)):
        ready = open_nodes & ~edges[open_nodes].any(axis=0)
        if not ready.any():
            break
        depth[ready] = level
        open_nodes &= ~ready
    return depth


def _place(edges):
    """Return places in layers: each node right above its highest effect, untangled."""
    depth = _depths(edges)
    for node in np.argsort(-depth, kind="stable"):
        if edges[node].any():
            depth[node] = np.min(depth[edges[node]]) - 1
    isolated = ~(edges.any(axis=0) | edges.any(axis=1))
    if not isolated.all():
        depth[isolated] = np.max(depth[~isolated]) + 1
    layers = [np.flatnonzero(depth == level) for level in range(depth.max() + 1)]
    neighbours = edges | edges.T
    x = np.empty(len(edges))
    for layer in layers:
        x[layer] = np.arange(len(layer)) - (len(layer) - 1) / 2
    for sweep in range(SWEEPS):
        for layer in layers[:: 1 if sweep % 2 == 0 else -1]:
            centres = (neighbours[layer] @ x) / np.maximum(neighbours[layer].sum(axis=1), 1)
            layer[:] = layer[np.argsort(centres, kind="stable")]
            x[layer] = np.arange(len(layer)) - (len(layer) - 1) / 2
    for level, layer in enumerate(layers):  # no long edge runs straight through a node between
        x[layer] += 0.2 if level % 2 else -0.2
    x *= SPREAD
    gap = np.clip(0.6 * np.ptp(x) / max(len(layers) - 1, 1), NEAREST, FARTHEST)
    return np.column_stack([x, -gap * depth])
