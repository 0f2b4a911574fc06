"""The graph of pairs: spanning order, loops and independent paths to the reference.

Nodes are images, edges are pairs that were registered. Everything here is about which edges there
are and how they fit together; `imatch.geometry.adjustment.graph` turns them into transforms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import (
    breadth_first_order,
    connected_components,
    maximum_flow,
    minimum_spanning_tree,
)

from imatch.core.types import BoolArray
from imatch.geometry.fit import least_squares
from imatch.geometry.transform import ModelKind, apply_matrix

# Capacity of a pair that is sure of itself, and of one that is not.
_SURE, _WEAK = 2, 1
# A closure of this many pixels, on top of what the pairs state, counts half.
_CLOSES_PX = 2.0


@dataclass(frozen=True, eq=False)
class Edge:
    """A registered pair, as a handful of points.

    Attributes:
        a: Index of the pair's reference image.
        b: Index of its target image.
        a_xy: (K, 2) points of the overlap in the frame of `a`, at least 3 and not on one line.
        b_xy: (K, 2) where the pair puts them in the frame of `b`.
        covariance: (2K, 2K) of `b_xy`, the x and y of each point in turn, by chance.
        systematic: (x, y) variance of what either image shows alike in all its pairs, in the frame
            of `b`: appearance and bent ground. It cancels round a loop, so that no loop shows it
            and no number of pairs averages it out.
        kind: Family of the transform that was found.
        weak: The pair is not sure of itself: it may confirm, but proves nothing alone.
    """

    a: int
    b: int
    a_xy: NDArray[np.float64]
    b_xy: NDArray[np.float64]
    covariance: NDArray[np.float64]
    kind: ModelKind = "affine"
    weak: bool = False
    systematic: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        k = len(self.a_xy)
        if self.a == self.b or k < 3 or self.b_xy.shape != (k, 2):
            raise ValueError(f"an edge joins two images by 3 points or more, got {k}")
        if self.covariance.shape != (2 * k, 2 * k):
            raise ValueError(f"expected a ({2 * k}, {2 * k}) covariance")

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """(3, 3) transform from frame `a` to frame `b` through the points."""
        # Four points in general position determine a homography; so few are never given for one.
        kind: ModelKind = "affine" if len(self.a_xy) < 5 else self.kind
        return np.asarray(least_squares(kind, self.a_xy, self.b_xy), dtype=np.float64)

    @property
    def sigma(self) -> float:
        """Standard deviation of a coordinate of `b_xy` by chance, over all points."""
        return float(np.sqrt(np.trace(self.covariance) / len(self.covariance)))

    @property
    def total(self) -> float:
        """The same with what is systematic."""
        return float(np.sqrt(self.sigma**2 + np.mean(self.systematic)))


@dataclass(frozen=True)
class Loop:
    """A way through several pairs that ends where it began.

    Attributes:
        nodes: Images in order; the last leads back to the first.
        edges: Index of the pair between each and the next.
        closure: RMS distance between where points of the first image start and where the pairs
            bring them, in units of its frame.
    """

    nodes: tuple[int, ...]
    edges: tuple[int, ...]
    closure: float


@dataclass(frozen=True)
class Support:
    """Evidence that ties an image to the reference.

    Attributes:
        sure: Pairs that are sure of themselves, agree, and lead to the reference by ways that
            share none of them.
        agreeing: The same, pairs that are not sure of themselves counting half.
        against: Sure pairs across the weakest place of these ways that say otherwise.
    """

    sure: float
    agreeing: float
    against: int


def components(count: int, edges: Sequence[Edge], use: BoolArray) -> NDArray[np.int64]:
    """(count,) label of the connected part each node is in."""
    graph = _adjacency(count, edges, np.flatnonzero(use), np.ones(len(edges)))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def bridges(count: int, edges: Sequence[Edge], use: BoolArray) -> BoolArray:
    """(M,) bool: edges in use without which their two ends would fall apart (Tarjan, 1974)."""
    near: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    for index in _numbers(use):
        edge = edges[index]
        near[edge.a].append((edge.b, index))
        near[edge.b].append((edge.a, index))
    found = np.zeros(len(edges), dtype=bool)
    order, low = [-1] * count, [-1] * count
    clock = 0
    for start in range(count):
        if order[start] >= 0:
            continue
        order[start] = low[start] = clock
        clock += 1
        trail = [(start, -1, iter(near[start]))]
        while trail:
            node, came_by, others = trail[-1]
            step = next(others, None)
            if step is None:
                trail.pop()
                if trail:
                    parent = trail[-1][0]
                    low[parent] = min(low[parent], low[node])
                    found[came_by] = low[node] > order[parent]
                continue
            other, index = step
            if index == came_by:
                continue
            if order[other] < 0:
                order[other] = low[other] = clock
                clock += 1
                trail.append((other, index, iter(near[other])))
            else:
                low[node] = min(low[node], order[other])
    return found


def reliable_tree(
    count: int, edges: Sequence[Edge], pixel: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Indices of the edges of a maximum-reliability spanning forest.

    Pairs that are sure of themselves come first; among them those in which triangles close, then
    the precise ones. A pair that closes no triangle of many is likely to be the wrong one in them.

    Args:
        count: Number of images.
        edges: Pairs.
        pixel: (count,) length of a pixel in each frame.
    """
    if not edges:
        return np.zeros(0, dtype=np.int64)
    share = triangle_votes(count, edges, pixel)
    fine = np.array([min(edge.total / pixel[edge.b], 10.0) for edge in edges])
    weak = np.array([edge.weak for edge in edges])
    cost = 1.01 + 2.0 * weak - share + 1e-3 * fine
    picked: dict[tuple[int, int], int] = {}
    for index, edge in enumerate(edges):
        ends = min(edge.a, edge.b), max(edge.a, edge.b)
        if ends not in picked or cost[index] < cost[picked[ends]]:
            picked[ends] = index
    rows = np.array(list(picked.values()))
    tree = minimum_spanning_tree(_adjacency(count, edges, rows, cost)).tocoo()
    pairs = zip(tree.row, tree.col, strict=True)
    return np.array([picked[min(a, b), max(a, b)] for a, b in pairs], dtype=np.int64)


