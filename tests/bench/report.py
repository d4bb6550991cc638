"""Rows of results: the table on the terminal, results.json, and the comparison with a baseline of ratios."""
import json
import os

UNITS = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}


def show_ns(value):
    """A duration as a person reads it."""
    for unit in ("s", "ms", "us"):
        if abs(value) >= UNITS[unit]:
            return f"{value / UNITS[unit]:.3g} {unit}"
    return f"{value:.3g} ns"


class Results:
    def __init__(self, meta):
        self.meta = meta
        self.probes = {}  # of each boot
        self.rows = []
        self.series = {}  # for the plots

    def add(self, name, samples, p50, p99=None, unit="ns", reference=None, formula="", aim50=None, aim99=None, note=""):
        """One figure. `reference` (same unit) is what the probes of the same boot say is possible, by `formula`; an aim is the largest good ratio."""
        row = {"name": name, "samples": samples, "unit": unit, "p50": p50, "p99": p99, "reference": reference, "formula": formula, "note": note,
               "ratio50": p50 / reference if reference else None, "ratio99": p99 / reference if reference and p99 is not None else None,
               "aim50": aim50, "aim99": aim99}
        self.rows.append(row)
        print_row(row)

    def take(self, measure, *arguments):
        """Call `measure(self, ...)`. What it added counts only if it ends well: half a measurement looks like a whole one to a comparison."""
        before = list(self.rows), dict(self.probes), dict(self.series)
        try:
            measure(self, *arguments)
        except BaseException:
            self.rows, self.probes, self.series = before
            raise

    def save(self, path):
        save_json({"meta": self.meta, "probes": self.probes, "rows": self.rows, "series": self.series}, path)


def save_json(value, path, **options):
    """All of it or, if this is ended meanwhile, what stood there before."""
    with open(path + ".new", "w") as file:
        json.dump(value, file, indent=1, **options)
        file.write("\n")
    os.replace(path + ".new", path)


def show(row, value):
    if value is None:
        return "-"
    return show_ns(value) if row["unit"] == "ns" else f"{value:.4g}"


def verdict(row):
    judged = [(ratio, aim) for ratio, aim in ((row["ratio50"], row["aim50"]), (row["ratio99"], row["aim99"])) if ratio is not None and aim is not None]
    if not judged:
        return ""
    return "met" if all(ratio <= aim for ratio, aim in judged) else "MISSED"


def show_ratio(ratio, aim):
    if ratio is None:
        return "-"
    return f"{ratio:.2f}" + (f" (<= {aim:g})" if aim is not None else "")


HEAD = f"{'what':<52} {'n':>6} {'p50':>9} {'p99':>9} {'reference':>10} {'ratio p50':>15} {'ratio p99':>15}  aim     reference is"


def print_row(row):
    what = row["name"] + ("" if row["unit"] == "ns" else f" [{row['unit']}]")
    print(f"{what:<52} {row['samples']:>6} {show(row, row['p50']):>9} {show(row, row['p99']):>9} {show(row, row['reference']):>10} "
          f"{show_ratio(row['ratio50'], row['aim50']):>15} {show_ratio(row['ratio99'], row['aim99']):>15}  {verdict(row):<7} {row['formula']}"
          f"{'  ' + row['note'] if row['note'] else ''}".rstrip(), flush=True)


def ratios(results):
    """What a baseline keeps: no absolute time."""
    return {row["name"]: {key: round(row[key], 3) for key in ("ratio50", "ratio99") if row[key] is not None}
            for row in results["rows"] if row["ratio50"] is not None}


def why_no_baseline(meta):
    """Sentences that say why results are none to compare with later; none if they are good enough."""
    reasons = []
    if meta["quick"]:
        reasons.append("These are results of QUICK=1: their samples are too small.")
    if meta["failed"]:
        reasons.append(f"Not measured, as something failed: {', '.join(meta['failed'])}.")
    if meta["left_out"]:
        reasons.append(f"Not asked for, or not come to: {', '.join(meta['left_out'])}.")
    return reasons


def compare(results, baseline):
    """Lines that say how each ratio stands to the baseline's."""
    now = ratios(results)
    lines = [f"{'what':<52} {'':<8} {'baseline':>9} {'now':>9} {'change':>8}"]
    for name in [*baseline, *(name for name in now if name not in baseline)]:
        for key in ("ratio50", "ratio99"):
            before, after = baseline.get(name, {}).get(key), now.get(name, {}).get(key)
            if before is None and after is None:
                continue
            change = "new" if before is None else "missing" if after is None else f"{(after / before - 1) * 100:+.0f} %" if before else "-"
            lines.append(f"{name:<52} {key:<8} {before if before is not None else '-':>9} {after if after is not None else '-':>9} {change:>8}")
    return lines
