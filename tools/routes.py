"""Tidies the saved graphs: leads links around nodes, and fits each graph on the screen as it opens.

python tools/routes.py writes the graphs in workflows/ anew. A link that would pass under a node goes around it over
ComfyUI's own reroute points, which stand in the file beside the links and change nothing else. Geometry is LiteGraph's:
pixels of the canvas, y downwards; a node's position is below its title.
"""

import heapq
import json
import math
import sys
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import comfyui
from console import guard, say

TITLE, ROW = 30, 20
NEAR, STEP = 12, 7
"""How far a link that goes around keeps from a node, and how much further the links of the next output."""
CLEAR, EDGE = 4, 8
"""A path comes no nearer to a node than the first. Further inside its own nodes than the second, it is under them."""
BEND = 40
"""A corner counts as much as this way."""
SCREENS = ((80, 110, 1420, 790), (60, 110, 1590, 890))
"""What is free beside ComfyUI's bars of a screen of 1440 x 810, and of 1600 x 900: left, top, right, bottom."""
READABLE = 0.6
"""At a smaller zoom, front ends draw no text on nodes. What is too wide for the first screen fits the second."""

Point = tuple[float, float]
Box = tuple[float, float, float, float]
Json = dict[str, Any]


def boxes(graph: Json) -> dict[int, Box]:
    """Node id -> left, top, right, bottom, title included."""
    placed = ((node["id"], *node["pos"], *node["size"]) for node in graph["nodes"])
    return {id: (x, y - TITLE, x + width, y + height) for id, x, y, width, height in placed}


def ends(graph: Json, link: list) -> tuple[Point, Point]:
    """Where a link begins and ends. An input with a widget lies below the sockets: its row is taken for the first."""
    _, origin, out, target, into, _ = link
    nodes = {node["id"]: node for node in graph["nodes"]}
    start, end = nodes[origin], nodes[target]
    sockets = [place for place, slot in enumerate(end["inputs"]) if "widget" not in slot]
    row = sockets.index(into) if into in sockets else max(len(sockets), len(end["outputs"]))
    return (
        (start["pos"][0] + start["size"][0], start["pos"][1] + (out + 0.7) * ROW),
        (end["pos"][0], end["pos"][1] + (row + 0.7) * ROW),
    )


def spline(start: Point, end: Point) -> list[Point]:
    """Points of the curve that LiteGraph draws for a link without reroutes."""
    reach = math.dist(start, end) / 4
    through = (start, (start[0] + reach, start[1]), (end[0] - reach, end[1]), end)
    shares = [(t, 1 - t) for t in (step / 60 for step in range(61))]
    weights = [(u**3, 3 * u * u * t, 3 * u * t * t, t**3) for t, u in shares]
    return [tuple(sum(w * p[axis] for w, p in zip(each, through, strict=True)) for axis in (0, 1)) for each in weights]


def hit(path: list[Point], around: Iterable[Box], clear: float = 0) -> bool:
    """Whether a path of straight pieces passes through one of the boxes, which reach ``clear`` further."""
    for (x, y), (a, b) in pairwise(path):
        steps = max(2, math.ceil(math.dist((x, y), (a, b)) / 4))
        for step in range(steps + 1):
            at = (x + (a - x) * step / steps, y + (b - y) * step / steps)
            if any(
                left - clear < at[0] < right + clear and top - clear < at[1] < low + clear
                for left, top, right, low in around
            ):
                return True
    return False


def path_of(graph: Json, link: list) -> list[Point]:
    """The points of a link as it is drawn: over its reroutes, or else its curve. Between reroutes LiteGraph rounds the
    corners; the straight pieces stand for that."""
    start, end = ends(graph, link)
    over = reroutes(graph, link[0])
    return [start, *over, end] if over else spline(start, end)


def reroutes(graph: Json, link: int) -> list[Point]:
    """The reroute points of a link, from its output on."""
    points = {point["id"]: point for point in graph["extra"].get("reroutes", ())}
    last = {each["id"]: each["parentId"] for each in graph["extra"].get("linkExtensions", ())}
    found, at = [], last.get(link)
    while at is not None:
        found.append(tuple(points[at]["pos"]))
        at = points[at].get("parentId")
    return found[::-1]


def hidden(graph: Json) -> list[str]:
    """The links that pass under a node, as "type 1 -> 5"."""
    return [f"{link[5]} {link[1]} -> {link[3]}" for link in graph["links"] if is_hidden(graph, link)]


def is_hidden(graph: Json, link: list) -> bool:
    """Whether a link passes under a node, be it one of its own two; at those it begins and ends on the edge."""
    nodes, path = boxes(graph), path_of(graph, link)
    own = [nodes.pop(id) for id in {link[1], link[3]}]
    return hit(path, nodes.values()) or hit(path, own, -EDGE)