def triangle_votes(
    count: int, edges: Sequence[Edge], pixel: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(M,) share of the triangles through each edge that close; a half where there are none."""
    index: dict[tuple[int, int], int] = {}
    for number, edge in enumerate(edges):
        index.setdefault((min(edge.a, edge.b), max(edge.a, edge.b)), number)
    near: list[set[int]] = [set() for _ in range(count)]
    for a, b in index:
        near[a].add(b)
        near[b].add(a)
    closes, through = np.ones(len(edges)), np.full(len(edges), 2.0)
    for a, b in index:
        for c in near[a] & near[b]:
            if c < b:
                continue
            around = [index[a, b], index[b, c], index[a, c]]
            loop = _closed(edges, [a, b, c], around)
            stated = sum(edges[i].sigma ** 2 / pixel[edges[i].b] ** 2 for i in around)
            reach = _CLOSES_PX**2 + 9 * stated
            vote = 1 / (1 + (loop.closure / pixel[a]) ** 2 / reach)
            closes[around] += vote
            through[around] += 1
    return np.asarray(closes / through)


def paths_from(
    root: int, count: int, edges: Sequence[Edge], use: NDArray[np.int64]
) -> list[tuple[int, int, int]]:
    """(parent, child, edge) triples that reach every node connected to `root`, nearest first."""
    ends = {(min(edges[i].a, edges[i].b), max(edges[i].a, edges[i].b)): int(i) for i in use[::-1]}
    graph = _adjacency(count, edges, use, np.ones(len(edges)))
    order, parent = breadth_first_order(graph, root, directed=False)
    steps = [(int(parent[node]), int(node)) for node in order[1:]]
    return [(a, b, ends[min(a, b), max(a, b)]) for a, b in steps]


def loops(root: int, count: int, edges: Sequence[Edge], use: BoolArray) -> list[Loop]:
    """Measures the closure of a basis of all loops, before any adjustment.

    The loops are the fundamental ones of a breadth-first tree: each edge beside the tree with the
    shortest ways back, so that they are short where the network is dense.

    Args:
        root: Where the tree begins.
        count: Number of images.
        edges: Pairs.
        use: (M,) bool, those to look at.

    Returns:
        As many loops as there are independent ones; those of parts not connected to `root` too.
    """
    found: list[Loop] = []
    label = components(count, edges, use)
    for part in dict.fromkeys([int(label[root]), *label.tolist()]):
        start = root if part == label[root] else int(np.flatnonzero(label == part)[0])
        inside = [i for i in _numbers(use) if label[edges[i].a] == part]
        steps = paths_from(start, count, edges, np.array(inside, dtype=np.int64))
        up = {child: (parent, edge) for parent, child, edge in steps}
        tree = {edge for _, _, edge in steps}
        for number in inside:
            if number in tree:
                continue
            edge = edges[number]
            nodes, around = _loop_through(edge.a, edge.b, number, up)
            found.append(_closed(edges, nodes, around))
    return found


def _loop_through(
    a: int, b: int, edge: int, up: dict[int, tuple[int, int]]
) -> tuple[list[int], list[int]]:
    """The loop a, b, …, back to a through the tree."""

    def path_up(node: int) -> tuple[list[int], list[int]]:
        nodes, edges = [node], []
        while nodes[-1] in up:
            parent, via = up[nodes[-1]]
            nodes.append(parent)
            edges.append(via)
        return nodes, edges

    (from_a, via_a), (from_b, via_b) = path_up(a), path_up(b)
    while len(from_a) > 1 and len(from_b) > 1 and from_a[-2] == from_b[-2]:
        from_a.pop(), from_b.pop(), via_a.pop(), via_b.pop()
    nodes = [a, *from_b, *from_a[-2:0:-1]]
    if nodes[-1] == a and len(nodes) > 1:
        nodes.pop()
    return nodes, [edge, *via_b, *reversed(via_a)]


def _closed(edges: Sequence[Edge], nodes: Sequence[int], around: Sequence[int]) -> Loop:
    first = edges[around[0]]
    start = first.a_xy if first.a == nodes[0] else first.b_xy
    points = start
    for node, index in zip(nodes, around, strict=True):
        edge = edges[index]
        matrix = edge.matrix if edge.a == node else np.linalg.inv(edge.matrix)
        points = apply_matrix(matrix, points)
    closure = float(np.sqrt(((points - start) ** 2).sum(axis=1).mean()))
    return Loop(tuple(nodes), tuple(int(i) for i in around), closure)


def support(
    root: int, node: int, count: int, edges: Sequence[Edge], agrees: BoolArray, rejected: BoolArray
) -> Support:
    """Counts the independent ways of pairs from an image to the reference.

    The most ways through agreeing pairs that share no pair equal the fewest pairs whose loss would
    cut the image off (Menger, 1927; found as a maximum flow). Where as many sure pairs across that
    cut were set aside as agree, nothing says which of them are right.

    Args:
        root: The reference.
        node: The image.
        count: Number of images.
        edges: Pairs.
        agrees: (M,) bool, pairs the solution rests on.
        rejected: (M,) bool, pairs that contradict it.
    """
    capacity = np.array([_WEAK if edge.weak else _SURE for edge in edges], dtype=np.int32)
    sure = np.array([not edge.weak for edge in edges], dtype=bool)
    flow, side = _minimum_cut(root, node, count, edges, agrees, capacity)
    firm, _ = _minimum_cut(root, node, count, edges, agrees & sure, capacity)
    across = [side[edge.a] != side[edge.b] for edge in edges]
    against = int((np.array(across, dtype=bool) & rejected & sure).sum())
    return Support(firm / _SURE, flow / _SURE, against)


def _minimum_cut(
    root: int,
    node: int,
    count: int,
    edges: Sequence[Edge],
    use: BoolArray,
    capacity: NDArray[np.int32],
) -> tuple[int, BoolArray]:
    """The maximum flow and (count,) bool of the nodes on the root's side of its cut."""
    ends = np.array([(edges[i].a, edges[i].b) for i in _numbers(use)], dtype=int).reshape(-1, 2)
    held = capacity[use]
    both = np.concatenate([ends, ends[:, ::-1]])
    graph = coo_array(
        (np.concatenate([held, held]), (both[:, 0], both[:, 1])), shape=(count, count)
    ).tocsr()
    found = maximum_flow(graph.astype(np.int32), root, node)
    left = (graph - found.flow).tocsr()
    left.eliminate_zeros()
    reached = breadth_first_order(left, root, directed=True, return_predecessors=False)
    side = np.zeros(count, dtype=bool)
    side[reached] = True
    return int(found.flow_value), side


def _numbers(use: BoolArray) -> list[int]:
    """Returns the indices of the edges in use."""
    return [int(index) for index in np.flatnonzero(use)]


def _adjacency(
    count: int, edges: Sequence[Edge], use: NDArray[np.int64], cost: NDArray[np.float64]
) -> coo_array:
    rows = [edges[i].a for i in use]
    columns = [edges[i].b for i in use]
    return coo_array((cost[use], (rows, columns)), shape=(count, count)).tocsr()
