"""bench.sh's results as tables and as JSON: bench-table.py RESULTS ROUNDS [JSON-FILE].

RESULTS holds lines "round contender metric value"; a value `null`, or none at all, is a measurement that failed. Exits
with 1 if there is any.
"""

import json
import statistics
import sys

TABLES = {
    "TCP, Gbit/s": ["tcp1_gbit_s", "tcp1_reverse_gbit_s", "tcp8_gbit_s", "tcp8_reverse_gbit_s"],
    "UDP, thousand packets/s received at < 1 % loss": ["udp64_kpps", "udp512_kpps", "udp1400_kpps"],
    "round trip, whole machine's busy seconds a GB, peak memory": [
        "rtt_idle_us",
        "rtt_loaded_p99_us",
        "cpu_s_per_gbyte",
        "rss_mb",
    ],
}
METRICS = [metric for metrics in TABLES.values() for metric in metrics]


def read(path, rounds):
    results = {}
    for line in open(path):
        number, contender, metric, value = line.split()
        values = results.setdefault(contender, {metric: [None] * rounds for metric in METRICS})
        values[metric][int(number) - 1] = None if value == "null" else float(value)
    return results


def figure(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cell(values, ours):
    """Median, spread, and how many times that median ours is."""
    values = [value for value in values if value is not None]
    if not values:
        return "-"
    median = statistics.median(values)
    spread = f" ({figure(min(values))}–{figure(max(values))})" if len(values) > 1 else ""
    ours = [value for value in ours if value is not None]
    ratio = f" ×{statistics.median(ours) / median:.2f}" if ours and median > 0 else ""
    return figure(median) + spread + ratio


def main():
    path, rounds = sys.argv[1], int(sys.argv[2])
    results = read(path, rounds)
    for title, metrics in TABLES.items():
        print(f"\n{title}: median (least–most) ×ours/this")
        print(f"{'':22}" + "".join(f"{metric:>28}" for metric in metrics))
        for contender, values in results.items():
            ours = results.get("ours", {})
            print(f"{contender:22}" + "".join(f"{cell(values[metric], ours.get(metric, [])):>28}" for metric in metrics))
    if len(sys.argv) > 3 and sys.argv[3]:
        with open(sys.argv[3], "w") as file:
            json.dump({"rounds": rounds, "results": results}, file, indent=1)
            file.write("\n")
    missing = [
        f"{contender} {metric} in round {number + 1}"
        for contender, values in results.items()
        for metric in METRICS
        for number, value in enumerate(values[metric])
        if value is None
    ]
    if missing:
        print("\nnot measured: " + ", ".join(missing))
    sys.exit(1 if missing or not results else 0)


main()