def way(start: Point, end: Point, around: list[Box], near: float) -> list[Point]:
    """The corners of a path from start to end that keeps clear of all boxes (Dijkstra's way on the lines beside them).

    Raises ValueError if there is none.
    """
    first, last = (start[0] + near, start[1]), (end[0] - near, end[1])
    xs = sorted({first[0], last[0], *(x for box in around for x in (box[0] - near, box[2] + near))})
    ys = sorted({first[1], last[1], *(y for box in around for y in (box[1] - near, box[3] + near))})
    reached: dict[tuple[int, int, int], float] = {}
    queue = [(0.0, (xs.index(first[0]), ys.index(first[1]), 0), None)]
    before: dict[tuple[int, int, int], tuple[int, int, int] | None] = {}
    while queue:
        cost, at, came = heapq.heappop(queue)
        if at in reached:
            continue
        reached[at], before[at] = cost, came
        i, j, axis = at
        if (xs[i], ys[j]) == last:
            return _corners(at, before, xs, ys)
        for k, m, turned in ((i - 1, j, 0), (i + 1, j, 0), (i, j - 1, 1), (i, j + 1, 1)):
            if 0 <= k < len(xs) and 0 <= m < len(ys) and not hit([(xs[i], ys[j]), (xs[k], ys[m])], around, CLEAR):
                more = math.dist((xs[i], ys[j]), (xs[k], ys[m])) + BEND * (turned != axis)
                heapq.heappush(queue, (cost + more, (k, m, turned), at))
    raise ValueError(f"there is no way from {start} to {end}")


def _corners(at: Any, before: dict, xs: list[float], ys: list[float]) -> list[Point]:
    points = []
    while at is not None:
        points.append((xs[at[0]], ys[at[1]]))
        at = before[at]
    points.reverse()
    inner = [
        b
        for a, b, c in zip(points, points[1:], points[2:], strict=False)
        if not (a[0] == b[0] == c[0] or a[1] == b[1] == c[1])
    ]
    return [points[0], *inner, points[-1]]


def routed(graph: Json) -> None:
    """Give each link that would pass under a node its reroutes, and take those of the others away."""
    extra, nodes, lanes = graph["extra"], boxes(graph), {}
    extra.pop("reroutes", None), extra.pop("linkExtensions", None)
    points, last = [], []
    for link in graph["links"]:
        id, origin, out = link[:3]
        if not is_hidden(graph, link):
            continue
        near = NEAR + STEP * lanes.setdefault((origin, out), len(lanes) % 4)
        for place, (x, y) in enumerate(way(*ends(graph, link), list(nodes.values()), near)):
            parent = {"parentId": len(points)} if place else {}
            points.append({"id": len(points) + 1, **parent, "pos": [round(x), round(y)], "linkIds": [id]})
        last.append({"id": id, "parentId": len(points)})
    if points:
        extra["reroutes"], extra["linkExtensions"] = points, last


def fitted(graph: Json) -> None:
    """Set the zoom and the offset that the graph opens with, so that all of it is on a screen and can be read.

    Raises ValueError if it is too large for that.
    """
    left, top, right, bottom = bounds(graph)
    for x, y, end, low in SCREENS:
        scale = math.floor(min((end - x) / (right - left), (low - y) / (bottom - top), 1) * 100) / 100
        if scale >= READABLE:
            offset = [
                round((x + end) / 2 / scale - (left + right) / 2),
                round((y + low) / 2 / scale - (top + bottom) / 2),
            ]
            graph["extra"]["ds"] = {"scale": scale, "offset": offset}
            return
    raise ValueError(f"the graph is {right - left:.0f} x {bottom - top:.0f}: too large for a screen")


def bounds(graph: Json) -> Box:
    """The corners of all nodes, groups and reroutes together."""
    points = [point["pos"] for point in graph["extra"].get("reroutes", ())]
    groups = [group["bounding"] for group in graph.get("groups", ())]
    all_boxes = [
        *boxes(graph).values(),
        *((x, y, x + width, y + height) for x, y, width, height in groups),
        *((x, y, x, y) for x, y in points),
    ]
    sides = list(zip(*all_boxes, strict=True))
    return min(sides[0]), min(sides[1]), max(sides[2]), max(sides[3])


def on_screen(graph: Json) -> Box:
    """Where the graph lies on the screen as it opens."""
    scale, (x, y) = graph["extra"]["ds"]["scale"], graph["extra"]["ds"]["offset"]
    left, top, right, bottom = bounds(graph)
    return (left + x) * scale, (top + y) * scale, (right + x) * scale, (bottom + y) * scale


def main() -> int:
    for file in sorted((comfyui.ROOT / "workflows").glob("*.json")):
        text = file.read_text(encoding="utf-8")
        graph = json.loads(text)
        routed(graph)
        fitted(graph)
        tidy = json.dumps(graph, indent=2, ensure_ascii=False) + "\n"
        if tidy != text:
            file.write_text(tidy, encoding="utf-8")
            say(f"Written: workflows/{file.name}")
    return 0


if __name__ == "__main__":
    sys.exit(guard(main))
