"""Plots of results.json as SVG, by gnuplot."""
import os
import shutil
import subprocess


def plot(results, folder):
    """Returns the files made; none without gnuplot."""
    if shutil.which("gnuplot") is None:
        return []
    made = []
    stop = results["series"].get("stop")
    if stop:
        made.append(draw(folder, "stop", "Stop at a freeze", "dirty pages", "microseconds", "set logscale xy",
                         {name: [(row[0], row[column] / 1e3) for row in stop] for name, column in (("p50", 1), ("p99", 2), ("reference", 3))}))
    latencies = {name: values for name, values in results["series"].items() if name.startswith("latency")}
    if latencies:
        made.append(draw(folder, "latency", "One byte in, one byte out", "milliseconds", "share of answers", "set logscale x",
                         {name: distribution(values) for name, values in latencies.items()}))
    pauses = {name: distribution(results["series"][name]) for name in ("failover", "move") if name in results["series"]}
    if pauses:
        made.append(draw(folder, "pauses", "The host dies; the world moves", "milliseconds", "share of cases", "set logscale x", pauses))
    return made


def distribution(values_ns):
    ordered = sorted(values_ns)
    return [(value / 1e6, (place + 1) / len(ordered)) for place, value in enumerate(ordered)]


def draw(folder, name, title, x, y, settings, curves):
    path = os.path.join(folder, f"{name}.svg")
    lines = [f"set terminal svg size 800,500; set output '{path}'; set title '{title}'; set xlabel '{x}'; set ylabel '{y}'; set key left top; set grid",
             settings,
             "plot " + ", ".join(f"'-' with linespoints title '{label}'" for label in curves)]
    for points in curves.values():
        lines += [f"{a} {b}" for a, b in points] + ["e"]
    subprocess.run(["gnuplot"], input="\n".join(lines) + "\n", text=True, check=True, capture_output=True)
    return path
