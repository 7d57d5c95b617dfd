"""The table of a run, with the targets beside the figures."""

from __future__ import annotations

from typing import Any

from benchmarks.gpu_run import Run


def table(run: Run, sizes: tuple[int, ...]) -> str:
    """Everything for people, as Markdown."""
    lines = ["", "| check | result |", "|---|---|"]
    lines += [
        f"| {name.removeprefix('check: ')} | {_check(result)} |"
        for name, result in run.results.items()
        if name.startswith("check: ")
    ]
    lines += ["", "| figure | measured | target |", "|---|---|---|"]
    lines += [f"| {name} | {value} | {target} |" for name, value, target in _figures(run, sizes)]
    lines += _rows("beside their limits", _limited(run))
    lines += _rows("kernels of splatting, 131k, 16 views", run.figure("kernels of splatting"))
    lines += _rows("kernels of 16 receivers", run.figure(f"kernels of 16 at {sizes[0]}"))
    for size in sizes:
        lines += _rows(f"full chain at {size}", run.figure(f"chain at {size}"))
    for name in ("gsplat", "SD-Turbo"):
        lines += _rows(name, run.figure(name))
    return "\n".join(lines) + "\n"


def _check(result: Any) -> str:
    if isinstance(result, dict) and "not measured" in result:
        reason = result["not measured"]
        failed = reason.removeprefix("CheckFailed: ")
        return f"FAILED: {failed}" if failed != reason else f"not measured: {reason}"
    return "passed"


def _figures(run: Run, sizes: tuple[int, ...]) -> list[tuple[str, str, str]]:
    """Name, value, target on an H200."""

    def shown(value: Any, unit: str, *step: str) -> str:
        if value is not None:
            return f"{value:.4g} {unit}"
        reason = run.figure(*step, "not measured") or "not asked for"
        return f"not measured: {reason}"

    def chain(receivers: int, size: int, what: str = "refined: graph, ms") -> str:
        rows = run.figure(f"chain at {size}")
        rows = rows if isinstance(rows, list) else []
        found = [row[what] for row in rows if row["receivers"] == receivers]
        return shown(found[0] if found else None, "ms", f"chain at {size}")

    figures = [
        ("rasterise + refine + I420, 512, 1 receiver", chain(1, 512), "<= 1.5 ms"),
        ("the same, 16 receivers", chain(16, 512), "<= 10 ms"),
    ]
    for size in sizes:
        step = f"receivers at {size}"
        for column, who, target in (
            ("refined: graph, ms", "by GPU time", ">= 96" if size == 512 else ""),
            ("refined: tick, ms", "with the host's part", ""),
        ):
            value = shown(run.figure(step, column), "receivers", step)
            figures.append((f"at 30 fps, {size}, {who}", value, target))
    first = sizes[0]
    step = f"lift at {first}"
    figures.append(("lift", shown(run.figure(step, "graph, ms"), "ms", step), "<= 2 ms"))
    for size in sizes:
        step = f"start at {size}"
        figures.append((f"start, {size}", shown(run.figure(step, "seconds"), "s", step), "<= 20 s"))
        value = run.figure(step, "bytes")
        gigabytes = None if value is None else value / 1e9
        figures.append((f"memory, {size}", shown(gigabytes, "GB", step), ""))
    figures.append(("rasteriser, times as fast as gsplat, 131k", _ratio(run), ">= 1.5"))
    figures.append(("chain, times as fast as SD-Turbo", _sd_turbo(run), ">= 15"))
    return figures


def _ratio(run: Run) -> str:
    ours, theirs = (
        run.figure("gsplat", -1, name) for name in ("ours in a graph, ms", "gsplat, ms")
    )
    if ours is None or theirs is None:
        return f"not measured: {run.figure('gsplat', 'not measured')}"
    return f"{theirs / ours:.2f}"


def _sd_turbo(run: Run) -> str:
    theirs = run.figure("SD-Turbo", 0, "ms")
    ours = run.figure("chain at 512", 0, "refined: graph, ms")
    if ours is None or theirs is None:
        return f"not measured: {run.figure('SD-Turbo', 'not measured')}"
    return f"{theirs / ours:.1f}"


def _limited(run: Run) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    columns = ("size", "views", "ms", "limit of bytes, ms", "limit of operations, ms",
               "part of the limit")  # fmt: skip
    for name in (
        "rasteriser",
        "refiner's input",
        "blending with the portrait",
        "conversion",
        "refiner",
    ):
        found = run.figure(name)
        if not isinstance(found, list):
            reason = run.figure(name, "not measured")
            rows.append(
                {"what": name} | dict.fromkeys(columns, "") | {"ms": f"not measured: {reason}"}
            )
            continue
        for row in found:
            discs = f", {row['gaussians']} discs" if "gaussians" in row else ""
            kind = f" to {row['to']}" if "to" in row else ""
            rows.append({"what": name + discs + kind} | {column: row[column] for column in columns})
    return rows


def _rows(title: str, rows: Any) -> list[str]:
    if not isinstance(rows, list) or not rows:
        reason = rows.get("not measured") if isinstance(rows, dict) else "not asked for"
        return ["", f"{title}: not measured: {reason}"]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    head = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    body = [f"| {' | '.join(str(row.get(column, '')) for column in columns)} |" for row in rows]
    return ["", title, "", *head, *body]
