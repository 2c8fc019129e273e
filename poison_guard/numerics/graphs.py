"""Connected components of who-with-what pairs: the step from single links to groups."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

__all__ = ["components"]


def components(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the component ``(links,)`` of each link from ``left[i]`` to ``right[i]``, two kinds of node.

    Components are numbered from 0 in the order of their smallest left node.
    """
    if not len(left):
        return np.zeros(0, np.int64)
    _, a = np.unique(left, return_inverse=True)
    _, b = np.unique(right, return_inverse=True)
    size = int(a.max()) + 1
    nodes = size + int(b.max()) + 1
    graph = coo_matrix((np.ones(len(a), np.int8), (a, b + size)), shape=(nodes, nodes))
    return connected_components(graph, directed=False)[1][a].astype(np.int64)
